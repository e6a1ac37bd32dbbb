package stores

import (
	"context"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/await"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A sharedStore is a session store that several processes can use.
type sharedStore interface {
	Sessions
	session.Index
	session.Watcher
	session.ReadyChecker
}

// An awaitedStore is a session store that fails until it has been opened.
type awaitedStore struct{ opening *await.Value[sharedStore] }

var _ interface {
	sharedStore
	session.Sweeper
} = awaitedStore{}

// ask calls a method of the store.
func ask[T any](s awaitedStore, call func(sharedStore) (T, error)) (result T, err error) {
	store, err := s.opening.Get()
	if err != nil {
		return result, err
	}
	return call(store)
}

// tell is ask for a method without a result.
func (s awaitedStore) tell(call func(sharedStore) error) error {
	store, err := s.opening.Get()
	if err != nil {
		return err
	}
	return call(store)
}

func (s awaitedStore) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	return s.tell(func(st sharedStore) error { return st.Create(ctx, r, replaces) })
}

func (s awaitedStore) Get(ctx context.Context, id session.ID) (session.Record, error) {
	return ask(s, func(st sharedStore) (session.Record, error) { return st.Get(ctx, id) })
}

func (s awaitedStore) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	return s.tell(func(st sharedStore) error { return st.Touch(ctx, id, lastSeen, idleExpires) })
}

func (s awaitedStore) Lock(ctx context.Context, id session.ID, lease time.Duration) (session.Fence, error) {
	return ask(s, func(st sharedStore) (session.Fence, error) { return st.Lock(ctx, id, lease) })
}

func (s awaitedStore) Renew(ctx context.Context, id session.ID, f session.Fence, lease time.Duration) error {
	return s.tell(func(st sharedStore) error { return st.Renew(ctx, id, f, lease) })
}

func (s awaitedStore) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	return s.tell(func(st sharedStore) error { return st.Write(ctx, id, f, sealed) })
}

func (s awaitedStore) Unlock(ctx context.Context, id session.ID, f session.Fence) error {
	return s.tell(func(st sharedStore) error { return st.Unlock(ctx, id, f) })
}

func (s awaitedStore) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	return s.tell(func(st sharedStore) error { return st.Delete(ctx, id, why) })
}

func (s awaitedStore) List(ctx context.Context, cursor string, limit int) (page []session.Record, next string, err error) {
	store, err := s.opening.Get()
	if err != nil {
		return nil, "", err
	}
	return store.List(ctx, cursor, limit)
}

func (s awaitedStore) DeleteBySID(ctx context.Context, issuer, sid string, why session.Reason) ([]session.ID, error) {
	return ask(s, func(st sharedStore) ([]session.ID, error) { return st.DeleteBySID(ctx, issuer, sid, why) })
}

func (s awaitedStore) DeleteBySubject(ctx context.Context, issuer, subject string, why session.Reason) ([]session.ID, error) {
	return ask(s, func(st sharedStore) ([]session.ID, error) {
		return st.DeleteBySubject(ctx, issuer, subject, why)
	})
}

func (s awaitedStore) ListBySubject(ctx context.Context, issuer, subject string) ([]session.Record, error) {
	return ask(s, func(st sharedStore) ([]session.Record, error) { return st.ListBySubject(ctx, issuer, subject) })
}

func (s awaitedStore) AddNote(ctx context.Context, n session.Note) (bool, error) {
	return ask(s, func(st sharedStore) (bool, error) { return st.AddNote(ctx, n) })
}

func (s awaitedStore) PutNote(ctx context.Context, n session.Note) error {
	return s.tell(func(st sharedStore) error { return st.PutNote(ctx, n) })
}

func (s awaitedStore) CountNote(ctx context.Context, kind, key string, expires time.Time) (int64, error) {
	return ask(s, func(st sharedStore) (int64, error) { return st.CountNote(ctx, kind, key, expires) })
}

func (s awaitedStore) GetNote(ctx context.Context, kind, key string) (session.Note, error) {
	return ask(s, func(st sharedStore) (session.Note, error) { return st.GetNote(ctx, kind, key) })
}

func (s awaitedStore) TakeNote(ctx context.Context, kind, key string) (session.Note, error) {
	return ask(s, func(st sharedStore) (session.Note, error) { return st.TakeNote(ctx, kind, key) })
}

func (s awaitedStore) DueNotes(ctx context.Context, kind string, limit int) ([]session.Note, error) {
	return ask(s, func(st sharedStore) ([]session.Note, error) { return st.DueNotes(ctx, kind, limit) })
}

// Watch waits for the store.
func (s awaitedStore) Watch(ctx context.Context, event func(session.Event)) error {
	if err := s.opening.Run(ctx); err != nil {
		return err
	}
	return s.tell(func(st sharedStore) error { return st.Watch(ctx, event) })
}

// DeleteExpired does nothing before the store is there, and for one that removes
// expired sessions itself.
func (s awaitedStore) DeleteExpired(ctx context.Context) (int, error) {
	if store, err := s.opening.Get(); err == nil {
		if sweeper, ok := store.(session.Sweeper); ok {
			return sweeper.DeleteExpired(ctx)
		}
	}
	return 0, nil
}

func (s awaitedStore) Ready(ctx context.Context) error {
	return s.tell(func(st sharedStore) error { return st.Ready(ctx) })
}

func (s awaitedStore) Close() error {
	if store, ok := s.opening.Stop(); ok {
		return store.Close()
	}
	return nil
}

// An awaitedDenylist fails until it has been opened, so that no token is accepted
// unchecked.
type awaitedDenylist struct{ opening *await.Value[Denylist] }

var _ Denylist = awaitedDenylist{}

func (d awaitedDenylist) DenySession(ctx context.Context, issuer, sid string, until time.Time) error {
	list, err := d.opening.Get()
	if err != nil {
		return err
	}
	return list.DenySession(ctx, issuer, sid, until)
}

func (d awaitedDenylist) DenyToken(ctx context.Context, issuer, jti string, until time.Time) error {
	list, err := d.opening.Get()
	if err != nil {
		return err
	}
	return list.DenyToken(ctx, issuer, jti, until)
}

func (d awaitedDenylist) DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error {
	list, err := d.opening.Get()
	if err != nil {
		return err
	}
	return list.DenySubject(ctx, issuer, sub, at, until)
}

func (d awaitedDenylist) Revoked(ctx context.Context, key *authn.RevocationKey) error {
	list, err := d.opening.Get()
	if err != nil {
		return err
	}
	return list.Revoked(ctx, key)
}

func (d awaitedDenylist) Changed() <-chan struct{} {
	if list, err := d.opening.Get(); err == nil {
		return list.Changed()
	}
	return d.opening.Opened()
}

func (d awaitedDenylist) Ready() error {
	list, err := d.opening.Get()
	if err != nil {
		return err
	}
	return list.Ready()
}

func (d awaitedDenylist) Run(ctx context.Context) error {
	if err := d.opening.Run(ctx); err != nil {
		return err
	}
	if list, err := d.opening.Get(); err == nil {
		return list.Run(ctx)
	}
	return nil // the context has ended
}

func (d awaitedDenylist) Close() {
	if list, ok := d.opening.Stop(); ok {
		list.Close()
	}
}
