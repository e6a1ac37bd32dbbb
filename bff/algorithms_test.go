package bff_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// signers sign for all tests, by algorithm.
var signers = sync.OnceValue(func() map[string]*tokentest.Issuer {
	all := map[string]*tokentest.Issuer{"RS256": signer()}
	for _, alg := range tokentest.Algorithms[1:] {
		all[alg] = tokentest.NewUnservedOf(new(testing.B), issuerURL, alg)
	}
	return all
})

func signerOf(alg string) *tokentest.Issuer { return signers()[alg] }

// anotherAlgorithm returns another algorithm, for RSA that of the same keys.
func anotherAlgorithm(alg string) string {
	i := slices.Index(tokentest.Algorithms, alg)
	return tokentest.Algorithms[i^1]
}

// signWith makes the provider sign with an algorithm, and the bff accept that alone.
func (s *system) signWith(alg string) *system {
	s.t.Helper()
	s.idp.change(func(p *provider) { p.signer = signerOf(alg) })
	s.cfg.Login.IDTokenAlgorithms = []string{alg}
	s.reconfigure()
	return s
}

// signedWith returns a token with the same header and payload and a signature of another
// algorithm by a key of the provider.
func (p *provider) signedWith(alg, raw string) string {
	input := raw[:strings.LastIndexByte(raw, '.')]
	return input + "." + tokentest.Segment(string(signerOf(alg).Key().Signature(input)))
}

// ID tokens of a login and of a refresh, and logout tokens, are accepted with the
// algorithms that are allowed. at_hash is compared.
func TestIDTokenAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t).signWith(alg)
				b := s.browser().signIn()
				time.Sleep(20 * time.Minute)
				wantStatus(t, b.fetch("/api/private-route"), http.StatusOK)
				if refreshes := len(s.idp.called("/token")); refreshes != 2 {
					t.Fatalf("%d calls of the token endpoint, want a login and a refresh", refreshes)
				}
				wantStatus(t, tell(s, url.Values{"logout_token": {s.idp.logoutToken(nil)}}), http.StatusOK)
				if b.signedIn() {
					t.Error("not signed out")
				}
				s.idp.change(func(p *provider) { p.id["at_hash"] = p.signer.Key().AccessTokenHash("another") })
				rejects(t, s, byQuery)
			})
		})
	}
}

// at_hash of an EdDSA token has the hash function of Ed25519, not that of the others.
func TestAtHashOfEdDSA(t *testing.T) {
	t.Parallel()
	s := start(t).signWith("EdDSA")
	s.idp.answer["access_token"] = "access"
	s.idp.id["at_hash"] = tokentest.AccessTokenHash("access") // SHA-256
	rejects(t, s, byQuery)
	s.idp.change(func(p *provider) { p.id["at_hash"] = p.signer.Key().AccessTokenHash("access") })
	accepts(t, s, byQuery)
}

// A provider that signs with an algorithm that is not allowed: the check, readiness and
// the log name the setting and what to add.
func TestIDTokenAlgorithmNotAllowed(t *testing.T) {
	t.Parallel()
	log := &record{}
	s := start(t, logsTo(log))
	s.idp.change(func(p *provider) {
		p.signer = signerOf("ES256")
		p.metadata["id_token_signing_alg_values_supported"] = []string{"ES256", "HS256"}
	})
	s.reconfigure()
	for range 2 {
		rejects(t, s, byQuery)
	}
	if n := log.count("the provider signs with an algorithm that is not allowed"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
	if log.count(`setting=Login.IDTokenAlgorithms remedy="set Login.IDTokenAlgorithms=RS256,ES256"`) != 1 {
		t.Error("the log does not name the setting and the value")
	}
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "the provider has ES256 keys only; set Login.IDTokenAlgorithms=ES256") {
		t.Errorf("ready: %v", err)
	}
	wrong := found(s, bff.CheckWrong)
	for _, part := range []string{"ES256", "HS256", "Login.IDTokenAlgorithms", "set Login.IDTokenAlgorithms=ES256"} {
		if !strings.Contains(wrong, part) {
			t.Errorf("the check does not say %q: %s", part, wrong)
		}
	}
	s.cfg.Login.IDTokenAlgorithms = []string{"ES256"}
	s.reconfigure()
	accepts(t, s, byQuery)
	if wrong := found(s, bff.CheckWrong); wrong != "" {
		t.Error(wrong)
	}
}

// One key set may have keys of several algorithms, also under one kid: each ID token is
// verified with the key that fits.
func TestKeysOfSeveralAlgorithms(t *testing.T) {
	t.Parallel()
	s := start(t)
	var keys []any
	for _, alg := range tokentest.Algorithms {
		k := maps.Clone(signerOf(alg).Key().JWK())
		k["kid"] = "same"
		keys = append(keys, k)
	}
	s.idp.keys, s.idp.idHeader["kid"] = keys, "same"
	s.cfg.Login.IDTokenAlgorithms = []string{"RS256", "ES256"}
	s.reconfigure()
	for _, alg := range tokentest.Algorithms {
		s.idp.change(func(p *provider) { p.signer = signerOf(alg) })
		if slices.Contains(s.cfg.Login.IDTokenAlgorithms, alg) {
			accepts(t, s, byQuery)
		} else {
			b := s.browser()
			wantStatus(t, byQuery(b), http.StatusBadGateway)
		}
	}
}
