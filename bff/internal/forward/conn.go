package forward

import (
	"context"
	"errors"
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

// A serverConn is a connection to a server that may answer before it has read
// the request, and hang up, as many do with what they refuse. http.Transport
// then fails in writing the request, and gives up the connection with the
// answer that has arrived. So what the server does not take any more is dropped
// here: reading tells what became of the request.
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

// CloseWrite tells a server that took over the connection, for a WebSocket,
// that the browser has nothing more to say.
func (c *serverConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
