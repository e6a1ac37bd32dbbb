package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// A token has 16 KiB at most; with the rest of a header it fits.
	maxHeaderBytes = 32 << 10
	// The smallest size that HTTP/2 allows (RFC 9113 §6.5.2): net/http would
	// take frames of 1 MiB into its memory.
	maxFrameBytes = 16 << 10
	// What is buffered of a body before its handler reads it: net/http would
	// take 1 MiB of each stream and connection.
	maxConnBuffer     = 128 << 10
	maxStreamBuffer   = 64 << 10
	maxStreams        = 100 // of a connection over HTTP/2
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// writeMargin is what a client has to take an answer that came at the last
	// moment.
	writeMargin = 30 * time.Second
)

// Server returns an HTTP server for the gateway, without an address, with the
// limits that net/http leaves open: on a header's size and time, on a client
// that does not read its answer, and on an idle connection. It speaks HTTP/1.1
// and HTTP/2, the latter without TLS too, to clients that know beforehand (h2c).
// Streams have no limit in time; its Shutdown ends them with a goodbye.
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
		WriteTimeout:      g.timeout + writeMargin,
		IdleTimeout:       idleTimeout,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:              maxFrameBytes,
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: maxConnBuffer,
			MaxReceiveBufferPerStream:     maxStreamBuffer,
		},
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(g.Drain)
	return server
}

var unknownHost = refuse(http.StatusMisdirectedRequest, codes.PermissionDenied,
	"this development server answers to names of this machine, such as localhost, and to its allowed hosts (AllowedHosts)")

var internalError = refuse(http.StatusInternalServerError, codes.Internal, "internal error")

// serveHealth answers a health check: 200, or 503 and the reason.
func (g *Gateway) serveHealth(x *exchange, check func() error) {
	if !x.readOnly() {
		return
	}
	x.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if check != nil {
		if err := check(); err != nil {
			cause := err
			if wrapped := errors.Unwrap(err); wrapped != nil {
				cause = wrapped
			}
			g.log.WarnContext(x.request.Context(), "not ready", "cause", cause)
			x.WriteHeader(http.StatusServiceUnavailable)
			_, _ = x.Write([]byte("not ready: " + strings.TrimSpace(err.Error()) + "\n"))
			return
		}
	}
	_, _ = x.Write([]byte("ok\n"))
}

// methods are all that are served somewhere.
const methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// unserved reports whether a method is served nowhere, whatever the path: TRACE
// would echo headers that a proxy has added, and CONNECT asks for a tunnel.
func unserved(method string) bool {
	return method == http.MethodTrace || method == http.MethodConnect
}

// readOnly reports whether a request for something of the gateway's own reads
// it, and answers it otherwise.
func (x *exchange) readOnly() bool {
	const allow = "GET, HEAD, OPTIONS"
	switch x.request.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodOptions:
		x.Header().Set("Allow", allow)
		x.WriteHeader(http.StatusNoContent)
	default:
		refused := refuse(http.StatusMethodNotAllowed, codes.Unimplemented, "this path is served for "+allow+" only")
		refused.allow = allow
		x.refuse(refused)
	}
	return false
}
