package gatehousetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
)

// errDown is the error of a session store with the fault StoreDown.
var errDown = errors.New("gatehousetest: the session store is down: fault store-down")

// A store is a session store in memory that can fail.
type store struct {
	*memory.Store

	mu     sync.Mutex
	faults []*storeFault
}

// A storeFault is a fault in effect.
type storeFault struct {
	delay  time.Duration // 0 for an error
	left   int           // calls that fail; negative for all
	healed chan struct{}
}

func newStore(now func() time.Time) (*store, error) {
	inner, err := memory.New(memory.Config{Now: now})
	return &store{Store: inner}, err
}

// add adds a fault for a number of calls, 0 for all, and returns what removes it.
func (s *store) add(delay time.Duration, times int) (heal func()) {
	f := &storeFault{delay: delay, left: times, healed: make(chan struct{})}
	if times == 0 {
		f.left = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		f.left = 0
		close(f.healed)
	})
}

// take returns the fault that a call suffers, the newest one first; nil for none.
func (s *store) take() *storeFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range slices.Backward(s.faults) {
		if f.left != 0 {
			f.left = max(f.left-1, -1)
			return f
		}
	}
	return nil
}

// suffer returns the error of a call, or returns nil later than usual.
func (s *store) suffer(ctx context.Context) error {
	f := s.take()
	switch {
	case f == nil:
		return nil
	case f.delay == 0:
		return errDown
	}
	timer := time.NewTimer(f.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.healed:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Ready is the answer to readiness checks.
func (s *store) Ready(ctx context.Context) error { return s.suffer(ctx) }

func (s *store) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.Create(ctx, r, replaces)
}

func (s *store) Get(ctx context.Context, id session.ID) (r session.Record, err error) {
	if err := s.suffer(ctx); err != nil {
		return r, err
	}
	return s.Store.Get(ctx, id)
}

func (s *store) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.Touch(ctx, id, lastSeen, idleExpires)
}

func (s *store) Lock(ctx context.Context, id session.ID, lease time.Duration) (f session.Fence, err error) {
	if err := s.suffer(ctx); err != nil {
		return f, err
	}
	return s.Store.Lock(ctx, id, lease)
}

func (s *store) Renew(ctx context.Context, id session.ID, f session.Fence, lease time.Duration) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.Renew(ctx, id, f, lease)
}

func (s *store) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.Write(ctx, id, f, sealed)
}

func (s *store) Unlock(ctx context.Context, id session.ID, f session.Fence) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.Unlock(ctx, id, f)
}

func (s *store) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, id, why)
}

func (s *store) List(ctx context.Context, cursor string, limit int) (page []session.Record, next string, err error) {
	if err := s.suffer(ctx); err != nil {
		return nil, "", err
	}
	return s.Store.List(ctx, cursor, limit)
}

func (s *store) DeleteBySID(ctx context.Context, issuer, sid string, why session.Reason) ([]session.ID, error) {
	if err := s.suffer(ctx); err != nil {
		return nil, err
	}
	return s.Store.DeleteBySID(ctx, issuer, sid, why)
}

func (s *store) DeleteBySubject(ctx context.Context, issuer, subject string, why session.Reason) ([]session.ID, error) {
	if err := s.suffer(ctx); err != nil {
		return nil, err
	}
	return s.Store.DeleteBySubject(ctx, issuer, subject, why)
}

func (s *store) ListBySubject(ctx context.Context, issuer, subject string) ([]session.Record, error) {
	if err := s.suffer(ctx); err != nil {
		return nil, err
	}
	return s.Store.ListBySubject(ctx, issuer, subject)
}

func (s *store) AddNote(ctx context.Context, n session.Note) (bool, error) {
	if err := s.suffer(ctx); err != nil {
		return false, err
	}
	return s.Store.AddNote(ctx, n)
}

func (s *store) PutNote(ctx context.Context, n session.Note) error {
	if err := s.suffer(ctx); err != nil {
		return err
	}
	return s.Store.PutNote(ctx, n)
}

func (s *store) CountNote(ctx context.Context, kind, key string, expires time.Time) (int64, error) {
	if err := s.suffer(ctx); err != nil {
		return 0, err
	}
	return s.Store.CountNote(ctx, kind, key, expires)
}

func (s *store) GetNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	if err := s.suffer(ctx); err != nil {
		return n, err
	}
	return s.Store.GetNote(ctx, kind, key)
}

func (s *store) TakeNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	if err := s.suffer(ctx); err != nil {
		return n, err
	}
	return s.Store.TakeNote(ctx, kind, key)
}

func (s *store) DueNotes(ctx context.Context, kind string, limit int) ([]session.Note, error) {
	if err := s.suffer(ctx); err != nil {
		return nil, err
	}
	return s.Store.DueNotes(ctx, kind, limit)
}
