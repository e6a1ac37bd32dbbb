package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// shop adds a few products, oldest first.
func shop(t *testing.T, s *system) (offered []*audioarchivev1.Product) {
	t.Helper()
	for _, p := range []struct {
		who, title, currency string
		amount               int64
		daw                  audioarchivev1.Daw
		tempo                int32
	}{
		{"sofia", "Deep House", "EUR", 1000, audioarchivev1.Daw_DAW_REAPER, 122},
		{"sam", "deep drums", "USD", 500, audioarchivev1.Daw_DAW_CUBASE, 174},
		{"sofia", "Drum & Bass", "EUR", 2000, audioarchivev1.Daw_DAW_CUBASE, 174},
		{"sofia", "Ambient", "EUR", 0, audioarchivev1.Daw_DAW_REAPER, 0},
	} {
		o := product(p.title)
		o.Price, o.Daw, o.TempoBpm = &audioarchivev1.Price{CurrencyCode: p.currency, AmountMinor: p.amount}, p.daw, p.tempo
		offered = append(offered, s.offer(t, p.who, o))
	}
	return offered
}

func TestFilterAndOrder(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		offered := shop(t, s)
		sofia, third := offered[0].GetSeller(), offered[2]
		at := third.GetCreateTime().AsTime().Format(time.RFC3339Nano)
		for _, tc := range []struct{ filter, order, want string }{
			{"", "", "Ambient|Drum & Bass|deep drums|Deep House"},
			{"  ", "create_time", "Deep House|deep drums|Drum & Bass|Ambient"},
			{"", "title", "Ambient|deep drums|Deep House|Drum & Bass"},
			{"", "title desc", "Drum & Bass|Deep House|deep drums|Ambient"},
			{"", "price.amount_minor", "Ambient|deep drums|Deep House|Drum & Bass"},
			{"", "update_time desc", "Ambient|Drum & Bass|deep drums|Deep House"},
			{"title:deep", "", "deep drums|Deep House"},
			{`title:"DEEP, drums"`, "", "deep drums"},
			{`title = "deep*"`, "title", "deep drums|Deep House"},
			{`title = "DEEP HOUSE"`, "", "Deep House"},
			{`title = "dr*"`, "", "Drum & Bass"},
			{"title:drum", "", "Drum & Bass"}, // a whole word, not a part of one
			{"daw = DAW_CUBASE", "", "Drum & Bass|deep drums"},
			{`daw != "DAW_CUBASE"`, "", "Ambient|Deep House"},
			{"price.amount_minor <= 1000 AND price.currency_code = EUR", "", "Ambient|Deep House"},
			{"price.amount_minor > 500 price.amount_minor < 2000", "", "Deep House"}, // a space means AND
			{"tempo_bpm = 174 AND NOT_A_FIELD_BUT_NOT_REACHED = 1 OR title:x", "", "!"},
			{"title:ambient OR title:bass", "", "Ambient|Drum & Bass"},
			{"tempo_bpm >= 100 AND (title:house OR title:bass)", "", "Drum & Bass|Deep House"},
			{`seller = "` + sofia + `"`, "title", "Ambient|Deep House|Drum & Bass"},
			{`seller != "` + sofia + `"`, "", "deep drums"},
			{`name = "` + third.GetName() + `"`, "", "Drum & Bass"},
			{`create_time > "` + at + `"`, "", "Ambient"},
			{`create_time <= "` + at + `" AND daw = DAW_REAPER`, "", "Deep House"},
			{"price.amount_minor = -1", "", ""},
		} {
			got, err := s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{Filter: tc.filter, OrderBy: tc.order})
			if tc.want == "!" {
				if fields(err) != "filter" {
					t.Errorf("%q: %v, want a refusal", tc.filter, err)
				}
				continue
			}
			if err != nil || titles(got.GetProducts()) != tc.want {
				t.Errorf("filter %q, order %q: %q, %v, want %q", tc.filter, tc.order, titles(got.GetProducts()), err, tc.want)
			}
		}
	})
}

func TestFilterRefusals(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{})
	for _, tc := range []struct{ filter, want string }{
		{"daw = ", "malformed near character"},
		{"daw == DAW_REAPER", "malformed"},
		{"drums", `"drums" stands alone`},
		{`"drums"`, `"drums" stands alone`},
		{"colour = red", `no field "colour"`},
		{"price = 5", `no field "price"`},
		{"price.units = 5", `no field "price.units"`},
		{"1 = price.amount_minor", `1 is at the left of "="`},
		{"seller < \"sellers/x\"", "seller knows no \"<\"; it knows = !="},
		{"title != drums", `title knows no "!="`},
		{"daw:REAPER", `daw knows no ":"`},
		{"daw = REAPER", `compared with "REAPER"; it must be one of the values of Daw`},
		{"seller = sofia", "must be a name in quotation marks"},
		{"price.amount_minor < 19.99", "compared with 19.99; it must be a whole number"},
		{`price.amount_minor < "5"`, `compared with "5"; it must be a whole number`},
		{"create_time > yesterday", "must be a time in quotation marks"},
		{"price.currency_code = euro", "must be a currency code"},
		{`title = ""`, "must be text in quotation marks"},
		{"title:\"—\"", "no word like"},
		{"title = \"a\x00b\"", "must be text in quotation marks"},
		{"NOT title:x", "NOT is not supported"},
		{"-title:x", "NOT is not supported"},
		{"exists(title)", `function "exists" is not supported`},
		{strings.Repeat("(", 400) + "title:x" + strings.Repeat(")", 400), "more than 8 brackets"},
		{strings.Repeat("title:x ", 21), "more than 20 comparisons"},
		{`title:"a b c d e f g h i j k l m n o p q r s t u"`, "each word of a title being one"}, // one EXISTS each: 200 of them took PostgreSQL 23 s
		{strings.Repeat("a", 1001), "1000"},
	} {
		_, err := s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{Filter: tc.filter})
		if fields(err) != "filter" || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q: %v, want %q", tc.filter, err, tc.want)
		}
	}
	for _, order := range []string{"colour", "title,create_time", "title up", "title desc desc", "; DROP TABLE products", ","} {
		_, err := s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{OrderBy: order})
		if fields(err) != "order_by" {
			t.Errorf("order %q: %v", order, err)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		for i := range 130 {
			s.offer(t, "sofia", product(fmt.Sprintf("Number %03d", i)))
		}
		request := func(size int32, token string) (*audioarchivev1.ListProductsResponse, error) {
			return s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{PageSize: size, PageToken: token, OrderBy: "title"})
		}
		for size, want := range map[int32]int{0: 25, 1: 1, 100: 100, 101: 100, 1 << 30: 100} {
			page, err := request(size, "")
			if err != nil || len(page.GetProducts()) != want || page.GetNextPageToken() == "" {
				t.Errorf("page_size %d: %d products, %v", size, len(page.GetProducts()), err)
			}
		}
		var seen []*audioarchivev1.Product
		token := ""
		for _, size := range []int32{50, 7, 60, 13} { // the size may change between pages; the last page is exactly full
			page, err := request(size, token)
			if err != nil {
				t.Fatal(err)
			}
			seen, token = append(seen, page.GetProducts()...), page.GetNextPageToken()
		}
		if len(seen) != 130 || token != "" {
			t.Errorf("%d products, then token %q", len(seen), token)
		}
		for i, p := range seen {
			if p.GetTitle() != fmt.Sprintf("Number %03d", i) {
				t.Fatalf("place %d has %s", i, p.GetTitle())
			}
		}

		// A token is bound to its list and cannot be forged.
		first, err := request(5, "")
		if err != nil {
			t.Fatal(err)
		}
		token = first.GetNextPageToken()
		for name, err := range map[string]error{
			"another order":  errorOf(s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{PageToken: token})),
			"another filter": errorOf(s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{PageToken: token, OrderBy: "title", Filter: "title:x"})),
			"another list":   errorOf(s.ListMyProducts(s.as("sofia"), &audioarchivev1.ListMyProductsRequest{PageToken: token, OrderBy: "title"})),
			"changed":        errorOf(request(5, token[:30]+swap(token[30:31])+token[31:])),
			"cut":            errorOf(request(5, token[:len(token)-1])),
			"longer":         errorOf(request(5, token+"A")),
			"nonsense":       errorOf(request(5, "next")),
		} {
			if fields(err) != "page_token" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func swap(letter string) string {
	if letter == "A" {
		return "B"
	}
	return "A"
}

// The parser's time doubles with each open bracket. Without a limit a thousand brackets would never
// end.
func TestFilterIsCheapToRefuse(t *testing.T) {
	t.Parallel()
	for _, filter := range []string{
		strings.Repeat("f(", 8) + strings.Repeat("x", 900), strings.Repeat("a.", 499), strings.Repeat("-", 1000), strings.Repeat("NOT ", 250),
		strings.Repeat("a:", 499), strings.Repeat("\"", 999), strings.Repeat("(", 8) + strings.Repeat("a OR ", 190), strings.Repeat("x AND ", 160),
	} {
		started := time.Now()
		_ = catalog.ParseFilter(filter)
		if took := time.Since(started); took > 20*time.Second {
			t.Errorf("%.30q…: %v", filter, took)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"daw = DAW_REAPER AND title:drums", `title = "a*" OR (tempo_bpm > 100 price.amount_minor <= 5)`, `create_time > "2026-11-24T18:00:00Z"`,
		"f(f(f(x)", "NOT -a.b.c", `seller != "sellers/x"`, "\xff", "a AND", "((((((((",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		if err := catalog.ParseFilter(filter); err != nil && fields(err) != "filter" {
			t.Errorf("%q: %v is no refusal of the filter", filter, err)
		}
	})
}
