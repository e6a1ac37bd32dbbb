//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"

	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	client "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/gateway"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// BenchmarkPath sends a request through the handlers of one process without net/http's server, for
// profiles and for counting allocations.
//
//	go test -C bench -run '^$' -bench Path/all -cpuprofile cpu.out
func BenchmarkPath(b *testing.B) {
	for _, v := range pathVariants(b) {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				v.ask(b)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A pathVariant is a handler with a request that it answers.
type pathVariant struct {
	name    string
	handler http.Handler
	request *http.Request
	body    *bytes.Reader
	answer  *discarded
	status  int // of the answer
}

func (v pathVariant) ask(tb testing.TB) {
	v.answer.status = 0
	clear(v.answer.header)
	_, _ = v.body.Seek(0, io.SeekStart)
	v.handler.ServeHTTP(v.answer, v.request)
	if v.answer.status != v.status {
		tb.Fatalf("%s: status %d, want %d", v.name, v.answer.status, v.status)
	}
}

// newRequest returns a request of a page, as net/http's server has it.
func newRequest(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.RequestURI = "localhost:3000", target
	for _, line := range load.BrowserHeaders {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	if body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	return r
}

// newVariant returns a variant whose request has these further header lines, and whose answer is 200.
// All runs share the request, so that they count no copy of it: handlers do not change it.
func newVariant(tb testing.TB, name string, handler http.Handler, r *http.Request, lines ...string) pathVariant {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	r = r.WithContext(tb.Context())
	v := pathVariant{name: name, handler: handler, request: r, body: bytes.NewReader(nil), answer: &discarded{header: http.Header{}}, status: http.StatusOK}
	if r.Body != http.NoBody {
		content, _ := io.ReadAll(r.Body) // of a string
		v.body = bytes.NewReader(content)
		r.Body = io.NopCloser(v.body)
	}
	return v
}

// pathVariants returns the variants of BenchmarkPath. Metrics and traces are on unless the name
// says otherwise.
func pathVariants(tb testing.TB) []pathVariant {
	tb.Helper()
	p, without := newPaths(tb, newTelemetry(tb)), newPaths(tb, telemetry{})
	channel := &inprocgrpc.Channel{}
	audioarchivev1.RegisterStatusServiceServer(channel, catalog.Status{})
	mux := runtime.NewServeMux()
	if err := audioarchivev1.RegisterStatusServiceHandlerClient(context.Background(), mux, audioarchivev1.NewStatusServiceClient(channel)); err != nil {
		tb.Fatal(err)
	}
	variant := func(name, credential string, handler http.Handler) pathVariant {
		return newVariant(tb, name, handler, newRequest(http.MethodGet, load.Path, ""), credential)
	}
	return []pathVariant{
		variant("bare", p.bearer, http.HandlerFunc(rows.Bare)),
		variant("plain", p.bearer, mux),
		variant("gateway", p.bearer, p.gateway),
		variant("gateway without telemetry", without.bearer, without.gateway),
		variant("all", p.signedIn, p.bff),
		variant("all without telemetry", without.signedIn, without.bff),
	}
}

// paths are the parts that a request passes, with one signed-in user.
type paths struct {
	logger           *slog.Logger
	telemetry        telemetry
	provider         *oidc.Provider
	store            session.Store
	secret           string
	issuer           string
	server           *server.Server
	gateway          *gateway.Gateway
	bff              *bff.BFF
	bearer, signedIn string // credentials, as header lines
	seller           string // a token with the permission to sell
	sessions         *session.Manager
	access           string // the access token of sessions
}

const baseURL = "http://localhost:3000"

// telemetry has the providers of all parts.
type telemetry struct {
	meters  metric.MeterProvider
	tracers trace.TracerProvider
}

// newTelemetry returns metrics that Prometheus could read, and traces of which 1% are
// recorded and sent to no collector.
func newTelemetry(tb testing.TB) telemetry {
	reader, err := prometheus.New(prometheus.WithRegisterer(client.NewRegistry()))
	if err != nil {
		tb.Fatal(err)
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discardedSpans{}),
		sdktrace.WithSampler(sdktrace.ParentBased(&hundredth{})))
	tb.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
	return telemetry{sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), tracers}
}

// hundredth samples every hundredth trace, so that runs do not differ by chance.
type hundredth struct{ seen atomic.Int64 }

func (h *hundredth) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if h.seen.Add(1)%100 == 0 {
		return sdktrace.AlwaysSample().ShouldSample(p)
	}
	return sdktrace.NeverSample().ShouldSample(p)
}

func (h *hundredth) Description() string { return "every hundredth trace" }

// discardedSpans is an exporter to no collector.
type discardedSpans struct{}

func (discardedSpans) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discardedSpans) Shutdown(context.Context) error                             { return nil }

func newPaths(b testing.TB, of telemetry) *paths {
	issuer := tokentest.NewIssuer(b)
	mint := func(permissions ...string) string {
		return issuer.Mint(map[string]any{"aud": rows.Audience, "scope": "openid profile email", "permissions": permissions, "padding": strings.Repeat("x", 300)})
	}
	raw := mint("read:products", "write:products")
	p := &paths{
		logger: slog.New(logs.Handler(slog.NewJSONHandler(io.Discard, nil))),
		secret: rand.Text() + rand.Text(), telemetry: of, issuer: issuer.URL, access: raw,
		bearer: "Authorization: Bearer " + raw, seller: "Authorization: Bearer " + mint("products:write"),
	}
	var err error
	if p.provider, err = oidc.NewProvider(oidc.Config{Issuer: p.issuer, Logger: p.logger, MeterProvider: of.meters, TracerProvider: of.tracers}); err != nil {
		b.Fatal(err)
	}
	if err := p.provider.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	if p.server, err = server.New(server.Config{
		Authn:    authn.Config{Audience: rows.Audience, Provider: p.provider},
		Register: register,
		Logger:   p.logger.With("part", "server"), MeterProvider: of.meters, TracerProvider: of.tracers,
	}); err != nil {
		b.Fatal(err)
	}
	if p.store, err = memory.New(memory.Config{}); err != nil {
		b.Fatal(err)
	}
	p.gateway = p.newGateway(b, p.server.Conn())
	p.bff = p.newBFF(b, p.gateway, nil)
	base, err := url.Parse(baseURL)
	if err != nil {
		b.Fatal(err)
	}
	if p.sessions, err = session.NewManager(session.ManagerConfig{Store: p.store, Secrets: []string{p.secret}, BaseURL: base}); err != nil {
		b.Fatal(err)
	}
	p.signedIn = p.signIn(b, "u")
	return p
}

// signIn makes a session of a user, and returns its cookie as a header line.
func (p *paths) signIn(tb testing.TB, subject string) (credential string) {
	_, cookie, err := p.sessions.Create(tb.Context(), session.NewSession{Issuer: p.issuer, Subject: subject, Data: session.Data{
		Claims: map[string]any{"sub": subject},
		Tokens: session.Tokens{Access: p.access, Refresh: "r", ObtainedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return "Cookie: " + cookie.Name + "=" + cookie.Value
}

// register registers the services. Those of the shop do nothing.
func register(r grpc.ServiceRegistrar) {
	audioarchivev1.RegisterStatusServiceServer(r, catalog.Status{})
	audioarchivev1.RegisterProductServiceServer(r, products{})
	audioarchivev1.RegisterProductFileServiceServer(r, files{})
	audioarchivev1.RegisterOrderServiceServer(r, orders{})
}

type products struct {
	audioarchivev1.UnimplementedProductServiceServer
}

func (products) GetProduct(context.Context, *audioarchivev1.GetProductRequest) (*audioarchivev1.Product, error) {
	return &audioarchivev1.Product{Title: "Deep House Starter"}, nil
}

type orders struct {
	audioarchivev1.UnimplementedOrderServiceServer
}

func (orders) CreateOrder(_ context.Context, r *audioarchivev1.CreateOrderRequest) (*audioarchivev1.Order, error) {
	return r.GetOrder(), nil
}

type files struct {
	audioarchivev1.UnimplementedProductFileServiceServer
}

func (files) UploadProductFile(s audioarchivev1.ProductFileService_UploadProductFileServer) error {
	for {
		if _, err := s.Recv(); err == io.EOF {
			return s.SendAndClose(&audioarchivev1.Product{})
		} else if err != nil {
			return err
		}
	}
}

func (p *paths) newGateway(b testing.TB, conn grpc.ClientConnInterface) *gateway.Gateway {
	gw, err := gateway.New(gateway.Config{
		Conn: conn,
		Services: []gateway.Service{
			gateway.Expose(audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient, "audioarchive.v1.StatusService"),
			gateway.Expose(audioarchivev1.NewProductServiceClient, audioarchivev1.RegisterProductServiceHandlerClient, "audioarchive.v1.ProductService"),
			gateway.Expose(audioarchivev1.NewProductFileServiceClient, audioarchivev1.RegisterProductFileServiceHandlerClient, "audioarchive.v1.ProductFileService"),
			gateway.Expose(audioarchivev1.NewOrderServiceClient, audioarchivev1.RegisterOrderServiceHandlerClient, "audioarchive.v1.OrderService"),
		},
		Access:   gateway.AccessConfig{BaseURL: baseURL},
		Resource: gateway.ResourceConfig{Audience: rows.Audience, Issuer: p.issuer},
		Logger:   p.logger.With("part", "gateway"), MeterProvider: p.telemetry.meters, TracerProvider: p.telemetry.tracers,
	})
	if err != nil {
		b.Fatal(err)
	}
	return gw
}

// newBFF returns a bff in front of an API, and of a front end; nil for the embedded pages.
func (p *paths) newBFF(b testing.TB, api, frontend http.Handler) *bff.BFF {
	web, err := bff.New(bff.Config{
		BaseURL: baseURL, Provider: p.provider, Client: bff.ClientConfig{ID: "bench"},
		Sessions: bff.SessionConfig{Store: p.store, Secrets: []string{p.secret}}, API: api, Frontend: frontend,
		Logger: p.logger.With("part", "bff"), MeterProvider: p.telemetry.meters, TracerProvider: p.telemetry.tracers,
	})
	if err != nil {
		b.Fatal(err)
	}
	return web
}

// cpu returns the processor time of this process, garbage collection included. Other programs do
// not affect it.
func cpu(b *testing.B) int64 {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

// discarded is a response whose body is dropped. Like one of net/http's server, it has a write
// deadline: an error would be an allocation.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header    { return d.header }
func (d *discarded) WriteHeader(status int) { d.status = status }
func (d *discarded) Write(p []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	return len(p), nil
}

func (d *discarded) SetWriteDeadline(time.Time) error { return nil }
