package productdb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// databases returns a URL of a new database of each kind.
var databases = map[string]func(testing.TB) string{
	"memory":   func(testing.TB) string { return "memory:" },
	"sqlite":   func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "products ä.db") },
	"postgres": pgtest.New,
}

// onEach runs a test with every database.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for name, fresh := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

func open(t testing.TB, cfg productdb.Config) *productdb.DB {
	t.Helper()
	db, err := productdb.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// clock is a clock that the test sets.
type clock struct{ now time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)} }
func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func id(n int) string { return fmt.Sprintf("%026d", n) }

func sample(n int) productdb.Product {
	return productdb.Product{
		ID: id(n), Seller: "seller", Title: fmt.Sprintf("Product %d", n), Description: "Text.", Currency: "EUR", Amount: 1999, DAW: 1, Tempo: 120,
	}
}

func create(t testing.TB, db *productdb.DB, p productdb.Product) productdb.Product {
	t.Helper()
	created, err := db.Create(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func list(t testing.TB, db *productdb.DB, q productdb.Query) (products []productdb.Product) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	for {
		page := listPage(t, db, q)
		products = append(products, page.Products...)
		if q.After = page.Next; q.After == nil {
			return products
		}
	}
}

func listPage(t testing.TB, db *productdb.DB, q productdb.Query) productdb.Page {
	t.Helper()
	page, err := db.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func ids(products []productdb.Product) string {
	var all []string
	for _, p := range products {
		all = append(all, strings.TrimLeft(p.ID, "0"))
	}
	return strings.Join(all, " ")
}

// allChanges returns the whole log.
func allChanges(t testing.TB, db *productdb.DB) []productdb.Change {
	t.Helper()
	last, err := db.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []productdb.Change
	for int64(len(all)) < last {
		some, err := db.Changes(t.Context(), int64(len(all)), 7)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

func ended(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
