package bff_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// basicPlan are the modules of oidcc-client-basic-certification-test-plan, in
// its order.
var basicPlan = []module{
	{"oidcc-client-test", func(t *testing.T, s *system, signIn signIn) {
		accepts(t, s, signIn)
		userinfo := s.idp.called("/userinfo")
		if len(userinfo) != 1 || !strings.HasPrefix(userinfo[0].header.Get("Authorization"), "Bearer at-") {
			t.Errorf("userinfo: %d calls", len(userinfo))
		}
	}},
	{"oidcc-client-test-invalid-iss", func(t *testing.T, s *system, signIn signIn) {
		s.idp.id["iss"] = issuerURL + "/1"
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-missing-sub", func(t *testing.T, s *system, signIn signIn) {
		s.idp.id["sub"] = tokentest.Absent
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-invalid-aud", func(t *testing.T, s *system, signIn signIn) {
		s.idp.id["aud"] = clientID + "1"
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-missing-iat", func(t *testing.T, s *system, signIn signIn) {
		s.idp.id["iat"] = tokentest.Absent
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-kid-absent-single-jwks", func(t *testing.T, s *system, signIn signIn) {
		s.idp.keys = []any{nameless(signer())}
		s.idp.idHeader["kid"] = tokentest.Absent
		s.reconfigure()
		accepts(t, s, signIn)
	}},
	// "The RP can do one of two things: reject the ID Token […] or test all
	// possible keys." We reject: which key it is, is the provider's to say.
	{"oidcc-client-test-kid-absent-multiple-jwks", func(t *testing.T, s *system, signIn signIn) {
		s.idp.keys = []any{nameless(signer()), nameless(secondKey())}
		s.idp.idHeader["kid"] = tokentest.Absent
		s.reconfigure()
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-idtoken-sig-rs256", func(t *testing.T, s *system, signIn signIn) {
		// Among keys of other kinds, which are of no use here and no harm.
		s.idp.keys = []any{
			map[string]any{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "ec", "x": "AA", "y": "AA"},
			map[string]any{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "ed", "x": "AA"},
			signer().Key().JWK(),
		}
		s.reconfigure()
		accepts(t, s, signIn)
	}},
	// "The client can either accept the unsigned id_token […] or reject" it.
	{"oidcc-client-test-idtoken-sig-none", unsigned},
	{"oidcc-client-test-invalid-sig-rs256", func(t *testing.T, s *system, signIn signIn) {
		s.idp.reform = func(raw string) string {
			head, signature, _ := cutLast(raw, ".")
			return head + "." + strings.Map(func(r rune) rune {
				if r == 'A' {
					return 'B'
				}
				return 'A'
			}, signature[:8]) + signature[8:]
		}
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-userinfo-invalid-sub", func(t *testing.T, s *system, signIn signIn) {
		s.idp.userinfo["sub"] = "user-1invalid"
		b := s.browser()
		wantStatus(t, signIn(b), http.StatusBadGateway)
		if b.session() != "" || len(s.idp.called("/userinfo")) != 1 {
			t.Error("signed in, or userinfo not asked")
		}
	}},
	{"oidcc-client-test-nonce-invalid", func(t *testing.T, s *system, signIn signIn) {
		s.idp.id["nonce"] = "another"
		rejects(t, s, signIn)
	}},
	{"oidcc-client-test-scope-userinfo-claims", func(t *testing.T, s *system, signIn signIn) {
		me := accepts(t, s, signIn).fetch("/api/auth/me").body
		for _, claim := range []string{`"name":"Ada Userinfo"`, `"email":"ada@userinfo.example"`} {
			if !strings.Contains(me, claim) {
				t.Errorf("me lacks %s: %s", claim, me)
			}
		}
		s.idp.mu.Lock()
		defer s.idp.mu.Unlock()
		for _, g := range s.idp.grants {
			scopes := strings.Fields(g.request.Get("scope"))
			for _, scope := range []string{"openid", "profile", "email"} {
				if !slices.Contains(scopes, scope) {
					t.Errorf("scope %s was not asked for", scope)
				}
			}
		}
	}},
	{"oidcc-client-test-client-secret-basic", func(t *testing.T, s *system, signIn signIn) {
		s.idp.metadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic"}
		s.reconfigure()
		accepts(t, s, signIn)
		call := s.idp.called("/token")[0]
		id, password, ok := (&http.Request{Header: call.header}).BasicAuth()
		if !ok || id != url.QueryEscape(clientID) || password != url.QueryEscape(clientSecret) || call.form.Has("client_secret") || call.form.Has("client_assertion") {
			t.Errorf("client %q, basic %t", id, ok)
		}
	}},
}

func unsigned(t *testing.T, s *system, signIn signIn) {
	s.idp.idHeader["alg"], s.idp.idHeader["kid"] = "none", tokentest.Absent
	s.idp.reform = func(raw string) string {
		head, _, _ := cutLast(raw, ".")
		return head + "."
	}
	rejects(t, s, signIn)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// TestRPPlanBasic is oidcc-client-basic-certification-test-plan.
func TestRPPlanBasic(t *testing.T) {
	t.Parallel()
	run(t, basicPlan, byQuery)
}
