package gatehouse

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// unusedGrace is how long a connection may take to begin its first request
// once its server shuts down. Browsers, proxies and load balancers open
// connections beforehand, and many are never used; net/http would wait five
// seconds for each, and gRPC for as long as a handshake may take.
const unusedGrace = 500 * time.Millisecond

// unused are a server's connections on which nothing has come yet.
type unused struct {
	mu     sync.Mutex
	opened map[net.Conn]time.Time
	ending bool
}

// watchHTTP has the connections that are still unused closed soon after srv
// begins to shut down.
func watchHTTP(srv *http.Server) {
	u := &unused{opened: map[net.Conn]time.Time{}}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			u.add(c)
		} else {
			u.remove(c)
		}
	}
	srv.RegisterOnShutdown(u.end)
}

// watchGRPC does the same for a gRPC server, which does not tell of its
// connections. The function that it returns is to be called when the server
// begins to shut down.
func watchGRPC(l net.Listener) (net.Listener, func()) {
	u := &unused{opened: map[net.Conn]time.Time{}}
	return &watchedListener{l, u}, u.end
}

func (u *unused) add(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.opened[c] = time.Now()
	if u.ending {
		u.closeLater(c, unusedGrace)
	}
}

func (u *unused) remove(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.opened, c)
}

func (u *unused) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ending = true
	for c, at := range u.opened {
		u.closeLater(c, unusedGrace-time.Since(at))
	}
}

func (u *unused) closeLater(c net.Conn, after time.Duration) {
	time.AfterFunc(after, func() {
		u.mu.Lock()
		_, still := u.opened[c]
		u.mu.Unlock()
		if still {
			_ = c.Close() // the server finds out when it reads
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
