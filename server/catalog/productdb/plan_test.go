package productdb_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/server/catalog/productdb"
)

var (
	rows      = flag.Int("rows", 20_000, "how many products the benchmark lists")
	showPlans = flag.Bool("plans", false, "print the query plans of the benchmark")
)

// shapes are the lists that people ask for, each at its first page and deep
// inside.
func shapes() map[string]productdb.Query {
	daw := productdb.Compare{Field: productdb.ByDAW, Operator: "=", Value: int64(3)}
	return map[string]productdb.Query{
		"newest":                {Order: productdb.ByCreated, Descending: true},
		"oldest":                {Order: productdb.ByCreated},
		"changed last":          {Order: productdb.ByUpdated, Descending: true},
		"by title":              {Order: productdb.ByTitle},
		"by price":              {Order: productdb.ByAmount},
		"one workstation":       {Order: productdb.ByCreated, Descending: true, Where: productdb.And{daw}},
		"its titles":            {Order: productdb.ByTitle, Where: productdb.And{daw}},
		"its prices":            {Order: productdb.ByAmount, Descending: true, Where: productdb.And{daw}},
		"one seller":            {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "seller7"}}},
		"one seller's titles":   {Order: productdb.ByTitle, Where: productdb.And{productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "seller7"}}},
		"a common word":         {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Word("drums")}},
		"a rare word":           {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Word("word77")}},
		"a rare word by title":  {Order: productdb.ByTitle, Where: productdb.And{productdb.Word("word77")}},
		"a title's beginning":   {Order: productdb.ByTitle, Where: productdb.And{productdb.Prefix("drums word77")}},
		"cheap ones":            {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Compare{Field: productdb.ByAmount, Operator: "<=", Value: int64(2000)}, productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "EUR"}}},
		"a price range ordered": {Order: productdb.ByAmount, Where: productdb.And{productdb.Compare{Field: productdb.ByAmount, Operator: ">=", Value: int64(2000)}, productdb.Compare{Field: productdb.ByAmount, Operator: "<=", Value: int64(4000)}}},
	}
}

// fill writes n products by way of SQL alone, which both databases run.
func fill(t testing.TB, db *productdb.DB, n int) {
	t.Helper()
	for _, statement := range []string{
		`INSERT INTO products (id, seller, title, title_key, description, currency, amount, daw, tempo, created, updated, version)
		 WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		 SELECT 'id' || (100000000 + i * 7919 %% 99999989), 'seller' || (i %% 1000), 'Drums word' || (i %% 5000), CAST('drums word' || (i %% 5000) AS %s),
		        'A description of a hundred characters, as sellers write them: what is in it, and what it was made with', 
		        CASE i %% 3 WHEN 0 THEN 'USD' ELSE 'EUR' END, i * 31 %% 10000, 1 + i %% 8, 60 + i %% 120, i * 1000, i * 7919 %% 1000003 * 1000, 1 FROM n`,
		`INSERT INTO product_words (word, created, id) SELECT CAST('drums' AS %[2]s), created, id FROM products WHERE %[1]d > 0`,
		`INSERT INTO product_words (word, created, id) SELECT CAST(substr(title, 7) AS %[2]s), created, id FROM products WHERE %[1]d > 0`,
	} {
		blob := "BLOB"
		if isPostgres(db) {
			blob = "BYTEA"
		}
		if _, err := db.WritePool().ExecContext(t.Context(), fmt.Sprintf(statement, n, blob)); err != nil {
			t.Fatal(err)
		}
	}
	if isPostgres(db) { // as its autovacuum does
		if _, err := db.WritePool().ExecContext(t.Context(), "VACUUM ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}

func isPostgres(db *productdb.DB) bool {
	return strings.Contains(fmt.Sprintf("%T", db.Pool().Driver()), "stdlib")
}

// plan is what the database says it would do.
func plan(t testing.TB, db *productdb.DB, q productdb.Query) string {
	t.Helper()
	text, args := q.SQL()
	explain := "EXPLAIN QUERY PLAN "
	if isPostgres(db) {
		explain = "EXPLAIN "
	}
	found, err := db.Pool().QueryContext(t.Context(), explain+text, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for found.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := found.Scan(values...); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(*values[len(values)-1].(*any)))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// deep is the same query from the middle of its list on.
func deep(t testing.TB, db *productdb.DB, q productdb.Query) productdb.Query {
	t.Helper()
	first := q
	first.Limit = 300
	if found := list(t, db, first); len(found) > 0 {
		at := productdb.PositionOf(found[len(found)/2], q.Order)
		q.After = &at
	}
	return q
}

// sorted are the shapes that may sort: what one seller has, or what a rare
// word or a long beginning finds, is little.
var sorted = map[string]bool{"one seller": true, "one seller's titles": true, "a rare word": true, "a rare word by title": true, "a title's beginning": true}

// No list that people ask for reads the whole table or sorts it.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, productdb.Config{URL: databases[name](t)})
			fill(t, db, 20_000)
			for shape, q := range shapes() {
				q.Limit = 26
				for at, q := range map[string]productdb.Query{"first page": q, "deep": deep(t, db, q)} {
					got := plan(t, db, q)
					whole := strings.Contains(got, "Seq Scan") // PostgreSQL
					for line := range strings.Lines(got) {     // SQLite
						whole = whole || strings.HasPrefix(line, "SCAN") && !strings.Contains(line, "USING INDEX")
					}
					sorts := strings.Contains(got, "Sort") || strings.Contains(got, "TEMP B-TREE")
					if whole || sorts && !sorted[shape] {
						text, _ := q.SQL()
						t.Errorf("%s, %s: %s\n%s", shape, at, text, got)
					}
				}
			}
		})
	}
}

// BenchmarkList lists -rows products, the first page and a later one of every
// shape. With -plans it prints what the databases do. The figures in
// docs/products.md come from -rows 1000000.
func BenchmarkList(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres"} {
		b.Run(name, func(b *testing.B) {
			db := open(b, productdb.Config{URL: databases[name](b)})
			started := time.Now()
			fill(b, db, *rows)
			b.Logf("%d products in %v", *rows, time.Since(started).Round(time.Second))
			for shape, q := range shapes() {
				q.Limit = 26
				for at, q := range map[string]productdb.Query{"first": q, "deep": deep(b, db, q)} {
					if *showPlans {
						text, _ := q.SQL()
						b.Logf("%s, %s: %s\n%s", shape, at, text, plan(b, db, q))
					}
					b.Run(strings.ReplaceAll(shape, " ", "_")+"/"+at, func(b *testing.B) {
						for b.Loop() {
							if _, err := db.List(b.Context(), q); err != nil {
								b.Fatal(err)
							}
						}
					})
				}
			}
		})
	}
}
