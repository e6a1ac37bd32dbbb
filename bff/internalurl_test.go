package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// hosts records the hosts of requests.
type hosts struct {
	http.RoundTripper
	mu   sync.Mutex
	seen map[string]string // path → scheme://host
}

func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.seen[r.URL.Path] = r.URL.Scheme + "://" + r.URL.Host
	h.mu.Unlock()
	return h.RoundTripper.RoundTrip(r)
}

// Inside a cluster the provider is called at an address of its own, and browsers
// are sent to the provider's public addresses.
func TestProviderInternalURL(t *testing.T) {
	t.Parallel()
	const inside = "http://keycloak.auth.svc:8080"
	calls := &hosts{seen: map[string]string{}}
	s := start(t)
	s.idp.offersPAR()
	s.at.InternalURL, s.at.InsecureInternalHTTP = inside, true
	calls.RoundTripper = s.idp
	s.cfg.HTTPClient = &http.Client{Transport: calls}
	s.at.HTTPClient = s.cfg.HTTPClient
	b := unfollowed(t, s)
	s.run()
	s.idp.change(func(p *provider) { p.id["name"] = tokentest.Absent })
	location := b.navigate("/api/auth/login").location()
	if !strings.HasPrefix(location, issuerURL+"/authorize") {
		t.Fatalf("the browser is sent to %q", location)
	}
	wantStatus(t, b.back(s.idp.authorize(location)), http.StatusSeeOther)
	before := b.access()
	s.clock.Advance(6 * time.Minute)
	if b.access() == before {
		t.Error("not refreshed")
	}
	out, err := url.Parse(b.navigate("/api/auth/logout", site("same-origin")).location())
	if err != nil || out.Scheme+"://"+out.Host != issuerURL {
		t.Fatalf("the browser is sent to %v: %v", out, err)
	}
	b.navigate("/?state="+url.QueryEscape(out.Query().Get("state")), site("cross-site"))
	eventually(t, "the refresh token is revoked", func() bool { return len(s.idp.revoked()) == 1 })
	calls.mu.Lock()
	defer calls.mu.Unlock()
	for _, path := range []string{"/.well-known/openid-configuration", "/keys", "/par", "/token", "/userinfo", "/revoke"} {
		if calls.seen[path] != inside {
			t.Errorf("%s was called at %q, want %q", path, calls.seen[path], inside)
		}
	}
	for path, host := range calls.seen {
		if host != inside {
			t.Errorf("%s was called at %q", path, host)
		}
	}
}
