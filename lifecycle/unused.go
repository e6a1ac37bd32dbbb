package lifecycle

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// unusedGrace is how long a connection may take to begin its first request once
// its server shuts down. Browsers, proxies and load balancers open connections
// in advance, and many are never used; net/http would wait five seconds for
// each, and gRPC as long as a handshake may take.
const unusedGrace = 500 * time.Millisecond

// unused are the connections of a server on which nothing has arrived yet.
type unused struct {
	mu       sync.Mutex
	opened   map[net.Conn]time.Time
	stopping bool
}

// watchHTTP closes unused connections of srv soon after srv begins to shut down.
// It does not wrap connections: bff and gateway recognize those of
// internal/arrival by their type.
func watchHTTP(srv *http.Server) {
	u := &unused{opened: map[net.Conn]time.Time{}}
	next := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			u.add(c)
		} else {
			u.remove(c)
		}
		if next != nil {
			next(c, state)
		}
	}
	srv.RegisterOnShutdown(u.stop)
}

// watchListener does the same for a server that does not report the states of
// its connections. stop is to be called when the server begins to shut down.
func watchListener(l net.Listener) (watched net.Listener, stop func()) {
	u := &unused{opened: map[net.Conn]time.Time{}}
	return &watchedListener{l, u}, u.stop
}

func (u *unused) add(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.opened[c] = time.Now()
	if u.stopping {
		u.closeAfter(c, unusedGrace)
	}
}

func (u *unused) remove(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.opened, c)
}

func (u *unused) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopping = true
	for c, at := range u.opened {
		u.closeAfter(c, unusedGrace-time.Since(at))
	}
}

func (u *unused) closeAfter(c net.Conn, d time.Duration) {
	time.AfterFunc(d, func() {
		u.mu.Lock()
		_, still := u.opened[c]
		u.mu.Unlock()
		if still {
			_ = c.Close() // the server notices when it reads
		}
	})
}

type watchedListener struct {
	net.Listener
	unused *unused
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w := &watchedConn{Conn: c, unused: l.unused}
	l.unused.add(w)
	return w, nil
}

type watchedConn struct {
	net.Conn
	unused *unused
	used   atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.used.Load() {
		c.used.Store(true)
		c.unused.remove(c)
	}
	return n, err
}

func (c *watchedConn) Close() error {
	c.unused.remove(c)
	return c.Conn.Close()
}
