package catalog_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const audience = "https://api.test"

// system is the product service behind all interceptors of the server.
type system struct {
	audioarchivev1.ProductServiceClient
	t       testing.TB
	service *catalog.Products
	issuer  *tokentest.Issuer
}

var (
	issuerMu sync.Mutex
	issuer   *tokentest.Issuer // for all tests, because its key is slow to generate
)

func theIssuer(t testing.TB) *tokentest.Issuer {
	issuerMu.Lock()
	defer issuerMu.Unlock()
	if issuer == nil {
		issuer = tokentest.NewUnserved(t, "https://issuer.test")
	}
	return issuer
}

// onEach runs a test with both databases.
func onEach(t *testing.T, cfg catalog.ProductsConfig, test func(t *testing.T, s *system)) {
	t.Helper()
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "products.db") },
		"postgres": func() string { return pgtest.New(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newSystem(t, url(), cfg))
		})
	}
}

func newSystem(t testing.TB, url string, cfg catalog.ProductsConfig) *system {
	t.Helper()
	db, err := productdb.Open(t.Context(), productdb.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.DB = db
	s := &system{t: t, service: catalog.NewProducts(cfg), issuer: theIssuer(t)}
	srv, err := server.New(server.Config{
		Authn:    authn.Config{Provider: oidctest.NewProvider(t, s.issuer), Audience: audience},
		Register: func(r grpc.ServiceRegistrar) { audioarchivev1.RegisterProductServiceServer(r, s.service) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Run(ctx) // ends with the context
	}()
	t.Cleanup(func() { stop(); <-done })
	s.ProductServiceClient = audioarchivev1.NewProductServiceClient(srv.Conn())
	for srv.Ready() != nil { // calls wait for the keys; readiness requires them
		_, _ = s.ListMyProducts(s.as("warm-up"), &audioarchivev1.ListMyProductsRequest{})
	}
	return s
}

// token returns a token, with the permission to sell if seller.
func (s *system) token(subject string, permissions ...string) string {
	return s.issuer.Mint(map[string]any{"sub": subject, "aud": audience, "permissions": append([]string{}, permissions...)})
}

// as returns the context of a call with a seller's token, or without a token for "".
func (s *system) as(subject string) context.Context {
	if subject == "" {
		return s.t.Context()
	}
	return s.with(s.token(subject, "products:write"))
}

func (s *system) with(token string) context.Context {
	return metadata.AppendToOutgoingContext(s.t.Context(), "authorization", "Bearer "+token)
}

// product returns a valid product.
func product(title string) *audioarchivev1.Product {
	return &audioarchivev1.Product{
		Title: title, Description: "Two lines\nof text.", Price: &audioarchivev1.Price{CurrencyCode: "EUR", AmountMinor: 1999},
		Daw: audioarchivev1.Daw_DAW_REAPER, TempoBpm: 120,
	}
}

func (s *system) offer(t testing.TB, subject string, p *audioarchivev1.Product) *audioarchivev1.Product {
	t.Helper()
	created, err := s.CreateProduct(s.as(subject), &audioarchivev1.CreateProductRequest{Product: p})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// reason returns the code of an error and the reason in its ErrorInfo.
func reason(err error) string {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return st.Code().String() + " " + info.GetReason()
		}
	}
	return st.Code().String()
}

// fields returns the field paths in a BadRequest.
func fields(err error) string {
	var paths []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				paths = append(paths, violation.GetField())
			}
		}
	}
	if status.Code(err) != codes.InvalidArgument {
		paths = append(paths, status.Code(err).String())
	}
	return strings.Join(paths, " ")
}

func titles(products []*audioarchivev1.Product) string {
	var all []string
	for _, p := range products {
		all = append(all, p.GetTitle())
	}
	return strings.Join(all, "|")
}
