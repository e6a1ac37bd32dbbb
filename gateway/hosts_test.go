package gateway_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestHosts checks that a gateway with a base URL on loopback answers to loopback
// names, the allowed hosts and the host of the audience alone.
func TestHosts(t *testing.T) {
	t.Parallel()
	dev := gateway.Config{
		Access:   gateway.AccessConfig{BaseURL: "http://localhost:3000", AllowedHosts: []string{"gateway"}},
		Resource: gateway.ResourceConfig{Audience: "https://api.example.com"},
	}
	open := dev
	open.Access.AnyHost = true
	production := gateway.Config{Access: gateway.AccessConfig{BaseURL: "https://shop.example"}}
	for host, want := range map[string]bool{
		"localhost:5000": true, "api.localhost": true, "127.0.0.1:5000": true, "[::1]:5000": true, "gateway:5000": true, "api.example.com": true,
		"evil.example": false, "localhost.evil.example:5000": false, "user@localhost": false, "": false, "gateway.evil.example": false,
	} {
		for name, c := range map[string]struct {
			cfg  gateway.Config
			want bool
		}{"development": {dev, want}, "any host": {open, true}, "production": {production, true}, "no base URL": {gateway.Config{}, true}} {
			g := start(t, c.cfg, &backend{})
			for _, target := range []string{"/api", "/api/private-route", "/api/docs", "/api/openapi.json", "/nothing"} {
				r := httptest.NewRequest(http.MethodGet, target, nil)
				r.Host = host
				w := httptest.NewRecorder()
				g.ServeHTTP(w, r)
				if got := w.Code != http.StatusMisdirectedRequest; got != c.want {
					t.Errorf("%s, Host %q, %s: got status %d, want answered: %v", name, host, target, w.Code, c.want)
				}
			}
			for _, target := range []string{"/healthz", "/readyz"} {
				r := httptest.NewRequest(http.MethodGet, target, nil)
				r.Host = host
				w := httptest.NewRecorder()
				if g.ServeHTTP(w, r); w.Code != http.StatusOK {
					t.Errorf("%s, Host %q, %s: got status %d, want 200", name, host, target, w.Code)
				}
			}
		}
	}
	refused := dev
	refused.Access.AllowedHosts = []string{"http://gateway"}
	if _, err := gateway.New(refused); err == nil {
		t.Error("a URL is taken for a host")
	}
}

// TestHostsOnTheWire checks all places of the host in a request: :authority of
// HTTP/2, an absolute target, which precedes Host (RFC 9112 §3.2.2), and upgrades.
func TestHostsOnTheWire(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{Access: gateway.AccessConfig{BaseURL: "http://localhost:3000"}}, &backend{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := g.Server()
	go func() { _ = server.Serve(listener) }() // ends with http.ErrServerClosed
	t.Cleanup(func() { _ = server.Close() })

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	t.Cleanup(client.CloseIdleConnections)
	for host, want := range map[string]int{"localhost:5000": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/api", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != want {
			t.Errorf("%s over HTTP/%d: status %d, want %d", host, resp.ProtoMajor, resp.StatusCode, want)
		}
	}
	for request, want := range map[string]string{
		"GET /api HTTP/1.1\r\nHost: localhost\r\n":                                                     "200",
		"GET /api HTTP/1.1\r\nHost: evil.example\r\n":                                                  "421",
		"GET http://evil.example/api HTTP/1.1\r\nHost: localhost\r\n":                                  "421",
		"GET http://localhost/api HTTP/1.1\r\nHost: evil.example\r\n":                                  "200",
		"GET /api HTTP/1.1\r\nHost:\r\n":                                                               "421",
		"GET /api HTTP/1.0\r\n":                                                                        "421",
		"GET /api HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n":     "421",
		"GET /api HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: evil.example\r\n":                   "200",
		"GET /api HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n":                   "421",
		"POST /things.v1.X/Y HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/grpc-web\r\n": "421",
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(conn, request+"Connection: close\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if _, rest, _ := strings.Cut(string(answer), " "); !strings.HasPrefix(rest, want) {
			t.Errorf("%q: %.60q, want %s", request, answer, want)
		}
	}
}
