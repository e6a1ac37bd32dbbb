package productdb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

// Writers write through two handles, as two processes do, while watchers come and go. Every watcher
// sees every change once and in the same order, and the changes add up to the final state.
func TestWatchersLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		const writers, writes, watchers = 6, 40, 4
		handles := []*productdb.DB{open(t, productdb.Config{URL: url, PollInterval: 5 * time.Millisecond})}
		if url == "memory:" { // belongs to its handle
			handles = append(handles, handles[0])
		} else {
			handles = append(handles, open(t, productdb.Config{URL: url, PollInterval: 5 * time.Millisecond}))
		}

		var group sync.WaitGroup
		for w := range writers {
			db := handles[w%2]
			random := rand.New(rand.NewPCG(1, uint64(w)))
			group.Go(func() {
				for n := range writes {
					p := id(random.IntN(12) + 1) // few ids, so that writers conflict
					var err error
					switch random.IntN(4) {
					case 0:
						err = db.Delete(t.Context(), p, func(productdb.Product) error { return nil })
					case 1:
						_, err = db.Update(t.Context(), p, func(p *productdb.Product) error { p.Title = fmt.Sprint("by ", w, " ", n); return nil })
					default:
						_, err = db.Create(t.Context(), sample(1000+w*writes+n), nil)
						if err == nil && n%3 == 0 { // one of the few ids
							err = db.Delete(t.Context(), id(1000+w*writes+n), func(productdb.Product) error { return nil })
							if _, taken := db.Create(t.Context(), productdb.Product{ID: p, Seller: "s", Title: "t", Currency: "EUR"}, nil); taken != nil {
								continue // it exists: refused, and not in the log
							}
						}
					}
					if err != nil && !errors.Is(err, productdb.ErrNotFound) && !errors.Is(err, productdb.ErrChanged) {
						t.Errorf("writer %d: %v", w, err)
					}
				}
			})
		}
		done := make(chan int64, 1)
		go func() {
			group.Wait()
			create(t, handles[0], sample(9999)) // the last change, which watchers wait for
			last, err := handles[1].LastChange(t.Context())
			if err != nil {
				t.Error(err)
			}
			done <- last
		}()

		seen := make([][]productdb.Change, watchers)
		var watching sync.WaitGroup
		for w := range watchers {
			db := handles[w%2]
			random := rand.New(rand.NewPCG(2, uint64(w)))
			watching.Go(func() {
				after := int64(0)
				for {
					// Each round resumes with a new connection.
					changes, err := db.Changes(t.Context(), after, 1+random.IntN(5))
					if err != nil {
						t.Errorf("watcher %d: %v", w, err)
						return
					}
					for _, c := range changes {
						seen[w] = append(seen[w], c)
						after = c.Sequence
						if c.Product.ID == id(9999) {
							return
						}
					}
				}
			})
		}
		watching.Wait()
		last := <-done
		for w := range watchers {
			state := map[string]productdb.Product{}
			for i, c := range seen[w] {
				if c.Sequence != int64(i+1) {
					t.Fatalf("watcher %d: change %d comes at place %d", w, c.Sequence, i+1)
				}
				before, there := state[c.Product.ID]
				switch {
				case c.Kind == productdb.Created && there,
					c.Kind != productdb.Created && !there,
					c.Kind == productdb.Updated && c.Product.Version != before.Version+1,
					c.Kind == productdb.Deleted && c.Product != before:
					t.Fatalf("watcher %d: change %+v does not follow from %+v", w, c, before)
				}
				state[c.Product.ID] = c.Product
				if c.Kind == productdb.Deleted {
					delete(state, c.Product.ID)
				}
			}
			if int64(len(seen[w])) != last {
				t.Errorf("watcher %d saw %d of %d changes", w, len(seen[w]), last)
			}
			there := list(t, handles[0], productdb.Query{})
			if len(there) != len(state) {
				t.Errorf("watcher %d believes in %d products, there are %d", w, len(state), len(there))
			}
			for _, p := range there {
				if state[p.ID] != p {
					t.Errorf("watcher %d believes %+v, it is %+v", w, state[p.ID], p)
				}
			}
		}
	})
}

func TestForgottenChanges(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, productdb.Config{URL: url, KeepChanges: 20})
		for i := range 105 {
			create(t, db, sample(i))
		}
		for _, tc := range []struct {
			after int64
			first int64 // 0 for ErrForgotten
		}{{0, 0}, {79, 0}, {80, 81}, {104, 105}, {106, 0}, {1 << 40, 0}} {
			changes, err := db.Changes(t.Context(), tc.after, 10)
			switch {
			case tc.first == 0 && !errors.Is(err, productdb.ErrForgotten):
				t.Errorf("after %d: %v, want ErrForgotten", tc.after, err)
			case tc.first != 0 && (err != nil || changes[0].Sequence != tc.first):
				t.Errorf("after %d: %v, %v, want %d first", tc.after, changes, err, tc.first)
			}
		}
	})
}

func TestCloseWhileWatched(t *testing.T) {
	t.Parallel()
	db, err := productdb.Open(t.Context(), productdb.Config{URL: "memory:", PollInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := db.Changes(t.Context(), 0, 1); err == nil {
		t.Error("a closed database answers")
	}
}
