package oidc_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// TestInternalURL: a provider with an internal URL is called there, over TLS under
// that name. Metadata and tokens do not change.
func TestInternalURL(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example/realms/shop")
	var mu sync.Mutex
	var seen []string
	inside := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Host+r.URL.Path)
		mu.Unlock()
		if r.URL.Path == "/realms/shop/keys" {
			http.Redirect(w, r, "https://id.example/realms/shop/moved/keys", http.StatusFound) // also reached at the internal URL
			return
		}
		res, err := issuer.Client().Get(r.URL.String())
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		_, _ = io.Copy(w, res.Body)
	}))
	t.Cleanup(inside.Close)
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, InternalURL: inside.URL + "/", HTTPClient: inside.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(inside.URL, "https://")
	mu.Lock()
	for i, path := range []string{"/.well-known/openid-configuration", "/keys", "/moved/keys"} {
		if len(seen) != 3 || seen[i] != host+"/realms/shop"+path {
			t.Fatalf("calls %v, want each at %s", seen, host)
		}
	}
	mu.Unlock()
	m, err := p.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if m.Issuer != issuer.URL || m.AuthorizationEndpoint != issuer.URL+"/authorize" || m.TokenEndpoint != issuer.URL+"/token" || m.EndSessionEndpoint != issuer.URL+"/logout" {
		t.Errorf("got metadata %+v, want the provider's own", m)
	}
	v := newAccess(t, p)
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), 0)
	check(t, v, issuer.Mint(map[string]any{"aud": audience, "iss": inside.URL + "/realms/shop"}), token.ReasonInvalid)
}

// TestInternalURLMetadata: a provider that names its endpoints after the address of
// the request (Keycloak with hostname-backchannel-dynamic) may have http endpoints
// for this process, never for browsers.
func TestInternalURLMetadata(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		internal, endpoint, value, says string
	}{
		{"http://keycloak.svc:8080", "token_endpoint", "http://keycloak.svc:8080/token", ""},
		{"http://keycloak.svc:8080", "jwks_uri", "http://keycloak.svc:8080/keys", ""},
		{"http://keycloak.svc:8080", "authorization_endpoint", "http://keycloak.svc:8080/authorize", "loopback only"},
		{"http://keycloak.svc:8080", "end_session_endpoint", "http://keycloak.svc:8080/logout", "loopback only"},
		{"http://keycloak.svc:8080", "token_endpoint", "ftp://keycloak.svc:8080/token", "scheme"},
		{"http://keycloak.svc:8080", "token_endpoint", "http://a:b@keycloak.svc:8080/token", "user name"},
		{"", "token_endpoint", "http://keycloak.svc:8080/token", "loopback only"},
		{"http://keycloak.svc:8080", "issuer", "http://keycloak.svc:8080", "issuer mismatch"},
	} {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		issuer.SetMetadata(c.endpoint, c.value)
		p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, InternalURL: c.internal, InsecureInternalHTTP: true, HTTPClient: issuer.Client()})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Refresh(t.Context())
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s, internal %q: %v, want %q", c.endpoint, c.value, c.internal, err, c.says)
		}
	}
}

func TestInternalURLRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw      string
		insecure bool
		says     string
	}{
		{"https://keycloak.svc:8443", false, ""},
		{"https://keycloak.svc:8443/", false, ""},
		{"https://[fd00::1]", false, ""},
		{"http://127.0.0.1:8080", false, ""},
		{"http://keycloak.svc:8080", true, ""},
		{"http://keycloak.svc:8080", false, "use https"},
		{"keycloak.svc:8080", true, "the scheme is missing"},
		{"http://", true, "not a URL"},
		{"http://user:hunter2@keycloak.svc", true, "user name"},
		{"https://keycloak.svc/realms/shop", false, "more than an origin"},
		{"https://keycloak.svc?x", false, "more than an origin"},
		{"https://keycloak.svc#x", false, "more than an origin"},
		{"ftp://keycloak.svc", true, "neither https nor http"},
		{"https://%zz", true, "not a URL"},
	} {
		_, err := oidc.NewProvider(oidc.Config{Issuer: "https://id.example", InternalURL: c.raw, InsecureInternalHTTP: c.insecure})
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: %v, want %q", c.raw, err, c.says)
		}
	}
}

// TestInternalURLUnreachable: the error names the internal URL, not just the issuer.
func TestInternalURLUnreachable(t *testing.T) {
	t.Parallel()
	p, err := oidc.NewProvider(oidc.Config{
		Issuer: "https://id.example", InternalURL: "https://keycloak.svc:8443",
		HTTPClient: &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "at https://keycloak.svc:8443: connection refused") {
		t.Errorf("%v", err)
	}
}

// TestIssuerMismatchRemedy: the remedy names the internal URL if it can be one.
func TestIssuerMismatchRemedy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ configured, published, internal string }{
		{"https://keycloak.svc/realms/shop", "https://id.example/realms/shop", "https://keycloak.svc"},
		{"http://localhost:8080/realms/shop/", "https://id.example/realms/shop", "http://localhost:8080"},
		{"https://id.example", "https://id.example:8443", "https://id.example"},
		{"https://id.example/realms/a", "https://id.example/realms/b", ""},
		{"https://keycloak.svc/realms/a", "https://id.example/realms/b", ""},
		{"https://id.example", "", ""},
		{"https://id.example", "nonsense", ""},
	} {
		issuer := tokentest.NewUnserved(t, c.configured)
		issuer.SetMetadata("issuer", c.published)
		p, err := oidc.NewProvider(oidc.Config{Issuer: c.configured, HTTPClient: issuer.Client()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Discover(t.Context())
		mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err)
		if !ok {
			t.Fatalf("got %v, want an IssuerMismatchError", err)
		}
		if got := mismatch.InternalURL(); got != c.internal || strings.Contains(err.Error(), "internal URL") != (c.internal != "") {
			t.Errorf("%s, published %s: internal URL %q, want %q: %v", c.configured, c.published, got, c.internal, err)
		}
	}
}
