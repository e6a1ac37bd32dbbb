package bff_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// A backend is an HTTP server behind a route. It answers like an Express server: 200 to
// everything, unless answer is set.
type backend struct {
	at     *url.URL
	mu     sync.Mutex
	answer http.HandlerFunc
	seen   []*http.Request
}

func newBackend(t *testing.T, answer http.HandlerFunc) *backend {
	t.Helper()
	be := &backend{answer: answer}
	be.at = behind(t, func(w http.ResponseWriter, r *http.Request) {
		be.mu.Lock()
		be.seen = append(be.seen, r)
		be.mu.Unlock()
		if be.answer != nil {
			be.answer(w, r)
			return
		}
		reply(w, http.StatusOK, map[string]string{"path": r.URL.RequestURI()})
	})
	return be
}

// requests returns the requests since the last call.
func (be *backend) requests() []*http.Request {
	be.mu.Lock()
	defer be.mu.Unlock()
	seen := be.seen
	be.seen = nil
	return seen
}

// to is the upstream of a route.
func (be *backend) to() bff.UpstreamConfig {
	return bff.UpstreamConfig{Targets: []string{be.at.String()}}
}

// routed has the bff serve routes.
func routed(routes ...bff.Route) func(*bff.Config) {
	return func(c *bff.Config) { c.Routes = routes }
}

// Each route has its server, its token, and its answer to a request without a session.
func TestRoutes(t *testing.T) {
	t.Parallel()
	orders, legacy, open := newBackend(t, nil), newBackend(t, nil), newBackend(t, nil)
	s := start(t, routed(
		bff.Route{Path: "/orders", Upstream: orders.to(), StripPrefix: true},
		bff.Route{Path: "/api", Upstream: legacy.to(), Public: true},
		bff.Route{Path: "/api/products"}, // to the gateway
		bff.Route{Path: "/api/products/free", Public: true},
		bff.Route{Path: "/reports", Upstream: open.to(), Token: bff.RouteToken{Kind: bff.TokenNone}},
		bff.Route{Path: "/reports/public", Upstream: open.to(), Public: true, Token: bff.RouteToken{Kind: bff.TokenNone}},
	))
	user, visitor := s.browser().signIn(), s.browser()
	token := func() string { return bearer(s.api.requests()[0]) }
	user.fetch("/api/products/5")
	access := token()
	for _, c := range []struct {
		path  string
		to    *backend // nil for the gateway
		gets  string   // path at the server
		token bool
		open  bool // to visitors
	}{
		{"/orders/5?x=%2e;y", orders, "/5?x=%2e;y", true, false}, {"/orders", orders, "/", true, false}, {"/%6frders/a%2Fb", orders, "/a%2Fb", true, false},
		{"/api/old?x=1", legacy, "/api/old?x=1", true, true}, {"/api/", legacy, "/api/", true, true}, {"/api/docs", legacy, "/api/docs", true, true},
		{"/api/products", nil, "/api/products", true, false}, {"/api/products/a%2Fb", nil, "/api/products/a%2Fb", true, false}, {"/api/products/free/x", nil, "/api/products/free/x", true, true},
		{"/reports/1", open, "/reports/1", false, false}, {"/reports/public/1", open, "/reports/public/1", false, true},
	} {
		got := func() (all []*http.Request) {
			if c.to == nil {
				return s.api.requests()
			}
			return c.to.requests()
		}
		res := user.fetch(c.path, header("Authorization", "Bearer mine"), header("Cookie", "a=b; "+"gatehouse="+user.session()))
		seen := got()
		if res.StatusCode != http.StatusOK || len(seen) != 1 || seen[0].URL.RequestURI() != c.gets || (bearer(seen[0]) == access) != c.token || bearer(seen[0]) == "mine" || seen[0].Header.Get("Cookie") != "" {
			t.Errorf("%s: status %d, %d requests, want one for %s with a token: %t", c.path, res.StatusCode, len(seen), c.gets, c.token)
		}
		script, page := visitor.fetch(c.path), visitor.navigate(c.path)
		switch seen := got(); {
		case c.open && c.to != nil && (script.StatusCode != http.StatusOK || len(seen) != 2 || seen[0].Header.Get("Authorization") != ""):
			t.Errorf("%s: a visitor gets %d, %d requests", c.path, script.StatusCode, len(seen))
		case c.open:
		case len(seen) > 0 || script.StatusCode != http.StatusUnauthorized || script.Header.Get("Gatehouse-Login") == "":
			t.Errorf("%s: a visitor gets %d, and the server %d requests", c.path, script.StatusCode, len(seen))
		case page.StatusCode != http.StatusSeeOther || !strings.Contains(c.path, "%2F") && page.location() != "/api/auth/login?"+url.Values{"returnTo": {c.path}}.Encode():
			t.Errorf("%s: a visitor's page is %d to %q", c.path, page.StatusCode, page.location())
		}
	}
	for _, path := range []string{"/api/auth/session", "/healthz", "/readyz", "/ordersx", "/apix"} {
		user.fetch(path)
	}
	if n := len(orders.requests()) + len(legacy.requests()) + len(open.requests()); n != 0 {
		t.Errorf("%d requests for addresses of the bff or the front end reached a route", n)
	}
}

// A path that a server could read as that of another route reaches no server: neither
// the one of a public route around a login, nor that of a moved one.
func TestRouteHostilePaths(t *testing.T) {
	t.Parallel()
	app := newBackend(t, nil)
	none := bff.RouteToken{Kind: bff.TokenNone}
	s := start(t, routed(
		bff.Route{Path: "/app", Upstream: app.to(), Public: true, Token: none},
		bff.Route{Path: "/app/admin", Upstream: app.to(), Token: none},
		bff.Route{Path: "/app/admin/help", Upstream: app.to(), Public: true, Token: none},
		bff.Route{Path: "/api", Upstream: app.to(), Public: true, Token: none},
		bff.Route{Path: "/api/products"},
	))
	for _, path := range []string{
		"/app/ADMIN", "/APP/admin", "//app/admin", "/app//admin", "/app/./admin", "/app/x/../admin", "/app/%2e/admin", "/app/x/%2e%2e/admin", "/app%2fadmin", "/app%2Fadmin/", "/app%252fadmin", "/app/%2561dmin",
		"/app/%252561dmin", "/app%5cadmin", "/app%255cadmin", "/app/admin;x=1", "/app/admin;/x", "/app;x/admin", "/app/..;/app/admin", "/app/admin%3fx", "/app/admin%23x", "/app/admin%20", "/app/admin.", "/app/admin.json",
		"/app/admin%00", "/app/admin%0a", "/app/%0aadmin", "/app/adm%c4%b1n", "/app/%ef%bd%81dmin", "/app%ef%bc%8fadmin", "/app/adm%ffin", "/app/%5c/admin",
		"/app/admin/help/../x", "/app/admin/help%2f..%2fx", "/app/admin/help/%252e%252e/x", "/app/admin/help%252f..%252fx", "/app/admin/help;/../x", "/app/admin/HELP", "/app/admin/help.json", "/app/admin/help%2fx",
		"/api/PRODUCTS", "/api/products%2f5", "/api/%2570roducts", "/api//products", "/api/products.json", "/api/auth%2fx/../../app/admin",
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:3000/", http.NoBody)
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL, r.RequestURI = u, path
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if seen := app.requests(); len(seen) > 0 || w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d, the server got %d requests", path, w.Code, len(seen))
		}
	}
	if n := len(s.api.requests()); n > 0 {
		t.Errorf("the gateway got %d requests", n)
	}
}

// What a server gets of a request, and a browser of its answer.
func TestRouteFilters(t *testing.T) {
	t.Parallel()
	be := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{
			"Set-Cookie": "gatehouse=planted", "Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=60", "Cdn-Cache-Control": "max-age=60",
			"Gatehouse-Login": "https://evil.example", "X-Content-Type-Options": "x", "Content-Type": "text/html", "X-Own": "1",
		} {
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, "<p>order")
	})
	s := start(t, routed(bff.Route{Path: "/orders", Upstream: be.to(), StripPrefix: true, RequestHeaders: []string{"x-tenant"}}))
	res := s.browser().signIn().navigate("/orders/5", func(r *http.Request) {
		for name, value := range map[string]string{
			"X-Tenant": "a", "X-Other": "b", "X-Forwarded-User": "admin", "X-Forwarded-Prefix": "/evil", "X-Forwarded-For": "6.6.6.6", "X_Tenant": "c", "Upgrade": "h2c", "Connection": "Upgrade, X-Tenant-Id", "Origin": "http://localhost:3000",
		} {
			r.Header[name] = []string{value}
		}
		r.RemoteAddr = "203.0.113.7:1"
	})
	wantStatus(t, res, http.StatusOK)
	seen := be.requests()[0]
	for name, want := range map[string]string{
		"X-Tenant": "a", "X-Other": "", "X-Forwarded-User": "", "X-Forwarded-Prefix": "/orders", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "localhost:3000", "X-Forwarded-Proto": "http",
		"X_Tenant": "", "Upgrade": "", "Connection": "", "Accept": "text/html",
	} {
		if got := strings.Join(seen.Header[name], "|"); got != want {
			t.Errorf("the server got %s %q, want %q", name, got, want)
		}
	}
	if seen.Host != be.at.Host || seen.Header.Get("X-Request-Id") == "" {
		t.Errorf("the server got Host %q and the request id %q", seen.Host, seen.Header.Get("X-Request-Id"))
	}
	for name, want := range map[string]string{
		"Set-Cookie": "", "Access-Control-Allow-Origin": "", "Cache-Control": "private, max-age=60", "Cdn-Cache-Control": "", "Gatehouse-Login": "", "X-Content-Type-Options": "nosniff", "X-Own": "1",
		"Content-Security-Policy": "frame-ancestors 'none'", "Vary": "Cookie",
	} {
		if got := strings.Join(res.Header[name], "|"); got != want {
			t.Errorf("the browser got %s %q, want %q", name, got, want)
		}
	}
	forged := s.browser().do(http.MethodPost, "/orders/5", strings.NewReader("x"), site("cross-site"), header("Origin", "https://evil.example"))
	wantStatus(t, forged, http.StatusForbidden)
	if n := len(be.requests()); n != 0 {
		t.Errorf("%d forged requests reached the server", n)
	}
}

// No server of a route sets or clears the cookies of this origin, by its trailers either.
func TestRouteSetsNoCookies(t *testing.T) {
	t.Parallel()
	for _, announced := range []bool{true, false} {
		be := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Clear-Site-Data", `"cookies"`)
			w.Header().Set("Set-Cookie", "gatehouse=evil")
			trailer := http.TrailerPrefix
			if announced {
				w.Header().Set("Trailer", "Set-Cookie, X-Sum")
				trailer = ""
			}
			_, _ = io.WriteString(w, "ok")
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(trailer+"Set-Cookie", "gatehouse=evil")
			w.Header().Set(trailer+"X-Sum", "1")
		})
		s := start(t, routed(bff.Route{Path: "/orders", Upstream: be.to(), Public: true}))
		front := httptest.NewServer(s)
		t.Cleanup(front.Close)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/orders/5", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "localhost:3000"
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != "ok" || err != nil || res.Trailer.Get("X-Sum") != "1" {
			t.Errorf("announced %t: got %q, %v, trailers %v", announced, body, err, res.Trailer)
		}
		if res.Header["Set-Cookie"] != nil || res.Header["Clear-Site-Data"] != nil || res.Trailer.Get("Set-Cookie") != "" {
			t.Errorf("announced %t: header %v, trailers %v", announced, res.Header, res.Trailer)
		}
	}
}

// A body that is too large gets 413. If its length is known the server is not asked, and
// otherwise its request is aborted.
func TestRouteBodyLimit(t *testing.T) {
	t.Parallel()
	whole := make(chan int, 10)
	be := newBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			whole <- len(body)
		}
	})
	s := start(t, routed(bff.Route{Path: "/orders", Upstream: be.to(), Public: true, MaxBodyBytes: 1000}))
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	for _, c := range []struct {
		size   int
		length bool
		want   int
	}{{1000, true, 200}, {1000, false, 200}, {1001, true, 413}, {1001, false, 413}, {1 << 20, false, 413}} {
		var body io.Reader = strings.NewReader(strings.Repeat("x", c.size))
		if !c.length {
			body = io.MultiReader(body)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/orders/5", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "localhost:3000"
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%+v: status %d", c, res.StatusCode)
		}
		if n := len(be.requests()); c.length && (n > 0) != (c.want == 200) {
			t.Errorf("%+v: the server got %d requests", c, n)
		}
	}
	if n := len(whole); n != 2 {
		t.Errorf("the server got %d whole bodies, want 2", n)
	}
}

// A 401 of a server is answered with another token once; one that stays is that of the
// browser, with the way to the login and without a dialog for a password.
func TestRouteRefusedToken(t *testing.T) {
	t.Parallel()
	for name, challenge := range map[string]string{"as RFC 6750 says": `Bearer error="invalid_token"`, "no challenge": "", "no error": "Bearer"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := ""
			be := newBackend(t, nil)
			be.answer = func(w http.ResponseWriter, r *http.Request) {
				if bearer(r) != old && old != "all" {
					return
				}
				if challenge != "" {
					w.Header().Set("WWW-Authenticate", challenge)
				}
				w.WriteHeader(http.StatusUnauthorized)
			}
			s := start(t, routed(bff.Route{Path: "/orders", Upstream: be.to()}))
			b := s.browser().signIn()
			b.fetch("/orders/5")
			old = bearer(be.requests()[0])
			s.clock.Advance(time.Minute)
			wantStatus(t, b.fetch("/orders/5"), http.StatusOK)
			if n, m := len(s.idp.refreshes()), len(be.requests()); n != 1 || m != 2 {
				t.Errorf("%d refreshes, %d requests", n, m)
			}
			old = "all"
			for range 3 {
				res := b.fetch("/orders/5", header("Referer", "http://localhost:3000/page"))
				wantStatus(t, res, http.StatusUnauthorized)
				if got := res.Header.Get("Gatehouse-Login"); got != "/api/auth/login?returnTo=%2Fpage" {
					t.Errorf("Gatehouse-Login: %q", got)
				}
			}
			if n := len(s.idp.refreshes()); n != 1 {
				t.Errorf("%d refreshes for one token that is refused again and again", n)
			}
		})
	}
	be := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("WWW-Authenticate", `Basic realm="orders"`)
		w.Header().Add("WWW-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="gold"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	s := start(t, routed(bff.Route{Path: "/orders", Upstream: be.to()}, bff.Route{Path: "/open", Upstream: be.to(), Public: true, Token: bff.RouteToken{Kind: bff.TokenNone}}))
	b := s.browser().signIn()
	res := b.fetch("/orders/5")
	if got := strings.Join(res.Header["Www-Authenticate"], ","); res.StatusCode != http.StatusUnauthorized || strings.Contains(got, "Basic") || res.Header.Get("Gatehouse-Login") != "/api/auth/login?acr_values=gold" {
		t.Errorf("step-up: %d, %q, %v", res.StatusCode, got, res.Header)
	}
	if page := b.navigate("/orders/5"); page.location() != "/api/auth/login?acr_values=gold&returnTo=%2Forders%2F5" {
		t.Errorf("step-up of a page: %d to %q", page.StatusCode, page.location())
	}
	if res := b.fetch("/open"); res.StatusCode != http.StatusUnauthorized || res.Header.Get("Gatehouse-Login") != "" {
		t.Errorf("a route without a token: %d, %v", res.StatusCode, res.Header)
	}
}

// During an outage of the session store, routes that need no session are served, and
// others get 503 and keep the user signed in.
func TestRouteStoreOutage(t *testing.T) {
	t.Parallel()
	be := newBackend(t, nil)
	none := bff.RouteToken{Kind: bff.TokenNone}
	s := start(t, routed(
		bff.Route{Path: "/user", Upstream: be.to()}, bff.Route{Path: "/visitor", Upstream: be.to(), Public: true},
		bff.Route{Path: "/quiet", Upstream: be.to(), Token: none}, bff.Route{Path: "/open", Upstream: be.to(), Public: true, Token: none},
	))
	b := s.browser().signIn()
	s.store.change(func(s *store) { s.get = outage })
	for path, want := range map[string][2]int{"/user": {503, 503}, "/visitor": {200, 503}, "/quiet": {503, 503}, "/open": {200, 200}} {
		for i, method := range []string{http.MethodGet, http.MethodPost} {
			res := b.do(method, path, nil, site("same-origin"), header("Sec-Fetch-Mode", "cors"))
			if res.StatusCode != want[i] || len(res.Cookies()) > 0 || (res.Header.Get("Retry-After") != "") != (want[i] == 503) {
				t.Errorf("%s %s: %d, want %d: %v", method, path, res.StatusCode, want[i], res.Header)
			}
		}
	}
	for _, r := range be.requests() {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s has a token", r.URL)
		}
	}
}

// WebSockets need this origin and a session, carry the token, set no cookie, and end with
// the session. So do event streams.
func TestRouteStreams(t *testing.T) {
	t.Parallel()
	be := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nSet-Cookie: theme=dark\r\n\r\n", r.Header.Get("Sec-Websocket-Key"))
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "%s %s %s", r.Header.Get("Origin"), r.Header.Get("Sec-Websocket-Protocol"), line)
		_ = rw.Flush()
		_, _ = rw.ReadByte()
	})
	s := start(t, routed(bff.Route{Path: "/live", Upstream: be.to()}))
	s.run()
	b := s.browser().signIn()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	const own = "http://localhost:3000"
	open := func(cookie, from, more string) (*http.Response, *bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		fmt.Fprintf(conn, "GET /live/x HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: %s\r\nSec-Fetch-Site: same-origin\r\nCookie: gatehouse=%s\r\n%s\r\n", from, cookie, more)
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res, r, conn
	}
	const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n"
	for name, c := range map[string]struct {
		cookie, from string
		want         int
	}{"another origin": {b.session(), "https://evil.example", 403}, "no session": {"x", own, 401}} {
		if res, _, _ := open(c.cookie, c.from, handshake); res.StatusCode != c.want {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	if n := len(be.requests()); n > 0 {
		t.Errorf("%d of them reached the server", n)
	}
	res, socket, conn := open(b.session(), own, handshake)
	if res.StatusCode != http.StatusSwitchingProtocols || len(res.Header["Set-Cookie"]) > 0 || res.Header.Get("Sec-Websocket-Accept") != "a2V5" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	if seen := be.requests(); len(seen) != 1 || bearer(seen[0]) == "" {
		t.Errorf("%d requests, or no token", len(seen))
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := socket.ReadString('\n'); line != own+" chat hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
	res, _, _ = open(b.session(), own, "Accept: text/event-stream\r\n")
	stream := bufio.NewReader(res.Body)
	if line, err := stream.ReadString('\n'); line != "data: 1\n" {
		t.Errorf("got %q, %v", line, err)
	}
	b.navigate("/api/auth/logout")
	for name, r := range map[string]io.Reader{"WebSocket": socket, "event stream": stream} {
		rest, err := io.ReadAll(r)
		if errors.Is(err, net.ErrClosed) || strings.Contains(string(rest), "event:") {
			t.Errorf("%s: %q, %v after the logout", name, rest, err)
		}
	}
}

// Requests go to a server that is there; a route without one does not make the bff unready.
func TestRouteServersAway(t *testing.T) {
	t.Parallel()
	be := newBackend(t, nil)
	const away = "http://127.0.0.1:1"
	s := start(t, routed(
		bff.Route{Path: "/orders", Upstream: bff.UpstreamConfig{Targets: []string{away, be.at.String()}}, Public: true},
		bff.Route{Path: "/away", Upstream: bff.UpstreamConfig{Targets: []string{away}}, Public: true},
		bff.Route{Path: "/once", Upstream: bff.UpstreamConfig{Targets: []string{away}, Probe: bff.ProbeNone}, Public: true},
	))
	s.run()
	b := s.browser()
	for range 4 {
		wantStatus(t, b.fetch("/orders/5"), http.StatusOK)
	}
	for _, path := range []string{"/away", "/once"} {
		if res := b.fetch(path); res.StatusCode != http.StatusBadGateway || strings.Contains(res.body, "127.0.0.1") {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.body)
		}
	}
	wantStatus(t, b.fetch("/readyz"), http.StatusOK)
}

// Redirects to the server's own address lead to the route; all others are unchanged.
func TestRouteRedirects(t *testing.T) {
	t.Parallel()
	be := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{r.Header.Get("X-To")}
		w.WriteHeader(http.StatusFound)
	})
	at := be.at.Host
	based := be.to()
	based.Targets[0] += "/base/"
	to := []string{"X-To"}
	s := start(t, routed(
		bff.Route{Path: "/orders", Upstream: be.to(), Public: true, RequestHeaders: to},
		bff.Route{Path: "/shop/old", Upstream: based, StripPrefix: true, Public: true, RequestHeaders: to},
	))
	const base = "http://localhost:3000"
	for _, c := range []struct{ path, location, want string }{
		{"/orders/5", "/orders/6?x=1", "/orders/6?x=1"},
		{"/orders/5", "6", "6"},
		{"/orders/5", "http://" + at + "/orders/a%2Fb?x=%20#y", base + "/orders/a%2Fb?x=%20#y"},
		{"/orders/5", "https://" + at + "/login", base + "/login"},
		{"/orders/5", "//" + at + "/login", base + "/login"},
		{"/orders/5", "http://" + at, base},
		{"/orders/5", "http://user:pass@" + at + "/x", base + "/x"},
		{"/orders/5", "http://" + at + "//evil.example/x", base + "//evil.example/x"},
		{"/orders/5", "http://" + at + "/\\evil.example", base + "/%5Cevil.example"},
		{"/orders/5", "ftp://" + at + "/x", "ftp://" + at + "/x"},
		{"/orders/5", "http://" + at + ".evil.example/x", "http://" + at + ".evil.example/x"},
		{"/orders/5", "https://status.example/x", "https://status.example/x"},
		{"/orders/5", "http://[", "http://["},
		{"/shop/old/5", "http://" + at + "/base/6", base + "/shop/old/6"},
		{"/shop/old/5", "http://" + at + "/base", base + "/shop/old"},
		{"/shop/old/5", "http://" + at + "/based/6", "http://" + at + "/based/6"},
		{"/shop/old/5", "/base/6", "/base/6"},
	} {
		res := s.browser().fetch(c.path, header("X-To", c.location))
		if got := res.Header.Get("Location"); got != c.want || res.StatusCode != http.StatusFound {
			t.Errorf("%s: %s became %d %s, want %s", c.path, c.location, res.StatusCode, got, c.want)
		}
	}
}

// A server that dies in the middle of a request gets a GET once more and a POST never, and
// an answer that has begun is cut. One that is slow gives 504.
func TestRouteServerDies(t *testing.T) {
	t.Parallel()
	be := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the request has arrived
		switch r.URL.Path {
		case "/orders/slow":
			<-r.Context().Done()
		case "/orders/answer":
			_, _ = io.WriteString(w, "begun") // of unknown length, so it is not buffered
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	})
	impatient := be.to()
	impatient.Timeout = 50 * time.Millisecond
	s := start(t, routed(
		bff.Route{Path: "/orders", Upstream: be.to(), Public: true},
		bff.Route{Path: "/orders/slow", Upstream: impatient, Public: true},
	))
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	for _, c := range []struct {
		method, path string
		status, most int
		cut          bool
	}{
		{http.MethodGet, "/orders/5", http.StatusBadGateway, 2, false},
		{http.MethodPost, "/orders/5", http.StatusBadGateway, 1, false},
		{http.MethodGet, "/orders/answer", http.StatusOK, 1, true},
		{http.MethodPost, "/orders/answer", http.StatusOK, 1, true},
		{http.MethodPost, "/orders/slow", http.StatusGatewayTimeout, 1, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, front.URL+c.path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		if c.method == http.MethodGet {
			r.Body, r.ContentLength = nil, 0
		}
		r.Host = "localhost:3000"
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if n := len(be.requests()); res.StatusCode != c.status || (err != nil) != c.cut || n < 1 || n > c.most {
			t.Errorf("%s %s: status %d, %v, %d requests; want %d, cut %t, at most %d", c.method, c.path, res.StatusCode, err, n, c.status, c.cut, c.most)
		}
	}
}

// What is refused of routes, by field.
func TestRouteConfig(t *testing.T) {
	t.Parallel()
	to := func(targets ...string) bff.UpstreamConfig { return bff.UpstreamConfig{Targets: targets} }
	one := to("http://one:1")
	for name, c := range map[string]struct {
		routes []bff.Route
		want   string // field and a part of the problem; "" if nothing is wrong
	}{
		"one":                  {[]bff.Route{{Path: "/orders", Upstream: one}}, ""},
		"below each other":     {[]bff.Route{{Path: "/api", Upstream: one}, {Path: "/api/products"}, {Path: "/api/v1", Upstream: one, Public: true}}, ""},
		"no path":              {[]bff.Route{{Upstream: one}}, "Routes[0].Path is missing"},
		"everything":           {[]bff.Route{{Path: "/", Upstream: one}}, "Routes[0].Path covers everything"},
		"own address":          {[]bff.Route{{Path: "/orders", Upstream: one}, {Path: "/API/auth/x", Upstream: one}}, "Routes[1].Path is an address of the bff"},
		"health":               {[]bff.Route{{Path: "/readyz", Upstream: one}}, "Routes[0].Path is an address of the bff"},
		"twice":                {[]bff.Route{{Path: "/orders", Upstream: one}, {Path: "/Orders", Upstream: to("http://two:1")}}, "Routes[1].Path is also that of Routes[0]"},
		"no address":           {[]bff.Route{{Path: "/orders", Upstream: to("one:1")}}, "Routes[0].Upstream.Targets[0]"},
		"probe":                {[]bff.Route{{Path: "/orders", Upstream: bff.UpstreamConfig{Targets: one.Targets, Probe: "ready"}}}, "Routes[0].Upstream.Probe is no path"},
		"no probe of two":      {[]bff.Route{{Path: "/orders", Upstream: bff.UpstreamConfig{Targets: []string{"http://a:1", "http://b:1"}, Probe: bff.ProbeNone}}}, "Routes[0].Upstream.Probe is for one target"},
		"timeout":              {[]bff.Route{{Path: "/orders", Upstream: bff.UpstreamConfig{Targets: one.Targets, Timeout: -1}}}, "Routes[0].Upstream.Timeout is negative"},
		"body":                 {[]bff.Route{{Path: "/orders", Upstream: one, MaxBodyBytes: -1}}, "Routes[0].MaxBodyBytes is negative"},
		"stripped, at gateway": {[]bff.Route{{Path: "/api/x", StripPrefix: true}}, "Routes[0].StripPrefix has no effect"},
		"header":               {[]bff.Route{{Path: "/orders", Upstream: one, RequestHeaders: []string{"Cookie"}}}, "Routes[0].RequestHeaders[0]"},
		"kind":                 {[]bff.Route{{Path: "/orders", Upstream: one, Token: bff.RouteToken{Kind: "usr"}}}, "Routes[0].Token.Kind is no kind"},
		"audience of none":     {[]bff.Route{{Path: "/orders", Upstream: one, Token: bff.RouteToken{Kind: bff.TokenNone, Audience: "x"}}}, "Routes[0].Token.Kind contradicts"},
		"scope alone":          {[]bff.Route{{Path: "/orders", Upstream: one, Token: bff.RouteToken{Scope: "x"}}}, "Routes[0].Token.Audience is missing"},
		"grant alone":          {[]bff.Route{{Path: "/orders", Upstream: one, Token: bff.RouteToken{Grant: bff.GrantExchange}}}, "Routes[0].Token.Grant has no effect"},
		"grant":                {[]bff.Route{{Path: "/orders", Upstream: one, Token: bff.RouteToken{Audience: "x", Grant: "swap"}}}, "Routes[0].Token.Grant is no grant"},
		"around by a strip":    {[]bff.Route{{Path: "/a", Upstream: one, StripPrefix: true, Public: true}, {Path: "/admin", Upstream: one}}, "Routes[0].Path leads to the addresses of Routes[1] around its rules: /a/admin reaches what /admin does"},
		"around by a target":   {[]bff.Route{{Path: "/x", Upstream: to("http://one:1/base")}, {Path: "/base", Upstream: to("http://ONE:1"), Public: true, Token: bff.RouteToken{Kind: bff.TokenNone}}}, "Routes[1].Path leads to the addresses of Routes[0]"},
		"around, same rules":   {[]bff.Route{{Path: "/a", Upstream: one, StripPrefix: true}, {Path: "/admin", Upstream: one}}, ""},
		"other servers":        {[]bff.Route{{Path: "/a", Upstream: one, StripPrefix: true, Public: true}, {Path: "/admin", Upstream: to("http://two:1")}}, ""},
	} {
		fields, _ := invalid.All(bff.Config{Routes: c.routes}.Validate())
		var got []string
		for _, e := range fields {
			if strings.HasPrefix(e.Field, "Routes") {
				got = append(got, e.Field+" "+e.Problem)
			}
		}
		if len(got) > 1 || (len(got) == 0) != (c.want == "") || len(got) == 1 && !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
