package orders_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/filestest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var reason = filestest.Reason

// onEach runs a test with both databases.
func onEach(t *testing.T, test func(t *testing.T, s *filestest.System)) {
	t.Helper()
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "products.db") },
		"postgres": func() string { return pgtest.New(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, filestest.New(t, url(), "memory:", files.Config{}))
		})
	}
}

func offer(t *testing.T, s *filestest.System, title string) *audioarchivev1.Product {
	t.Helper()
	p := s.Offer(t, "sofia", title)
	p, err := s.Upload(s.As("sofia"), &audioarchivev1.UploadProductFileRequest{Name: p.GetName(), FileName: title}, strings.NewReader(title))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func order(product string) *audioarchivev1.CreateOrderRequest {
	return &audioarchivev1.CreateOrderRequest{Order: &audioarchivev1.Order{Product: product}}
}

// TestOrder checks the whole life of an order.
func TestOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *filestest.System) {
		p := offer(t, s, "One")
		o, err := s.Orders.CreateOrder(s.As("ben"), &audioarchivev1.CreateOrderRequest{Order: &audioarchivev1.Order{
			Name: "orders/mine", Product: p.GetName(), Price: &audioarchivev1.Price{CurrencyCode: "JPY", AmountMinor: 1}, // ignored
		}, ProductEtag: p.GetEtag()})
		if err != nil {
			t.Fatal(err)
		}
		want := &audioarchivev1.Order{
			Name: o.GetName(), Product: p.GetName(), ProductTitle: "One", Seller: p.GetSeller(), Price: p.GetPrice(), CreateTime: o.GetCreateTime(), File: p.GetFile(),
		}
		if !proto.Equal(o, want) || !strings.HasPrefix(o.GetName(), "orders/") || !o.GetCreateTime().IsValid() {
			t.Errorf("got %v, want %v", o, want)
		}
		if _, err := s.Products.UpdateProduct(s.As("sofia"), &audioarchivev1.UpdateProductRequest{
			Product:    &audioarchivev1.Product{Name: p.GetName(), Price: &audioarchivev1.Price{CurrencyCode: "EUR", AmountMinor: 9900}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"price"}},
		}); err != nil {
			t.Fatal(err)
		}
		// The price and the etag of the first request count.
		if again, err := s.Orders.CreateOrder(s.As("ben"), order(p.GetName())); err != nil || !proto.Equal(again, want) {
			t.Errorf("again: %v, %v", again, err)
		}
		if _, err := s.Products.DeleteProduct(s.As("sofia"), &audioarchivev1.DeleteProductRequest{Name: p.GetName()}); err != nil {
			t.Fatal(err)
		}
		want.ProductDeleted = true
		if got, err := s.Orders.GetOrder(s.As("ben"), &audioarchivev1.GetOrderRequest{Name: o.GetName()}); err != nil || !proto.Equal(got, want) {
			t.Errorf("after the deletion: %v, %v; want %v", got, err, want)
		}
		if again, err := s.Orders.CreateOrder(s.As("ben"), order(p.GetName())); err != nil || !proto.Equal(again, want) {
			t.Errorf("again after the deletion: %v, %v", again, err)
		}
		if _, err := s.Orders.CreateOrder(s.As("ada"), order(p.GetName())); reason(err) != "NotFound PRODUCT_NOT_FOUND" {
			t.Errorf("a deleted product: %v", err)
		}
		if _, err := s.Orders.GetOrder(s.As("sofia"), &audioarchivev1.GetOrderRequest{Name: o.GetName()}); reason(err) != "NotFound ORDER_NOT_FOUND" {
			t.Errorf("the order of another: %v", err)
		}
	})
}

// TestConcurrentOrders checks that requests at the same time make one order.
func TestConcurrentOrders(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *filestest.System) {
		p := offer(t, s, "One")
		var names sync.Map
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				o, err := s.Orders.CreateOrder(s.As("ben"), order(p.GetName()))
				if err != nil {
					t.Error(err)
				}
				names.Store(o.GetName(), true)
			})
		}
		group.Wait()
		count := 0
		names.Range(func(any, any) bool { count++; return true })
		if count != 1 {
			t.Errorf("%d orders", count)
		}
	})
}

func TestOrderRefusals(t *testing.T) {
	t.Parallel()
	s := filestest.New(t, "memory:", "memory:", files.Config{})
	p, empty := offer(t, s, "One"), s.Offer(t, "sofia", "Two")
	changed := order(p.GetName())
	changed.ProductEtag = `"old"`
	for _, c := range []struct {
		name, as, want string
		req            *audioarchivev1.CreateOrderRequest
	}{
		{"the own product", "sofia", "FailedPrecondition OWN_PRODUCT", order(p.GetName())},
		{"without a file", "ben", "FailedPrecondition PRODUCT_HAS_NO_FILE", order(empty.GetName())},
		{"another price than seen", "ben", "Aborted ETAG_MISMATCH", changed},
		{"no such product", "ben", "NotFound PRODUCT_NOT_FOUND", order("products/" + strings.Repeat("a", 26))},
		{"no name", "ben", "InvalidArgument order.product", order("x")},
		{"no product", "ben", "InvalidArgument order.product", order("")},
		{"no order", "ben", "InvalidArgument order", &audioarchivev1.CreateOrderRequest{}},
	} {
		if _, err := s.Orders.CreateOrder(s.As(c.as), c.req); reason(err) != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, reason(err), err, c.want)
		}
	}
	if _, err := s.Orders.CreateOrder(t.Context(), order(p.GetName())); reason(err) != "Unauthenticated TOKEN_MISSING" {
		t.Errorf("without a token: %v", err)
	}
	for name, want := range map[string]string{"x": "InvalidArgument name", "orders/x": "NotFound ORDER_NOT_FOUND", "orders/": "InvalidArgument name", "orders/a/b": "InvalidArgument name"} {
		if _, err := s.Orders.GetOrder(s.As("ben"), &audioarchivev1.GetOrderRequest{Name: name}); reason(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// TestListMyOrders checks pages, and that a token is good for one list of one buyer only.
func TestListMyOrders(t *testing.T) {
	t.Parallel()
	s := filestest.New(t, "memory:", "memory:", files.Config{})
	for _, title := range []string{"One", "Two", "Three"} {
		if _, err := s.Orders.CreateOrder(s.As("ben"), order(offer(t, s, title).GetName())); err != nil {
			t.Fatal(err)
		}
	}
	first, err := s.Orders.ListMyOrders(s.As("ben"), &audioarchivev1.ListMyOrdersRequest{PageSize: 2})
	if err != nil || len(first.GetOrders()) != 2 || first.GetOrders()[0].GetProductTitle() != "Three" || first.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", first, err)
	}
	second, err := s.Orders.ListMyOrders(s.As("ben"), &audioarchivev1.ListMyOrdersRequest{PageSize: 2, PageToken: first.GetNextPageToken()})
	if err != nil || len(second.GetOrders()) != 1 || second.GetOrders()[0].GetProductTitle() != "One" || second.GetNextPageToken() != "" {
		t.Errorf("%v, %v", second, err)
	}
	if one, err := s.Orders.ListMyOrders(s.As("ben"), &audioarchivev1.ListMyOrdersRequest{Product: second.GetOrders()[0].GetProduct()}); err != nil || len(one.GetOrders()) != 1 || one.GetOrders()[0].GetProductTitle() != "One" {
		t.Errorf("of one product: %v, %v", one, err)
	}
	if _, err := s.Orders.ListMyOrders(s.As("ada"), &audioarchivev1.ListMyOrdersRequest{PageToken: first.GetNextPageToken()}); reason(err) != "InvalidArgument page_token" {
		t.Errorf("the token of another buyer: %v", err)
	}
	if none, err := s.Orders.ListMyOrders(s.As("ada"), &audioarchivev1.ListMyOrdersRequest{}); err != nil || len(none.GetOrders()) != 0 {
		t.Errorf("another buyer: %v, %v", none, err)
	}
}
