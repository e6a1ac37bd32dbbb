package bff

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
)

// NewProxy returns a handler that forwards requests, and WebSockets, to a server
// in another process: for Config.API a gateway, for Config.Frontend a front-end
// server. Nothing in a request changes the host. Streams are not buffered. The
// handler answers 502 if the target sends no header within a minute, and cuts
// the connection to the browser if the answer is interrupted. A nil logger
// discards the log.
func NewProxy(target *url.URL, logger *slog.Logger) http.Handler {
	return NewTLSProxy(target, nil, logger)
}

// NewTLSProxy is [NewProxy] for an https target with private authorities, or one
// that wants a client certificate. A nil config means the system's authorities and
// no certificate.
func NewTLSProxy(target *url.URL, config *tls.Config, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return forward.NewProxy(target, config, logger)
}
