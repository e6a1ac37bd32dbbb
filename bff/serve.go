package bff

import (
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

const (
	maxHeaderBytes    = 1 << 20 // more than all cookies of a domain, which LimitCookies bounds
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxFrameBytes is the least that HTTP/2 allows (RFC 9113 §6.5.2). Browsers
	// send no larger frames; net/http would buffer 1 MiB.
	maxFrameBytes = 16 << 10
	// maxConnBuffer and maxStreamBuffer limit what is buffered of bodies that no
	// handler has read. net/http would buffer 1 MiB per stream and connection.
	maxConnBuffer   = 512 << 10
	maxStreamBuffer = 256 << 10
)

// Server returns an HTTP server for the bff without an address, for HTTP/1.1 and,
// with TLS, HTTP/2 of at most
// Limits.MaxConnStreams streams a connection. It limits the size of a
// request header to 1 MiB, its time to 10 seconds, and idle connections to 2
// minutes. The time of a request is not limited. A shutdown of the server ends the
// event streams of sessions.
func (b *BFF) Server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	server := &http.Server{
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize: maxFrameBytes, MaxConcurrentStreams: b.limits.MaxConnStreams,
			MaxReceiveBufferPerConnection: maxConnBuffer, MaxReceiveBufferPerStream: maxStreamBuffer,
		},
		Handler:           arrival.Handler(b),
		ConnContext:       arrival.ConnContext,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          logs.ErrorLog(b.logger),
	}
	server.RegisterOnShutdown(b.endStreams)
	return server
}
