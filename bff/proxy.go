package bff

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// buffers are for copying the bodies of answers.
var buffers bufferPool

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// headerFor is how long a server may take from a request to the header of its
// answer.
const headerFor = time.Minute

// Proxy returns a handler that passes requests on to a server in another
// process, for Config.API (a gateway) or Config.Frontend (a front-end
// server). The target is fixed here: nothing in a request changes the host.
// Answers are passed on as they come, so that streams flow, and WebSockets
// are carried. A target that does not answer is 502, for the log too.
func Proxy(target *url.URL, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		Proxy:                 nil, // never through a proxy that the environment names
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: headerFor,
		DisableCompression:    true, // what the browser accepts is its own affair
	}
	return &httputil.ReverseProxy{
		Transport:     &direct{others: transport, dial: transport.DialContext, within: headerFor},
		BufferPool:    &buffers, // or each answer has one made for it
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = target.Scheme, target.Host
			pr.Out.Host = target.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came: who answers it judges it
			// ReverseProxy takes these out; they are our own by now.
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values := pr.In.Header[name]; len(values) > 0 {
					pr.Out.Header[name] = values
				}
			}
			if strings.TrimSuffix(target.Path, "/") != "" {
				pr.Out.URL = target.JoinPath(pr.In.URL.EscapedPath())
				pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Del(requestid.Header) // the answer has it already
			if resp.StatusCode == http.StatusSwitchingProtocols {
				// ReverseProxy writes it past everybody, and a browser takes its
				// cookies as it does those of any answer (RFC 6455 section 1.3).
				withoutOurCookies(resp.Header)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil { // the browser went away, and nobody is to blame
				panic(http.ErrAbortHandler)
			}
			logger.ErrorContext(r.Context(), "no answer from "+target.Host, "cause", err)
			if page, ok := w.(*pageAnswer); ok {
				page.b.noFrontend(page, r)
				return
			}
			writeError(w, http.StatusBadGateway, "the server behind this one does not answer")
		},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}
