// Package filestest owns the tests of files that are the same for all buckets, and a server with the
// services of the sample application for tests.
package filestest

import (
	"cmp"
	"context"
	"errors"
	"io"
	"testing"

	"gocloud.dev/blob"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/orders"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

const audience = "https://api.test"

// A System is the services behind all interceptors of the server.
type System struct {
	Products audioarchivev1.ProductServiceClient
	Files    audioarchivev1.ProductFileServiceClient
	Orders   audioarchivev1.OrderServiceClient
	DB       *productdb.DB
	Bucket   *blob.Bucket
	Service  *files.Service
	t        testing.TB
	issuer   *tokentest.Issuer
}

// New starts the services with a database and a bucket. cfg needs neither.
func New(t testing.TB, database, bucket string, cfg files.Config) *System {
	t.Helper()
	s := &System{t: t, issuer: tokentest.NewUnserved(t, "https://issuer.test")}
	var err error
	if s.DB, err = productdb.Open(t.Context(), productdb.Config{URL: database}); err != nil {
		t.Fatal(err)
	}
	if s.Bucket, err = files.Open(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	cfg.DB, cfg.Bucket = s.DB, s.Bucket
	s.Service = files.New(cfg)
	t.Cleanup(func() {
		if err := errors.Join(s.Service.Close(), s.Bucket.Close(), s.DB.Close()); err != nil {
			t.Error(err)
		}
	})
	srv, err := server.New(server.Config{
		Authn: authn.Config{Provider: oidctest.NewProvider(t, s.issuer), Audience: audience},
		Register: func(r grpc.ServiceRegistrar) {
			audioarchivev1.RegisterProductServiceServer(r, catalog.NewProducts(catalog.ProductsConfig{DB: s.DB}))
			audioarchivev1.RegisterProductFileServiceServer(r, s.Service)
			audioarchivev1.RegisterOrderServiceServer(r, orders.New(s.DB))
		},
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
	s.Products = audioarchivev1.NewProductServiceClient(srv.Conn())
	s.Files = audioarchivev1.NewProductFileServiceClient(srv.Conn())
	s.Orders = audioarchivev1.NewOrderServiceClient(srv.Conn())
	for srv.Ready() != nil { // calls wait for the keys; readiness requires them
		_, _ = s.Orders.ListMyOrders(s.As("warm-up"), &audioarchivev1.ListMyOrdersRequest{})
	}
	return s
}

// As returns the context of a call of a user who may sell if the name begins with "s".
func (s *System) As(subject string) context.Context {
	permissions := []string{}
	if subject[0] == 's' {
		permissions = append(permissions, "products:write")
	}
	token := s.issuer.Mint(map[string]any{"sub": subject, "aud": audience, "permissions": permissions})
	return metadata.AppendToOutgoingContext(s.t.Context(), "authorization", "Bearer "+token)
}

// Offer creates a product of a seller.
func (s *System) Offer(t testing.TB, seller, title string) *audioarchivev1.Product {
	t.Helper()
	p, err := s.Products.CreateProduct(s.As(seller), &audioarchivev1.CreateProductRequest{Product: &audioarchivev1.Product{
		Title: title, Price: &audioarchivev1.Price{CurrencyCode: "EUR", AmountMinor: 1999}, Daw: audioarchivev1.Daw_DAW_REAPER,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Upload calls UploadProductFile: the request has everything but the content, which is sent in
// messages of 64 KiB. A content that fails breaks the upload off.
func (s *System) Upload(ctx context.Context, req *audioarchivev1.UploadProductFileRequest, content io.Reader) (*audioarchivev1.Product, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.Files.UploadProductFile(ctx)
	if err != nil {
		return nil, err
	}
	claimed := cmp.Or(req.GetContent().GetContentType(), "audio/mpeg") // which is ignored
	buffer := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(content, buffer)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			cancel()
			_, err = stream.CloseAndRecv()
			return nil, err
		}
		req.Content = &httpbody.HttpBody{ContentType: claimed, Data: buffer[:n]}
		if stream.Send(req) != nil || end {
			return stream.CloseAndRecv()
		}
		req = &audioarchivev1.UploadProductFileRequest{}
	}
}

// A Download is what a caller of DownloadProductFile gets.
type Download struct {
	Header      metadata.MD
	ContentType string
	Content     []byte
}

// Download calls DownloadProductFile. pairs are metadata of the call.
func (s *System) Download(ctx context.Context, product string, pairs ...string) (d Download, err error) {
	ctx = metadata.AppendToOutgoingContext(ctx, pairs...)
	stream, err := s.Files.DownloadProductFile(ctx, &audioarchivev1.DownloadProductFileRequest{Name: product})
	if err != nil {
		return d, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			d.Header, _ = stream.Header()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return d, err
		}
		d.ContentType += m.GetContentType()
		d.Content = append(d.Content, m.GetData()...)
	}
}

// Keys returns the keys of the bucket.
func (s *System) Keys(t testing.TB) (keys []string) {
	t.Helper()
	found := s.Bucket.List(nil)
	for {
		object, err := found.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return keys
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
}

// Reason returns the code of an error and the reason in its ErrorInfo, and the fields of its
// BadRequest.
func Reason(err error) string {
	st := status.Convert(err)
	text := st.Code().String()
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			text += " " + detail.GetReason()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				text += " " + violation.GetField()
			}
		}
	}
	return text
}
