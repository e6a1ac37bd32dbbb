package bff

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
	expired := b.expired(s.Data.Tokens)
	switch {
	case s.Data.Tokens.Refresh == "", !expired && !b.refreshDue(s.Data.Tokens):
		return s, nil
	case b.failures.recent(s.ID):
		if !expired {
			return s, nil
		}
		return nil, errNoToken
	}
	result := b.refreshes.DoChan(string(s.ID[:]), func() (any, error) {
		// On a context of its own: a browser that hangs up must not lose a
		// refresh token that the provider has just rotated.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		return b.refresh(ctx, s)
	})
	if !expired {
		return s, nil
	}
	select {
	case r := <-result:
		fresh, _ := r.Val.(*session.Session)
		return fresh, r.Err
	case <-ctx.Done():
		return nil, errNoToken
	}
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
	for {
		fence, err := b.sessions.Lock(ctx, stale, lockLease)
		if err == nil {
			return b.refreshLocked(ctx, stale, fence)
		}
		if !errors.Is(err, session.ErrLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errNoToken
		case <-time.After(lockPoll):
		}
		current, err := b.sessions.Reload(ctx, stale)
		if err != nil {
			return nil, err
		}
		if current.Data.Tokens.Access != stale.Data.Tokens.Access {
			return current, nil
		}
	}
}

func (b *BFF) refreshLocked(ctx context.Context, stale *session.Session, fence session.Fence) (*session.Session, error) {
	s, err := b.sessions.Reload(ctx, stale)
	if err != nil {
		return nil, err
	}
	if s.Data.Tokens.Access != stale.Data.Tokens.Access { // done while we waited for the lock
		return s, b.sessions.Unlock(ctx, s, fence)
	}
	data, err := b.renewed(ctx, s)
	switch {
	case err == nil:
	case errors.Is(err, errGrantOver):
		b.logger.InfoContext(ctx, "session ended: the provider renews it no more", "session", s, "cause", err)
		if err := b.sessions.End(ctx, s); err != nil {
			return nil, err
		}
		return nil, session.ErrNotFound
	default:
		b.logger.WarnContext(ctx, "access token not refreshed", "session", s, "cause", err)
		b.failures.note(s.ID)
		if err := b.sessions.Unlock(ctx, s, fence); err != nil {
			return nil, err
		}
		return nil, errNoToken
	}
	written, err := b.sessions.Write(ctx, s, fence, data)
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

// errGrantOver says that the provider will not renew this grant any more.
var errGrantOver = errors.New("the grant is over")

// renewed returns a session's data with new tokens.
func (b *BFF) renewed(ctx context.Context, s *session.Session) (session.Data, error) {
	md, err := b.provider.Metadata()
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
		// OpenID Connect Core section 12.2: it is about the same person, or
		// none of it is believed.
		claims, err := b.rp.ids.Verify(ctx, tokens.ID, token.IDChecks{Subject: s.Subject, AccessToken: tokens.Access})
		switch {
		case errors.Is(err, token.ErrUnavailable):
			b.logger.WarnContext(ctx, "the new ID token was not verified; the old one is kept", "cause", err)
			data.Tokens.ID = old.ID
		case err != nil:
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
