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

// NewProxy returns a handler that passes requests on to a server in another
// process, for Config.API (a gateway) or Config.Frontend (a front-end
// server). The target is fixed here: nothing in a request changes the host.
// Answers are passed on as they come, so that streams flow, and WebSockets
// are carried. A target that does not answer within a minute is 502, for the
// log too; an answer that breaks off is cut for the browser as well.
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
