package bff_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// configPlan are the modules of oidcc-client-config-certification-test-plan.
var configPlan = []module{
	{"oidcc-client-test-discovery-openid-config", func(t *testing.T, s *system, _ signIn) {
		// Nothing is where one would guess it.
		for name, path := range map[string]string{"token_endpoint": "/t/9", "userinfo_endpoint": "/u/9", "authorization_endpoint": "/a/9"} {
			s.idp.metadata[name] = issuerURL + path
		}
		s.idp.instead["/t/9"] = s.idp.token
		s.idp.instead["/u/9"] = func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.idp.userinfo) }
		s.reconfigure()
		b := s.browser()
		location := b.navigate("/api/auth/login").location()
		if !strings.HasPrefix(location, issuerURL+"/a/9?") {
			t.Fatalf("sent to %q", location)
		}
		wantStatus(t, b.back(s.idp.authorize(strings.Replace(location, "/a/9?", "/authorize?tenant=a&", 1))), http.StatusSeeOther)
		if !b.signedIn() || len(s.idp.called("/t/9")) != 1 || len(s.idp.called("/u/9")) != 1 || len(s.idp.called("/token")) != 0 {
			t.Error("the endpoints of the metadata were not used")
		}
	}},
	{"oidcc-client-test-discovery-jwks-uri-keys", func(t *testing.T, s *system, signIn signIn) {
		s.idp.metadata["jwks_uri"] = issuerURL + "/k/9"
		s.idp.instead["/k/9"] = func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusOK, map[string]any{"keys": []any{signer().Key().JWK()}})
		}
		before := len(s.idp.called("/keys"))
		s.reconfigure()
		accepts(t, s, signIn)
		if len(s.idp.called("/k/9")) == 0 || len(s.idp.called("/keys")) != before {
			t.Error("the keys came from elsewhere")
		}
	}},
	{"oidcc-client-test-discovery-issuer-mismatch", func(t *testing.T, s *system, _ signIn) {
		s.idp.metadata["issuer"] = issuerURL + "/1"
		provider, err := oidc.NewProvider(oidc.Config{Issuer: issuerURL, HTTPClient: s.idp.client(), Now: s.cfg.Now})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provider.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "issuer mismatch") {
			t.Errorf("discovery: %v", err)
		}
		s.cfg.Provider = provider
		if s.BFF, err = bff.New(s.cfg); err != nil {
			t.Fatal(err)
		}
		b := s.browser()
		wantStatus(t, b.navigate("/api/auth/login"), http.StatusServiceUnavailable)
		wantStatus(t, b.navigate("/readyz"), http.StatusServiceUnavailable)
	}},
	{"oidcc-client-test-idtoken-sig-none", unsigned},
	{"oidcc-client-test-signing-key-rotation-just-before-signing", func(t *testing.T, s *system, _ signIn) {
		b := s.browser()
		callback := s.idp.authorize(b.navigate("/api/auth/login").location())
		s.idp.rotate()
		wantStatus(t, b.back(callback), http.StatusSeeOther)
		if !b.signedIn() {
			t.Error("not signed in")
		}
	}},
	{"oidcc-client-test-signing-key-rotation", func(t *testing.T, s *system, signIn signIn) {
		accepts(t, s, signIn)
		before := len(s.idp.called("/keys"))
		s.idp.rotate()
		accepts(t, s, signIn)
		accepts(t, s, signIn)
		if n := len(s.idp.called("/keys")) - before; n != 1 {
			t.Errorf("%d fetches of the key set", n)
		}
	}},
}

// TestRPPlanConfig is oidcc-client-config-certification-test-plan.
func TestRPPlanConfig(t *testing.T) {
	t.Parallel()
	run(t, configPlan, byQuery)
}
