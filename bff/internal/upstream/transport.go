package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// maxHeaderBytes bounds the header of an answer, in bytes.
const maxHeaderBytes = 1 << 20

// HeaderTimeout is how long a server may take from a request to the header of its
// answer, unless a configuration says otherwise.
const HeaderTimeout = time.Minute

// NewTransport returns connections to a server in another process. timeout is that to the
// header of an answer.
func NewTransport(secure *tls.Config, timeout time.Duration) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    5 * time.Second,
		Proxy:                  nil, // no proxy of the environment
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // the browser says what it accepts
	}
}

// Aim directs a request to a target, whose path is put before its own.
func Aim(out *http.Request, target *url.URL) {
	u := *out.URL
	if strings.TrimSuffix(target.Path, "/") != "" {
		u = *target.JoinPath(out.URL.EscapedPath())
		u.RawQuery = out.URL.RawQuery // unchanged: the server interprets it
	}
	u.Scheme, u.Host = target.Scheme, target.Host
	out.URL, out.Host = &u, target.Host
}

var dialer = net.Dialer{Timeout: 5 * time.Second}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &serverConn{Conn: conn}, nil
}

// SocketDialer returns the DialContext of a transport to a Unix socket.
func SocketDialer(path string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", path) }
}

// A serverConn is a connection to a server that may answer and close before it
// has read the request, as many servers do with requests that they refuse.
// http.Transport would get an error of writing, and discard the answer that has
// arrived. A serverConn drops what the server does not read any more; reading
// returns the answer, or the error.
type serverConn struct {
	net.Conn
	deaf atomic.Bool
}

func (c *serverConn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		c.deaf.Store(true)
		return len(p), nil
	}
	return n, err
}

// CloseWrite tells the server, after an upgrade, that the browser sends nothing
// more.
func (c *serverConn) CloseWrite() error { return CloseWrite(c.Conn, c) }

// CloseWrite ends one direction of a connection, or closes all if that is not
// possible.
func CloseWrite(conn net.Conn, all io.Closer) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return all.Close()
}

// Replayable reports whether a request can be made twice without harm.
func Replayable(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
}
