package devidp

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// A digest is the key for looking up a secret, so that the time of a look-up reveals
// nothing about the secret.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// An authRequest is a valid authorization request.
type authRequest struct {
	id          string
	client      *registration
	redirectURI string
	mode        oidc.ResponseMode
	state       string
	nonce       string
	challenge   string // PKCE, S256
	scopes      []string
	prompt      []string
	maxAge      *uint // seconds
	acrValues   []string
	loginHint   string
	subject     string // from id_token_hint: the required user
	expires     time.Time
}

// A session is a browser's session at the provider.
type session struct {
	sid      string
	user     *directory.User
	authTime time.Time
	acr      string
	clients  map[string]*registration // that took part and get a logout token
	cookie   digest
	expires  time.Time
}

// A grant is the authorization of a client at one login. All tokens of the login
// refer to it.
type grant struct {
	client   *registration
	user     *directory.User
	sid      string
	authTime time.Time
	acr      string
	scopes   []string
	expires  time.Time
	revoked  bool
}

// An authCode is an authorization code. It is kept after its use, to detect a second
// use.
type authCode struct {
	request authRequest
	grant   *grant
	used    bool
	expires time.Time
}

// A refreshToken is a refresh token of a grant. It is kept after its use, to detect
// reuse.
type refreshToken struct {
	grant *grant
	used  bool
}

// An accessToken is an access token, for userinfo and revocation.
type accessToken struct {
	grant   *grant
	scopes  []string
	expires time.Time
}

// The most entries that are kept. Pages of other sites can send authorization requests as
// often as they like: what expires first makes room.
const (
	maxRequests = 1000
	maxCodes    = 5000
	maxSessions = 5000
)

// makeRoom deletes the entry that expires first if a map is full.
func makeRoom[K comparable, V any](entries map[K]V, most int, expires func(V) time.Time) {
	if len(entries) < most {
		return
	}
	var first K
	found := false
	for key, entry := range entries {
		if !found || expires(entry).Before(expires(entries[first])) {
			first, found = key, true
		}
	}
	delete(entries, first)
}

// state is the state of the provider. Expired entries are deleted within a minute.
type state struct {
	mu       sync.Mutex
	requests map[string]*authRequest
	codes    map[digest]*authCode
	sessions map[digest]*session // by cookie
	refresh  map[digest]*refreshToken
	access   map[digest]*accessToken
	users    *directory.Directory
	swept    time.Time
}

func newState(users *directory.Directory) *state {
	return &state{
		requests: make(map[string]*authRequest),
		codes:    make(map[digest]*authCode),
		sessions: make(map[digest]*session),
		refresh:  make(map[digest]*refreshToken),
		access:   make(map[digest]*accessToken),
		users:    users,
	}
}

// sweep deletes expired entries. It is called with the lock held.
func (s *state) sweep(now time.Time) {
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	maps.DeleteFunc(s.requests, func(_ string, r *authRequest) bool { return !now.Before(r.expires) })
	maps.DeleteFunc(s.codes, func(_ digest, c *authCode) bool { return !now.Before(c.expires) })
	maps.DeleteFunc(s.sessions, func(_ digest, ses *session) bool { return !now.Before(ses.expires) })
	maps.DeleteFunc(s.refresh, func(_ digest, t *refreshToken) bool { return !now.Before(t.grant.expires) })
	maps.DeleteFunc(s.access, func(_ digest, t *accessToken) bool { return !now.Before(t.expires) })
}

// keepRequest stores a request until the user has signed in.
func (s *state) keepRequest(r *authRequest, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	makeRoom(s.requests, maxRequests, func(r *authRequest) time.Time { return r.expires })
	s.requests[r.id] = r
}

// request returns a waiting request, or nil.
func (s *state) request(id string, now time.Time) *authRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests[id]
	if r == nil || !now.Before(r.expires) {
		return nil
	}
	return r
}

// takeRequest returns a waiting request and deletes it, or returns nil.
func (s *state) takeRequest(id string, now time.Time) *authRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests[id]
	delete(s.requests, id)
	if r == nil || !now.Before(r.expires) {
		return nil
	}
	return r
}

// session returns a copy of the browser's session, or nil.
func (s *state) session(cookie string, now time.Time) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := s.sessions[digestOf(cookie)]
	if cookie == "" || ses == nil || !now.Before(ses.expires) {
		return nil
	}
	c := *ses
	if c.user = s.users.Still(ses.user, now); c.user == nil {
		return nil
	}
	return &c
}

// signIn records a sign-in of a browser. The same user keeps the session with a new
// cookie value, against session fixation. Another user gets a new session, and the
// ended one is returned.
func (s *state) signIn(oldCookie, newCookie string, u *directory.User, acr string, now time.Time) (current, ended *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	old := s.sessions[digestOf(oldCookie)]
	delete(s.sessions, digestOf(oldCookie))
	if old != nil && (old.user.Subject != u.Subject || !now.Before(old.expires)) {
		old, ended = nil, old
	}
	if old == nil {
		old = &session{sid: newSecret(), user: u, clients: make(map[string]*registration)}
	}
	old.user, old.authTime, old.acr, old.cookie, old.expires = u, now, acr, digestOf(newCookie), now.Add(sessionLifetime)
	makeRoom(s.sessions, maxSessions, func(ses *session) time.Time { return ses.expires })
	s.sessions[old.cookie] = old
	c := *old
	return &c, ended
}

// endSession ends the session with this sid and returns it; nil if there is none.
// The caller then owns it.
func (s *state) endSession(sid string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cookie, ses := range s.sessions {
		if ses.sid == sid {
			delete(s.sessions, cookie)
			return ses
		}
	}
	return nil
}

// endSessions ends the sessions of the users for which which returns true. The caller
// then owns them.
func (s *state) endSessions(which func(*directory.User) bool) (ended []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cookie, ses := range s.sessions {
		if which(ses.user) {
			delete(s.sessions, cookie)
			ended = append(ended, ses)
		}
	}
	return ended
}

// liveSessions returns copies of the sessions, oldest sign-in first.
func (s *state) liveSessions(now time.Time) (live []session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ses := range s.sessions {
		if now.Before(ses.expires) {
			live = append(live, *ses)
		}
	}
	slices.SortFunc(live, func(a, b session) int {
		return cmp.Or(a.authTime.Compare(b.authTime), strings.Compare(a.sid, b.sid))
	})
	return live
}

// keepCode issues a code for a request and adds the client to the session. The grant
// expires at a time. It returns false if the session has ended.
func (s *state) keepCode(code string, r *authRequest, ses *session, now, expires time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	live := s.sessions[ses.cookie]
	if live == nil || live.sid != ses.sid {
		return false
	}
	u := s.users.Still(live.user, now)
	if u == nil {
		return false
	}
	live.clients[r.client.ID] = r.client
	makeRoom(s.codes, maxCodes, func(c *authCode) time.Time { return c.expires })
	s.codes[digestOf(code)] = &authCode{
		request: *r,
		grant: &grant{
			client: r.client, user: u, sid: live.sid, authTime: live.authTime, acr: live.acr,
			scopes: u.Granted(r.scopes), expires: expires,
		},
		expires: now.Add(codeLifetime),
	}
	return true
}

// redeem uses up a code and returns it; nil if it is unknown, used, expired or of
// another client. A second use revokes the tokens of the first (RFC 6749 §4.1.2).
func (s *state) redeem(code string, client *registration, now time.Time) *authCode {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.codes[digestOf(code)]
	if c == nil || c.grant.client != client || !now.Before(c.expires) {
		return nil
	}
	if c.used {
		c.grant.revoked = true
		return nil
	}
	c.used = true
	return c
}

// keepTokens stores the tokens of a grant; refresh may be empty.
func (s *state) keepTokens(g *grant, access, refresh string, scopes []string, expires, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	s.access[digestOf(access)] = &accessToken{grant: g, scopes: scopes, expires: expires}
	if refresh != "" {
		s.refresh[digestOf(refresh)] = &refreshToken{grant: g}
	}
}

// owner returns the user of an authorization code or a token, also a used or expired
// one; nil if it is unknown.
func (s *state) owner(secret string) *directory.User {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digestOf(secret)
	if c := s.codes[d]; c != nil {
		return c.grant.user
	}
	if t := s.refresh[d]; t != nil {
		return t.grant.user
	}
	if t := s.access[d]; t != nil {
		return t.grant.user
	}
	return nil
}

// revokeAll revokes the grants that have refresh tokens, of the users for which which
// returns true, and returns their number.
func (s *state) revokeAll(which func(*directory.User) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.refresh {
		if !t.grant.revoked && which(t.grant.user) {
			t.grant.revoked = true
			n++
		}
	}
	return n
}

// use returns the grant of a refresh token and the requested scopes, or all of the
// grant if none are requested. With rotate it uses the token up: a second use revokes all
// tokens of the grant (RFC 9700 §4.14.2) and is reported as reused.
func (s *state) use(token string, client *registration, asked []string, rotate bool, now time.Time) (g *grant, scopes []string, reused bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refresh[digestOf(token)]
	if t == nil || t.grant.client != client || t.grant.revoked || !now.Before(t.grant.expires) {
		return nil, nil, false, oidc.ErrInvalidGrant().WithDescription("refresh token unknown, expired or revoked")
	}
	if t.used {
		t.grant.revoked = true
		return nil, nil, true, oidc.ErrInvalidGrant().WithDescription("refresh token used before: every token of this login is revoked")
	}
	scopes = t.grant.scopes
	if len(asked) > 0 {
		if slices.ContainsFunc(asked, func(scope string) bool { return !slices.Contains(t.grant.scopes, scope) }) {
			return nil, nil, false, oidc.ErrInvalidScope().WithDescription("scope exceeds the granted scope")
		}
		scopes = asked
	}
	t.used = rotate
	return t.grant, scopes, false, nil
}

// accessToken returns a valid access token, or nil.
func (s *state) accessToken(token string, now time.Time) *accessToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[digestOf(token)]
	if t == nil || t.grant.revoked || !now.Before(t.expires) {
		return nil
	}
	return t
}

// revoke revokes an access token, or a refresh token with all tokens of its login
// (RFC 7009 §2.1). It returns false for a token of another client, and true for an
// unknown one (§2.2).
func (s *state) revoke(token string, client *registration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.access[digestOf(token)]; t != nil {
		if t.grant.client != client {
			return false
		}
		delete(s.access, digestOf(token))
	}
	if t := s.refresh[digestOf(token)]; t != nil {
		if t.grant.client != client {
			return false
		}
		t.grant.revoked = true
	}
	return true
}
