package catalog_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// Authorization: the permission to sell, and the product's seller.
func TestOwnership(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		name := s.offer(t, "sofia", product("Hers")).GetName()
		update := &audioarchivev1.UpdateProductRequest{Product: &audioarchivev1.Product{Name: name, Title: "Stolen"}, Etag: `"wrong"`}
		for _, tc := range []struct {
			who  string
			want string // of create, update, delete, list mine
		}{
			{"without a token", "Unauthenticated TOKEN_MISSING|Unauthenticated TOKEN_MISSING|Unauthenticated TOKEN_MISSING|Unauthenticated TOKEN_MISSING"},
			{"a buyer", "PermissionDenied PERMISSION_MISSING|PermissionDenied PERMISSION_MISSING|PermissionDenied PERMISSION_MISSING|OK"},
			{"another seller", "OK|PermissionDenied NOT_SELLER|PermissionDenied NOT_SELLER|OK"},
		} {
			ctx := map[string]string{"a buyer": s.token("ben"), "another seller": s.token("sam", "products:write")}[tc.who]
			call := s.with(ctx)
			if ctx == "" {
				call = t.Context()
			}
			_, create := s.CreateProduct(call, &audioarchivev1.CreateProductRequest{Product: product("Other")})
			_, change := s.UpdateProduct(call, update)
			_, remove := s.DeleteProduct(call, &audioarchivev1.DeleteProductRequest{Name: name, Etag: `"wrong"`})
			_, mine := s.ListMyProducts(call, &audioarchivev1.ListMyProductsRequest{})
			got := strings.Join([]string{reason(create), reason(change), reason(remove), reason(mine)}, "|")
			if got != tc.want {
				t.Errorf("%s:\n got %s\nwant %s", tc.who, got, tc.want)
			}
			if _, err := s.GetProduct(call, &audioarchivev1.GetProductRequest{Name: name}); err != nil {
				t.Errorf("%s reads: %v", tc.who, err)
			}
		}
		got, err := s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: name})
		if err != nil || got.GetTitle() != "Hers" {
			t.Errorf("afterwards: %v, %v", got, err)
		}
		// An invalid token is refused by public methods too.
		if _, err := s.GetProduct(s.with("x.y.z"), &audioarchivev1.GetProductRequest{Name: name}); reason(err) != "Unauthenticated TOKEN_INVALID" {
			t.Errorf("bad token at a public method: %v", err)
		}
	})
}

// The seller's id is stable and does not contain the provider's identifier.
func TestSeller(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		first, second, other := s.offer(t, "sofia", product("a")), s.offer(t, "sofia", product("b")), s.offer(t, "sam", product("c"))
		if first.GetSeller() != second.GetSeller() || first.GetSeller() == other.GetSeller() || strings.Contains(first.GetSeller(), "sofia") {
			t.Errorf("sellers %q, %q, %q", first.GetSeller(), second.GetSeller(), other.GetSeller())
		}
		mine, err := s.ListMyProducts(s.as("sofia"), &audioarchivev1.ListMyProductsRequest{})
		if err != nil || titles(mine.GetProducts()) != "b|a" {
			t.Errorf("mine: %v, %v", mine, err)
		}
		hers, err := s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{Filter: `seller = "` + first.GetSeller() + `"`})
		if err != nil || titles(hers.GetProducts()) != "b|a" {
			t.Errorf("hers: %v, %v", hers, err)
		}
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{})
	good := s.offer(t, "sofia", product("Good"))
	for _, tc := range []struct {
		name  string
		spoil func(p *audioarchivev1.Product)
		want  string // field paths
	}{
		{"nothing wrong", func(*audioarchivev1.Product) {}, "OK"},
		{"emoji of several code points", func(p *audioarchivev1.Product) { p.Title = "👩‍🎤 mix" }, "OK"},
		{"free, without tempo and description", func(p *audioarchivev1.Product) { p.Price.AmountMinor, p.TempoBpm, p.Description = 0, 0, "" }, "OK"},
		{"no title", func(p *audioarchivev1.Product) { p.Title = "" }, "product.title"},
		{"blank title", func(p *audioarchivev1.Product) { p.Title = "   " }, "product.title"},
		{"title of two lines", func(p *audioarchivev1.Product) { p.Title = "a\nb" }, "product.title"},
		{"space at the end", func(p *audioarchivev1.Product) { p.Title = "a\u00a0" }, "product.title"},
		{"NUL, which PostgreSQL has no text for", func(p *audioarchivev1.Product) { p.Title, p.Description = "a\x00b", "\x00" }, "product.title product.description"},
		{"long title", func(p *audioarchivev1.Product) { p.Title = strings.Repeat("ä", 121) }, "product.title"},
		{"long description", func(p *audioarchivev1.Product) { p.Description = strings.Repeat("ä", 5001) }, "product.description"},
		{"no price", func(p *audioarchivev1.Product) { p.Price = nil }, "product.price"},
		{"no currency", func(p *audioarchivev1.Product) { p.Price.CurrencyCode = "" }, "product.price.currency_code"},
		{"unknown currency", func(p *audioarchivev1.Product) { p.Price.CurrencyCode = "eur" }, "product.price.currency_code"},
		{"negative", func(p *audioarchivev1.Product) { p.Price.AmountMinor = -1 }, "product.price.amount_minor"},
		{"a fortune", func(p *audioarchivev1.Product) { p.Price.AmountMinor = 100_000_001 }, "product.price.amount_minor"},
		{"no workstation", func(p *audioarchivev1.Product) { p.Daw = 0 }, "product.daw"},
		{"unknown workstation", func(p *audioarchivev1.Product) { p.Daw = 99 }, "product.daw"},
		{"slow", func(p *audioarchivev1.Product) { p.TempoBpm = 19 }, "product.tempo_bpm"},
		{"fast", func(p *audioarchivev1.Product) { p.TempoBpm = 401 }, "product.tempo_bpm"},
		{"several", func(p *audioarchivev1.Product) { p.Title, p.Daw, p.Price.AmountMinor = "", 0, -1 }, "product.title product.price.amount_minor product.daw"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := product("New")
			tc.spoil(p)
			_, err := s.CreateProduct(s.as("sofia"), &audioarchivev1.CreateProductRequest{Product: p})
			if got := fields(err); got != tc.want {
				t.Errorf("create: %q, want %q (%v)", got, tc.want, err)
			}
			// The same rules hold for the result of an update.
			p.Name = good.GetName()
			_, err = s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{Product: p, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}})
			if got := fields(err); got != tc.want {
				t.Errorf("update: %q, want %q (%v)", got, tc.want, err)
			}
		})
	}
	for what, err := range map[string]error{
		"product":    errorOf(s.CreateProduct(s.as("sofia"), &audioarchivev1.CreateProductRequest{})),
		"request_id": errorOf(s.CreateProduct(s.as("sofia"), &audioarchivev1.CreateProductRequest{Product: product("x"), RequestId: "one"})),
		"name":       errorOf(s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{})),
		"page_size":  errorOf(s.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{PageSize: -1})),
	} {
		if got := fields(err); got != what {
			t.Errorf("%q, want %q (%v)", got, what, err)
		}
	}
	if err := errorOf(s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{})); fields(err) != "product.name" {
		t.Errorf("update of nothing: %v", err)
	}
	// Callers without the permission do not get as far as validation.
	if err := errorOf(s.CreateProduct(t.Context(), &audioarchivev1.CreateProductRequest{})); status.Code(err) != codes.Unauthenticated {
		t.Errorf("bad request without a token: %v", err)
	}
}

// errorOf drops the answer.
func errorOf[T any](_ T, err error) error { return err }

func TestUpdateMask(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{})
	for _, tc := range []struct {
		name    string
		paths   []string
		product *audioarchivev1.Product
		want    func(p *audioarchivev1.Product) // the result of the update of product("Old")
		fields  string
	}{
		{name: "one field", paths: []string{"title"}, product: &audioarchivev1.Product{Title: "New", Description: "not this"},
			want: func(p *audioarchivev1.Product) { p.Title = "New" }},
		{name: "cleared", paths: []string{"description", "tempo_bpm"}, product: &audioarchivev1.Product{},
			want: func(p *audioarchivev1.Product) { p.Description, p.TempoBpm = "", 0 }},
		{name: "nested", paths: []string{"price.amount_minor"}, product: &audioarchivev1.Product{Price: &audioarchivev1.Price{AmountMinor: 5, CurrencyCode: "USD"}},
			want: func(p *audioarchivev1.Product) { p.Price.AmountMinor = 5 }},
		{name: "nested, nothing there", paths: []string{"price.amount_minor"}, product: &audioarchivev1.Product{},
			want: func(p *audioarchivev1.Product) { p.Price.AmountMinor = 0 }},
		{name: "no mask", product: &audioarchivev1.Product{Title: "New", Price: &audioarchivev1.Price{AmountMinor: 5}},
			want: func(p *audioarchivev1.Product) { p.Title, p.Price.AmountMinor = "New", 5 }},
		{name: "everything", paths: []string{"*"}, product: &audioarchivev1.Product{Title: "New", Price: &audioarchivev1.Price{CurrencyCode: "USD"}, Daw: 1},
			want: func(p *audioarchivev1.Product) {
				p.Title, p.Description, p.TempoBpm, p.Daw, p.Price = "New", "", 0, 1, &audioarchivev1.Price{CurrencyCode: "USD"}
			}},
		{name: "what only the server sets", paths: []string{"title", "seller", "create_time", "name"}, product: &audioarchivev1.Product{Title: "New", Seller: "sellers/thief"},
			want: func(p *audioarchivev1.Product) { p.Title = "New" }},
		{name: "only what only the server sets", paths: []string{"seller", "etag"}, product: &audioarchivev1.Product{Title: "New", Seller: "sellers/thief"},
			want: func(*audioarchivev1.Product) {}},
		{name: "cleared but required", paths: []string{"title"}, product: &audioarchivev1.Product{}, fields: "product.title"},
		{name: "no such field", paths: []string{"title", "colour"}, product: &audioarchivev1.Product{Title: "New"}, fields: "update_mask"},
		{name: "everything and more", paths: []string{"*", "title"}, product: &audioarchivev1.Product{Title: "New"}, fields: "update_mask"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			old := s.offer(t, "sofia", product("Old"))
			tc.product.Name = old.GetName()
			got, err := s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{Product: tc.product, UpdateMask: &fieldmaskpb.FieldMask{Paths: tc.paths}})
			if tc.fields != "" {
				if fields(err) != tc.fields {
					t.Fatalf("%v, want a refusal of %s", err, tc.fields)
				}
				got = old
				tc.want = func(*audioarchivev1.Product) {}
			} else if err != nil {
				t.Fatal(err)
			}
			want := proto.CloneOf(old)
			tc.want(want)
			stored, err := s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: old.GetName()})
			if err != nil || !proto.Equal(stored, got) {
				t.Errorf("answered %v, stored %v, %v", got, stored, err)
			}
			if diff := cmp.Diff(want, stored, protocmp.Transform(), protocmp.IgnoreFields(want, "etag", "update_time")); diff != "" {
				t.Error(diff)
			}
			if changed := !proto.Equal(want, old); changed != (stored.GetEtag() != old.GetEtag()) {
				t.Errorf("changed: %v, etags %s and %s", changed, old.GetEtag(), stored.GetEtag())
			}
		})
	}
}

func TestETags(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		first := s.offer(t, "sofia", product("One"))
		retitle := func(title, inRequest, inProduct string) (*audioarchivev1.Product, error) {
			return s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{
				Product: &audioarchivev1.Product{Name: first.GetName(), Title: title, Etag: inProduct},
				Etag:    inRequest, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}},
			})
		}
		second, err := retitle("Two", first.GetEtag(), first.GetEtag())
		if err != nil || second.GetEtag() == first.GetEtag() || !strings.HasPrefix(second.GetEtag(), `"`) {
			t.Fatalf("%v, %v", second, err)
		}
		for name, err := range map[string]error{
			"in the request": errorOf(retitle("Three", first.GetEtag(), "")),
			"in the product": errorOf(retitle("Three", "", first.GetEtag())),
			"one of two":     errorOf(retitle("Three", second.GetEtag(), first.GetEtag())),
			"weak":           errorOf(retitle("Three", "W/"+second.GetEtag(), "")),
			"in a deletion":  errorOf(s.DeleteProduct(s.as("sofia"), &audioarchivev1.DeleteProductRequest{Name: first.GetName(), Etag: first.GetEtag()})),
		} {
			if reason(err) != "Aborted ETAG_MISMATCH" {
				t.Errorf("old etag %s: %v", name, err)
			}
		}
		if _, err := retitle("Three", "*", ""); err != nil {
			t.Errorf("any state: %v", err)
		}

		// Of many updates with the same etag, one succeeds.
		current, err := s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: first.GetName()})
		if err != nil {
			t.Fatal(err)
		}
		var won, lost int
		var mu sync.Mutex
		var group sync.WaitGroup
		for i := range 12 {
			group.Go(func() {
				_, err := retitle("Winner "+string(rune('a'+i)), current.GetEtag(), "")
				mu.Lock()
				defer mu.Unlock()
				switch reason(err) {
				case "OK":
					won++
				case "Aborted ETAG_MISMATCH":
					lost++
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		if won != 1 || lost != 11 {
			t.Errorf("%d won, %d lost", won, lost)
		}
		// Without an etag, concurrent updates of different fields all succeed.
		group.Go(func() { _, _ = retitle("Last", "", "") })
		group.Go(func() {
			_, err := s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{
				Product: &audioarchivev1.Product{Name: first.GetName(), TempoBpm: 99}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"tempo_bpm"}},
			})
			if err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		last, err := s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: first.GetName()})
		if err != nil || last.GetTitle() != "Last" || last.GetTempoBpm() != 99 {
			t.Errorf("%v, %v", last, err)
		}
		if _, err := s.DeleteProduct(s.as("sofia"), &audioarchivev1.DeleteProductRequest{Name: first.GetName(), Etag: last.GetEtag()}); err != nil {
			t.Error(err)
		}
		if _, err := s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: first.GetName()}); reason(err) != "NotFound PRODUCT_NOT_FOUND" {
			t.Errorf("deleted: %v", err)
		}
	})
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		const uuid = "0b1c6c7e-4a0e-4f8e-9a57-6f0d5f2c9a11"
		create := func(who, id, title string) (*audioarchivev1.Product, error) {
			p := product(title)
			p.Seller = "sellers/ignored" // ignored, so that it does not make another request
			return s.CreateProduct(s.as(who), &audioarchivev1.CreateProductRequest{Product: p, RequestId: id})
		}
		first, err := create("sofia", uuid, "Once")
		if err != nil {
			t.Fatal(err)
		}
		for _, again := range []string{uuid, strings.ToUpper(uuid)} {
			if p, err := create("sofia", again, "Once"); err != nil || !proto.Equal(p, first) {
				t.Errorf("again: %v, %v", p, err)
			}
		}
		if _, err := create("sofia", uuid, "Twice"); reason(err) != "AlreadyExists REQUEST_ID_REUSED" {
			t.Errorf("other content: %v", err)
		}
		if p, err := create("sam", uuid, "Once"); err != nil || p.GetName() == first.GetName() {
			t.Errorf("another person's: %v, %v", p, err)
		}
		mine, err := s.ListMyProducts(s.as("sofia"), &audioarchivev1.ListMyProductsRequest{})
		if err != nil || len(mine.GetProducts()) != 1 {
			t.Errorf("%d products, %v", len(mine.GetProducts()), err)
		}
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{})
	for name, want := range map[string]string{
		"products/aaaaaaaaaaaaaaaaaaaaaaaaaa":  "NotFound PRODUCT_NOT_FOUND",
		"products/x":                           "NotFound PRODUCT_NOT_FOUND",
		"products/\x00":                        "NotFound PRODUCT_NOT_FOUND",
		"products/' OR 1=1 --":                 "NotFound PRODUCT_NOT_FOUND",
		"products/":                            "InvalidArgument",
		"products/a/b":                         "InvalidArgument",
		"sellers/aaaaaaaaaaaaaaaaaaaaaaaaaa":   "InvalidArgument",
		"//x/products/aaaaaaaaaaaaaaaaaaaaaaa": "InvalidArgument",
	} {
		if _, err := s.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: name}); reason(err) != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}

// A title of a few characters that stand for phrases would make page tokens longer than the server
// accepts.
func TestTitleThatSortsLong(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{})
	p := product(strings.Repeat("\uFDFA", 100))
	if _, err := s.CreateProduct(s.as("sofia"), &audioarchivev1.CreateProductRequest{Product: p}); fields(err) != "product.title" {
		t.Errorf("created: %v", err)
	}
	good := s.offer(t, "sofia", product("Plain"))
	good.Title = p.Title
	if _, err := s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{Product: good}); fields(err) != "product.title" {
		t.Errorf("changed: %v", err)
	}
}
