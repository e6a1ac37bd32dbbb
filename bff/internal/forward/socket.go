package forward

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/upstream"
)

// goodbye is a close frame with status 1001, going away (RFC 6455 §7.4.1). The
// server of a WebSocket sends it unmasked.
var goodbye = []byte{0x88, 2, 0x03, 0xe9}

// goodbyeTime is how long a browser may take to answer goodbye, or to receive the
// rest of a frame before it.
const goodbyeTime = time.Second

// A socket is the browser's end of a WebSocket. It ends with its session, and when
// the process stops with a close frame, which the browser answers through the
// proxy. It may live long after the handler that took it has returned.
type socket struct {
	net.Conn
	watch    *sessionWatch // nil without a session
	stopping <-chan struct{}
	stop     context.CancelFunc // of the wait for stopping
	ended    func()             // called when it is closed

	mu     sync.Mutex
	frames frames
	left   bool // the close frame has been sent; nothing may follow
}

// newSocket returns a socket. end is called once, when it is closed.
func newSocket(conn net.Conn, stopping <-chan struct{}, end func()) *socket {
	ctx, stop := context.WithCancel(context.Background())
	c := &socket{Conn: conn, stopping: stopping, stop: stop, ended: end}
	go func() {
		select {
		case <-ctx.Done():
		case <-stopping:
			c.leave()
			_ = c.Conn.SetReadDeadline(time.Now().Add(goodbyeTime)) // an error means that it is closed
		}
	}()
	return c
}

// leave sends the close frame, or has the end of the frame under way followed by
// it.
func (c *socket) leave() {
	_ = c.SetWriteDeadline(time.Now().Add(goodbyeTime)) // an error means that it is closed
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveBetweenFrames()
}

// leaveBetweenFrames sends the close frame unless a frame is incomplete. The caller
// holds mu.
func (c *socket) leaveBetweenFrames() {
	if !c.left && c.frames.complete() {
		c.left = true
		_, _ = c.Conn.Write(goodbye) // an error means that the browser has gone
	}
}

func (c *socket) isStopping() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}

// Write implements net.Conn. After the close frame it drops what it is given: the
// answer to that of the browser.
func (c *socket) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := len(p)
	if c.left {
		return size, nil
	}
	stopping := c.isStopping()
	for rest := p; len(rest) > 0; {
		n := c.frames.next(rest)
		rest = rest[n:]
		if stopping && c.frames.complete() { // nothing but the rest of this frame
			p = p[:len(p)-len(rest)]
			break
		}
	}
	if n, err := c.Conn.Write(p); err != nil {
		return n, err
	}
	if stopping {
		c.leaveBetweenFrames()
	}
	return size, nil
}

// Close implements net.Conn.
func (c *socket) Close() error {
	c.stop()
	defer c.ended()
	if c.watch != nil {
		c.watch.release()
	}
	if c.isStopping() {
		c.leave()
	}
	return c.Conn.Close()
}

// CloseWrite tells one side that the other sends nothing more.
func (c *socket) CloseWrite() error {
	if c.isStopping() {
		c.leave()
	}
	return upstream.CloseWrite(c.Conn, c)
}

// frames finds the ends of WebSocket frames in a stream (RFC 6455 §5.2).
type frames struct {
	header [14]byte
	have   int    // bytes of header
	left   uint64 // bytes of the payload to come
}

// complete reports whether no frame has been passed in part.
func (f *frames) complete() bool { return f.have == 0 && f.left == 0 }

// next passes the bytes of p up to the end of a frame, and returns their number.
func (f *frames) next(p []byte) (n int) {
	for n < len(p) && f.left == 0 {
		f.header[f.have] = p[n]
		f.have++
		n++
		size, payload := f.size()
		if f.have < size {
			continue
		}
		f.have, f.left = 0, payload
		if payload == 0 {
			return n
		}
	}
	payload := min(uint64(len(p)-n), f.left)
	f.left -= payload
	return n + int(payload)
}

// size returns the size of the header, as far as that is known, and that of the
// payload if the header is whole.
func (f *frames) size() (header int, payload uint64) {
	if f.have < 2 {
		return 2, 0
	}
	header = 2
	length := f.header[1] & 0x7f
	switch length {
	case 126:
		header += 2
		payload = uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 127:
		header += 8
		payload = binary.BigEndian.Uint64(f.header[2:])
	default:
		payload = uint64(length)
	}
	if f.header[1]&0x80 != 0 { // masked
		header += 4
	}
	return header, payload
}
