package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
)

// fixed are the fields of a record that never change.
type fixed struct {
	Issuer    string `json:"i"`
	Subject   string `json:"u"`
	SID       string `json:"d,omitempty"`
	CreatedAt int64  `json:"c"`
	UserAgent string `json:"a,omitempty"`
	Address   string `json:"r,omitempty"`
}

// Create implements [session.Store]. It writes the indexes first: an entry without a session is
// harmless, and a session without an entry could not be ended by the provider. In a cluster the new
// session and the one it replaces are at different nodes, so that both exist for a moment; if
// ending the old one fails, the new one is removed.
func (s *Store) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	defer s.records.Drop(r.ID)
	f := fixed{r.Issuer, r.Subject, r.SID, r.CreatedAt.UnixMilli(), r.UserAgent, r.Address}
	m, err := json.Marshal(f)
	if err != nil {
		return outage(err)
	}
	if err := s.index.add(ctx, r.ID, &f, r.ExpiresAt.UnixMilli()); err != nil {
		return outage(err)
	}
	keys := []string{s.keys.session(r.ID)}
	together := !replaces.IsZero() && s.kind != redisaddr.Cluster
	if together {
		defer s.records.Drop(replaces)
		keys = append(keys, s.keys.session(replaces), s.keys.end(replaces, session.ReasonReplaced))
	}
	answer, err := s.run(ctx, create, keys, string(m), millis(r.LastSeenAt),
		millis(r.IdleExpiresAt), millis(r.ExpiresAt), rueidis.BinaryString(r.Sealed)).ToArray()
	if err != nil || len(answer) == 0 {
		return outage(cmp.Or(err, errAnswer))
	}
	made, err := answer[0].AsInt64()
	switch {
	case err != nil:
		return outage(err)
	case made == 0:
		return session.ErrExists
	case len(answer) == 2:
		if old, err := answer[1].ToString(); err == nil {
			s.index.remove(ctx, replaces, old)
		}
	}
	if together || replaces.IsZero() {
		return nil
	}
	if err := s.Delete(ctx, replaces, session.ReasonReplaced); err != nil && !errors.Is(err, session.ErrNotFound) {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
		defer cancel()
		_ = s.Delete(undo, r.ID, session.ReasonUnknown) // no browser has its cookie
		return err
	}
	return nil
}

// Get implements [session.Store].
func (s *Store) Get(ctx context.Context, id session.ID) (session.Record, error) {
	now := s.now()
	if s.current() {
		// Another process may have extended one that looks expired: Redis decides.
		if r, ok := s.records.Get(id); ok && !r.Expired(now) {
			return r, nil
		}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	stamp := s.records.Stamp(id)
	fields, err := s.client.Do(ctx, s.get(id)).ToArray()
	if err != nil {
		return session.Record{}, outage(err)
	}
	r, err := s.record(id, fields)
	if err != nil {
		return session.Record{}, outage(err)
	}
	if r.Expired(now) {
		return session.Record{}, session.ErrNotFound
	}
	s.records.Put(id, r, stamp)
	return r, nil
}

func (s *Store) get(id session.ID) rueidis.Completed {
	return s.client.B().Hmget().Key(s.keys.session(id)).Field("m", "l", "x", "e", "s").Build()
}

// record returns the record of the fields m, l, x, e and, except in lists, s.
func (s *Store) record(id session.ID, fields []rueidis.RedisMessage) (session.Record, error) {
	if len(fields) < 4 {
		return session.Record{}, errAnswer
	}
	if fields[0].IsNil() || fields[2].IsNil() {
		return session.Record{}, session.ErrNotFound
	}
	var m fixed
	if err := fields[0].DecodeJSON(&m); err != nil {
		return session.Record{}, errAnswer
	}
	r := session.Record{
		ID: id, Issuer: m.Issuer, Subject: m.Subject, SID: m.SID, CreatedAt: fromMillis(m.CreatedAt),
		UserAgent: m.UserAgent, Address: m.Address,
	}
	for i, t := range []*time.Time{&r.LastSeenAt, &r.IdleExpiresAt, &r.ExpiresAt} {
		ms, err := fields[1+i].AsInt64()
		if err != nil {
			return session.Record{}, errAnswer
		}
		*t = fromMillis(ms)
	}
	if len(fields) == 5 {
		sealed, err := fields[4].ToString()
		if err != nil {
			return session.Record{}, errAnswer
		}
		r.Sealed = []byte(sealed)
	}
	return r, nil
}

// Touch implements [session.Store]. It also adds the session to the indexes again, in case a
// failover has lost that.
func (s *Store) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	defer s.records.Drop(id)
	moved := s.run(ctx, touch, []string{s.keys.session(id)}, millis(lastSeen), millis(idleExpires))
	if err := moved.Error(); err != nil {
		return outage(notFound(err))
	}
	answer, err := moved.ToArray()
	if err != nil || len(answer) != 2 {
		return nil // a later touch came first
	}
	var m fixed
	if err := answer[0].DecodeJSON(&m); err != nil {
		return nil
	}
	expires, err := answer[1].AsInt64()
	if err != nil {
		return nil
	}
	return outage(s.index.add(ctx, id, &m, expires))
}

// Lock implements [session.Store].
func (s *Store) Lock(ctx context.Context, id session.ID,
	lease time.Duration) (session.Fence, error) {
	// The last holder may have been another process.
	defer s.records.Drop(id)
	answer, err := s.run(ctx, lock, []string{s.keys.session(id)},
		millis(s.now().Add(lease))).AsIntSlice()
	if err != nil || len(answer) != 2 {
		return 0, outage(notFound(cmp.Or(err, errAnswer)))
	}
	if answer[0] == 0 {
		return 0, &session.LockedError{Until: fromMillis(answer[1])}
	}
	return session.Fence(answer[0]), nil
}

// Renew implements [session.Store].
func (s *Store) Renew(ctx context.Context, id session.ID, f session.Fence,
	lease time.Duration) error {
	return s.fenced(ctx, renew, id, f, millis(s.now().Add(lease)))
}

// Write implements [session.Store].
func (s *Store) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	defer s.records.Drop(id)
	return s.fenced(ctx, write, id, f, rueidis.BinaryString(sealed))
}

// Unlock implements [session.Store].
func (s *Store) Unlock(ctx context.Context, id session.ID, f session.Fence) error {
	return s.fenced(ctx, write, id, f)
}

// fenced runs a script that changes a session if the fence is the newest granted.
func (s *Store) fenced(ctx context.Context, script *rueidis.Lua, id session.ID, f session.Fence,
	args ...string) error {
	written, err := s.run(ctx, script, []string{s.keys.session(id)},
		append([]string{itoa(int64(f))}, args...)...).AsInt64()
	if err == nil && written == 0 {
		err = session.ErrFenced
	}
	return outage(notFound(err))
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	defer s.records.Drop(id)
	m, err := s.run(ctx, remove, []string{s.keys.session(id), s.keys.end(id, why)}).ToString()
	if err != nil {
		return outage(notFound(err))
	}
	s.index.remove(ctx, id, m)
	return nil
}

// DeleteBySID implements [session.Index].
func (s *Store) DeleteBySID(ctx context.Context, issuer, sid string,
	why session.Reason) ([]session.ID, error) {
	if sid == "" {
		return nil, nil
	}
	return s.deleteIn(ctx, s.keys.sid(issuer, sid), why)
}

// DeleteBySubject implements [session.Index].
func (s *Store) DeleteBySubject(ctx context.Context, issuer, subject string,
	why session.Reason) ([]session.ID, error) {
	return s.deleteIn(ctx, s.keys.subject(issuer, subject), why)
}

func (s *Store) deleteIn(ctx context.Context, key string,
	why session.Reason) ([]session.ID, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	ids, err := s.index.in(ctx, key)
	if err != nil {
		return nil, outage(err)
	}
	var ended []session.ID
	for _, id := range ids {
		switch err := s.Delete(ctx, id, why); {
		case err == nil:
			ended = append(ended, id)
		case !errors.Is(err, session.ErrNotFound):
			return ended, err // may be repeated: the others are still in the index
		}
	}
	return ended, nil
}

// ListBySubject implements [session.Index].
func (s *Store) ListBySubject(ctx context.Context, issuer,
	subject string) ([]session.Record, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	ids, err := s.index.in(ctx, s.keys.subject(issuer, subject))
	if err != nil {
		return nil, outage(err)
	}
	records, err := s.withoutSealed(ctx, ids)
	if err != nil {
		return nil, outage(err)
	}
	slices.SortFunc(records, func(a, b session.Record) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	return records, nil
}

// withoutSealed reads the sessions that live.
func (s *Store) withoutSealed(ctx context.Context,
	ids []session.ID) ([]session.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	now := s.now()
	questions := make(rueidis.Commands, len(ids))
	for i, id := range ids {
		questions[i] = s.client.B().Hmget().Key(s.keys.session(id)).Field("m", "l", "x", "e").Build()
	}
	var records []session.Record
	for i, answer := range s.client.DoMulti(ctx, questions...) {
		fields, err := answer.ToArray()
		if err != nil {
			return nil, err
		}
		r, err := s.record(ids[i], fields)
		switch {
		case errors.Is(err, session.ErrNotFound):
		case err != nil:
			return nil, err
		case !r.Expired(now):
			records = append(records, r)
		}
	}
	return records, nil
}
