package bff_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// behind starts a server behind a proxy.
func behind(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What a gateway in another process gets, over real connections.
func TestProxyToTheAPI(t *testing.T) {
	t.Parallel()
	var seen *http.Request
	target := behind(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Link", "</x>")
		w.Header().Set("Set-Cookie", "gatehouse=hint")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Request-Id", "theirs")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Set-Cookie", "gatehouse=evil")
		_, _ = io.WriteString(w, "answer")
	})
	s := start(t, func(c *bff.Config) { c.API = bff.NewProxy(target, c.Logger) })
	b := s.browser().signIn()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)

	hinted := false
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hinted = true
		if h.Get("Set-Cookie") != "" {
			t.Errorf("%d with a cookie", code)
		}
		return nil
	}}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, front.URL+"/api/a%2Fb?q=1;2&bad=%zz", nil)
	req.Host = "evil.localhost"
	for name, value := range map[string]string{
		"Cookie": "gatehouse=" + b.session(), "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example", "Connection": "X-Forwarded-Proto, Authorization",
		"Authorization": "Bearer mine", "X-Auth-User": "admin",
	} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "answer" || res.StatusCode != http.StatusOK || !hinted {
		t.Errorf("status %d, hinted %t: %s", res.StatusCode, hinted, body)
	}
	if res.Header.Get("Set-Cookie") != "" || len(res.Header["X-Request-Id"]) != 1 || res.Header.Get("X-Request-Id") == "theirs" || len(res.Header["X-Content-Type-Options"]) != 1 {
		t.Errorf("headers %v", res.Header)
	}
	if seen.Host != target.Host || seen.RequestURI != "/api/a%2Fb?q=1;2&bad=%zz" {
		t.Errorf("asked %s for %s", seen.Host, seen.RequestURI)
	}
	if !strings.HasPrefix(bearer(seen), "at-") || seen.Header.Get("Cookie") != "" || seen.Header.Get("X-Auth-User") != "" {
		t.Error("the request has other credentials than the session's")
	}
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost:3000", "X-Forwarded-Proto": "http"} {
		if got := strings.Join(seen.Header[name], "|"); got != want {
			t.Errorf("%s = %q", name, got)
		}
	}
	if got := seen.Header.Get("X-Request-Id"); got != res.Header.Get("X-Request-Id") {
		t.Errorf("request ids differ: %q", got)
	}
}

func TestProxyBelowAPath(t *testing.T) {
	t.Parallel()
	var got string
	target := behind(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	target.Path = "/gateway/"
	s := start(t, func(c *bff.Config) { c.API = bff.NewProxy(target, nil) })
	s.browser().fetch("/api/a%2Fb/?x=%2e")
	if got != "/gateway/api/a%2Fb/?x=%2e" {
		t.Errorf("asked for %s", got)
	}
}

func TestProxyToClosedPort(t *testing.T) {
	t.Parallel()
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	s := start(t, func(c *bff.Config) { c.API = bff.NewProxy(target, c.Logger) })
	res := s.browser().signIn().fetch("/api/private-route")
	wantStatus(t, res, http.StatusBadGateway)
	if !strings.Contains(res.body, `"code":14`) || strings.Contains(res.body, "127.0.0.1") {
		t.Errorf("%s", res.body)
	}
}

// While the front-end server is unavailable, navigations get a problem page and
// scripts JSON. Neither has the address of the server.
func TestFrontEndServerUnavailable(t *testing.T) {
	t.Parallel()
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/below"}
	s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
	b := s.browser()
	page := b.navigate("/public?x=1")
	wantStatus(t, page, http.StatusBadGateway)
	if !strings.Contains(page.body, "cannot be shown") || !strings.Contains(page.body, `href="?x=1"`) || strings.Contains(page.body, "127.0.0.1") {
		t.Errorf("%s", page.body)
	}
	if got := page.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %s", got)
	}
	script := b.fetch("/data.json")
	wantStatus(t, script, http.StatusBadGateway)
	if !strings.Contains(script.body, `"code":14`) || strings.Contains(script.body, "127.0.0.1") {
		t.Errorf("%s", script.body)
	}
}

// A front-end server gets the browser's headers and cookies, except headers that
// only a proxy may set.
func TestProxyToTheFrontEnd(t *testing.T) {
	t.Parallel()
	var seen *http.Request
	target := behind(t, func(_ http.ResponseWriter, r *http.Request) { seen = r })
	s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
	s.browser().navigate("/public", func(r *http.Request) {
		for name, value := range map[string]string{
			"Cookie": "theme=dark", "Accept-Language": "pl", "X-Custom": "x", "Rsc": "1",
			"Authorization": "Bearer x", "X-Forwarded-User": "admin", "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Real-Ip": "6.6.6.6",
			"X-Original-Url": "/private", "X-Rewrite-Url": "/private", "X-Auth-User": "admin", "X_User": "admin", "Grpc-Metadata-X": "x", "X-Hop": "x",
			// Internal headers of Next.js (CVE-2025-29927); browsers send the last.
			"X-Middleware-Subrequest": "middleware:middleware", "X-Middleware-Rewrite": "/private", "X-Matched-Path": "/private", "X-Invoke-Path": "/private", "X-Middleware-Prefetch": "1",
		} {
			r.Header[name] = []string{value}
		}
		r.Header.Set("Connection", "X-Request-Id, X-Forwarded-Proto, X-Hop")
		r.RemoteAddr = "203.0.113.7:1"
	})
	for name, want := range map[string]string{
		"Cookie": "theme=dark", "Accept-Language": "pl", "X-Custom": "x", "Rsc": "1", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http",
		"Authorization": "", "X-Forwarded-User": "", "Forwarded": "", "X-Real-Ip": "", "X-Original-Url": "", "X-Rewrite-Url": "", "X-Auth-User": "", "X_User": "",
		"Grpc-Metadata-X": "", "X-Hop": "",
		"X-Middleware-Subrequest": "", "X-Middleware-Rewrite": "", "X-Matched-Path": "", "X-Invoke-Path": "", "X-Middleware-Prefetch": "1",
	} {
		if got := strings.Join(seen.Header[name], "|"); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if seen.Header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
}

// Only upgrades to WebSocket are forwarded. Requests after an upgrade to HTTP/2
// would bypass the bff (h2c smuggling, Bishop Fox 2020).
func TestUpgrades(t *testing.T) {
	t.Parallel()
	var seen http.Header
	target := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if seen = r.Header; r.Header.Get("Upgrade") == "" {
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\nGET /private", r.Header.Get("Upgrade"))
		_ = rw.Flush()
	})
	s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	for _, protocol := range []string{"h2c", "HTTP/2.0", "tls/1.0", "websocket, h2c", "h2c\r\nUpgrade: websocket", "websocket\r\nUpgrade: h2c"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /public HTTP/1.1\r\nHost: localhost:3000\r\nConnection: Upgrade\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", protocol)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusOK || seen.Get("Upgrade") != "" || seen.Get("Connection") != "" {
			t.Errorf("%q: %v, %v; the front end got %v", protocol, res, err, seen)
		}
		_ = conn.Close()
	}
}

// A WebSocket of the front end, such as the reload of a development server, works
// through the bff.
func TestWebSocketThroughTheProxy(t *testing.T) {
	t.Parallel()
	target := behind(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		// A handshake can set cookies (RFC 6455 §1.3).
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSet-Cookie: gatehouse=planted; Path=/\r\nSet-Cookie: theme=dark\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
	})
	s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
	b := s.browser().signIn()
	front := httptest.NewUnstartedServer(s)
	front.Listener = arrival.Port(front.Listener)
	front.Start()
	t.Cleanup(front.Close)
	for origin, want := range map[string]int{"http://localhost:3000": 101, "https://evil.example": 403} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nCookie: gatehouse=%s\r\n\r\n", origin, b.session())
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != want {
			t.Fatalf("%s: %v, %v", origin, res, err)
		}
		if want == 101 {
			if got := strings.Join(res.Header["Set-Cookie"], " | "); got != "theme=dark" {
				t.Errorf("the front end set %q (session fixation)", got)
			}
			fmt.Fprintf(conn, "hello\n")
			if line, err := r.ReadString('\n'); line != "echo hello\n" {
				t.Errorf("%q, %v", line, err)
			}
			// The server has closed it.
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("after the close of the server: %v, want EOF", err)
			}
		}
		_ = conn.Close()
	}
}

// A client that sends a broken body is refused. That is no outage of the server, which
// would be logged and raise an alert.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	target := behind(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	var log logBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	upstream, err := bff.NewUpstream(bff.UpstreamConfig{Targets: []string{target.String()}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = upstream.Close() })
	for name, proxy := range map[string]http.Handler{"one server": bff.NewProxy(target, logger), "several": upstream} {
		front := httptest.NewServer(proxy)
		t.Cleanup(front.Close)
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		write(conn, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nZZ\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", name, resp.StatusCode)
		}
	}
	if lines := log.lines("unavailable"); lines != nil {
		t.Errorf("logged %q, want no outage", lines)
	}
}
