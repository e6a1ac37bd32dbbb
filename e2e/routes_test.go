package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
)

// TestRoutes puts an HTTP server behind `gatehouse dev` by two routes beside a front end: one
// with the user's token and a login, with an event stream and a WebSocket, and a public one
// without a token. Part of /api stays the server's, and the rest is the gateway's.
func TestRoutes(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		switch {
		case r.Header.Get("Upgrade") == "websocket":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = rw.Flush()
			line, _ := rw.ReadString('\n')
			fmt.Fprintf(rw, "%s %s", scheme, line)
			_ = rw.Flush()
			_, _ = rw.ReadByte()
		case strings.HasSuffix(r.URL.Path, "/live"):
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: now\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Set-Cookie", "connect.sid=1")
			fmt.Fprintf(w, "%s %s %q", r.Method, r.URL.RequestURI(), scheme)
		}
	}))
	t.Cleanup(server.Close)
	dev := startDev(t, fmt.Sprintf(`--routes=[{path: /orders, to: %[1]s/app, strip-prefix: true}, {path: /status, to: %[1]s, public: true, token: none}, {path: /api/old, to: %[1]s}]`, server.URL))
	v := newVisitor(t)
	v.open(t, dev.base+"/")
	v.fetch(t, "/orders/5").wants(t, http.StatusUnauthorized, "application/json")
	if got := v.fetch(t, "/status/x").wants(t, http.StatusOK, "text/plain").body; got != `GET /status/x ""` {
		t.Errorf("a public route without a session: %s", got)
	}
	dev.signsInAs(t, v, "buyer")
	for path, want := range map[string]string{"/orders/5?x=1": `GET /app/5?x=1 "Bearer"`, "/api/old/x": `GET /api/old/x "Bearer"`, "/status/x": `GET /status/x ""`} {
		got := v.fetch(t, path).wants(t, http.StatusOK, "text/plain")
		if got.body != want || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: got %s, want %s; %v", path, got.body, want, got.header)
		}
	}
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	v.fetch(t, "/orders%2F..%2Fstatus").wants(t, http.StatusNotFound, "application/json")

	open := func(path, more string) (*http.Response, *bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(dev.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		host := strings.TrimPrefix(dev.base, "http://")
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nCookie: gatehouse=%s\r\n%s\r\n", path, host, dev.base, v.session(t, dev.base), more)
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res, r, conn
	}
	res, socket, conn := open("/orders/chat", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("WebSocket: %s", res.Status)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := socket.ReadString('\n'); line != "Bearer hello\n" {
		t.Errorf("WebSocket: got %q, %v", line, err)
	}
	res, _, _ = open("/orders/live", "Accept: text/event-stream\r\n")
	events := bufio.NewReader(res.Body)
	if line, err := events.ReadString('\n'); line != "data: now\n" {
		t.Errorf("event stream: got %q, %v", line, err)
	}
	v.open(t, dev.base+"/api/auth/logout")
	for name, r := range map[string]io.Reader{"WebSocket": socket, "event stream": events} {
		if rest, _ := io.ReadAll(r); strings.Contains(string(rest), "event:") {
			t.Errorf("%s: got %q after the logout", name, rest)
		}
	}
	dev.said(t, "route=/orders/*")
	if strings.Contains(dev.out.String(), "Bearer ") {
		t.Error("the log has a token")
	}
}

// TestRoutesOfParts gives `gatehouse serve` and a bff alone routes to an https server with an
// authority of its own, beside the gateway.
func TestRoutesOfParts(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Fprintf(w, "%s %s", r.URL.Path, scheme)
	}))
	t.Cleanup(server.Close)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"message":"This is a private route"}`)
	}))
	t.Cleanup(gateway.Close)
	ca := certtest.New(t, "private")
	secure := tlsProxy(t, ca, server.URL)
	routes := fmt.Sprintf("GATEHOUSE_ROUTES=[{path: /orders, to: '%s/base', ca-file: %s}, {path: /api/old, to: '%s', public: true}]", secure, ca.Write(t, t.TempDir(), "ca"), server.URL)
	for part, settings := range map[string][]string{"serve": {routes}, "bff": {routes, "GATEHOUSE_GATEWAY_URL=" + gateway.URL}} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			s, v := startPart(t, newNotes(), part, settings...), newVisitor(t)
			v.open(t, s.base+"/api/old/x").wants(t, http.StatusOK, "text/plain")
			v.fetch(t, "/orders/5").wants(t, http.StatusUnauthorized, "application/json")
			s.signsInAs(t, v, "seller")
			for path, want := range map[string]string{"/orders/5": "/base/orders/5 Bearer", "/api/old/x": "/api/old/x Bearer", "/api/private-route": `{"message":"This is a private route"}`} {
				if got := v.fetch(t, path).wants(t, http.StatusOK, ""); got.body != want {
					t.Errorf("%s: got %s, want %s", path, got.body, want)
				}
			}
			if code := s.stop(t); code != 0 {
				t.Errorf("it ended with exit code %d, want 0", code)
			}
		})
	}
}
