package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

const (
	// firstAttempt is how long the start waits for what is opened before the process
	// serves without it.
	firstAttempt = 3 * time.Second
	// attemptInterval is how often opening is tried again.
	attemptInterval = time.Second
)

// ErrUnavailable is wrapped by an error of NewServiceFunc's open that may pass by
// itself, such as a refused connection to a database. The process then serves
// without the service, not ready and with UNAVAILABLE for its calls, and open is
// called again until it succeeds.
var ErrUnavailable = cause.ErrUnavailable

// An awaited value is one that cannot be opened yet, because what it needs is
// unavailable. Opening is tried until it succeeds.
type awaited[T any] struct {
	opened chan struct{} // closed when value is there
	value  atomic.Pointer[T]
	err    atomic.Pointer[error] // of the last attempt

	failure chan error // an error that does not pass
	cancel  context.CancelFunc
	ended   chan struct{}
}

// await opens a value. If that fails with an ErrUnavailable, or takes longer than
// firstAttempt, it is tried further, and get returns an error meanwhile. The
// monitor, nil for none, is told.
func await[T any](ctx context.Context, monitor *outage.Monitor, open func(context.Context) (T, error)) (*awaited[T], error) {
	a := &awaited[T]{opened: make(chan struct{}), failure: make(chan error, 1), ended: make(chan struct{})}
	slow := fmt.Errorf("no answer within %v", firstAttempt)
	a.err.Store(&slow)
	ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	tried := make(chan struct{}, 1)
	go func() {
		defer close(a.ended)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			value, err := open(ctx)
			switch {
			case err == nil:
				a.value.Store(&value)
				close(a.opened)
				monitor.OK(ctx)
				return
			case !errors.Is(err, ErrUnavailable):
				a.failure <- err
				return
			}
			a.err.Store(&err)
			monitor.Fail(ctx, err)
			select {
			case tried <- struct{}{}:
			default:
			}
			timer.Reset(attemptInterval)
		}
	}()
	select {
	case <-a.opened:
	case <-tried:
	case <-time.After(firstAttempt):
		monitor.Fail(ctx, slow)
	case err := <-a.failure:
		a.cancel()
		return nil, err
	}
	return a, nil
}

// get returns the value, or why it is not there.
func (a *awaited[T]) get() (value T, err error) {
	if v := a.value.Load(); v != nil {
		return *v, nil
	}
	return value, fmt.Errorf("not opened since the start: %w", *a.err.Load())
}

// run waits until the value is there, or the context ends. Its error stops the
// process.
func (a *awaited[T]) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.opened:
		return nil
	case err := <-a.failure:
		return err
	}
}

// stop ends the attempts, and returns the value if there is one.
func (a *awaited[T]) stop() (value T, ok bool) {
	a.cancel()
	<-a.ended
	if v := a.value.Load(); v != nil {
		return *v, true
	}
	return value, false
}

// A sharedStore is a session store that several processes can use.
type sharedStore interface {
	sessionStore
	session.Index
	session.Watcher
	session.ReadyChecker
}

// An awaitedStore is a session store that fails until it has been opened.
type awaitedStore struct{ *awaited[sharedStore] }

var _ interface {
	sharedStore
	session.Sweeper
} = awaitedStore{}

// ask calls a method of the store.
func ask[T any](s awaitedStore, call func(sharedStore) (T, error)) (result T, err error) {
	store, err := s.get()
	if err != nil {
		return result, err
	}
	return call(store)
}

// tell is ask for a method without a result.
func (s awaitedStore) tell(call func(sharedStore) error) error {
	store, err := s.get()
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
	store, err := s.get()
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
	if err := s.run(ctx); err != nil {
		return err
	}
	return s.tell(func(st sharedStore) error { return st.Watch(ctx, event) })
}

// DeleteExpired does nothing before the store is there, and for one that removes
// expired sessions itself.
func (s awaitedStore) DeleteExpired(ctx context.Context) (int, error) {
	if store, err := s.get(); err == nil {
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
	if store, ok := s.stop(); ok {
		return store.Close()
	}
	return nil
}

// A sharedDenylist is a denylist in Redis.
type sharedDenylist interface {
	denylist.Denylist
	Run(context.Context) error
	Ready() error
	Close()
}

// An awaitedDenylist fails until it has been opened, so that no token is accepted
// unchecked.
type awaitedDenylist struct{ *awaited[sharedDenylist] }

var _ sharedDenylist = awaitedDenylist{}

func (d awaitedDenylist) DenySession(ctx context.Context, issuer, sid string, until time.Time) error {
	list, err := d.get()
	if err != nil {
		return err
	}
	return list.DenySession(ctx, issuer, sid, until)
}

func (d awaitedDenylist) DenyToken(ctx context.Context, issuer, jti string, until time.Time) error {
	list, err := d.get()
	if err != nil {
		return err
	}
	return list.DenyToken(ctx, issuer, jti, until)
}

func (d awaitedDenylist) DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error {
	list, err := d.get()
	if err != nil {
		return err
	}
	return list.DenySubject(ctx, issuer, sub, at, until)
}

func (d awaitedDenylist) Revoked(ctx context.Context, key *authn.RevocationKey) error {
	list, err := d.get()
	if err != nil {
		return err
	}
	return list.Revoked(ctx, key)
}

func (d awaitedDenylist) Changed() <-chan struct{} {
	if list, err := d.get(); err == nil {
		return list.Changed()
	}
	return d.opened
}

func (d awaitedDenylist) Ready() error {
	list, err := d.get()
	if err != nil {
		return err
	}
	return list.Ready()
}

func (d awaitedDenylist) Run(ctx context.Context) error {
	if err := d.run(ctx); err != nil {
		return err
	}
	if list, err := d.get(); err == nil {
		return list.Run(ctx)
	}
	return nil // the context has ended
}

func (d awaitedDenylist) Close() {
	if list, ok := d.stop(); ok {
		list.Close()
	}
}

// errNotOpened answers calls of a service that is not there yet.
var errNotOpened = status.Error(codes.Unavailable, "the service is not available yet")

// awaitedDesc returns a description of a service whose implementation is not there
// yet. Until it is, calls pass the interceptors and then fail with UNAVAILABLE.
func awaitedDesc(desc *grpc.ServiceDesc, impl *awaited[any]) *grpc.ServiceDesc {
	wrapped := *desc
	wrapped.HandlerType = (*any)(nil)
	wrapped.Methods, wrapped.Streams = nil, nil
	for _, m := range desc.Methods {
		handler := m.Handler
		m.Handler = func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			srv, err := impl.get()
			if err == nil {
				return handler(srv, ctx, decode, interceptor)
			}
			if interceptor == nil {
				return nil, errNotOpened
			}
			return handler(nil, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
				return interceptor(ctx, req, info, func(context.Context, any) (any, error) { return nil, errNotOpened })
			})
		}
		wrapped.Methods = append(wrapped.Methods, m)
	}
	for _, st := range desc.Streams {
		handler := st.Handler
		st.Handler = func(_ any, stream grpc.ServerStream) error {
			srv, err := impl.get()
			if err != nil {
				return errNotOpened
			}
			return handler(srv, stream)
		}
		wrapped.Streams = append(wrapped.Streams, st)
	}
	return &wrapped
}
