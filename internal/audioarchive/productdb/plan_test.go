package productdb_test

import (
	"flag"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

var (
	rows      = flag.Int("rows", 20_000, "how many products the benchmark lists")
	showPlans = flag.Bool("plans", false, "print the query plans of the benchmark")
)

// shapes are typical lists, each with its first page and a page far into it.
func shapes() map[string]productdb.Query {
	daw := productdb.Compare{Field: productdb.ByDAW, Operator: "=", Value: int64(3)}
	return map[string]productdb.Query{
		"newest":                 {Order: productdb.ByCreated, Descending: true},
		"oldest":                 {Order: productdb.ByCreated},
		"changed last":           {Order: productdb.ByUpdated, Descending: true},
		"by title":               {Order: productdb.ByTitle},
		"by price":               {Order: productdb.ByAmount},
		"one workstation":        {Order: productdb.ByCreated, Descending: true, Where: productdb.And{daw}},
		"its titles":             {Order: productdb.ByTitle, Where: productdb.And{daw}},
		"its prices":             {Order: productdb.ByAmount, Descending: true, Where: productdb.And{daw}},
		"one seller":             {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "seller7"}}},
		"one seller's titles":    {Order: productdb.ByTitle, Where: productdb.And{productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "seller7"}}},
		"a common word":          {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Word("drums")}},
		"a rare word":            {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Word("word77")}},
		"a rare word by title":   {Order: productdb.ByTitle, Where: productdb.And{productdb.Word("word77")}},
		"a title's beginning":    {Order: productdb.ByTitle, Where: productdb.And{productdb.Prefix("drums word77")}},
		"cheap ones":             {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Compare{Field: productdb.ByAmount, Operator: "<=", Value: int64(2000)}, productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "EUR"}}},
		"a price range ordered":  {Order: productdb.ByAmount, Where: productdb.And{productdb.Compare{Field: productdb.ByAmount, Operator: ">=", Value: int64(2000)}, productdb.Compare{Field: productdb.ByAmount, Operator: "<=", Value: int64(4000)}}},
		"a common word by title": {Order: productdb.ByTitle, Where: productdb.And{productdb.Word("drums")}},
		"a price of no product":  {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Compare{Field: productdb.ByAmount, Operator: ">", Value: int64(1_000_000)}}},
		"a rare tempo by title":  {Order: productdb.ByTitle, Where: productdb.And{productdb.Compare{Field: productdb.ByTempo, Operator: "=", Value: int64(300)}}},
		"an OR nothing passes":   {Order: productdb.ByCreated, Descending: true, Where: productdb.And{productdb.Or{productdb.Compare{Field: productdb.ByTempo, Operator: "=", Value: int64(300)}, productdb.Compare{Field: productdb.ByAmount, Operator: ">", Value: int64(1_000_000)}}}},
		"no such pair":           {Order: productdb.ByTitle, Where: productdb.And{productdb.Compare{Field: productdb.ByDAW, Operator: "<>", Value: int64(3)}, productdb.Compare{Field: productdb.ByTempo, Operator: "=", Value: int64(62)}, productdb.Compare{Field: productdb.ByAmount, Operator: "=", Value: int64(61)}}},
		"a third without one":    {Order: productdb.ByUpdated, Where: productdb.And{productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "USD"}, productdb.Compare{Field: productdb.ByAmount, Operator: ">", Value: int64(1_000_000)}}},
		"great seller by title":  {Order: productdb.ByTitle, Where: productdb.And{productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "everything"}}},
	}
}

// fill writes n products with SQL alone, which both databases run.
func fill(t testing.TB, db *productdb.DB, n int) {
	t.Helper()
	if !isPostgres(db) { // so many rows at once need more memory than serving
		if _, err := db.WritePool().ExecContext(t.Context(), "PRAGMA cache_size = -200000"); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		`INSERT INTO products (id, seller, title, title_key, description, currency, amount, daw, tempo, created, updated, version)
		 WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		 SELECT 'id' || (100000000 + i * 7919 %% 99999989), CASE i %% 3 WHEN 1 THEN 'everything' ELSE 'seller' || (i %% 1000) END, 'Drums word' || (i %% 5000), CAST('drums word' || (i %% 5000) AS %s),
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

// plan returns the database's query plan.
func plan(t testing.TB, db *productdb.DB, statement productdb.Statement) string {
	t.Helper()
	text, args := statement.Text, statement.Args
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

// deep returns the same query for a page further into its list.
func deep(t testing.TB, db *productdb.DB, q productdb.Query) productdb.Query {
	t.Helper()
	first := q
	first.Limit = 150
	q.After = listPage(t, db, first).Next
	return q
}

// everyFilter returns a condition of every kind on every field, alone and beside one that most
// products match, in every order.
func everyFilter() map[string]productdb.Query {
	conditions := map[string]productdb.Condition{
		"id": productdb.Compare{Field: productdb.ByID, Operator: "=", Value: "id100007919"}, "id <>": productdb.Compare{Field: productdb.ByID, Operator: "<>", Value: "id100007919"},
		"seller": productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "seller7"}, "great seller": productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: "everything"},
		"seller <>": productdb.Compare{Field: productdb.BySeller, Operator: "<>", Value: "seller7"},
		"title":     productdb.Compare{Field: productdb.ByTitle, Operator: "=", Value: "Drums word7"}, "prefix": productdb.Prefix("drums word77"), "all titles": productdb.Prefix("drums"),
		"currency": productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "EUR"}, "rare currency": productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "XAU"},
		"daw": productdb.Compare{Field: productdb.ByDAW, Operator: "=", Value: int64(3)}, "daw <>": productdb.Compare{Field: productdb.ByDAW, Operator: "<>", Value: int64(3)},
		"word": productdb.Word("word77"), "common word": productdb.Word("drums"), "no word": productdb.Word("nothing"),
		"or":      productdb.Or{productdb.Compare{Field: productdb.ByAmount, Operator: "=", Value: int64(-1)}, productdb.Word("nothing")},
		"nothing": productdb.Or{},
	}
	for name, field := range map[string]productdb.Field{"amount": productdb.ByAmount, "tempo": productdb.ByTempo, "created": productdb.ByCreated, "updated": productdb.ByUpdated} {
		for _, operator := range []string{"=", "<>", "<", "<=", ">", ">="} {
			for value, v := range map[string]int64{"none": -1, "some": 70, "most": 5000} {
				conditions[name+" "+operator+" "+value] = productdb.Compare{Field: field, Operator: operator, Value: v}
			}
		}
	}
	queries := map[string]productdb.Query{}
	for name, c := range conditions {
		for order, by := range map[string]productdb.Field{"created": productdb.ByCreated, "updated": productdb.ByUpdated, "title": productdb.ByTitle, "amount": productdb.ByAmount} {
			queries[name+" by "+order] = productdb.Query{Order: by, Descending: len(name)%2 == 0, Where: productdb.And{c}}
			queries[name+" and a currency by "+order] = productdb.Query{Order: by, Where: productdb.And{productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "EUR"}, c}}
		}
	}
	return queries
}

// TestPlans: no list reads or sorts the whole table, for any filter. A walk along an order uses an
// index and stops. Only products that an index has found, and that were counted before, are sorted.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, productdb.Config{URL: databases[name](t)})
			fill(t, db, 20_000)
			checked := 0
			queries := everyFilter()
			maps.Copy(queries, shapes())
			for shape, q := range queries {
				q.Limit = 25
				for at, q := range map[string]productdb.Query{"first page": q, "deep": deep(t, db, q)} {
					all := statements(t, db, q)
					for what, statement := range all {
						if group, ok := strings.CutPrefix(what, "found "); ok && !few(t, db, all["count "+group]) {
							continue // is not run
						}
						checked++
						got := plan(t, db, statement)
						// PostgreSQL: without an index, or through a whole index.
						whole := strings.Contains(got, "Seq Scan") ||
							strings.HasPrefix(what, "found ") && strings.Count(got, "Index Cond") < strings.Count(got, "Index Scan")+strings.Count(got, "Index Only Scan")
						for line := range strings.Lines(got) { // SQLite
							whole = whole || strings.HasPrefix(line, "SCAN p") && !strings.Contains(line, "INDEX")
						}
						sorts := strings.Contains(got, "Sort") || strings.Contains(got, "Bitmap") || strings.Contains(got, "TEMP B-TREE")
						// Products that an index finds may be sorted if they were counted.
						little := strings.HasPrefix(what, "found ") || strings.Contains(got, "One-Time Filter: false")
						if whole || sorts && !little {
							t.Errorf("%s, %s, %s: %s %v\n%s", shape, at, what, statement.Text, statement.Args, got)
						}
					}
				}
			}
			if checked < 1000 {
				t.Errorf("only %d plans checked", checked)
			}
		})
	}
}

func statements(t testing.TB, db *productdb.DB, q productdb.Query) map[string]productdb.Statement {
	t.Helper()
	all, err := db.Statements(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// few reports whether a statement counts products, so that few enough are sorted.
func few(t testing.TB, db *productdb.DB, count productdb.Statement) bool {
	t.Helper()
	var n int
	if err := db.Pool().QueryRowContext(t.Context(), count.Text, count.Args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n <= productdb.MaxFound
}

// TestPagesAreBounded: a filter that matches nothing ends a page after a limited number of
// products, and the list when all were read.
func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, productdb.Config{URL: url})
		fill(t, db, 100)
		db.Bound(30, 10)
		q := productdb.Query{Limit: 5, Order: productdb.ByTitle, Where: productdb.And{productdb.Or{
			productdb.Compare{Field: productdb.ByCurrency, Operator: "=", Value: "XAU"},
			productdb.Compare{Field: productdb.ByAmount, Operator: ">", Value: int64(1 << 40)},
		}}}
		pages := 0
		for {
			page := listPage(t, db, q)
			pages++
			if len(page.Products) > 0 {
				t.Fatalf("%v passes", page.Products)
			}
			if q.After = page.Next; q.After == nil {
				break
			}
		}
		if pages != 4 {
			t.Errorf("%d pages of 30 products looked at, want 4", pages)
		}
	})
}

// BenchmarkList lists -rows products, the first page and a later one of every shape. With -plans it
// prints the query plans. The figures in docs/products.md come from -rows 1000000.
func BenchmarkList(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres"} {
		b.Run(name, func(b *testing.B) {
			db := open(b, productdb.Config{URL: databases[name](b)})
			started := time.Now()
			fill(b, db, *rows)
			b.Logf("%d products in %v", *rows, time.Since(started).Round(time.Second))
			for shape, q := range shapes() {
				q.Limit = 25
				for at, q := range map[string]productdb.Query{"first": q, "deep": deep(b, db, q)} {
					if *showPlans {
						for what, statement := range statements(b, db, q) {
							b.Logf("%s, %s, %s: %s\n%s", shape, at, what, statement.Text, plan(b, db, statement))
						}
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
