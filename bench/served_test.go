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
	p := newPaths(b, newTelemetry(b))
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	web := func(server *http.Server) (address string) {
		l := listen()
		go func() { _ = server.Serve(arrival.Port(l)) }() // ends with the benchmark
		b.Cleanup(func() { _ = server.Close() })
		return l.Addr().String()
	}
	proxied := func(target string) *bff.BFF {
		upstream, err := bff.NewUpstream(bff.UpstreamConfig{Targets: []string{"http://" + target}, Logger: p.logger, MeterProvider: p.telemetry.meters})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = upstream.Close() })
		return p.newBFF(b, upstream)
	}
	grpcListener := listen()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = p.server.Serve(grpcListener) })
	work.Go(func() { _ = p.server.Run(ctx) }) // for its health
	b.Cleanup(func() {
		cancel()
		_ = p.server.Shutdown(context.Background())
		work.Wait()
	})
	remote, err := gateway.Dial(gateway.DialConfig{Targets: []string{grpcListener.Addr().String()}, MeterProvider: p.telemetry.meters})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = remote.Close() })

	bareServer := &http.Server{Handler: http.HandlerFunc(rows.Bare), ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelWarn)}
	bareAddress := web(bareServer)
	remoteGateway := p.newGateway(b, remote)
	for _, way := range []struct{ name, credential, address string }{
		{"bare", p.bearer, bareAddress},
		{"gateway", p.bearer, web(p.gateway.Server())},
		{"all", p.signedIn, web(p.bff.Server())},
		{"bff", p.signedIn, web(proxied(bareAddress).Server())},
		{"gateway+remote", p.bearer, web(remoteGateway.Server())},
		{"bff+gateway+remote", p.signedIn, web(p.newBFF(b, remoteGateway).Server())},
		{"three", p.signedIn, web(proxied(web(remoteGateway.Server())).Server())},
	} {
		b.Run(way.name, func(b *testing.B) {
			conn, err := net.Dial("tcp", way.address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			r, body := bufio.NewReader(conn), make([]byte, 4096)
			content := load.Request(load.Path, "localhost:3000", append(load.BrowserHeaders, way.credential)...)
			ask := func() {
				if _, err := conn.Write(content); err != nil {
					b.Fatal(err)
				}
				if _, err := load.Receive(r, body); err != nil {
					b.Fatal(err)
				}
			}
			for range 100 { // so that connections exist and pools have buffers
				ask()
			}
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				ask()
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
