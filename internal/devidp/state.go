package devidp

import (
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// digest is what secrets are looked up by, so that a look-up's timing tells nothing about them.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// authRequest is an authorization request that was found good and waits for a person, or is being answered.
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
	subject     string // from id_token_hint: only this person's answer will do
	expires     time.Time
}

// session is a browser's session at the provider.
type session struct {
	sid      string
	user     *user
	authTime time.Time
	acr      string
	clients  map[string]*registration // who took part, and is told when it ends
	cookie   digest
	expires  time.Time
}

// grant is what a person allowed a client at one login. Every token of that login hangs on it.
type grant struct {
	client   *registration
	user     *user
	sid      string
	authTime time.Time
	acr      string
	scopes   []string
	expires  time.Time
	revoked  bool
}

// authCode is an authorization code; it stays known after its use, so that a second use can be told from a guess.
type authCode struct {
	request authRequest
	grant   *grant
	used    bool
	expires time.Time
}

// refreshToken is one link of a family; used ones stay known while the family lives, to detect reuse.
type refreshToken struct {
	grant *grant
	used  bool
}

// accessToken is remembered for userinfo and revocation; resource servers verify the JWT themselves.
type accessToken struct {
	grant   *grant
	scopes  []string
	expires time.Time
}

// state is everything the provider remembers. What has expired is dropped at most a minute later.
type state struct {
	mu       sync.Mutex
	requests map[string]*authRequest
	codes    map[digest]*authCode
	sessions map[digest]*session // by cookie
	refresh  map[digest]*refreshToken
	access   map[digest]*accessToken
	swept    time.Time
}

func newState() *state {
	return &state{
		requests: make(map[string]*authRequest),
		codes:    make(map[digest]*authCode),
		sessions: make(map[digest]*session),
		refresh:  make(map[digest]*refreshToken),
		access:   make(map[digest]*accessToken),
	}
}

// sweep drops what has expired. The lock is held.
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

// keepRequest stores a request until a person has answered it.
func (s *state) keepRequest(r *authRequest, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
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

// takeRequest returns a waiting request and forgets it, or nil: each is answered once.
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
	return &c
}

// signIn records that somebody authenticated in a browser. The same person as before keeps the session, under a new
// cookie value (against fixation); another gets a new one, and the session that this ends is returned.
func (s *state) signIn(oldCookie, newCookie string, u *user, acr string, now time.Time) (current, ended *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	old := s.sessions[digestOf(oldCookie)]
	delete(s.sessions, digestOf(oldCookie))
	if old != nil && (old.user != u || !now.Before(old.expires)) {
		old, ended = nil, old
	}
	if old == nil {
		old = &session{sid: newSecret(), user: u, clients: make(map[string]*registration)}
	}
	old.authTime, old.acr, old.cookie, old.expires = now, acr, digestOf(newCookie), now.Add(sessionLifetime)
	s.sessions[old.cookie] = old
	c := *old
	return &c, ended
}

// endSession ends the session with that sid and returns it, or nil when there is none. From then on only the caller
// holds it.
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

// keepCode issues a code for a request to the person of a session, and makes the client a part of that session. It
// reports false when the session has ended meanwhile.
func (s *state) keepCode(code string, r *authRequest, ses *session, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	live := s.sessions[ses.cookie]
	if live == nil || live.sid != ses.sid {
		return false
	}
	live.clients[r.client.ID] = r.client
	s.codes[digestOf(code)] = &authCode{
		request: *r,
		grant: &grant{
			client: r.client, user: live.user, sid: live.sid, authTime: live.authTime, acr: live.acr,
			scopes: live.user.grantedScopes(r.scopes), expires: now.Add(refreshTokenLifetime),
		},
		expires: now.Add(codeLifetime),
	}
	return true
}

// redeem spends a code, whatever the caller then finds wrong with the request. It returns nil for a code that is
// unknown, spent, expired or another client's. A code that comes twice was stolen: what it gave is revoked (RFC 6749,
// section 4.1.2).
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

// keepTokens remembers the tokens of a grant; refresh may be empty.
func (s *state) keepTokens(g *grant, access, refresh string, scopes []string, expires, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	s.access[digestOf(access)] = &accessToken{grant: g, scopes: scopes, expires: expires}
	if refresh != "" {
		s.refresh[digestOf(refresh)] = &refreshToken{grant: g}
	}
}

// rotate spends a refresh token for the scopes asked for (none: all of the grant's) and returns its grant and them.
// A token that comes twice revokes the whole family, the thief's tokens and the victim's alike (RFC 9700, section
// 4.14.2); reused tells that from a token that was never good.
func (s *state) rotate(token string, client *registration, asked []string, now time.Time) (g *grant, scopes []string, reused bool, err error) {
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
			return nil, nil, false, oidc.ErrInvalidScope().WithDescription("scope exceeds what was granted at login")
		}
		scopes = asked
	}
	t.used = true
	return t.grant, scopes, false, nil
}

// accessToken returns what an access token stands for, or nil.
func (s *state) accessToken(token string, now time.Time) *accessToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[digestOf(token)]
	if t == nil || t.grant.revoked || !now.Before(t.expires) {
		return nil
	}
	return t
}

// revoke revokes an access token alone, or a refresh token together with every token of its login (RFC 7009, section
// 2.1). It reports false for another client's token; an unknown one is no failure (section 2.2).
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
