package bff

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

const (
	maxHeaderBytes    = 1 << 20 // more than all cookies of a domain, which LimitCookies bounds
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Server returns an HTTP server for the bff without an address. It limits the
// size of a request header to 1 MiB, its time to 10 seconds, and idle
// connections to 2 minutes. The time of a request is not limited. A shutdown of
// the server ends the event streams of sessions.
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
