package bff_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestServer: Config's bff answers behind the server's own limits, and a
// header beyond them is refused.
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
		t.Errorf("a header may take %v and a connection be idle for %v, want bounds", srv.ReadHeaderTimeout, srv.IdleTimeout)
	}
	if err := srv.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
}
