package productdb_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

func always(productdb.Product) error { return nil }

// TestStaleFiles checks when a content becomes stale: after a day without a product, and a minute
// after its product has another, or is deleted without buyers.
func TestStaleFiles(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		clock := newClock()
		db := open(t, productdb.Config{URL: url, Now: clock.Now})
		create(t, db, sample(1))
		create(t, db, sample(2))
		stale := func(want string) {
			t.Helper()
			keys, err := db.Stale(t.Context())
			if got := strings.Join(keys, " "); err != nil || got != want {
				t.Errorf("stale: %q, %v; want %q", got, err, want)
			}
			for _, key := range keys {
				if err := db.Removed(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		}
		begin := func(key string) {
			t.Helper()
			if err := db.BeginUpload(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		set := func(product int, key string) {
			t.Helper()
			begin(key)
			p, err := db.SetFile(t.Context(), id(product), productdb.File{Key: key, Name: "a", Size: 3}, always)
			if err != nil || p.File.Key != key || !p.File.Uploaded.Equal(clock.Now()) || !p.Updated.Equal(clock.Now()) {
				t.Fatalf("set: %+v, %v", p, err)
			}
			if got, err := db.Get(t.Context(), id(product)); err != nil || got != p {
				t.Errorf("got %+v, %v; want %+v", got, err, p)
			}
		}
		set(1, "first")
		clock.advance(time.Hour)
		set(1, "second")
		stale("")
		clock.advance(time.Minute)
		stale("first")
		stale("")

		begin("slow")
		begin("broken")
		if err := db.AbandonUpload(t.Context(), "broken"); err != nil {
			t.Fatal(err)
		}
		stale("broken")
		clock.advance(productdb.UploadWithin)
		if keys, err := db.Stale(t.Context()); err != nil || strings.Join(keys, " ") != "slow" {
			t.Errorf("after a day: %q, %v", keys, err)
		}
		if _, err := db.SetFile(t.Context(), id(1), productdb.File{Key: "slow"}, always); !errors.Is(err, productdb.ErrUploadExpired) {
			t.Errorf("an upload that took too long: %v", err)
		}
		stale("slow") // until it is removed

		set(2, "third")
		for n := 1; n <= 2; n++ {
			if n == 2 {
				if _, err := db.CreateOrder(t.Context(), id(9), "ben", id(n), always); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Delete(t.Context(), id(n), always); err != nil {
				t.Fatal(err)
			}
		}
		clock.advance(2 * productdb.UploadWithin)
		stale("second")
		if _, _, err := db.FileOf(t.Context(), id(1)); !errors.Is(err, productdb.ErrNotFound) {
			t.Errorf("without buyers: %v", err)
		}
		p, deleted, err := db.FileOf(t.Context(), id(2))
		if err != nil || !deleted || p.File.Key != "third" || p.Seller != "seller" {
			t.Errorf("with a buyer: %+v, %v, %v", p, deleted, err)
		}
		if o, err := db.OrderFor(t.Context(), "ben", id(2)); err != nil || !o.Deleted || o.File != p.File {
			t.Errorf("the order: %+v, %v", o, err)
		}
	})
}

// TestSetFileRefuses checks that a file that is refused changes nothing.
func TestSetFileRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, productdb.Config{URL: url})
		created := create(t, db, sample(1))
		refused := errors.New("refused")
		if err := db.BeginUpload(t.Context(), "key"); err != nil {
			t.Fatal(err)
		}
		for want, set := range map[error]func() error{
			refused: func() error {
				_, err := db.SetFile(t.Context(), id(1), productdb.File{Key: "key"}, func(productdb.Product) error { return refused })
				return err
			},
			productdb.ErrUploadExpired: func() error {
				_, err := db.SetFile(t.Context(), id(1), productdb.File{Key: "unknown"}, always)
				return err
			},
			productdb.ErrNotFound: func() error {
				_, err := db.SetFile(t.Context(), id(2), productdb.File{Key: "key"}, always)
				return err
			},
			productdb.ErrChanged: func() error {
				_, err := db.SetFile(t.Context(), id(1), productdb.File{Key: "key"}, func(productdb.Product) error {
					_, err := db.Update(t.Context(), id(1), func(p *productdb.Product) error { p.Title += "!"; return nil })
					return err
				})
				return err
			},
		} {
			if err := set(); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		p, err := db.Get(t.Context(), id(1))
		if err != nil || p.File != (productdb.File{}) || p.Title != created.Title+"!" {
			t.Errorf("then: %+v, %v", p, err)
		}
		if _, err := db.SetFile(t.Context(), id(1), productdb.File{Key: "key"}, always); err != nil {
			t.Errorf("the content was no longer there: %v", err)
		}
	})
}

// TestOrderAndDeletion checks that a product that is bought while it is deleted either has no
// order, or a file that its buyer keeps.
func TestOrderAndDeletion(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, productdb.Config{URL: url})
		const rounds = 20
		for n := range rounds {
			create(t, db, sample(n))
			key := id(n)
			if err := db.BeginUpload(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			if _, err := db.SetFile(t.Context(), id(n), productdb.File{Key: key}, always); err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			var bought, deleted error
			group.Go(func() { _, bought = db.CreateOrder(t.Context(), id(n), "ben", id(n), always) })
			group.Go(func() { deleted = db.Delete(t.Context(), id(n), always) })
			group.Wait()
			if deleted != nil {
				t.Fatal(deleted)
			}
			_, _, kept := db.FileOf(t.Context(), id(n))
			if (bought == nil) != (kept == nil) {
				t.Errorf("round %d: bought %v, kept %v", n, bought, kept)
			}
		}
	})
}

// TestOrders checks that a buyer has one order for a product, at the price of its time, and that
// pages of orders neither repeat nor skip one.
func TestOrders(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		clock := newClock()
		db := open(t, productdb.Config{URL: url, Now: clock.Now})
		for n := range 5 {
			create(t, db, sample(n))
			if n%2 == 0 {
				clock.advance(time.Second)
			}
			if _, err := db.CreateOrder(t.Context(), id(100+n), "ben", id(n), always); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.CreateOrder(t.Context(), id(200), "ada", id(3), always); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Update(t.Context(), id(3), func(p *productdb.Product) error { p.Amount = 1; return nil }); err != nil {
			t.Fatal(err)
		}
		again, err := db.CreateOrder(t.Context(), id(300), "ben", id(3), func(productdb.Product) error { return errors.New("called") })
		if err != nil || again.ID != id(103) || again.Amount != 1999 || again.Title != "Product 3" || again.Seller != "seller" {
			t.Errorf("again: %+v, %v", again, err)
		}
		var got []string
		var after *productdb.Position
		for more := true; more; {
			var page []productdb.Order
			if page, more, err = db.Orders(t.Context(), "ben", "", after, 2); err != nil {
				t.Fatal(err)
			}
			for _, o := range page {
				got = append(got, strings.TrimLeft(o.ID, "0"))
				after = &productdb.Position{Number: o.Created.UnixMicro(), ID: o.ID}
			}
		}
		if list := strings.Join(got, " "); list != "104 103 102 101 100" {
			t.Errorf("pages: %s", list)
		}
		if one, more, err := db.Orders(t.Context(), "ben", id(3), nil, 2); err != nil || more || len(one) != 1 || one[0].ID != id(103) {
			t.Errorf("of one product: %+v, %v, %v", one, more, err)
		}
		if _, err := db.GetOrder(t.Context(), "ada", id(103)); !errors.Is(err, productdb.ErrNoOrder) {
			t.Errorf("of another buyer: %v", err)
		}
	})
}
