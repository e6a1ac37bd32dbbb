package session

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
)

// NewSession is a completed login.
type NewSession struct {
	// Issuer and Subject are required. SID is the claim "sid", if there is one.
	Issuer, Subject, SID string
	Data                 Data
	// UserAgent and Address are shown to the user in the list of sessions. They are cut to 256
	// bytes and cleaned.
	UserAgent, Address string
	// Replaces is the cookie value of the session that this login ends, from [Manager.CookieValue];
	// "" for none.
	Replaces string
}

// Create begins a session under a new random value, never one from the browser (session fixation),
// and returns it with the cookie to set. The session it replaces ends in the same transaction. A
// session whose access token cannot be refreshed ends with that token at the latest. The user's
// least recently used sessions beyond [ManagerConfig.MaxPerUser] end after it was stored; if the
// store fails then, the next login ends them.
func (m *Manager) Create(ctx context.Context, n NewSession) (*Session, *http.Cookie, error) {
	for _, f := range [...]struct {
		name, value string
		required    bool
	}{{"issuer", n.Issuer, true}, {"subject", n.Subject, true}, {"sid", n.SID, false}} {
		if f.required && f.value == "" {
			return nil, nil, fmt.Errorf("session: create: %s is empty", f.name)
		}
		// PostgreSQL stores neither.
		if !utf8.ValidString(f.value) || strings.ContainsRune(f.value, 0) {
			return nil, nil, fmt.Errorf("session: create: %s %q is not UTF-8, or has a NUL", f.name,
				f.value)
		}
	}
	value, err := newCookieValue(m.random)
	if err != nil {
		return nil, nil, fmt.Errorf("session: create: read random bytes: %w", err)
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
	sealed, _, err := m.sealData(s, n.Data)
	if err != nil {
		return nil, nil, err
	}
	var replaces ID
	if old, ok := parseCookieValue(n.Replaces); ok {
		replaces = old.id()
	}
	r := s.Record
	r.Sealed = sealed
	err = m.store.Create(ctx, r, replaces)
	note(ctx, m.writes, err)
	if err != nil {
		return nil, nil, fmt.Errorf("session store: create: %w", err)
	}
	if !replaces.IsZero() {
		m.opened.Drop(replaces)
	}
	m.evict(ctx, &s.Record)
	return s, m.jar.set(&value, s.ExpiresAt.Sub(now)), nil
}

// evictTime bounds how long a login waits for the end of other sessions. There is more than one to
// end only after MaxPerUser was lowered; the next login then goes on.
const evictTime = 2 * time.Second

// evict ends the least recently used sessions of a user that are too many, except the one that has
// just begun. Several processes at once choose the same ones.
func (m *Manager) evict(ctx context.Context, begun *Record) {
	ctx, cancel := context.WithTimeout(ctx, evictTime)
	defer cancel()
	all, err := m.index.ListBySubject(ctx, begun.Issuer, begun.Subject)
	if extra := len(all) - m.perUser; err == nil && extra > 0 {
		all = slices.DeleteFunc(all, func(r Record) bool { return r.ID == begun.ID })
		slices.SortFunc(all, func(a, b Record) int {
			return cmp.Or(a.LastSeenAt.Compare(b.LastSeenAt), a.CreatedAt.Compare(b.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
		})
		ended := 0
		for _, r := range all[:min(extra, len(all))] {
			err = m.store.Delete(ctx, r.ID, ReasonEvicted)
			m.opened.Drop(r.ID)
			if errors.Is(err, ErrNotFound) { // another process was faster
				err = nil
				continue
			}
			if err != nil {
				break
			}
			ended++
			if m.evicted != nil {
				m.evicted(ctx, r)
			}
		}
		if ended > 0 {
			m.log.InfoContext(ctx, "user has too many sessions: the least recently used were ended",
				"session", begun.ID.String(), "sessions", ended)
		}
	}
	note(ctx, m.writes, err)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Load returns the session of a request's cookie. It returns [ErrNotFound] if there is none: no
// cookie, a malformed or unknown one, two that differ, a session that has ended, or one that no
// live process can open, because its secret was removed or it was altered. It returns
// [ErrSealedElsewhere] if another process can open it. No error except ErrNotFound may sign the
// user out. A record that cannot be opened stays until it expires.
func (m *Manager) Load(ctx context.Context, r *http.Request) (*Session, error) {
	return copied(m.Find(ctx, r))
}

// copied returns a copy of a session that is shared.
func copied(s *Session, err error) (*Session, error) {
	if err != nil {
		return nil, err
	}
	own := *s
	return &own, nil
}

// Find is Load for a caller that only reads the session: other requests get the same one as long
// as the store has nothing else. [Manager.Use] records its use.
func (m *Manager) Find(ctx context.Context, r *http.Request) (*Session, error) {
	value, ok, ambiguous := m.jar.find(r)
	switch {
	case ok:
		return m.load(ctx, &value)
	case ambiguous:
		m.log.LogAttrs(ctx, slog.LevelInfo,
			"request with two different session cookies: neither used",
			slog.String("cookie", m.CookieName()))
	}
	return nil, ErrNotFound
}

// Resume returns the session of a cookie value, and the cookie to set for it again. It returns
// [ErrNotFound] if the session has ended.
func (m *Manager) Resume(ctx context.Context, cookieValue string) (*Session, *http.Cookie, error) {
	value, ok := parseCookieValue(cookieValue)
	if !ok {
		return nil, nil, ErrNotFound
	}
	s, err := copied(m.load(ctx, &value))
	if err != nil {
		return nil, nil, err
	}
	return s, m.jar.set(&value, s.ExpiresAt.Sub(m.now())), nil
}

// Reload returns the session as the store has it now. It returns [ErrNotFound] if it has ended.
func (m *Manager) Reload(ctx context.Context, s *Session) (*Session, error) {
	return copied(m.load(ctx, s.value))
}

// Ready returns why the store cannot serve requests at the moment, if it is a [ReadyChecker], and
// otherwise nil.
func (m *Manager) Ready(ctx context.Context) error {
	if s, ok := m.store.(ReadyChecker); ok {
		return storeError("ready", s.Ready(ctx))
	}
	return nil
}

// opened is the cache entry of a session.
type opened struct {
	sealed  []byte
	session *Session // of the record with sealed; shared by requests, so never changed
}

// opens reports whether a record equals the opened one in everything that the seal binds.
func (o opened) opens(r *Record) bool {
	k := &o.session.Record
	return bytes.Equal(o.sealed, r.Sealed) && k.Issuer == r.Issuer && k.Subject == r.Subject &&
		k.SID == r.SID &&
		k.CreatedAt.Equal(r.CreatedAt) && k.ExpiresAt.Equal(r.ExpiresAt)
}

// equals reports whether a record that it opens equals the opened one in everything else.
func (o opened) equals(r *Record) bool {
	k := &o.session.Record
	return k.LastSeenAt.Equal(r.LastSeenAt) && k.IdleExpiresAt.Equal(r.IdleExpiresAt) &&
		k.UserAgent == r.UserAgent && k.Address == r.Address
}

func (m *Manager) load(ctx context.Context, v *cookieValue) (*Session, error) {
	id := v.id()
	stamp := m.opened.Stamp(id)
	r, err := m.store.Get(ctx, id)
	note(ctx, m.reads, err)
	if errors.Is(err, ErrNotFound) {
		m.opened.Drop(id)
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("session store: get: %w", err)
	}
	o, ok := m.opened.Get(id)
	known := ok && o.opens(&r)
	if known && o.equals(&r) {
		return o.session, nil
	}
	next := opened{r.Sealed, &Session{}}
	if known {
		*next.session = *o.session
	} else if next.session, err = m.open(ctx, *v, &r); err != nil {
		return nil, err
	}
	next.session.Record = r
	next.session.Sealed = nil
	m.opened.Put(id, next, stamp)
	return next.session, nil
}

// open returns the session of a record, but for the record.
func (m *Manager) open(ctx context.Context, v cookieValue, r *Record) (*Session, error) {
	data, err := m.openData(&v, r)
	if err != nil {
		return nil, m.unopenable(ctx, r, err)
	}
	if m.issuer != "" && strings.TrimSuffix(r.Issuer, "/") != m.issuer {
		data.Tokens.Refresh, data.Tokens.ID, data.Routes = "", "", nil
	}
	bearer := bearerScheme + data.Tokens.Access
	data.Tokens.Access = bearer[len(bearerScheme):]
	return &Session{Data: data, bearer: bearer, handle: r.ID.String(), value: &v}, nil
}

// unopenable returns the error for a record that this process cannot open: ErrSealedElsewhere if
// another live one can, and otherwise ErrNotFound.
func (m *Manager) unopenable(ctx context.Context, r *Record, cause error) error {
	format, _ := errors.AsType[formatError](cause)
	elsewhere, err := m.nodes.elsewhere(ctx, r.Sealed, int(format))
	if err != nil {
		return err
	}
	log := m.log
	if ok, held := m.unopened.Next(); ok {
		_, key := seal.Header(r.Sealed)
		log = log.With("session", r.ID.String(), "key", key.String(), "err", cause, "suppressed", held)
	} else {
		log = slog.New(slog.DiscardHandler)
	}
	if elsewhere {
		log.WarnContext(ctx, "session can be opened only by other nodes: secrets or versions differ")
		return ErrSealedElsewhere
	}
	log.WarnContext(ctx, "session cannot be opened: its secret was removed, or it was altered")
	return ErrNotFound
}

// Lock takes the lock of the session for the length of the lease. It returns [ErrLocked] while the
// lock is held, and [ErrNotFound] if the session has ended. Afterwards [Manager.Reload] returns
// what the last holder wrote.
func (m *Manager) Lock(ctx context.Context, s *Session, lease time.Duration) (Fence, error) {
	f, err := m.store.Lock(ctx, s.ID, lease)
	note(ctx, m.writes, err)
	return f, storeError("lock", err)
}

// Renew extends the lease of the lock to this long from now. It returns [ErrFenced] if the lock was
// released or granted again, and [ErrNotFound] if the session has ended.
func (m *Manager) Renew(ctx context.Context, s *Session, f Fence, lease time.Duration) error {
	return storeError("renew", m.store.Renew(ctx, s.ID, f, lease))
}

// Write seals and stores new Data, releases the lock, and returns the session with the new Data, as
// it was stored: [Data.Routes] may have fewer tokens. It returns [ErrFenced] if the lock was granted again, and [ErrNotFound] if the session has ended: a
// write in progress never restores a session (nextjs-auth0 #2335).
func (m *Manager) Write(ctx context.Context, s *Session, f Fence, d Data) (*Session, error) {
	sealed, d, err := m.sealData(s, d)
	if err != nil {
		return nil, err
	}
	err = m.store.Write(ctx, s.ID, f, sealed)
	note(ctx, m.writes, err)
	if err != nil {
		return nil, storeError("write", err)
	}
	m.opened.Drop(s.ID)
	written := *s
	written.Data = d
	if end := d.Tokens.end(); !end.IsZero() && end.Before(s.IdleExpiresAt) {
		// Without a refresh token the session ends with the access token. If this fails, the next
		// Touch records it.
		if now := m.now(); m.store.Touch(ctx, s.ID, now, end) == nil {
			written.LastSeenAt, written.IdleExpiresAt = now, end
		}
	}
	return &written, nil
}

// Unlock releases the lock without writing. [ErrFenced] and [ErrNotFound] say that the lock was
// lost already.
func (m *Manager) Unlock(ctx context.Context, s *Session, f Fence) error {
	return storeError("unlock", m.store.Unlock(ctx, s.ID, f))
}

// Elsewhere returns [ErrSealedElsewhere] if a value of Seal can be opened by another live process
// and not by this one, nil if not, and the store's error if that is unknown.
func (m *Manager) Elsewhere(ctx context.Context, sealed []byte) error {
	elsewhere, err := m.nodes.elsewhere(ctx, sealed, 0)
	if err == nil && elsewhere {
		err = ErrSealedElsewhere
	}
	return err
}

// storeError adds the operation to an error of the store.
// note records for the log whether the store has answered. A request that has ended while it waited
// says nothing about that.
func note(ctx context.Context, o *outage.Monitor, err error) {
	switch {
	case err == nil, IsAnswer(err):
		o.OK(ctx)
	case ctx.Err() == nil || errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		o.Fail(ctx, err)
	}
}

func storeError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("session store: %s: %w", doing, err)
}

// maxShown bounds UserAgent and Address, in bytes.
const maxShown = 256

// clean returns the printable characters of a header, at most maxShown bytes: no invalid UTF-8 and
// no change of the writing direction.
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
