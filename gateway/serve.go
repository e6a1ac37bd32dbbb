package gateway

import (
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

const (
	// maxHeaderBytes leaves room for a token of 16 KiB, the longest accepted one.
	maxHeaderBytes = 32 << 10
	// maxFrameBytes is the smallest limit that HTTP/2 allows (RFC 9113 §6.5.2).
	// net/http would buffer frames of 1 MiB.
	maxFrameBytes = 16 << 10
	// maxConnBuffer and maxStreamBuffer limit what is buffered of bodies that no
	// handler has read. net/http would buffer 1 MiB per stream and connection.
	maxConnBuffer     = 128 << 10
	maxStreamBuffer   = 64 << 10
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Server returns an HTTP server for the gateway, without an address, that speaks
// HTTP/1.1 and HTTP/2, with and without TLS (h2c with prior knowledge). It limits
// the size of a header (32 KiB), the time to receive one (10 s), the time in which
// a client must read an answer (Limits.Timeout and 30 s), and idle connections
// (2 min). Streams have no time limit; Shutdown of the server calls Drain. Each
// call returns another server.
func (g *Gateway) Server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           g,
		Protocols:         protocols,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readHeaderTimeout + g.timeout, // net/http reads on after a request was refused by its header
		WriteTimeout:      g.timeout + flow.WriteTimeout,
		IdleTimeout:       idleTimeout,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:              maxFrameBytes,
			MaxConcurrentStreams:          g.connStreams,
			MaxReceiveBufferPerConnection: maxConnBuffer,
			MaxReceiveBufferPerStream:     maxStreamBuffer,
		},
		ErrorLog: logs.ErrorLog(g.log),
	}
	server.RegisterOnShutdown(g.Drain)
	return server
}

// Drain ends all streams of messages, present and future, with a message that
// tells the client when to reconnect. The server that [Gateway.Server] returns
// calls it at its shutdown. A program that serves the gateway with another server
// must call it before it waits for requests to end: streams may never end.
func (g *Gateway) Drain() { g.flows.Stop() }

func unknownHost() *refusal.Refusal {
	return refusal.New(http.StatusMisdirectedRequest, codes.PermissionDenied,
		"this development server answers to names of this machine, such as localhost, and to its allowed hosts (AllowedHosts)")
}

func methodNotServed() *refusal.Refusal {
	refused := refusal.New(http.StatusMethodNotAllowed, codes.Unimplemented, "this method is not served")
	refused.Allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	return refused
}

// unreadyInterval is how often the reason of a failed health check is logged. Load
// balancers may ask several times a second.
const unreadyInterval = time.Minute

// serveHealth answers a health check: 200, or 503. The reason is logged, since it may
// name machines.
func (g *Gateway) serveHealth(x *exchange.Exchange) {
	if !x.ReadOnly() {
		return
	}
	x.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if x.Pattern == "/readyz" && g.ready != nil {
		if err := g.ready(); err != nil {
			if ok, _ := g.unready.Next(); ok {
				g.log.WarnContext(x.Context(), "not ready", "err", err)
			}
			x.WriteHeader(http.StatusServiceUnavailable)
			_, _ = x.Write([]byte("not ready\n"))
			return
		}
	}
	_, _ = x.Write([]byte("ok\n"))
}
