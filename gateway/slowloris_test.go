package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestSlowloris checks that hundreds of connections that never complete a request
// (CVE-2007-6750) do not prevent answers to others, and are closed after their time
// limit. The sockets are real; the times are shortened.
func TestSlowloris(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{Limits: gateway.LimitsConfig{Timeout: 3 * time.Second}}, &backend{}) // also for bodies
	server := g.Server()
	if server.ReadHeaderTimeout <= 0 || server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 {
		t.Fatalf("a limit is missing: %+v", server)
	}
	server.ReadHeaderTimeout, server.ReadTimeout = 2*time.Second, 2*time.Second
	address := listenAndServe(t, server)
	var slow sync.WaitGroup
	errs := make(chan error, 300)
	begun := make(chan struct{}, 300)
	for i := range 300 {
		slow.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				errs <- err
				begun <- struct{}{}
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			switch i % 3 {
			case 0:
				_, err = io.WriteString(conn, "GET /api/private-route HTTP/1.1\r\nHost: x\r\nX-A: ")
			case 1:
				_, err = io.WriteString(conn, "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
			case 2: // HTTP/2 without anything after the preface
				_, err = io.WriteString(conn, http2.ClientPreface)
			}
			begun <- struct{}{}
			if err == nil {
				if _, err = io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "reset") {
					err = nil // closed with unread data
				}
			}
			if err != nil {
				errs <- err
			}
		})
	}
	for range 300 {
		<-begun
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Get("http://" + address + "/api/private-route")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, response); response.StatusCode != http.StatusOK {
		t.Errorf("meanwhile %d %s", response.StatusCode, got)
	}
	slow.Wait()
	close(errs)
	for err := range errs {
		t.Error(err) // deadline of the test: it was not closed
	}
}

// TestOversizedHeaders checks that requests with headers that are too long are
// refused over both versions of HTTP, and that later requests are answered.
func TestOversizedHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{}, &backend{})
	address := listenAndServe(t, g.Server())
	dial := func(t *testing.T) net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	}
	for name, header := range map[string]string{
		"one":  "X-A: " + strings.Repeat("x", 64<<10) + "\r\n",
		"many": strings.Repeat("X-A: x\r\n", 10<<10),
	} {
		t.Run("HTTP/1.1, "+name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t)
			go func() {
				_, _ = fmt.Fprintf(conn, "GET /api/private-route HTTP/1.1\r\nHost: x\r\n%s\r\n", header)
			}()
			if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 431 ") {
				t.Errorf("answered %q", line)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		t.Parallel()
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/private-route", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-A", strings.Repeat("x", 64<<10))
		response, err := client.Do(request)
		if err == nil {
			t.Errorf("answered %d", response.StatusCode) // the client respects SETTINGS_MAX_HEADER_LIST_SIZE
			_ = response.Body.Close()
		}
	})
	t.Run("CVE-2023-45288: HTTP/2, continued without end", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		framer := http2.NewFramer(conn, conn)
		if err := framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		var block strings.Builder
		encoder := hpack.NewEncoder(&block)
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/api/private-route"}} {
			_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String())})
		sent := 0
		for n := 0; err == nil && sent < 64<<20; n++ { // the server closes the connection long before
			block.Reset()
			_ = encoder.WriteField(hpack.HeaderField{Name: fmt.Sprintf("x-%d", n), Value: strings.Repeat("x", 4<<10), Sensitive: true})
			err = framer.WriteContinuation(1, false, []byte(block.String()))
			sent += block.Len()
		}
		if err == nil {
			t.Errorf("%d bytes of header were accepted, want an error", sent)
		}
	})
	t.Cleanup(func() {
		response := send(g, "GET", "/api/private-route", nil, "")
		if response.StatusCode != http.StatusOK {
			t.Errorf("afterwards: %d", response.StatusCode)
		}
	})
}

// patience limits the wait for an event.
const patience = 30 * time.Second

func listenAndServe(t *testing.T, server *http.Server) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listener.Addr().String()
}
