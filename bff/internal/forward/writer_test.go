package forward_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
)

// pipes is a listener of connections in memory, whose deadlines follow the fake
// clock. Each counts the calls of SetWriteDeadline.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns the client's end of a connection, and the server's.
func (p *pipes) dial() (net.Conn, *counted) {
	client, server := net.Pipe()
	c := &counted{Conn: server}
	p.conns <- c
	return client, c
}

type counted struct {
	net.Conn
	deadlines int
}

func (c *counted) SetWriteDeadline(t time.Time) error {
	c.deadlines++
	return c.Conn.SetWriteDeadline(t)
}

func servePipes(t *testing.T, handler http.HandlerFunc) *pipes {
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, r := forward.NewWriter(w, r)
		handler(answer, r)
		answer.Finish()
	})}
	ended := make(chan struct{})
	go func() { _ = server.Serve(p); close(ended) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return p
}

func receive(t *testing.T, r *bufio.Reader) (status int, body string) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	return res.StatusCode, string(content)
}

// The deadline of an answer does not apply to the next request of the
// connection, to which net/http writes 100 (Continue).
func TestContinueOnIdleConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := servePipes(t, func(w http.ResponseWriter, r *http.Request) {
			content, err := io.ReadAll(r.Body)
			fmt.Fprint(w, len(content), err)
		})
		client, _ := p.dial()
		defer client.Close()
		answers := bufio.NewReader(client)
		_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, got := receive(t, answers); got != "0 <nil>" {
			t.Fatalf("got %q", got)
		}
		time.Sleep(forward.Patience + time.Second)
		_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		if status, _ := receive(t, answers); status != http.StatusContinue {
			t.Fatalf("got status %d, want 100", status)
		}
		_, _ = io.WriteString(client, "ab")
		if _, got := receive(t, answers); got != "2 <nil>" {
			t.Errorf("got %q", got)
		}
	})
}

// An answer may pause for any time, with and without flushes, and a client that
// does not read is disconnected.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	for _, flushes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			part := make([]byte, 16<<10) // more than net/http buffers
			failed := make(chan error, 1)
			p := servePipes(t, func(w http.ResponseWriter, r *http.Request) {
				for {
					if _, err := w.Write(part); err != nil {
						failed <- err
						return
					}
					if flushes {
						_ = http.NewResponseController(w).Flush()
					}
					time.Sleep(time.Hour)
				}
			})
			client, _ := p.dial()
			defer client.Close()
			_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.ReadFull(res.Body, make([]byte, 3*len(part))); err != nil {
				t.Fatalf("flushes %v: the answer broke off after %d bytes: %v", flushes, n, err)
			}
			stopped := time.Now()
			<-failed
			if waited := time.Since(stopped); waited > time.Hour+forward.Patience+time.Second {
				t.Errorf("flushes %v: a client that does not read was disconnected after %v", flushes, waited)
			}
		})
	}
}

// A client that sends nothing of its body is disconnected, and one that a handler keeps
// waiting is not.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		client, server time.Duration // pauses
		want           string
	}{
		{"slow client", forward.Patience - time.Second, 0, "4"},
		{"slow server", 0, time.Hour, "4"},
		{"stalled client", forward.Patience + time.Second, 0, "1 timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := servePipes(t, func(w http.ResponseWriter, r *http.Request) {
					got, part := 0, make([]byte, 1)
					for {
						n, err := r.Body.Read(part)
						got += n
						switch {
						case err == io.EOF:
							fmt.Fprint(w, got)
							return
						case errors.Is(err, os.ErrDeadlineExceeded):
							fmt.Fprint(w, got, " timeout")
							return
						case err != nil:
							t.Error(err)
							return
						}
						time.Sleep(c.server)
					}
				})
				client, _ := p.dial()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
					for range 4 {
						_, _ = io.WriteString(client, "x")
						time.Sleep(c.client)
					}
				}()
				defer func() { client.Close(); <-sent }()
				if _, got := receive(t, bufio.NewReader(client)); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

// An answer that is written at once sets one deadline, since each costs as much
// as a system call. net/http removes it.
func TestOneDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := servePipes(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				_, _ = io.WriteString(w, "part")
			}
		})
		client, server := p.dial()
		defer client.Close()
		_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		receive(t, bufio.NewReader(client))
		synctest.Wait()
		if server.deadlines != 2 {
			t.Errorf("SetWriteDeadline was called %d times, want 2", server.deadlines)
		}
	})
}
