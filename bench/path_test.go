//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	goruntime "runtime"
	"strings"
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

// TestPathAllocations compares the allocations of a request with committed figures, which do not
// depend on the machine. A change that adds to them needs a reason, one that saves lowers them
// here. The test is not parallel, because it counts the allocations of the process.
func TestPathAllocations(t *testing.T) {
	limits := map[string]struct{ allocs, bytes float64 }{
		"gateway":                   {41.5, 3880},
		"gateway without telemetry": {39, 3690},
		"all":                       {48.5, 5690},
		"all without telemetry":     {46, 5470},
	}
	for _, v := range pathVariants(t) {
		limit, ok := limits[v.name]
		if !ok {
			continue // of another project
		}
		allocs, bytes := v.allocations(t)
		t.Logf("%s: %.2f allocations, %.0f bytes", v.name, allocs, bytes)
		if over := allocs - limit.allocs - raceAllocs; over > 0.5 { // the recorded requests vary
			t.Errorf("%s: %.1f allocations a request, %.1f more than %.0f", v.name, allocs, over, limit.allocs)
		}
		if over := bytes - limit.bytes - raceBytes; over > limit.bytes/50 { // recorded requests vary
			t.Errorf("%s: %.0f bytes a request, %.0f more than %.0f", v.name, bytes, over, limit.bytes)
		}
	}
}

// allocations returns the allocations of a request and their bytes.
func (v pathVariant) allocations(t *testing.T) (allocs, bytes float64) {
	const n = 300
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(1)) // no other goroutine allocates meanwhile
	for range 100 {                                     // so that pools have buffers
		v.ask(t)
	}
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	for range n {
		v.ask(t)
	}
	goruntime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n
}

// A pathVariant is a handler with a request that it answers.
type pathVariant struct {
	name    string
	handler http.Handler
	request *http.Request
	answer  *discarded
}

func (v pathVariant) ask(tb testing.TB) {
	v.answer.status = 0
	clear(v.answer.header)
	v.handler.ServeHTTP(v.answer, v.request.WithContext(tb.Context()))
	if v.answer.status != http.StatusOK {
		tb.Fatal(v.answer.status)
	}
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
		r := httptest.NewRequest(http.MethodGet, "/api/private-route", nil)
		r.Host, r.RequestURI = "localhost:3000", "/api/private-route"
		for _, line := range append([]string{credential}, load.BrowserHeaders...) {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		return pathVariant{name, handler, r, &discarded{header: http.Header{}}}
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
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))))
	tb.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
	return telemetry{sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), tracers}
}

// discardedSpans is an exporter to no collector.
type discardedSpans struct{}

func (discardedSpans) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discardedSpans) Shutdown(context.Context) error                             { return nil }

func newPaths(b testing.TB, of telemetry) *paths {
	issuer := tokentest.NewIssuer(b)
	raw := issuer.Mint(map[string]any{"aud": rows.Audience, "scope": "openid profile email", "permissions": []string{"read:products", "write:products"},
		"padding": strings.Repeat("x", 300)})
	p := &paths{
		logger: slog.New(logs.Handler(slog.NewJSONHandler(io.Discard, nil))),
		secret: rand.Text() + rand.Text(), telemetry: of, issuer: issuer.URL, bearer: "Authorization: Bearer " + raw,
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
		Register: func(r grpc.ServiceRegistrar) { audioarchivev1.RegisterStatusServiceServer(r, catalog.Status{}) },
		Logger:   p.logger.With("part", "server"), MeterProvider: of.meters, TracerProvider: of.tracers,
	}); err != nil {
		b.Fatal(err)
	}
	if p.store, err = memory.New(memory.Config{}); err != nil {
		b.Fatal(err)
	}
	p.gateway = p.newGateway(b, p.server.Conn())
	p.bff = p.newBFF(b, p.gateway)
	base, err := url.Parse(baseURL)
	if err != nil {
		b.Fatal(err)
	}
	sessions, err := session.NewManager(session.ManagerConfig{Store: p.store, Secrets: []string{p.secret}, BaseURL: base})
	if err != nil {
		b.Fatal(err)
	}
	_, cookie, err := sessions.Create(b.Context(), session.NewSession{Issuer: p.issuer, Subject: "u", Data: session.Data{
		Claims: map[string]any{"sub": "u"},
		Tokens: session.Tokens{Access: raw, Refresh: "r", ObtainedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)},
	}})
	if err != nil {
		b.Fatal(err)
	}
	p.signedIn = "Cookie: " + cookie.Name + "=" + cookie.Value
	return p
}

func (p *paths) newGateway(b testing.TB, conn grpc.ClientConnInterface) *gateway.Gateway {
	gw, err := gateway.New(gateway.Config{
		Conn: conn,
		Services: []gateway.Service{gateway.Expose(
			audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient, "audioarchive.v1.StatusService")},
		Access:   gateway.AccessConfig{BaseURL: baseURL},
		Resource: gateway.ResourceConfig{Audience: rows.Audience, Issuer: p.issuer},
		Logger:   p.logger.With("part", "gateway"), MeterProvider: p.telemetry.meters, TracerProvider: p.telemetry.tracers,
	})
	if err != nil {
		b.Fatal(err)
	}
	return gw
}

func (p *paths) newBFF(b testing.TB, api http.Handler) *bff.BFF {
	web, err := bff.New(bff.Config{
		BaseURL: baseURL, Provider: p.provider, Client: bff.ClientConfig{ID: "bench"},
		Sessions: bff.SessionConfig{Store: p.store, Secrets: []string{p.secret}}, API: api, Logger: p.logger.With("part", "bff"), MeterProvider: p.telemetry.meters, TracerProvider: p.telemetry.tracers,
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

// discarded is a response whose body is dropped.
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
