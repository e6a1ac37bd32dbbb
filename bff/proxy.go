package bff

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
)

// headerTimeout is how long a server may take from a request to the header of
// its answer.
const headerTimeout = time.Minute

// NewProxy returns a handler that forwards requests, and WebSockets, to a server
// in another process: for Config.API a gateway, for Config.Frontend a front-end
// server. Nothing in a request changes the host. Streams are not buffered. The
// handler answers 502 if the target sends no header within a minute, and cuts
// the connection to the browser if the answer is interrupted. A nil logger
// discards the log.
func NewProxy(target *url.URL, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return forward.NewProxy(forward.ProxyConfig{
		Target:        target,
		HeaderTimeout: headerTimeout,
		Unavailable: func(w http.ResponseWriter, _ *http.Request) {
			respond.Error(w, http.StatusBadGateway, "the server behind this one does not answer")
		},
		Logger: logger,
	})
}
