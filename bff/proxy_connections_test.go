package bff_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// A scripted server sends exactly the bytes of a test.
type scripted struct {
	listener    net.Listener
	connections atomic.Int64
}

// script starts a scripted server. say answers a request of a connection, both
// counted from 1, and reports whether the connection stays open.
func script(t *testing.T, say func(w io.Writer, connection, request int) (open bool)) *scripted {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{listener: listener}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n := int(s.connections.Add(1))
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for i := 1; ; i++ {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					if !say(conn, n, i) {
						return
					}
				}
			}()
		}
	})
	return s
}

func (s *scripted) proxy() http.Handler {
	return bff.NewProxy(&url.URL{Scheme: "http", Host: s.listener.Addr().String()}, nil)
}

func write(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"

// A connection that serves several requests must never give a browser the answer
// of another.
func TestProxyConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		method string
		say    func(w io.Writer, connection, request int) bool
		want   [2]string
	}{
		{name: "a connection that is kept", say: func(w io.Writer, _, _ int) bool { write(w, plainAnswer); return true },
			want: [2]string{"200 body", "200 body"}},
		{name: "kept after HEAD", method: http.MethodHead, say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
			return true
		}, want: [2]string{"200 ", "200 "}},
		{name: "kept after chunks", say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")
			return true
		}, want: [2]string{"200 body", "200 body"}},
		{name: "kept after 304", say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n")
			return true
		}, want: [2]string{"304 ", "304 "}},
		{name: "not kept where the server says so", say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
			return true
		}, want: [2]string{"200 body", "200 body"}},
		{name: "not kept where the answer ends with the connection", say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 200 OK\r\n\r\nbody")
			return false
		}, want: [2]string{"200 body", "200 body"}},
		{name: "a server that hangs up at once", say: func(io.Writer, int, int) bool { return false },
			want: [2]string{"502", "502"}},
		{name: "a header without end", say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2<<20)+"\r\n\r\n")
			return false
		}, want: [2]string{"502", "502"}},
		{name: "an unrequested protocol", say: func(w io.Writer, _, _ int) bool {
			write(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			return true
		}, want: [2]string{"502", "502"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, c.say)
			proxy := s.proxy()
			for i, want := range c.want {
				method := c.method
				if method == "" {
					method = http.MethodGet
				}
				w := httptest.NewRecorder()
				proxy.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
				got := w.Result().Status[:4] + w.Body.String()
				if got != want && (want != "502" || w.Code != http.StatusBadGateway) {
					t.Fatalf("answer %d is %q, want %q", i+1, got, want)
				}
			}
		})
	}
}

// No request fails because the server has closed an idle connection.
func TestProxyClosedIdleConnection(t *testing.T) {
	t.Parallel()
	idle, gone := make(chan struct{}), make(chan struct{})
	s := script(t, func(w io.Writer, connection, request int) bool {
		if connection == 1 && request > 1 { // sent before the close was noticed, and sent again
			return false
		}
		write(w, plainAnswer)
		if connection == 1 {
			<-idle // the answer was read and the connection is idle
			_ = w.(*net.TCPConn).CloseWrite()
			close(gone)
		}
		return true
	})
	proxy := s.proxy()
	for range 2 {
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusOK || w.Body.String() != "body" {
			t.Fatalf("answered %d %q", w.Code, w.Body)
		}
		if s.connections.Load() == 1 {
			close(idle)
			<-gone
		}
	}
}

// A server that does not answer in time is answered for with 504.
func TestProxySlowServer(t *testing.T) {
	t.Parallel()
	s := script(t, func(w io.Writer, connection, request int) bool {
		if connection > 1 || request > 1 {
			_, _ = io.Copy(io.Discard, w.(*net.TCPConn)) // until the proxy closes it
			return false
		}
		write(w, plainAnswer)
		return true
	})
	proxy := s.proxy()
	for i, want := range []int{http.StatusOK, http.StatusGatewayTimeout} {
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != want {
			t.Errorf("answer %d is %d, want %d", i+1, w.Code, want)
		}
		bff.AnswerWithin(proxy, 50*time.Millisecond)
	}
}

// When a browser disconnects, the connection to the server is closed, before and
// after the answer has begun.
func TestProxyBrowserDisconnects(t *testing.T) {
	t.Parallel()
	for name, begins := range map[string]string{
		"before the answer": "",
		"in the header":     "HTTP/1.1 200 OK\r\n",
		"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 1)
			s := script(t, func(w io.Writer, connection, _ int) bool {
				if connection > 1 {
					write(w, plainAnswer)
					return true
				}
				write(w, begins)
				asked <- struct{}{}
				_, _ = io.Copy(io.Discard, w.(*net.TCPConn)) // until the proxy closes it
				return false
			})
			proxy := s.proxy()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan any)
			go func() {
				defer func() { ended <- recover() }()
				proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			}()
			<-asked
			cancel()
			if p := <-ended; p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
				t.Errorf("ended with %v", p)
			}
			w := httptest.NewRecorder()
			proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if w.Code != http.StatusOK || w.Body.String() != "body" {
				t.Errorf("then answered %d %q", w.Code, w.Body)
			}
		})
	}
}

// Early hints (RFC 8297) reach the browser before the answer.
func TestProxyInterimAnswers(t *testing.T) {
	t.Parallel()
	s := script(t, func(w io.Writer, _, _ int) bool {
		write(w, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"+plainAnswer)
		return true
	})
	front := httptest.NewServer(s.proxy())
	defer front.Close()
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, http.StatusText(code)+" "+h.Get("Link"))
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := front.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "body" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	if len(hints) != 1 || hints[0] != "Early Hints </style.css>" {
		t.Errorf("hints: %q", hints)
	}
}

// An interrupted answer is an error for the browser.
func TestProxyTruncatedAnswer(t *testing.T) {
	t.Parallel()
	s := script(t, func(w io.Writer, _, _ int) bool {
		write(w, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		return false
	})
	front := httptest.NewServer(s.proxy())
	defer front.Close()
	resp, err := front.Client().Get(front.URL)
	if errors.Is(err, io.EOF) { // cut before the first part was sent
		return
	} else if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", body, err)
	}
}
