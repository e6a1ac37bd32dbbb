package forward

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// flushAfter is how long a part of an answer of known length may be buffered.
// Answers of unknown length are not buffered.
const flushAfter = 10 * time.Millisecond

// NewProxy returns a handler that forwards requests, and WebSockets, to a server
// in another process: target has its scheme, its host, and a path that is put
// before those of requests. Streams are not buffered. If the answer is
// interrupted, the browser's connection is cut too. secure is for https; nil means
// the system's authorities. timeout is that to the header of an answer.
func NewProxy(target *url.URL, secure *tls.Config, timeout time.Duration, logger *slog.Logger) *httputil.ReverseProxy {
	transport := upstream.NewTransport(secure, timeout)
	if target.Scheme == "unix" {
		transport.DialContext = upstream.SocketDialer(target.Path)
		target = &url.URL{Scheme: "http", Host: "localhost"} // for the Host header
	}
	return newProxy(transport, func(out *http.Request) { upstream.Aim(out, target) }, logger, outage.New(outage.Config{
		Name: "upstream", Logger: logger.With("address", target.Host), Settle: 2 * time.Second,
	}))
}

// NewBalancedProxy is NewProxy for the servers of a [upstream.Balancer], which tells of outages.
func NewBalancedProxy(b *upstream.Balancer, logger *slog.Logger) *httputil.ReverseProxy {
	return newProxy(b, func(*http.Request) {}, logger, nil)
}

func newProxy(transport http.RoundTripper, aim func(*http.Request), logger *slog.Logger, monitor *outage.Monitor) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     transport,
		BufferPool:    &buffers, // otherwise one is allocated for each answer
		FlushInterval: flushAfter,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // unchanged: the server interprets it
			// ReverseProxy removes these; here they are the bff's own.
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values := pr.In.Header[name]; len(values) > 0 {
					pr.Out.Header[name] = values
				}
			}
			aim(pr.Out)
			if pr.Out.Body != nil {
				pr.Out.Body = &upload{ReadCloser: pr.Out.Body}
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			monitor.OK(resp.Request.Context())
			resp.Header.Del(requestid.Header) // the answer has it already
			if resp.StatusCode == http.StatusSwitchingProtocols {
				// It bypasses the filter of the Answer, and its cookies count as
				// those of any answer do (RFC 6455 §1.3).
				if name, _ := resp.Request.Context().Value(cookieKey{}).(string); name == anyCookie {
					resp.Header.Del("Set-Cookie")
				} else {
					WithoutOurCookies(resp.Header, name)
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil { // the browser closed the connection
				panic(http.ErrAbortHandler)
			}
			accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String("err", err.Error()))
			if u, ok := r.Body.(*upload); ok && u.broke(err) {
				if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
					tooLarge(w)
					return
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					respond.Error(w, http.StatusRequestTimeout, "the request body did not arrive in time")
					return
				}
				respond.Error(w, http.StatusBadRequest, "the request body could not be read to its end")
				return
			}
			monitor.Fail(r.Context(), err)
			if a, ok := w.(interface{ unavailable() http.HandlerFunc }); ok && a.unavailable() != nil {
				a.unavailable()(w, r)
				return
			}
			if errors.Is(err, upstream.ErrNone) {
				respond.RetryIn(w, time.Second)
				respond.Error(w, http.StatusServiceUnavailable, "the server behind this one does not answer at the moment")
				return
			}
			if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
				respond.Error(w, http.StatusGatewayTimeout, "the server behind this one does not answer in time")
				return
			}
			respond.Error(w, http.StatusBadGateway, "the server behind this one does not answer")
		},
		ErrorLog: logs.ErrorLog(logger),
	}
}

// An upload is the body of a request. It remembers how reading it failed: that is the
// client's fault, and would otherwise look like an outage of the server.
type upload struct {
	io.ReadCloser
	failed atomic.Pointer[error]
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, http.ErrBodyReadAfterClose) {
		u.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// broke reports whether err is that of reading the body.
func (u *upload) broke(err error) bool {
	failed := u.failed.Load()
	return failed != nil && errors.Is(err, *failed)
}
