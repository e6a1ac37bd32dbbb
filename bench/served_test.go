//go:build linux

package main

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// BenchmarkServed sends the same request over a connection to the servers as in production, so that
// net/http and grpc-go are included. All servers run in this process, so that their allocations add
// up. The client allocates nothing.
//
//	go test -C bench -run '^$' -bench Served -benchmem
func BenchmarkServed(b *testing.B) {
	for _, way := range served(b, newPaths(b, newTelemetry(b))) {
		b.Run(way.name, func(b *testing.B) {
			ask := way.open(b)
			for range 100 { // so that connections exist and pools have buffers
				ask(b)
			}
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				ask(b)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A way is a server with the credential of a request.
type way struct{ name, credential, address string }

// served starts the servers of each topology.
func served(tb testing.TB, p *paths) []way {
	proxied := func(target string) *bff.BFF {
		upstream, err := bff.NewUpstream(bff.UpstreamConfig{Targets: []string{"http://" + target}, Logger: p.logger, MeterProvider: p.telemetry.meters})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = upstream.Close() })
		return p.newBFF(tb, upstream, nil)
	}
	grpcListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = p.server.Serve(grpcListener) })
	work.Go(func() { _ = p.server.Run(ctx) }) // for its health
	tb.Cleanup(func() {
		cancel()
		_ = p.server.Shutdown(context.Background())
		work.Wait()
	})
	remote, err := gateway.Dial(gateway.DialConfig{Targets: []string{grpcListener.Addr().String()}, MeterProvider: p.telemetry.meters})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = remote.Close() })

	web := func(server *http.Server) (address string) { return p.listen(tb, server) }
	bare := web(&http.Server{Handler: http.HandlerFunc(rows.Bare), ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelWarn)})
	remoteGateway := p.newGateway(tb, remote)
	return []way{
		{"bare", p.bearer, bare},
		{"gateway", p.bearer, web(p.gateway.Server())},
		{"all", p.signedIn, web(p.bff.Server())},
		{"bff", p.signedIn, web(proxied(bare).Server())},
		{"gateway+remote", p.bearer, web(remoteGateway.Server())},
		{"bff+gateway+remote", p.signedIn, web(p.newBFF(tb, remoteGateway, nil).Server())},
		{"three", p.signedIn, web(proxied(web(remoteGateway.Server())).Server())},
	}
}

// listen serves on a free port, and returns its address.
func (p *paths) listen(tb testing.TB, server *http.Server) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	go func() { _ = server.Serve(arrival.Port(l)) }() // ends with the test
	tb.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// open connects, and returns what sends the request and reads the response.
func (w way) open(tb testing.TB) (ask func(testing.TB)) {
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	r, body := bufio.NewReader(conn), make([]byte, 4096)
	content := load.Request(load.Path, "localhost:3000", append(load.BrowserHeaders, w.credential)...)
	return func(tb testing.TB) {
		if _, err := conn.Write(content); err != nil {
			tb.Fatal(err)
		}
		if _, err := load.Receive(r, body); err != nil {
			tb.Fatal(err)
		}
	}
}
