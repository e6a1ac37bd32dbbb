package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// testNoToken: no token reaches the browser of a user of `gatehouse dev`. Nothing that the browser
// sends, receives or stores looks like one.
func testNoToken(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	pieces := tour(tb, dev, nil)
	checkPieces(t, dev, pieces, nil)
	checkCookies(t, dev, pieces)
}

// testNoKnownSecret covers secrets that look like nothing, such as refresh tokens: the provider
// records each secret that it issues. Access tokens are short-lived, so that a refresh is included.
func testNoKnownSecret(t *testing.T, c *chromium, _ *system) {
	notes := &secretNotes{known: make(map[string]string)}
	s := startServe(t, notes)
	tb := c.newTab(t)
	pieces := tour(tb, s, func() {
		eventually(t, "a refresh", func() error {
			if state, text := tb.callAPI(); state != "ok" {
				t.Fatalf("Call API: %s: %s", state, text)
			}
			if !notes.refreshed() {
				return errors.New("not yet")
			}
			return nil
		})
	})
	secrets := notes.all()
	for _, kind := range []string{"access_token", "refresh_token", "id_token", "code_verifier", "client secret"} {
		if !slices.Contains(slices.Collect(maps.Values(secrets)), kind) {
			t.Fatalf("the provider has recorded no %s, so that the test finds nothing", kind)
		}
	}
	checkPieces(t, s, pieces, secrets)
	checkCookies(t, s, pieces)
}

// tour signs in, uses every page, signs out, and returns everything that the browser sent, received
// and stored.
func tour(tb *tab, s *system, more func()) []piece {
	tb.t.Helper()
	var pieces []piece
	look := func() { pieces = append(pieces, tb.scriptSees()...) }
	tb.open(s.base + "/")
	look()
	tb.open(s.base + "/private")
	look() // the provider's page
	tb.choose("seller")
	tb.at(s.base + "/private")
	look()
	if state, text := tb.callAPI(); state != "ok" {
		tb.t.Fatalf("Call API: %s: %s", state, text)
	}
	if more != nil {
		more()
	}
	look()
	for _, path := range []string{"/profile", "/public", "/", "/nothing-here"} {
		tb.open(s.base + path)
		look()
	}
	// Requests that a script could send with the session.
	for _, path := range []string{"/api", "/api/private-route", "/api/auth/me", "/api/auth/session", "/api/nothing-here"} {
		js[string](tb, fmt.Sprintf(`fetch(%q).then((r) => r.text())`, path))
	}
	session := cookieValue(tb, s)
	tb.click(`header a[href="/api/auth/logout"]`)
	tb.at(s.base + "/")
	look()
	for _, entry := range must(tb, page.GetNavigationHistory, cdp.Empty{}).Entries {
		pieces = append(pieces, piece{"session history", entry.URL, entry.URL + " " + entry.UserTypedURL + " " + entry.Title})
	}
	pieces = append(pieces, tb.recorded()...)

	// The browser keeps the session cookie, but scripts cannot read it.
	for _, p := range pieces {
		if p.kind != "request header cookie" && p.kind != "response header set-cookie" && strings.Contains(p.text, session) {
			tb.t.Errorf("the session cookie's value is in the %s of %s", p.kind, p.url)
		}
		if p.kind == "request header cookie" && strings.Contains(p.text, session) && !strings.HasPrefix(p.url, s.base+"/") {
			tb.t.Errorf("the session cookie was sent to %s", p.url)
		}
	}
	return pieces
}

// sessionCookie is the name of the session cookie on http.
const sessionCookie = "gatehouse"

func cookieValue(tb *tab, s *system) string {
	tb.t.Helper()
	for _, cookie := range tb.cookies(s.base) {
		if cookie.Name == sessionCookie && len(cookie.Value) >= 43 { // 256 bits
			return cookie.Value
		}
	}
	tb.t.Fatalf("there is no session cookie among %v", tb.cookies(s.base))
	return ""
}

// checkPieces finds tokens. One is expected, in one place: the id_token_hint that the logout sends
// through the browser to the provider.
func checkPieces(t *testing.T, s *system, pieces []piece, secrets map[string]string) {
	t.Helper()
	kinds := make(map[string]int)
	hints := make(map[string]int)
	for _, p := range pieces {
		kinds[strings.Fields(p.kind)[0]]++
		text := p.text
		if hint := expectedHint(s, p); hint != "" {
			hints[p.kind]++
			text = strings.ReplaceAll(text, hint, "")
		}
		for _, token := range jwts(text) {
			t.Errorf("%s of %s holds a token: %.20s…", p.kind, p.url, token)
		}
		for secret, kind := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s of %s holds the %s", p.kind, p.url, kind)
			}
		}
	}
	// The expected token was found, so the search works; and it was found once.
	if hints["request URL"] != 1 || hints["response header location"] == 0 {
		t.Errorf("id_token_hint was seen in %v, want it in one request's URL and the redirect there", hints)
	}
	for _, kind := range []string{"request", "response", "document.cookie", "localStorage", "DOM", "session"} {
		if kinds[kind] == 0 {
			t.Errorf("nothing of the kind %s was looked at: %v", kind, kinds)
		}
	}
}

// expectedHint returns the id_token_hint that a piece may contain: in a request to the provider's
// end_session_endpoint, or in the redirect there.
func expectedHint(s *system, p piece) string {
	switch p.kind {
	case "request URL":
	case "response header location":
		if p.url != s.base+"/api/auth/logout" {
			return ""
		}
	default:
		return ""
	}
	u, err := url.Parse(p.text)
	if err != nil || u.Scheme+"://"+u.Host+u.Path != s.provider+"/end_session" {
		return ""
	}
	return u.Query().Get("id_token_hint")
}

// checkCookies checks the attributes that keep the bff's cookies from scripts, other sites and
// sibling hosts.
func checkCookies(t *testing.T, s *system, pieces []piece) {
	t.Helper()
	names := make(map[string]bool)
	for _, p := range pieces {
		if p.kind != "response header set-cookie" || !strings.HasPrefix(p.url, s.base+"/") {
			continue
		}
		for line := range strings.SplitSeq(p.text, "\n") { // DevTools joins several
			cookie, err := http.ParseSetCookie(line)
			if err != nil {
				t.Errorf("%s sets a cookie that cannot be read: %v", p.url, err)
				continue
			}
			names[cookie.Name] = true
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
				t.Errorf("%s sets %s with HttpOnly %v, SameSite %v, Path %q, Domain %q", p.url, cookie.Name, cookie.HttpOnly, cookie.SameSite, cookie.Path, cookie.Domain)
			}
		}
	}
	if !names[sessionCookie] || len(names) < 2 {
		t.Errorf("cookies were set by the names %v, want the session's and a login attempt's", names)
	}
}

// secretNotes are the secrets that a provider issued or received, by value.
type secretNotes struct {
	mu      sync.Mutex
	known   map[string]string
	refresh bool
}

func (n *secretNotes) add(secret, kind string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if secret != "" {
		n.known[secret] = kind
	}
}

func (n *secretNotes) all() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.known)
}

func (n *secretNotes) refreshed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refresh
}

// watch records the secrets that pass the provider's token endpoint.
func (n *secretNotes) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Origin") != "" { // forms of a browser carry an Origin
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		form, _ := url.ParseQuery(string(body)) // an unparsable body has no code verifier
		n.add(form.Get("code_verifier"), "code_verifier")
		var tokens map[string]any
		if json.Unmarshal(answer.Body.Bytes(), &tokens) == nil && answer.Code == http.StatusOK {
			for _, kind := range []string{"access_token", "refresh_token", "id_token"} {
				token, _ := tokens[kind].(string)
				n.add(token, kind)
			}
			if form.Get("grant_type") == "refresh_token" {
				n.mu.Lock()
				n.refresh = true
				n.mu.Unlock()
			}
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// startServe starts `gatehouse serve` with a provider in this process whose token endpoint is
// watched.
func startServe(t *testing.T, notes *secretNotes, more ...string) *system {
	t.Helper()
	return startPart(t, notes, "serve", more...)
}

// startPart is startServe for another part with a bff.
func startPart(t *testing.T, notes *secretNotes, part string, more ...string) *system {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	s := &system{base: "http://localhost:" + portOf(address), provider: "http://" + listener.Addr().String()}
	const audience = "https://api.e2e.example"
	clientSecret, secret := rand.Text(), rand.Text()+rand.Text()
	notes.add(clientSecret, "client secret")
	notes.add(secret, "GATEHOUSE_SECRET")
	provider, err := devidp.New(devidp.Config{
		Issuer:   s.provider,
		Audience: audience,
		Clients: []devidp.Client{{
			ID: "e2e", Secret: clientSecret,
			RedirectURIs:           []string{s.base + "/api/auth/callback"},
			PostLogoutRedirectURIs: []string{s.base},
			BackchannelLogoutURI:   s.base + "/api/auth/backchannel-logout",
		}},
		Users:    []directory.User{{Key: "seller", Name: "Sofia Marchetti", Permissions: []string{"products:write"}}},
		Behavior: devidp.Behavior{AccessTokenLifetime: 3 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: notes.watch(provider)}
	go func() { _ = server.Serve(listener) }() // ends with http.ErrServerClosed
	t.Cleanup(func() {
		_ = server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			t.Error("provider:", err)
		}
	})
	s.process = gatehouse(t, append([]string{
		"GATEHOUSE_OIDC_ISSUER=" + s.provider,
		"GATEHOUSE_OIDC_CLIENT_ID=e2e",
		"GATEHOUSE_OIDC_CLIENT_SECRET=" + clientSecret,
		"GATEHOUSE_AUDIENCE=" + audience,
		"GATEHOUSE_BASE_URL=" + s.base,
		"GATEHOUSE_SECRET=" + secret,
		"GATEHOUSE_SESSION_STORE=memory:",
		"GATEHOUSE_LISTEN_BFF=" + address,
		"GATEHOUSE_LISTEN_GATEWAY=127.0.0.1:0",
		"GATEHOUSE_LISTEN_GRPC=127.0.0.1:0",
	}, more...), part)
	s.ready(t, s.base+"/readyz")
	return s
}
