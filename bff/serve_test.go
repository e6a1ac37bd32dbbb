package bff_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// The server has limits of its own, and refuses larger headers.
func TestServer(t *testing.T) {
	t.Parallel()
	srv := start(t).Server()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(listener) }()
	for _, c := range []struct {
		name   string
		header int // bytes
		status int
	}{
		{"a few login attempts' cookies", 32 << 10, http.StatusOK},
		{"too much", 2 << 20, http.StatusRequestHeaderFieldsTooLarge},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost:3000\r\nX-Long: %s\r\n\r\n", strings.Repeat("a", c.header))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: got %d, want %d", c.name, resp.StatusCode, c.status)
		}
	}
	if srv.ReadHeaderTimeout <= 0 || srv.IdleTimeout <= 0 {
		t.Errorf("ReadHeaderTimeout %v, IdleTimeout %v, want limits", srv.ReadHeaderTimeout, srv.IdleTimeout)
	}
	if err := srv.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
}

// A browser that stalls is disconnected at every stage of a request
// (CVE-2007-6750). Bodies are limited by the API or front end that reads them.
func TestSlowBrowsers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		sent string
		read bool // the answer
		end  time.Duration
	}{
		{"half a header", "GET /public HTTP/1.1\r\nHost: localhost:3000\r\n", true, 10 * time.Second},
		{"half of an unread body", "POST /public HTTP/1.1\r\nHost: localhost:3000\r\nContent-Length: 10\r\n\r\nx", true, 5 * time.Second},
		{"half of one without a length", "POST /api/auth/nothing HTTP/1.1\r\nHost: localhost:3000\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx", true, 5 * time.Second},
		{"half a logout token", "POST /api/auth/backchannel-logout HTTP/1.1\r\nHost: localhost:3000\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\nx", true, 15 * time.Second},
		{"a page that is not read", "GET /public HTTP/1.1\r\nHost: localhost:3000\r\n\r\n", false, 30 * time.Second},
		{"an answer of the API that is not read", "GET /api/long HTTP/1.1\r\nHost: localhost:3000\r\n\r\n", false, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t, func(cfg *bff.Config) {
					cfg.API = &drained{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
					})}
				})
				server := s.Server()
				closed := make(chan struct{})
				server.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateClosed {
						close(closed)
					}
				}
				browser, there := net.Pipe()
				listener := make(pipe, 1)
				listener <- there
				done := make(chan struct{})
				go func() { defer close(done); _ = server.Serve(listener) }()
				begun := time.Now()
				go func() {
					_, _ = io.WriteString(browser, c.sent)
					if c.read {
						_, _ = io.Copy(io.Discard, browser)
					}
				}()
				<-closed
				if got := time.Since(begun); got.Round(time.Second) != c.end {
					t.Errorf("disconnected after %v, want %v", got, c.end)
				}
				_ = browser.Close()
				_ = server.Close()
				<-done
			})
		})
	}
}
