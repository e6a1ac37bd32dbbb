package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/internal/seal"
)

// NewSession is what a finished login hands to [Manager.Create].
type NewSession struct {
	// Issuer and Subject are required; SID is the provider's sid claim, if it gave one.
	Issuer, Subject, SID string
	Data                 Data
	// UserAgent and Address are shown to the person in the list of their sessions. They are cut and cleaned.
	UserAgent, Address string
	// Replaces is the cookie value of the session that this login ends, as [Manager.CookieValue] gave it; "" if none.
	Replaces string
}

// Create starts a session under a new random value, never one that a browser sent (session fixation), and returns it with
// the cookie to set. The session it replaces ends in the same transaction. A session whose access token cannot be renewed
// ends with that token, at the latest.
func (m *Manager) Create(ctx context.Context, n NewSession) (*Session, *http.Cookie, error) {
	for _, f := range [...]struct {
		name, value string
		required    bool
	}{{"issuer", n.Issuer, true}, {"subject", n.Subject, true}, {"sid", n.SID, false}} {
		if f.required && f.value == "" {
			return nil, nil, fmt.Errorf("session: the %s is empty", f.name)
		}
		// PostgreSQL stores neither.
		if !utf8.ValidString(f.value) || strings.ContainsRune(f.value, 0) {
			return nil, nil, fmt.Errorf("session: the %s is not clean UTF-8", f.name)
		}
	}
	value, err := newCookieValue(m.random)
	if err != nil {
		return nil, nil, fmt.Errorf("session: random bytes: %w", err)
	}
	now := m.now()
	s := &Session{
		Record: Record{
			ID:            value.id(),
			Issuer:        n.Issuer,
			Subject:       n.Subject,
			SID:           n.SID,
			CreatedAt:     now,
			LastSeenAt:    now,
			IdleExpiresAt: now.Add(m.idle),
			ExpiresAt:     now.Add(m.absolute),
			UserAgent:     clean(n.UserAgent),
			Address:       clean(n.Address),
		},
		Data:  n.Data,
		value: &value,
	}
	if end := n.Data.Tokens.end(); end.After(now) {
		s.ExpiresAt = earliest(s.ExpiresAt, end)
		s.IdleExpiresAt = earliest(s.IdleExpiresAt, end)
	}
	sealed, err := m.sealData(s, n.Data)
	if err != nil {
		return nil, nil, err
	}
	var replaces ID
	if old, ok := parseCookieValue(n.Replaces); ok {
		replaces = old.id()
	}
	r := s.Record
	r.Sealed = sealed
	if err := m.store.Create(ctx, r, replaces); err != nil {
		return nil, nil, fmt.Errorf("session store: create: %w", err)
	}
	if !replaces.IsZero() {
		m.opened.Drop(replaces)
	}
	return s, m.jar.set(&value, s.ExpiresAt.Sub(now)), nil
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Load returns the session of a request's cookie. [ErrNotFound] means that the request has none: no cookie, one that is
// malformed or unknown, two that differ, a session that has ended, or one that no live node can open, since its secret was
// removed or it was altered. [ErrSealedElsewhere] means that another node can. It and every other error, which is an outage
// of the store, must not sign anybody out. What cannot be opened is left alone until it expires.
func (m *Manager) Load(ctx context.Context, r *http.Request) (*Session, error) {
	value, state := m.jar.find(r)
	switch state {
	case cookieGood:
		return m.load(ctx, &value)
	case cookieAmbiguous:
		m.log.LogAttrs(ctx, slog.LevelWarn, "a request brought two different session cookies; neither was believed",
			slog.String("cookie", m.CookieName()))
	}
	return nil, ErrNotFound
}

// Resume returns the session of a cookie value, and the cookie to set for it once more. [ErrNotFound] if it has ended.
func (m *Manager) Resume(ctx context.Context, cookieValue string) (*Session, *http.Cookie, error) {
	value, ok := parseCookieValue(cookieValue)
	if !ok {
		return nil, nil, ErrNotFound
	}
	s, err := m.load(ctx, &value)
	if err != nil {
		return nil, nil, err
	}
	return s, m.jar.set(&value, s.ExpiresAt.Sub(m.now())), nil
}

// Reload returns the session as it is now in the store, with what others wrote. [ErrNotFound] if it has ended since.
func (m *Manager) Reload(ctx context.Context, s *Session) (*Session, error) {
	return m.load(ctx, s.value)
}

// Ready says why sessions cannot be had at the moment, if the store can tell.
func (m *Manager) Ready(ctx context.Context) error {
	if s, ok := m.store.(ReadyChecker); ok {
		return storeError("ready", s.Ready(ctx))
	}
	return nil
}

// opened is what is remembered of a session that was decrypted.
type opened struct {
	record Record // with Sealed
	data   *Data
	bearer string // of which data's access token is a part
}

// matches tells whether the record is, in all that the seal binds, the one that was opened.
func (o *opened) matches(r *Record) bool {
	k := &o.record
	return bytes.Equal(k.Sealed, r.Sealed) && k.Issuer == r.Issuer && k.Subject == r.Subject && k.SID == r.SID &&
		k.CreatedAt.Equal(r.CreatedAt) && k.ExpiresAt.Equal(r.ExpiresAt)
}

func (m *Manager) load(ctx context.Context, v *cookieValue) (*Session, error) {
	id := v.id()
	stamp := m.opened.Stamp(id)
	r, err := m.store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		m.opened.Drop(id)
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("session store: get: %w", err)
	}
	o, ok := m.opened.Get(id)
	if !ok || !o.matches(&r) {
		data, err := m.openData(v, &r)
		if err != nil {
			return nil, m.unopenable(ctx, &r, err)
		}
		bearer := bearerScheme + data.Tokens.Access
		data.Tokens.Access = bearer[len(bearerScheme):]
		o = opened{record: r, data: &data, bearer: bearer}
		m.opened.Put(id, o, stamp)
	}
	r.Sealed = nil
	return &Session{Record: r, Data: *o.data, bearer: o.bearer, value: v}, nil
}

// unopenable says what a record is that this node cannot open: one that another live node can, or no session.
func (m *Manager) unopenable(ctx context.Context, r *Record, cause error) error {
	format, _ := errors.AsType[formatError](cause)
	elsewhere, err := m.nodes.elsewhere(ctx, r.Sealed, int(format))
	if err != nil {
		return err
	}
	text, err := "a session cannot be opened and counts as signed out: was its secret removed?", ErrNotFound
	if elsewhere {
		text, err = "a session can be opened by other nodes only: do all have the same secrets and version?", ErrSealedElsewhere
	}
	if ok, held := m.unopened.Next(); ok {
		_, key := seal.Header(r.Sealed)
		m.log.LogAttrs(ctx, slog.LevelWarn, text, slog.String("session", r.ID.String()), slog.String("key", key.String()),
			slog.String("cause", cause.Error()), slog.Int("suppressed", held))
	}
	return err
}

// Lock takes the lock of the session for the length of the lease: [ErrLocked] while another holds it, [ErrNotFound] when
// the session has ended. After it, [Manager.Reload] shows what the last holder wrote.
func (m *Manager) Lock(ctx context.Context, s *Session, lease time.Duration) (Fence, error) {
	f, err := m.store.Lock(ctx, s.ID, lease)
	return f, storeError("lock", err)
}

// Renew has the lease of the lock end that much later than now: [ErrFenced] when the lock was released or granted to
// another since, [ErrNotFound] when the session has ended.
func (m *Manager) Renew(ctx context.Context, s *Session, f Fence, lease time.Duration) error {
	return storeError("renew", m.store.Renew(ctx, s.ID, f, lease))
}

// Write seals new Data, stores it if the lock was not granted to another since ([ErrFenced]) and the
// session has not ended ([ErrNotFound]), and releases the lock. A write that was under way when the session ended never
// revives it (nextjs-auth0 #2335). It returns the session with the new Data.
func (m *Manager) Write(ctx context.Context, s *Session, f Fence, d Data) (*Session, error) {
	sealed, err := m.sealData(s, d)
	if err != nil {
		return nil, err
	}
	if err := m.store.Write(ctx, s.ID, f, sealed); err != nil {
		return nil, storeError("write", err)
	}
	m.opened.Drop(s.ID)
	written := *s
	written.Data = d
	if end := d.Tokens.end(); !end.IsZero() && end.Before(s.IdleExpiresAt) {
		// The refresh token is gone, so the session ends with the access token. Where this note of it fails, the next use of
		// the session writes it down.
		if now := m.now(); m.store.Touch(ctx, s.ID, now, end) == nil {
			written.LastSeenAt, written.IdleExpiresAt = now, end
		}
	}
	return &written, nil
}

// Unlock releases the lock without writing. [ErrFenced] and [ErrNotFound] say that there was nothing left to release.
func (m *Manager) Unlock(ctx context.Context, s *Session, f Fence) error {
	return storeError("unlock", m.store.Unlock(ctx, s.ID, f))
}

// Elsewhere returns [ErrSealedElsewhere] for a value of [Manager.Seal] that another live node can open and this one cannot, nil
// for any other, and the error of a store that does not answer.
func (m *Manager) Elsewhere(ctx context.Context, sealed []byte) error {
	elsewhere, err := m.nodes.elsewhere(ctx, sealed, 0)
	if err == nil && elsewhere {
		err = ErrSealedElsewhere
	}
	return err
}

// storeError adds what was being done; the errors of this package stay recognisable.
func storeError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("session store: %s: %w", doing, err)
}

// maxShown bounds, in bytes, what a browser can have stored about itself.
const maxShown = 256

// clean makes a header's text storable and showable: printable characters only, so neither broken UTF-8 nor what turns the
// writing direction round, and of bounded length.
func clean(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
