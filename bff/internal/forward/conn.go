package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

var dialer = net.Dialer{Timeout: 5 * time.Second}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &serverConn{Conn: conn}, nil
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
func (c *serverConn) CloseWrite() error { return closeWrite(c.Conn, c) }

// closeWrite ends one direction of a connection, or closes all if that is not
// possible.
func closeWrite(conn net.Conn, all io.Closer) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return all.Close()
}
