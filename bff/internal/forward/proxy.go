package forward

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// flushAfter is how long a part of an answer of known length may be buffered.
// Answers of unknown length are not buffered.
const flushAfter = 10 * time.Millisecond

// maxHeaderBytes bounds the header of an answer, in bytes.
const maxHeaderBytes = 1 << 20

// headerTimeout is how long a server may take from a request to the header of
// its answer.
const headerTimeout = time.Minute

// NewProxy returns a handler that forwards requests, and WebSockets, to a server
// in another process: target has its scheme, its host, and a path that is put
// before those of requests. Streams are not buffered. If the answer is
// interrupted, the browser's connection is cut too. secure is for https; nil means
// the system's authorities.
func NewProxy(target *url.URL, secure *tls.Config, logger *slog.Logger) *httputil.ReverseProxy {
	upstream := outage.New(outage.Config{
		Name: "upstream", Logger: logger.With("address", target.Host), Settle: 2 * time.Second,
	})
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        secure,
			TLSHandshakeTimeout:    5 * time.Second,
			Proxy:                  nil, // no proxy of the environment
			MaxIdleConnsPerHost:    256,
			IdleConnTimeout:        90 * time.Second,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableCompression:     true, // the browser says what it accepts
		},
		BufferPool:    &buffers, // otherwise one is allocated for each answer
		FlushInterval: flushAfter,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = target.Scheme, target.Host
			pr.Out.Host = target.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // unchanged: the server interprets it
			// ReverseProxy removes these; here they are the bff's own.
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
			upstream.OK(resp.Request.Context())
			resp.Header.Del(requestid.Header) // the answer has it already
			if resp.StatusCode == http.StatusSwitchingProtocols {
				// It bypasses the filter of the Answer, and its cookies count as
				// those of any answer do (RFC 6455 §1.3).
				name, _ := resp.Request.Context().Value(cookieKey{}).(string)
				WithoutOurCookies(resp.Header, name)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil { // the browser closed the connection
				panic(http.ErrAbortHandler)
			}
			accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String("err", err.Error()))
			upstream.Fail(r.Context(), err)
			if a, ok := w.(interface{ unavailable() http.HandlerFunc }); ok && a.unavailable() != nil {
				a.unavailable()(w, r)
				return
			}
			respond.Error(w, http.StatusBadGateway, "the server behind this one does not answer")
		},
		ErrorLog: logs.ErrorLog(logger),
	}
}
