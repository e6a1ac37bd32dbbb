package bff_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// A client with a key authenticates with it at every endpoint, with a new
// assertion each time.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key  string
		algs any
	}{
		"RS256": {clientRSA(), tokentest.Absent},
		"PS256": {clientRSA(), []string{"PS256", "ES256"}},
		"ES256": {clientEC(), []string{"RS256", "ES256"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, withKey(c.key))
			s.idp.offersPAR()
			lay(s.idp.metadata, map[string]any{"token_endpoint_auth_signing_alg_values_supported": c.algs})
			s.reconfigure()
			s.readClientKeys()
			b := s.browser().signIn()
			before := b.access()
			s.clock.Advance(6 * time.Minute)
			if b.access() == before {
				t.Error("not refreshed")
			}
			wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
			for path, want := range map[string]int{"/par": 1, "/token": 2} {
				calls := s.idp.called(path)
				if len(calls) != want {
					t.Errorf("%s: %d calls, want %d", path, len(calls), want)
				}
				for _, call := range calls {
					if call.form.Has("client_secret") || call.header.Get("Authorization") != "" || call.form.Get("client_assertion") == "" {
						t.Errorf("%s: authenticated with something else", path)
					}
				}
			}
		})
	}
}

// Some providers accept no other audience of a client assertion than their token
// endpoint, wherever the client authenticates.
func TestAssertionAudience(t *testing.T) {
	t.Parallel()
	const tokenEndpoint = issuerURL + "/token"
	for _, c := range []struct {
		accepts    string
		configured bff.AssertionAudience
		check      string
	}{
		{issuerURL, "", ""},
		{issuerURL, bff.AssertionForIssuer, ""},
		{issuerURL, bff.AssertionForTokenEndpoint, "Client.AssertionAudience=issuer"},
		{tokenEndpoint, bff.AssertionForTokenEndpoint, ""},
		{tokenEndpoint, "", "Client.AssertionAudience=token_endpoint"},
		{"https://neither.example", "", "Client.Key"},
	} {
		t.Run(c.accepts+" "+string(c.configured), func(t *testing.T) {
			t.Parallel()
			s := start(t, withKey(clientEC()), func(cfg *bff.Config) { cfg.Client.AssertionAudience = c.configured })
			s.idp.offersPAR()
			s.idp.assertionAudience = c.accepts
			lay(s.idp.metadata, map[string]any{"token_endpoint_auth_methods_supported": []string{string(bff.AuthPrivateKey)}})
			s.reconfigure()
			s.readClientKeys()
			if c.check != "" {
				if wrong := found(s, bff.CheckWrong); !strings.Contains(wrong, c.check) {
					t.Errorf("check: %s, want %s named", wrong, c.check)
				}
				return
			}
			if wrong := found(s, bff.CheckWrong); wrong != "" {
				t.Errorf("check: %s", wrong)
			}
			b := s.browser().signIn()
			before := b.access()
			s.clock.Advance(6 * time.Minute)
			if b.access() == before {
				t.Error("not refreshed")
			}
			wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
		})
	}
	cfg := start(t).cfg
	cfg.Client.AssertionAudience = "https://idp.example"
	if _, err := bff.New(cfg); err == nil || !strings.Contains(err.Error(), "AssertionAudience") {
		t.Errorf("an audience of one's own: %v", err)
	}
}

// Rotation: the provider has to know a key before it is used, so all keys are
// published, and the first one signs.
func TestClientKeyRotation(t *testing.T) {
	t.Parallel()
	s := start(t, withKey(clientRSA()))
	s.readClientKeys()
	s.browser().signIn()
	s.cfg.Client.Key = clientRSA() + clientEC() // the next one is published
	s.reconfigure()
	s.browser().signIn() // the provider, which has not fetched again, knows the first one
	s.readClientKeys()
	s.cfg.Client.Key = clientEC() + clientRSA() // the next one signs
	s.reconfigure()
	s.browser().signIn()
	s.cfg.Client.Key = clientEC()
	s.reconfigure()
	s.browser().signIn()
}

func TestClientKeySet(t *testing.T) {
	t.Parallel()
	res := start(t, withKey(clientRSA()+clientEC())).browser().do(http.MethodGet, "/api/auth/jwks.json", nil)
	wantStatus(t, res, http.StatusOK)
	if got := res.Header.Get("Content-Type"); got != "application/jwk-set+json" {
		t.Errorf("Content-Type %q", got)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(res.body), &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%v: %s", err, res.body)
	}
	for _, k := range set.Keys {
		if k["d"] != "" || k["kid"] == "" || k["use"] != "sig" {
			t.Errorf("members %v", k)
		}
	}
	wantStatus(t, start(t).browser().fetch("/api/auth/jwks.json"), http.StatusNotFound)
}

// A public client sends no credential, and no empty one.
func TestPublicClientSignsIn(t *testing.T) {
	t.Parallel()
	for _, auth := range []bff.AuthMethod{"", bff.AuthNone} {
		s := start(t, func(c *bff.Config) { c.Client.Secret, c.Client.Auth = "", auth })
		s.idp.metadata["token_endpoint_auth_methods_supported"] = []string{"none"}
		s.reconfigure()
		s.browser().signIn()
	}
}

// Contradictory client authentication is refused with a reason, and no key is
// shown.
func TestClientAuthRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		auth              bff.AuthMethod
		secret, key, says string
	}{
		"no such way":                {"psychic", "s", "", `"psychic" is none of client_secret_basic`},
		"two credentials":            {"", "s", clientRSA(), "a client secret and a client key"},
		"basic without a secret":     {bff.AuthBasic, "", clientRSA(), "needs a client secret"},
		"post without a secret":      {bff.AuthPost, "", "", "needs a client secret"},
		"a key that is not there":    {bff.AuthPrivateKey, "s", "", "needs a client key"},
		"none with a secret":         {bff.AuthNone, "s", "", "unused"},
		"none with a key":            {bff.AuthNone, "", clientRSA(), "unused"},
		"a key that cannot be read":  {"", "", "hunter2-hunter2", "no private key"},
		"the public half of the key": {"", "", strings.ReplaceAll(clientRSA(), "PRIVATE", "PUBLIC"), "no private key"},
	} {
		cfg := start(t).cfg
		cfg.Client.Auth, cfg.Client.Secret, cfg.Client.Key = c.auth, c.secret, c.key
		_, err := bff.New(cfg)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// With both, the method selects one.
	s := start(t, func(c *bff.Config) { c.Client.Key, c.Client.Auth = clientRSA(), bff.AuthPost })
	s.browser().signIn()
}

// A new credential is used from the next request to the provider on.
func TestSetClientCredential(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Client.Auth = bff.AuthBasic })
	b := s.browser().signIn()
	set := func(secret, key string) error { return s.SetClientCredential(secret, key) }
	if err := set("not the secret", ""); err != nil {
		t.Fatal(err)
	}
	before := b.access()
	s.clock.Advance(4 * time.Minute) // due, and still valid
	if b.access() != before {
		t.Error("refreshed with a wrong secret")
	}
	if err := set("", ""); err == nil || !strings.Contains(err.Error(), "Client.Auth") {
		t.Errorf("no secret: got %v, want an error about Client.Auth", err)
	}
	if err := set("x", "no key"); err == nil || strings.Contains(err.Error(), "no key") {
		t.Errorf("no key: got %v, want an error that does not quote it", err)
	}
	if err := set(clientSecret, ""); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(2 * time.Minute)
	if b.access() == before {
		t.Error("not refreshed with the right secret")
	}
}
