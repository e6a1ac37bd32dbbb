package bff

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

const (
	maxHeaderBytes    = 1 << 20 // all cookies that a browser keeps for a domain: what to do about them is ours to say
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Server returns an HTTP server for the bff, without an address, with the
// limits that net/http leaves open: on a header's size and time, and on idle
// connections. When it shuts down, it ends the event streams of sessions,
// which would go on for hours. A request that is answered by the API or the front end takes as
// long as these let it.
func (b *BFF) Server() *http.Server {
	server := &http.Server{
		Handler:           arrival.Handler(b),
		ConnContext:       arrival.ConnContext,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(b.logger.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(b.endStreams)
	return server
}
