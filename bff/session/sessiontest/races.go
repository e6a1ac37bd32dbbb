package sessiontest

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// races test concurrent calls. Run them with -race.
var races = map[string]func(*testing.T, *fixture){
	"no call in progress restores an ended session": func(t *testing.T, f *fixture) {
		neverRevived(t, f, f)
	},
	"no update under the lock is lost": func(t *testing.T, f *fixture) {
		noLostUpdate(t, f, f)
	},
	"concurrent logins replace one session": func(t *testing.T, f *fixture) {
		old := f.create(t)
		var made sync.WaitGroup
		records := make([]session.Record, 8)
		for i := range records {
			records[i] = f.record()
			made.Go(func() {
				if err := f.store.Create(t.Context(), records[i], old.ID); err != nil {
					t.Errorf("Create: %v", err)
				}
			})
		}
		made.Wait()
		f.gone(t, old)
		for _, r := range records {
			same(t, f.get(t, r.ID), r)
		}
	},
	"one of several callers ends a session": func(t *testing.T, f *fixture) {
		r := f.create(t)
		var ended atomic.Int32
		var done sync.WaitGroup
		for range 4 {
			done.Go(func() {
				switch err := f.store.Delete(t.Context(), r.ID, session.ReasonSignedOut); {
				case err == nil:
					ended.Add(1)
				case !errors.Is(err, session.ErrNotFound):
					t.Errorf("Delete: %v", err)
				}
			})
			done.Go(func() {
				ids, err := f.index.DeleteBySubject(t.Context(), issuer, subject,
					session.ReasonOperator)
				if err != nil {
					t.Errorf("DeleteBySubject: %v", err)
				}
				ended.Add(int32(len(ids)))
			})
		}
		done.Wait()
		if n := ended.Load(); n != 1 {
			t.Errorf("%d callers ended the session, want 1", n)
		}
	},
}

// neverRevived refreshes, touches and reads a session at every handle while one handle ends it, in
// each possible way. In nextjs-auth0 (#2335, #2530, #2616) such a request wrote the session back,
// so that a user who had signed out was signed in again.
func neverRevived(t *testing.T, ender *fixture, at ...*fixture) {
	for _, end := range ender.endings() {
		t.Run(end.name, func(t *testing.T) {
			for round := range 10 {
				r := ender.create(t, func(r *session.Record) { r.Subject += end.name + strconv.Itoa(round) })
				var ended atomic.Bool
				var busy, running sync.WaitGroup
				for _, f := range at {
					now := f.clock.Now()
					refreshed := func(string) string { return "refreshed" }
					refresh := func() error { return f.refresh(t.Context(), r.ID, refreshed) }
					requests := []func() error{
						refresh,
						refresh,
						func() error { return f.store.Touch(t.Context(), r.ID, now, now.Add(idle)) },
					}
					if f == ender {
						// Another process may cache the session for up to a second.
						read := func() error { _, err := f.store.Get(t.Context(), r.ID); return err }
						requests = append(requests, read, read)
					}
					for _, request := range requests {
						running.Add(1)
						busy.Go(func() {
							once := sync.OnceFunc(running.Done)
							defer once()
							for {
								over := ended.Load()
								err := request()
								once()
								switch {
								case over:
									wantErr(t, "a request after the end was reported", err,
										session.ErrNotFound)
									return
								case err == nil, errors.Is(err, session.ErrNotFound),
									errors.Is(err, session.ErrLocked), errors.Is(err,
										session.ErrFenced):
									runtime.Gosched()
								default:
									t.Errorf("a request failed: %v", err)
									return
								}
							}
						})
					}
				}
				running.Wait() // every request has run at least once
				if err := end.do(t.Context(), r); err != nil {
					t.Errorf("%s: %v", end.name, err)
				}
				ended.Store(true)
				busy.Wait()
				ender.gone(t, r)
			}
		})
	}
}

// refresh changes Sealed as a token refresh does.
func (f *fixture) refresh(ctx context.Context, id session.ID,
	change func(sealed string) string) error {
	fence, err := f.store.Lock(ctx, id, lease)
	if err != nil {
		return err
	}
	r, err := f.store.Get(ctx, id)
	if err != nil {
		return err
	}
	return f.store.Write(ctx, id, fence, []byte(change(string(r.Sealed))))
}

// noLostUpdate counts in Sealed from several goroutines. Each increment needs the lock and what the
// last holder wrote.
func noLostUpdate(t *testing.T, handles ...*fixture) {
	const workers, each, maxTries = 4, 10, 100_000
	increment := func(sealed string) string {
		n, err := strconv.Atoi(sealed)
		if err != nil {
			t.Errorf("Sealed = %q", sealed)
		}
		return strconv.Itoa(n + 1)
	}
	r := handles[0].create(t, func(r *session.Record) { r.Sealed = []byte("0") })
	var done sync.WaitGroup
	for _, f := range handles {
		for range workers {
			done.Go(func() {
				for counted, tries := 0, 0; counted < each; {
					err := f.refresh(t.Context(), r.ID, increment)
					switch {
					case err == nil:
						counted++
					case errors.Is(err, session.ErrLocked) && tries < maxTries:
						tries++
						runtime.Gosched()
					default:
						t.Errorf("increment: %v", err)
						return
					}
				}
			})
		}
	}
	done.Wait()
	handles[0].lock(t, r.ID)
	want := strconv.Itoa(workers * each * len(handles))
	if got := handles[0].get(t, r.ID); string(got.Sealed) != want {
		t.Errorf("counted to %s, want %s", got.Sealed, want)
	}
}
