package bff_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// TestRPPlanComprehensive are the modules of oidcc-client-test-plan that are
// in no certification plan above and apply to the authorization code flow
// here; and, under names of our own, what the plans leave out of OpenID
// Connect Core section 3.1.3.7.
func TestRPPlanComprehensive(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*testing.T, *system, signIn) {
		return func(t *testing.T, s *system, signIn signIn) {
			s.idp.id[name] = value
			rejects(t, s, signIn)
		}
	}
	modules := []module{
		{"oidcc-client-test-missing-aud", claim("aud", tokentest.Absent)},
		{"oidcc-client-test-invalid-athash", claim("at_hash", tokentest.AccessTokenHash("another"))},
		{"oidcc-client-test-userinfo-bearer-header", func(t *testing.T, s *system, signIn signIn) {
			accepts(t, s, signIn)
			call := s.idp.called("/userinfo")[0]
			if !strings.HasPrefix(call.header.Get("Authorization"), "Bearer ") || len(call.form) != 0 {
				t.Errorf("form %v", call.form)
			}
		}},
		{"oidcc-client-test-invalid-sig-hs256", func(t *testing.T, s *system, signIn signIn) {
			s.idp.idHeader["alg"] = "HS256"
			rejects(t, s, signIn)
		}},
		// Its own alg, and a signature of another one.
		{"oidcc-client-test-invalid-sig-es256", func(t *testing.T, s *system, signIn signIn) {
			s.idp.reform = func(raw string) string {
				return s.idp.signedWith(anotherAlgorithm(s.idp.signer.Key().Algorithm), raw)
			}
			rejects(t, s, signIn)
		}},
		{"another alg, and its own signature", func(t *testing.T, s *system, signIn signIn) {
			s.idp.idHeader["alg"] = anotherAlgorithm(s.idp.signer.Key().Algorithm)
			rejects(t, s, signIn)
		}},
		{"exp in the past", func(t *testing.T, s *system, signIn signIn) {
			s.idp.id["exp"] = s.clock.Now().Unix() - 61
			rejects(t, s, signIn)
		}},
		{"exp missing", claim("exp", tokentest.Absent)},
		{"nonce missing", claim("nonce", tokentest.Absent)},
		{"several aud, no azp", claim("aud", []string{clientID, "other"})},
		{"azp of another client", claim("azp", "other")},
	}
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			var signed []module
			for _, m := range modules {
				signed = append(signed, module{m.name, func(t *testing.T, s *system, signIn signIn) { m.run(t, s.signWith(alg), signIn) }})
			}
			run(t, signed, byQuery)
		})
	}
	run(t, []module{
		{"a key that was withdrawn", func(t *testing.T, s *system, signIn signIn) {
			s.idp.rotate()
			accepts(t, s, signIn)
			s.idp.change(func(p *provider) { p.keys = []any{secondKey().Key().JWK()}; p.signer = signer() })
			s.reconfigure()
			b := s.browser()
			wantStatus(t, signIn(b), http.StatusBadGateway)
			if b.session() != "" {
				t.Error("signed in")
			}
		}},
	}, byQuery)
	// The client authentication variants of the comprehensive plan.
	for method, option := range map[string]func(*bff.Config){
		"client_secret_post": func(c *bff.Config) { c.Client.Auth = bff.AuthPost },
		"private_key_jwt":    withKey(clientRSA()),
	} {
		t.Run("oidcc-client-test/"+method, func(t *testing.T) {
			t.Parallel()
			s := planned(t, option)
			if s.cfg.Client.Key != "" {
				s.readClientKeys()
			}
			accepts(t, s, byQuery)
		})
	}
}
