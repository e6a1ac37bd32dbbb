package bff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const (
	// requestTimeout ends a browser's request that needs the provider.
	requestTimeout = 10 * time.Second
	// refreshLead is how long before expiry a token is refreshed.
	refreshLead = 60 * time.Second
	// lockLease outlasts the token call's deadline, so that nobody takes over
	// while a refresh token may still be in use.
	lockLease = 10 * time.Second
	// lockPoll is how often a node looks whether another has finished.
	lockPoll = 100 * time.Millisecond
	// refusalPause is how long after a refresh an API's refusal of the new token
	// leads to no other one.
	refusalPause = 30 * time.Second
	// refreshPause is how long after a failure the provider is left alone.
	refreshPause = time.Second
)

// errNoToken says that a session's access token has run out and that nothing
// can be got for it at the moment: 503, not a logout.
var errNoToken = errors.New("the access token has expired and cannot be renewed at the moment")

// fresh returns the session with an access token that is valid. While the
// present one is, nobody waits: a refresh that is due goes on in the
// background. session.ErrNotFound means that the session is over, errNoToken
// that the provider cannot be had, and any other error that the store cannot.
func (b *BFF) fresh(ctx context.Context, s *session.Session) (*session.Session, error) {
	switch expired := b.expired(s.Data.Tokens); {
	case s.Data.Tokens.Refresh == "":
		return s, nil
	case expired:
		return b.another(ctx, s)
	case b.refreshDue(s.Data.Tokens) && !b.failures.recent(s.ID):
		b.startRefresh(ctx, s)
	}
	return s, nil
}

// another waits for an access token that is not the session's present one.
// The errors are those of fresh.
func (b *BFF) another(ctx context.Context, s *session.Session) (*session.Session, error) {
	if b.failures.recent(s.ID) {
		return nil, errNoToken
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	select {
	case r := <-b.startRefresh(ctx, s):
		fresh, _ := r.Val.(*session.Session)
		return fresh, r.Err
	case <-ctx.Done():
		return nil, errNoToken
	}
}

// startRefresh refreshes in the background, or joins the refresh that is under
// way for this very session (never for another: CVE-2025-67490). It goes on
// when the browser hangs up, which must not lose a refresh token that the
// provider has just rotated.
func (b *BFF) startRefresh(ctx context.Context, s *session.Session) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return b.refreshes.DoChan(string(s.ID[:]), func() (any, error) {
		defer b.work.Begin()()
		return b.refresh(ctx, s)
	})
}

// renewable reports whether it makes sense to get another token for one that
// the API has refused: not where a refresh has just given this one, or an API
// that refuses them all would have us refresh at each request.
func (b *BFF) renewable(s *session.Session) bool {
	t := s.Data.Tokens
	justGiven := t.ObtainedAt.After(s.CreatedAt) && b.now().Sub(t.ObtainedAt) < refusalPause
	return t.Refresh != "" && !justGiven
}

// expired reports whether the API would refuse the access token. A token
// whose lifetime the provider did not tell is good until the API says
// otherwise.
func (b *BFF) expired(t session.Tokens) bool {
	return !t.ExpiresAt.IsZero() && !b.now().Before(t.ExpiresAt)
}

// refreshDue reports whether a token is near its end: 60 s before, or at half
// of a lifetime that is shorter than two minutes.
func (b *BFF) refreshDue(t session.Tokens) bool {
	if t.ExpiresAt.IsZero() {
		return false
	}
	due := t.ExpiresAt.Add(-refreshLead)
	if half := t.ObtainedAt.Add(t.ExpiresAt.Sub(t.ObtainedAt) / 2); half.After(due) {
		due = half
	}
	return !b.now().Before(due)
}

// refresh renews a session's tokens, or waits for whoever is doing so, in
// this process or at another node. At most one refresh token of a session is
// ever under way: providers with rotation answer a second use by ending
// everything (oauth2-proxy #1992).
func (b *BFF) refresh(ctx context.Context, stale *session.Session) (*session.Session, error) {
	waiting, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for {
		fence, err := b.sessions.Lock(waiting, stale, lockLease)
		if err == nil {
			// The time of the lease is its own: what was spent on waiting must
			// not cut the token call short.
			locked, cancel := context.WithTimeout(ctx, lockLease)
			defer cancel()
			return b.refreshLocked(locked, stale, fence)
		}
		if !errors.Is(err, session.ErrLocked) {
			return nil, err
		}
		select {
		case <-waiting.Done():
			return nil, errNoToken
		case <-time.After(lockPoll):
		}
		current, err := b.sessions.Reload(waiting, stale)
		if err != nil {
			return nil, err
		}
		if current.Data.Tokens.Access != stale.Data.Tokens.Access {
			return current, nil
		}
	}
}

// refreshLocked refreshes while it holds the session's lock, and releases it.
func (b *BFF) refreshLocked(ctx context.Context, stale *session.Session, fence session.Fence) (*session.Session, error) {
	s, err := b.sessions.Reload(ctx, stale)
	if err != nil {
		b.unlock(ctx, stale, fence)
		return nil, err
	}
	if s.Data.Tokens.Access != stale.Data.Tokens.Access { // done while we waited for the lock
		b.unlock(ctx, s, fence)
		return s, nil
	}
	data, err := b.renewed(ctx, s)
	switch {
	case errors.Is(err, errGrantOver):
		return b.grantOver(ctx, s, err)
	case err != nil:
		b.logger.WarnContext(ctx, "access token not refreshed", "session", s, "cause", err)
		b.failures.note(s.ID)
		b.unlock(ctx, s, fence)
		return nil, errNoToken
	}
	written, err := b.write(ctx, s, fence, data)
	switch {
	case errors.Is(err, session.ErrNotFound):
		// Signed out meanwhile (nextjs-auth0 #2335): what we got must not
		// outlive the session.
		b.revoke(ctx, data.Tokens.Refresh)
		return nil, err
	case errors.Is(err, session.ErrFenced):
		return b.sessions.Reload(ctx, s)
	case err != nil:
		return nil, err
	}
	b.logger.InfoContext(ctx, "access token refreshed", "session", s)
	return written, nil
}

// unlock releases a lock early. Where it cannot, the lease will.
func (b *BFF) unlock(ctx context.Context, s *session.Session, fence session.Fence) {
	if err := b.sessions.Unlock(ctx, s, fence); err != nil {
		b.logger.InfoContext(ctx, "session lock not released; its lease will end it", "session", s, "cause", err)
	}
}

// write stores what the provider has given. A store that is away is tried
// again for as long as the lease runs: the old refresh token is spent, so that
// a new one which is not written loses the session (oauth2-proxy #2503).
func (b *BFF) write(ctx context.Context, s *session.Session, fence session.Fence, data session.Data) (*session.Session, error) {
	for {
		written, err := b.sessions.Write(ctx, s, fence, data)
		if err == nil || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrFenced) {
			return written, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockPoll):
		}
	}
}

// grantOver ends a session that the provider will not renew, unless another
// node has renewed it: then the token that was sent was not the newest.
func (b *BFF) grantOver(ctx context.Context, s *session.Session, cause error) (*session.Session, error) {
	current, err := b.sessions.Reload(ctx, s)
	if err != nil {
		return nil, err
	}
	if current.Data.Tokens.Refresh != s.Data.Tokens.Refresh {
		return current, nil
	}
	b.logger.InfoContext(ctx, "session ended: the provider renews it no more", "session", s, "cause", cause)
	if err := b.sessions.End(ctx, s, session.ReasonProvider); err != nil {
		return nil, err
	}
	return nil, session.ErrNotFound
}

// errGrantOver says that the provider will not renew this grant any more.
var errGrantOver = errors.New("the grant is over")

// renewed returns a session's data with new tokens.
func (b *BFF) renewed(ctx context.Context, s *session.Session) (session.Data, error) {
	md, err := b.provider.AwaitMetadata(ctx)
	if err != nil {
		return session.Data{}, err
	}
	old := s.Data.Tokens
	tokens, err := b.rp.refresh(ctx, md, old.Refresh)
	if refusal, ok := errors.AsType[*oauthError](err); ok && refusal.code == "invalid_grant" {
		return session.Data{}, fmt.Errorf("%w: %w", errGrantOver, err)
	}
	if err != nil {
		return session.Data{}, err
	}
	data := session.Data{Claims: s.Data.Claims, Tokens: tokens}
	if tokens.ID == "" {
		data.Tokens.ID = old.ID
	} else {
		// OpenID Connect Core section 12.2: it is about the same person and the
		// same login, or none of it is believed.
		claims, err := b.rp.ids.Verify(ctx, tokens.ID, refreshChecks(s, tokens.Access))
		switch {
		case errors.Is(err, token.ErrUnavailable):
			b.logger.WarnContext(ctx, "the new ID token was not verified; the old one is kept", "cause", err)
			data.Tokens.ID = old.ID
		case err != nil:
			b.revoke(ctx, tokens.Refresh)
			return session.Data{}, fmt.Errorf("%w: ID token: %w", errGrantOver, err)
		default:
			data.Claims = merged(s.Data.Claims, claims.Map())
		}
	}
	if tokens.Refresh == "" {
		data.Tokens.Refresh = old.Refresh
	}
	if tokens.Scope == "" {
		data.Tokens.Scope = old.Scope
	}
	return data, nil
}

// refreshChecks are what the ID token of a refresh must agree with.
func refreshChecks(s *session.Session, accessToken string) token.IDChecks {
	checks := token.IDChecks{Subject: s.Subject, AccessToken: accessToken}
	checks.Nonce, _ = s.Data.Claims["nonce"].(string)
	if number, ok := s.Data.Claims["auth_time"].(json.Number); ok {
		if seconds, err := number.Float64(); err == nil {
			checks.AuthTime = time.Unix(int64(seconds), 0)
		}
	}
	return checks
}

// merged returns old with what is new; what came from userinfo stays.
func merged(old, more map[string]any) map[string]any {
	all := make(map[string]any, len(old)+len(more))
	for name, value := range old {
		all[name] = value
	}
	for name, value := range more {
		all[name] = value
	}
	return all
}

// failures remembers for which sessions a refresh has just failed.
type failures struct {
	now  func() time.Time
	mu   sync.Mutex
	last map[session.ID]time.Time
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, last: map[session.ID]time.Time{}}
}

func (f *failures) note(id session.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, at := range f.last { // those of the last second only stay
		if f.now().Sub(at) >= refreshPause {
			delete(f.last, other)
		}
	}
	f.last[id] = f.now()
}

func (f *failures) recent(id session.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.last[id]
	return ok && f.now().Sub(at) < refreshPause
}
