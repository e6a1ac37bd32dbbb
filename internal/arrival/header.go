package arrival

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// freeHeader is the part of a header that is not counted, in bytes: more than browsers send unless
// they were given large cookies on purpose.
const freeHeader = 32 << 10

const (
	// MaxConnections is the default bound on the connections of a port. Further ones wait to be
	// accepted.
	MaxConnections = 20_000
	// headerBytes bounds the large headers that are arriving at a port, in bytes in total.
	headerBytes = 16 << 20
)

// Port bounds the number of connections of a port and the memory of arriving HTTP/1 headers, as
// [Limiter.Listen] does.
func Port(l net.Listener) net.Listener { return PortOf(l, MaxConnections, func() {}) }

// PortOf is Port for at most so many connections. It calls full whenever that many are open, so
// that further ones wait; full must not block.
func PortOf(l net.Listener, connections int, full func()) net.Listener {
	return New(headerBytes, time.Now).listen(l, connections, full)
}

var errNoRoom = errors.New("arrival: no room for the header of a request")

// Listen returns a listener that accepts at most 20,000 connections at once, which count arriving
// HTTP/1 headers beyond 32 KiB each. The server needs [ConnContext], and its handler [Handler];
// without them no header is counted.
//
// netutil.LimitListener hides CloseWrite, by which net/http and its proxy end one direction.
func (l *Limiter) Listen(inner net.Listener) net.Listener {
	return l.listen(inner, MaxConnections, func() {})
}

func (l *Limiter) listen(inner net.Listener, connections int, full func()) net.Listener {
	closed, end := context.WithCancel(context.Background())
	return &listener{inner, l, semaphore.NewWeighted(int64(connections)), full, closed, end}
}

type listener struct {
	net.Listener
	limiter *Limiter
	slots   *semaphore.Weighted
	full    func()          // called when there is no slot
	closed  context.Context // by Close, which ends the wait for a slot
	end     context.CancelFunc
}

func (l *listener) Accept() (net.Conn, error) {
	if !l.slots.TryAcquire(1) {
		l.full()
		if l.slots.Acquire(l.closed, 1) != nil {
			return nil, net.ErrClosed
		}
	}
	release := sync.OnceFunc(func() { l.slots.Release(1) })
	c, err := l.Listener.Accept()
	if err != nil {
		release()
		return nil, err
	}
	return &conn{Conn: c, limiter: l.limiter, release: release}, nil
}

// Close also ends an Accept that waits for a connection to end.
func (l *listener) Close() error {
	defer l.end()
	return l.Listener.Close()
}

// A conn counts the bytes that it reads, except those of bodies, while a request is handled.
type conn struct {
	net.Conn
	limiter  *Limiter
	release  func() // admits another connection to the port
	counting atomic.Bool
	header   atomic.Int64 // bytes of the header that is arriving

	mu      sync.Mutex
	request *Request // nil until the header is larger than freeHeader
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n <= 0 || !c.counting.Load() || c.header.Add(int64(n)) <= freeHeader || c.grow(int64(n)) {
		return n, err
	}
	return 0, errors.Join(errNoRoom, c.Conn.Close())
}

func (c *conn) grow(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request != nil {
		return c.request.Grow(n)
	}
	c.request = c.limiter.Begin(n, func() { _ = c.Conn.Close() })
	return c.request != nil
}

// Close also releases the memory of a header that has not arrived completely.
func (c *conn) Close() error {
	defer c.release()
	defer c.stop()
	return c.Conn.Close()
}

// CloseWrite is for net/http, which half-closes a connection whose client is still sending, and for
// its proxy, which does so when the server has ended a WebSocket.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// ReadFrom lets net/http send files with sendfile.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(c.Conn, r)
}

func (c *conn) start() {
	c.header.Store(0)
	c.counting.Store(true)
}

func (c *conn) stop() {
	c.counting.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request != nil {
		c.request.Arrived()
		c.request = nil
	}
}

type connKey struct{}

// ConnContext is for [http.Server]: it gives [Handler] access to the connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn() // its bytes count as they arrive, encrypted
	}
	counted, ok := c.(*conn)
	if !ok {
		return ctx
	}
	counted.start()
	return context.WithValue(ctx, connKey{}, counted)
}

// Handler ends the counting when a header has arrived. Of a connection over HTTP/2 only the first
// header is counted; net/http bounds the others.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			c.stop()
			if r.ProtoMajor == 1 {
				defer c.start()
			}
		}
		next.ServeHTTP(w, r)
	})
}
