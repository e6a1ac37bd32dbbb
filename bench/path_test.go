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
	"strings"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	client "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

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
	p := newPaths(b, nil)
	measured := newPaths(b, meters(b))
	channel := &inprocgrpc.Channel{}
	audioarchivev1.RegisterStatusServiceServer(channel, catalog.Status{})
	mux := runtime.NewServeMux()
	if err := audioarchivev1.RegisterStatusServiceHandlerClient(context.Background(), mux, audioarchivev1.NewStatusServiceClient(channel)); err != nil {
		b.Fatal(err)
	}
	for _, path := range []struct {
		name, credential string
		handler          http.Handler
	}{
		{"bare", p.bearer, http.HandlerFunc(bare)},
		{"plain", p.bearer, mux},
		{"gateway", p.bearer, p.gateway},
		{"all", p.signedIn, p.bff},
		{"all with metrics", measured.signedIn, measured.bff},
	} {
		b.Run(path.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/api/private-route", nil)
			r.Host, r.RequestURI = "localhost:3000", "/api/private-route"
			for _, line := range append([]string{path.credential}, browserHeaders...) {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Set(name, value)
			}
			w := &discarded{header: http.Header{}}
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				w.status = 0
				clear(w.header)
				path.handler.ServeHTTP(w, r.WithContext(b.Context()))
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// paths are the parts that a request passes, with one signed-in user.
type paths struct {
	logger           *slog.Logger
	meters           metric.MeterProvider
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

// meters returns a provider whose metrics Prometheus could read.
func meters(b *testing.B) metric.MeterProvider {
	reader, err := prometheus.New(prometheus.WithRegisterer(client.NewRegistry()))
	if err != nil {
		b.Fatal(err)
	}
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
}

func newPaths(b *testing.B, meters metric.MeterProvider) *paths {
	issuer := tokentest.NewIssuer(b)
	raw := issuer.Mint(map[string]any{"aud": audience, "scope": "openid profile email", "permissions": []string{"read:products", "write:products"},
		"padding": strings.Repeat("x", 300)})
	p := &paths{
		logger: slog.New(logs.Handler(slog.NewJSONHandler(io.Discard, nil))),
		secret: rand.Text() + rand.Text(), meters: meters, issuer: issuer.URL, bearer: "Authorization: Bearer " + raw,
	}
	var err error
	if p.provider, err = oidc.NewProvider(oidc.Config{Issuer: p.issuer, Logger: p.logger, MeterProvider: meters}); err != nil {
		b.Fatal(err)
	}
	if err := p.provider.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	if p.server, err = server.New(server.Config{
		Authn:    authn.Config{Audience: audience, Provider: p.provider},
		Register: func(r grpc.ServiceRegistrar) { audioarchivev1.RegisterStatusServiceServer(r, catalog.Status{}) },
		Logger:   p.logger.With("part", "server"), MeterProvider: meters,
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

func (p *paths) newGateway(b *testing.B, conn grpc.ClientConnInterface) *gateway.Gateway {
	gw, err := gateway.New(gateway.Config{
		Conn: conn,
		Services: []gateway.Service{gateway.Expose(
			audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient, "audioarchive.v1.StatusService")},
		Access:   gateway.AccessConfig{BaseURL: baseURL},
		Resource: gateway.ResourceConfig{Audience: audience, Issuer: p.issuer},
		Logger:   p.logger.With("part", "gateway"), MeterProvider: p.meters,
	})
	if err != nil {
		b.Fatal(err)
	}
	return gw
}

func (p *paths) newBFF(b *testing.B, api http.Handler) *bff.BFF {
	web, err := bff.New(bff.Config{
		BaseURL: baseURL, Provider: p.provider, Client: bff.ClientConfig{ID: "bench"},
		Sessions: bff.SessionConfig{Store: p.store, Secrets: []string{p.secret}}, API: api, Logger: p.logger.With("part", "bff"), MeterProvider: p.meters,
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
