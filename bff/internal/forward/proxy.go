package forward

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// flushAfter is how long a part of an answer of known length may wait for the
// next one. Answers of unknown length wait for nothing.
const flushAfter = 10 * time.Millisecond

// maxHeaderBytes bounds the header of an answer.
const maxHeaderBytes = 1 << 20

// ProxyConfig describes a proxy. All fields are required.
type ProxyConfig struct {
	// Target is the server: scheme, host, and perhaps a path before those of
	// requests. Nothing in a request changes it.
	Target *url.URL
	// HeaderTimeout is how long the server may take from a request to the
	// header of its answer.
	HeaderTimeout time.Duration
	// Unavailable answers in the place of a server that does not, unless the
	// answer is an [Answer] that knows better.
	Unavailable http.HandlerFunc
	// Logger gets the cause.
	Logger *slog.Logger
}

// NewProxy returns a handler that passes requests on to a server in another
// process. Answers are passed on as they come, so that streams flow, and
// WebSockets are carried. An answer that breaks off is cut for the browser too.
func NewProxy(cfg ProxyConfig) *httputil.ReverseProxy {
	target := cfg.Target
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSHandshakeTimeout:    5 * time.Second,
			Proxy:                  nil, // never through a proxy that the environment names
			MaxIdleConnsPerHost:    256,
			IdleConnTimeout:        90 * time.Second,
			ResponseHeaderTimeout:  cfg.HeaderTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableCompression:     true, // what the browser accepts is its own affair
		},
		BufferPool:    &buffers, // or each answer has one made for it
		FlushInterval: flushAfter,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = target.Scheme, target.Host
			pr.Out.Host = target.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came: the server that answers judges it
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
				// It bypasses the filter, and a browser takes its cookies as it
				// does those of any answer (RFC 6455 §1.3).
				name, _ := resp.Request.Context().Value(cookieKey{}).(string)
				WithoutOurCookies(resp.Header, name)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil { // the browser went away
				panic(http.ErrAbortHandler)
			}
			cfg.Logger.ErrorContext(r.Context(), "no answer from "+target.Host, "err", err)
			answer := cfg.Unavailable
			if a, ok := w.(interface{ unavailable() http.HandlerFunc }); ok && a.unavailable() != nil {
				answer = a.unavailable()
			}
			answer(w, r)
		},
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}
}
