package productdb_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

func TestLife(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		clock := newClock()
		db := open(t, productdb.Config{URL: url, Now: clock.Now})
		p := sample(1)
		p.Title, p.Description = "Ünïcode’s 🎹 “Title”", strings.Repeat("Line\n", 900)
		created := create(t, db, p)
		p.Created, p.Updated, p.Version = clock.Now(), clock.Now(), 1
		if diff := cmp.Diff(p, created); diff != "" {
			t.Fatalf("created:\n%s", diff)
		}
		got, err := db.Get(t.Context(), p.ID)
		if diff := cmp.Diff(p, got); diff != "" || err != nil {
			t.Fatalf("got: %v\n%s", err, diff)
		}

		clock.advance(time.Hour)
		updated, err := db.Update(t.Context(), p.ID, func(p *productdb.Product) error {
			p.Title, p.Amount = "Other", 5
			p.Seller, p.ID, p.Version, p.Created = "thief", "x", 99, time.Time{} // edit must not change them
			return nil
		})
		p.Title, p.Amount, p.Version, p.Updated = "Other", 5, 2, clock.Now()
		if diff := cmp.Diff(p, updated); diff != "" || err != nil {
			t.Fatalf("updated: %v\n%s", err, diff)
		}
		if got, err := db.Get(t.Context(), p.ID); err != nil || got != updated {
			t.Errorf("after the update: %+v, %v", got, err)
		}
		if same, err := db.Update(t.Context(), p.ID, func(*productdb.Product) error { return nil }); err != nil || same != updated {
			t.Errorf("an update without change: %+v, %v", same, err)
		}

		refusal := errors.New("not yours")
		if _, err := db.Update(t.Context(), p.ID, func(*productdb.Product) error { return refusal }); !errors.Is(err, refusal) {
			t.Errorf("refused update: %v", err)
		}
		if err := db.Delete(t.Context(), p.ID, func(productdb.Product) error { return refusal }); !errors.Is(err, refusal) {
			t.Errorf("refused deletion: %v", err)
		}
		if err := db.Delete(t.Context(), p.ID, func(productdb.Product) error { return nil }); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"get":    second(db.Get(t.Context(), p.ID)),
			"update": second(db.Update(t.Context(), p.ID, func(*productdb.Product) error { return nil })),
			"delete": db.Delete(t.Context(), p.ID, func(productdb.Product) error { return nil }),
		} {
			if !errors.Is(err, productdb.ErrNotFound) {
				t.Errorf("%s of what is gone: %v", what, err)
			}
		}
		if found := list(t, db, productdb.Query{Where: productdb.And{productdb.Word("other")}}); len(found) > 0 {
			t.Errorf("its words still find it: %v", found)
		}

		var log []string
		for _, c := range allChanges(t, db) {
			log = append(log, fmt.Sprintf("%d %d v%d %s", c.Sequence, c.Kind, c.Product.Version, c.Product.Title))
		}
		want := []string{"1 1 v1 Ünïcode’s 🎹 “Title”", "2 2 v2 Other", "3 3 v2 Other"}
		if diff := cmp.Diff(want, log); diff != "" {
			t.Errorf("log:\n%s", diff)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// Of two concurrent changes, one has to retry.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, productdb.Config{URL: url})
		p := create(t, db, sample(1))
		meanwhile := func() {
			if _, err := db.Update(t.Context(), p.ID, func(p *productdb.Product) error { p.Amount++; return nil }); err != nil {
				t.Error(err)
			}
		}
		_, err := db.Update(t.Context(), p.ID, func(p *productdb.Product) error { meanwhile(); p.Title = "Lost"; return nil })
		if !errors.Is(err, productdb.ErrChanged) {
			t.Errorf("update: %v, want ErrChanged", err)
		}
		err = db.Delete(t.Context(), p.ID, func(productdb.Product) error { meanwhile(); return nil })
		if !errors.Is(err, productdb.ErrChanged) {
			t.Errorf("delete: %v, want ErrChanged", err)
		}
		if got, err := db.Get(t.Context(), p.ID); err != nil || got.Title != p.Title || got.Amount != p.Amount+2 || got.Version != 3 {
			t.Errorf("%+v, %v", got, err)
		}
		if n := len(allChanges(t, db)); n != 3 {
			t.Errorf("%d changes in the log, want 3", n)
		}
	})
}

func TestRequestsRepeated(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		clock := newClock()
		db := open(t, productdb.Config{URL: url, Now: clock.Now})
		request := &productdb.Request{ID: "r", Digest: []byte("a")}

		const callers = 16
		answers := make([]productdb.Product, callers)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				p, err := db.Create(t.Context(), sample(i+1), request)
				if err != nil {
					t.Error(err)
				}
				answers[i] = p
			})
		}
		group.Wait()
		for _, p := range answers {
			if p != answers[0] {
				t.Errorf("answers %v and %v", p.ID, answers[0].ID)
			}
		}
		if found := list(t, db, productdb.Query{}); len(found) != 1 || len(allChanges(t, db)) != 1 {
			t.Errorf("%d products, %d changes, want one", len(found), len(allChanges(t, db)))
		}

		if _, err := db.Create(t.Context(), sample(20), &productdb.Request{ID: "r", Digest: []byte("b")}); !errors.Is(err, productdb.ErrRequestReused) {
			t.Errorf("other content: %v", err)
		}
		other := sample(21)
		other.Seller = "other"
		if p, err := db.Create(t.Context(), other, request); err != nil || p.ID != other.ID {
			t.Errorf("another seller's request of the same name: %v, %v", p.ID, err)
		}
		// The answer is the created product, even if it was changed later.
		if err := db.Delete(t.Context(), answers[0].ID, func(productdb.Product) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if p, err := db.Create(t.Context(), sample(22), request); err != nil || p != answers[0] {
			t.Errorf("after the deletion: %v, %v", p.ID, err)
		}

		clock.advance(productdb.KeepRequests + time.Second)
		for i := range 100 { // outdated rows are removed with every hundredth change
			create(t, db, sample(100+i))
		}
		if p, err := db.Create(t.Context(), sample(23), request); err != nil || p.ID != id(23) {
			t.Errorf("after it was forgotten: %v, %v", p.ID, err)
		}
	})
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, productdb.Config{URL: url})
		if _, err := db.Create(ended(t), sample(1), nil); err == nil {
			t.Error("created for a caller who is gone")
		}
		if _, err := db.Changes(ended(t), 0, 1); err == nil {
			t.Error("waits for a caller who is gone")
		}
		// The database works as before.
		create(t, db, sample(1))
		if found := list(t, db, productdb.Query{}); len(found) != 1 {
			t.Errorf("%d products", len(found))
		}
	})
}
