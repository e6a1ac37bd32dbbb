package bff

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A direct is an http.RoundTripper for what is nearly all traffic: GET and HEAD
// without a body, to one server, without TLS. It writes and reads in the
// caller's goroutine, where http.Transport has two goroutines a connection and
// hands everything from one to the other, which costs more than the rest of a
// request here (docs/performance.md). All else it leaves to an http.Transport.
type direct struct {
	others *http.Transport
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	within time.Duration // from the request to the header of the answer

	mu   sync.Mutex
	idle []*directConn // the one used last comes last
	reap *time.Timer   // closes those that nobody needs any more; nil where none are idle
}

const (
	maxIdle          = 256
	idleFor          = 90 * time.Second
	maxAnswerHeader  = 1 << 20 // bytes
	maxInterimAnswer = 5       // 1xx before the answer
)

// A directConn is used by one request at a time.
type directConn struct {
	net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	room int64 // bytes that may still be read of a header; negative for no limit
	last time.Time
}

var errLongHeader = errors.New("the header of the answer is too long")

func (c *directConn) Read(p []byte) (int, error) {
	if c.room == 0 {
		return 0, errLongHeader
	}
	if c.room > 0 && int64(len(p)) > c.room {
		p = p[:c.room]
	}
	n, err := c.Conn.Read(p)
	if c.room > 0 {
		c.room -= int64(n)
	}
	return n, err
}

// RoundTrip implements http.RoundTripper.
func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if !canPeek || r.URL.Scheme != "http" || r.Close || !replayable(r) || httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return d.others.RoundTrip(r)
	}
	for {
		c, reused, err := d.take(r)
		if err != nil {
			return nil, err
		}
		// Whoever goes away wakes up who waits for the server.
		stop := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
		resp, begun, err := c.ask(r, d.within)
		if err == nil {
			body := &directBody{ReadCloser: resp.Body, direct: d, conn: c, stop: stop, request: r, keep: !resp.Close}
			if resp.Body == http.NoBody {
				_ = body.finish(io.EOF)
			} else {
				resp.Body = body
			}
			return resp, nil
		}
		stop()
		_ = c.Close()
		if gone := r.Context().Err(); gone != nil {
			return nil, gone
		}
		if !reused || begun || errors.Is(err, os.ErrDeadlineExceeded) { // slow is not closed
			return nil, err
		}
		// The server has closed the connection as the request came: such a
		// request can be made again (RFC 9110 section 9.2.2), and a new
		// connection tells whether the server is there.
	}
}

// take returns a connection on which nothing is under way.
func (d *direct) take(r *http.Request) (c *directConn, reused bool, err error) {
	for {
		d.mu.Lock()
		n := len(d.idle)
		if n == 0 {
			d.mu.Unlock()
			break
		}
		c, d.idle = d.idle[n-1], d.idle[:n-1]
		d.mu.Unlock()
		// A server that has hung up meanwhile, or says what nobody has asked
		// for, which would pass for the answer to this request.
		if time.Since(c.last) < idleFor && silent(c.Conn) {
			return c, true, nil
		}
		_ = c.Close()
	}
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	conn, err := d.dial(r.Context(), "tcp", address)
	if err != nil {
		return nil, false, err
	}
	c = &directConn{Conn: conn, w: bufio.NewWriter(conn)}
	c.r = bufio.NewReader(c)
	return c, false, nil
}

// give takes a connection back.
func (d *direct) give(c *directConn) {
	c.last = time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle) >= maxIdle {
		_ = c.Close()
		return
	}
	d.idle = append(d.idle, c)
	if d.reap == nil {
		d.reap = time.AfterFunc(idleFor, d.closeIdle)
	}
}

// closeIdle closes the connections that were not used for long.
func (d *direct) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.idle[:0]
	for _, c := range d.idle {
		if time.Since(c.last) < idleFor {
			kept = append(kept, c)
		} else {
			_ = c.Close()
		}
	}
	clear(d.idle[len(kept):])
	d.idle, d.reap = kept, nil
	if len(kept) > 0 {
		d.reap = time.AfterFunc(idleFor, d.closeIdle)
	}
}

// ask sends a request and reads the answer's header; begun says whether
// anything of an answer has come.
func (c *directConn) ask(r *http.Request, within time.Duration) (resp *http.Response, begun bool, err error) {
	if err := r.Write(c.w); err != nil {
		return nil, false, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, false, err
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, false, err
	}
	c.room = maxAnswerHeader
	if r.Context().Err() != nil { // it may have set its deadline before this one
		return nil, false, r.Context().Err()
	}
	if _, err := c.r.Peek(1); err != nil {
		return nil, false, err
	}
	for range maxInterimAnswer {
		resp, err = http.ReadResponse(c.r, r)
		if err != nil {
			return nil, true, err
		}
		if resp.StatusCode >= 200 {
			c.room = -1
			if err := c.SetReadDeadline(time.Time{}); err != nil { // an answer may last
				return nil, true, err
			}
			return resp, true, r.Context().Err() // whose deadline that may have been
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			break // nobody has asked for it
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
				return nil, true, err
			}
		}
	}
	return nil, true, errors.New("the server answers with 1xx only")
}

// A directBody gives its connection back when it has been read to its end.
type directBody struct {
	io.ReadCloser
	direct  *direct
	conn    *directConn
	stop    func() bool
	request *http.Request
	keep    bool // the server takes more requests
	done    bool
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		err = b.finish(err)
	}
	return n, err
}

func (b *directBody) Close() error {
	_ = b.finish(io.ErrUnexpectedEOF)
	return nil
}

// finish ends with the connection: it is kept after a body that was read to its
// end, with nothing behind it, by a request that is still wanted.
func (b *directBody) finish(err error) error {
	if b.done {
		return err
	}
	b.done = true
	if b.stop() && err == io.EOF && b.keep && b.conn.r.Buffered() == 0 {
		b.direct.give(b.conn)
		return err
	}
	_ = b.conn.Close()
	if gone := b.request.Context().Err(); gone != nil && err != io.EOF {
		return gone
	}
	return err
}
