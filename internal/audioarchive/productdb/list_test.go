package productdb_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

// titles differ in collation, letter case and encoding.
var titles = []string{
	"apple", "Apple", "Äpfel", "A\u0308pfel", "banana split", "Banana", "co-op", "coop", "Co op", "résumé", "Resume", "ß", "SS",
	"zebra 2", "Zebra 10", "🎹 keys", "ﬁlter", "日本 ドラム", "a", "A b", "ab",
}

// market is a random catalogue, the same for every database.
func market(t testing.TB, db *productdb.DB, clock *clock, n int) []productdb.Product {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	var all []productdb.Product
	for i := range n {
		if random.IntN(3) > 0 { // often at the same instant
			clock.advance(time.Microsecond)
		}
		all = append(all, create(t, db, productdb.Product{
			ID: id(random.IntN(1_000_000_000)*1000 + i), Seller: []string{"ann", "bob", "cid"}[random.IntN(3)],
			Title: titles[random.IntN(len(titles))], Currency: []string{"EUR", "USD"}[random.IntN(2)],
			Amount: int64(random.IntN(5)) * 100, DAW: int32(random.IntN(3) + 1), Tempo: int32(random.IntN(3) * 60),
		}))
	}
	for _, i := range random.Perm(n)[:n/3] {
		clock.advance(time.Microsecond)
		p, err := db.Update(t.Context(), all[i].ID, func(p *productdb.Product) error { p.Amount += 50; return nil })
		if err != nil {
			t.Fatal(err)
		}
		all[i] = p
	}
	return all
}

func key(title string) []byte {
	return []byte(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(title))))
}

// compareProducts implements the order of a query in Go.
func compareProducts(order productdb.Field, a, b productdb.Product) int {
	var c int
	switch order {
	case productdb.ByTitle:
		c = bytes.Compare(key(a.Title), key(b.Title))
	case productdb.ByAmount:
		c = int(a.Amount - b.Amount)
	case productdb.ByUpdated:
		c = a.Updated.Compare(b.Updated)
	default:
		c = a.Created.Compare(b.Created)
	}
	if c == 0 {
		c = strings.Compare(a.ID, b.ID)
	}
	return c
}

// means implements a condition in Go.
func means(c productdb.Condition, p productdb.Product) bool {
	switch c := c.(type) {
	case productdb.And:
		return !slices.ContainsFunc(c, func(c productdb.Condition) bool { return !means(c, p) })
	case productdb.Or:
		return slices.ContainsFunc(c, func(c productdb.Condition) bool { return means(c, p) })
	case productdb.Prefix:
		return bytes.HasPrefix(key(p.Title), key(string(c)))
	case productdb.Word:
		return slices.Contains(productdb.Words(p.Title), string(c))
	}
	cmp := c.(productdb.Compare)
	compared := map[productdb.Field]func() int{
		productdb.ByID:       func() int { return strings.Compare(p.ID, cmp.Value.(string)) },
		productdb.BySeller:   func() int { return strings.Compare(p.Seller, cmp.Value.(string)) },
		productdb.ByTitle:    func() int { return bytes.Compare(key(p.Title), key(cmp.Value.(string))) },
		productdb.ByCurrency: func() int { return strings.Compare(p.Currency, cmp.Value.(string)) },
		productdb.ByAmount:   func() int { return int(p.Amount - cmp.Value.(int64)) },
		productdb.ByDAW:      func() int { return int(int64(p.DAW) - cmp.Value.(int64)) },
		productdb.ByTempo:    func() int { return int(int64(p.Tempo) - cmp.Value.(int64)) },
		productdb.ByCreated:  func() int { return int(p.Created.UnixMicro() - cmp.Value.(int64)) },
		productdb.ByUpdated:  func() int { return int(p.Updated.UnixMicro() - cmp.Value.(int64)) },
	}[cmp.Field]()
	switch cmp.Operator {
	case "=":
		return compared == 0
	case "<>":
		return compared != 0
	case "<":
		return compared < 0
	case "<=":
		return compared <= 0
	case ">":
		return compared > 0
	default:
		return compared >= 0
	}
}

// randomCondition returns a random condition of every kind.
func randomCondition(random *rand.Rand, some productdb.Product, depth int) productdb.Condition {
	if depth > 0 && random.IntN(2) == 0 {
		parts := make([]productdb.Condition, random.IntN(4))
		for i := range parts {
			parts[i] = randomCondition(random, some, depth-1)
		}
		if random.IntN(2) == 0 {
			return productdb.And(parts)
		}
		return productdb.Or(parts)
	}
	operator := []string{"=", "<>", "<", "<=", ">", ">="}[random.IntN(6)]
	equality := "<>"
	if random.IntN(2) == 0 {
		equality = "="
	}
	switch random.IntN(11) {
	case 0:
		return productdb.Compare{Field: productdb.ByID, Operator: equality, Value: some.ID}
	case 1:
		return productdb.Compare{Field: productdb.BySeller, Operator: equality, Value: some.Seller}
	case 2:
		return productdb.Compare{Field: productdb.ByTitle, Operator: "=", Value: strings.ToUpper(some.Title)}
	case 3:
		return productdb.Compare{Field: productdb.ByCurrency, Operator: equality, Value: some.Currency}
	case 4:
		return productdb.Compare{Field: productdb.ByAmount, Operator: operator, Value: some.Amount}
	case 5:
		return productdb.Compare{Field: productdb.ByDAW, Operator: equality, Value: int64(some.DAW)}
	case 6:
		return productdb.Compare{Field: productdb.ByTempo, Operator: operator, Value: int64(some.Tempo)}
	case 7:
		return productdb.Compare{Field: productdb.ByCreated, Operator: operator, Value: some.Created.UnixMicro()}
	case 8:
		return productdb.Compare{Field: productdb.ByUpdated, Operator: operator, Value: some.Updated.UnixMicro()}
	case 9:
		letters := []rune(some.Title)
		return productdb.Prefix(string(letters[:1+random.IntN(len(letters))]))
	default:
		if words := productdb.Words(some.Title); len(words) > 0 {
			return productdb.Word(words[random.IntN(len(words))])
		}
		return productdb.Word("nothing")
	}
}

// For random queries, every database returns the products that the Go implementation selects, in
// the same order, whole or page by page.
func TestListMeansWhatItSays(t *testing.T) {
	t.Parallel()
	orders := []productdb.Field{productdb.ByCreated, productdb.ByUpdated, productdb.ByTitle, productdb.ByAmount}
	onEach(t, func(t *testing.T, url string) {
		clock := newClock()
		db := open(t, productdb.Config{URL: url, Now: clock.Now})
		all := market(t, db, clock, 80)
		random := rand.New(rand.NewPCG(5, 6))
		for n := range 120 {
			q := productdb.Query{Order: orders[n%4], Descending: n/4%2 == 0}
			if n >= 8 { // the first of each order have no condition
				for range random.IntN(4) {
					q.Where = append(q.Where, randomCondition(random, all[random.IntN(len(all))], 2))
				}
			}
			var want []productdb.Product
			for _, p := range all {
				if means(q.Where, p) {
					want = append(want, p)
				}
			}
			slices.SortFunc(want, func(a, b productdb.Product) int {
				if q.Descending {
					a, b = b, a
				}
				return compareProducts(q.Order, a, b)
			})
			if diff := cmp.Diff(ids(want), ids(list(t, db, q))); diff != "" {
				t.Fatalf("%+v:\n%s", q, diff)
			}
			q.Limit = 5 + random.IntN(20)
			// Limits so low that pages are short and every path is taken.
			db.Bound(3+random.IntN(30), random.IntN(20))
			paged := list(t, db, q)
			db.Bound(productdb.MaxWalk, productdb.MaxFound)
			if diff := cmp.Diff(ids(want), ids(paged)); diff != "" {
				t.Fatalf("%+v in pages:\n%s", q, diff)
			}
		}
	})
}

// Products are created and deleted while a list is read page by page. Those that existed all the
// time are seen exactly once.
func TestPagesWhileTheCatalogueChanges(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		clock := newClock()
		db := open(t, productdb.Config{URL: url, Now: clock.Now})
		all := market(t, db, clock, 60)
		random := rand.New(rand.NewPCG(7, 8))
		for _, order := range []productdb.Field{productdb.ByCreated, productdb.ByTitle, productdb.ByAmount} {
			gone := map[string]bool{}
			seen := map[string]int{}
			q := productdb.Query{Order: order, Limit: 7}
			if order == productdb.ByAmount { // a filter that most products match, and short pages
				q.Where = productdb.And{productdb.Compare{Field: productdb.ByTempo, Operator: "<>", Value: int64(-1)}}
				db.Bound(5, 0)
			}
			for round := 0; ; round++ {
				page := listPage(t, db, q)
				for _, p := range page.Products {
					seen[p.ID]++
				}
				if q.After = page.Next; q.After == nil {
					break
				}
				// The last product of the page is deleted, and another one.
				for _, victim := range []string{q.After.ID, all[random.IntN(len(all))].ID} {
					if !gone[victim] && db.Delete(t.Context(), victim, func(productdb.Product) error { return nil }) == nil {
						gone[victim] = true
					}
				}
				newcomer := sample(2_000_000 + int(order)*1000 + round)
				newcomer.Title, newcomer.Amount = titles[random.IntN(len(titles))], int64(random.IntN(500))
				create(t, db, newcomer)
			}
			var left []productdb.Product
			for _, p := range all {
				if gone[p.ID] {
					continue
				}
				left = append(left, p)
				if seen[p.ID] != 1 {
					t.Errorf("order %d: %s was seen %d times", order, p.ID, seen[p.ID])
				}
			}
			all = left
		}
	})
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Deep HOUSE, deep-house!": "deep house",
		"Drum & Bass 174":         "174 bass drum",
		"Straße STRASSE ﬁlter":    "filter strasse",
		"日本 ドラム":                  "ドラム 日本",
		"हिन्दी":                  "हिन्दी",
		"  — ! ":                  "",
	} {
		if got := strings.Join(productdb.Words(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
