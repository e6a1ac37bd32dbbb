package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The client and the API that the provider of these tests knows.
const (
	opClientID     = "web"
	opClientSecret = "client-secret: %41 & + that needs encoding"
	opAudience     = "https://api.audioarchive.example"
)

// An openIDProvider is the npm package oidc-provider in a process of its own, with one client: the
// bff at a base URL.
type openIDProvider struct {
	*process
	issuer string
}

// startProvider runs oidc-provider at an address, for a bff at base. Access tokens live for ttl.
// Further variables of the script may follow.
func startProvider(t *testing.T, address, base string, ttl time.Duration, more ...string) *openIDProvider {
	t.Helper()
	script, err := filepath.Abs("oidcprovider/provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "node_modules", "oidc-provider")); err != nil {
		t.Fatal("e2e/oidcprovider/node_modules is missing: run the tests with `make test`, which installs it (npm ci in e2e/oidcprovider)")
	}
	op := &openIDProvider{issuer: "http://" + address}
	op.process = start(t, "oidc-provider", append([]string{
		"NODE_ENV=production",
		"PORT=" + portOf(address),
		"CLIENT_ID=" + opClientID,
		"CLIENT_SECRET=" + opClientSecret,
		"REDIRECT_URI=" + base + "/api/auth/callback",
		"POST_LOGOUT_REDIRECT_URI=" + base,
		"BACKCHANNEL_LOGOUT_URI=" + base + "/api/auth/backchannel-logout",
		"AUDIENCE=" + opAudience,
		fmt.Sprintf("ACCESS_TOKEN_TTL=%d", int(ttl/time.Second)),
	}, more...), "node", script)
	op.ready(t, op.issuer+"/.well-known/openid-configuration")
	return op
}

// environment returns the tutorial's environment: what a reader has in .env.local.
func (op *openIDProvider) environment(base string) []string {
	return tutorialEnvironment(op.issuer, base)
}

func tutorialEnvironment(issuer, base string) []string {
	return []string{
		"AUTH0_SECRET=" + tutorialSecret,
		"AUTH0_BASE_URL=" + base,
		"AUTH0_ISSUER_BASE_URL=" + issuer,
		"AUTH0_CLIENT_ID=" + opClientID,
		"AUTH0_CLIENT_SECRET=" + opClientSecret,
		"AUTH0_AUDIENCE=" + opAudience,
		"AUTH0_SCOPE=openid profile email offline_access",
	}
}

// tutorialSecret returns a secret like the output of `openssl rand -hex 32`.
const tutorialSecret = "5b1c0f9d27e84a63b0d5f2c8719e3a46d7084bce915f2a3d6c7e80f14b95a2d3"

// providerState is what the provider has issued and received.
type providerState struct {
	Issued []struct {
		Kind  string `json:"kind"` // access_token, refresh_token, id_token or code
		Value string `json:"value"`
	} `json:"issued"`
	Grants      map[string]int `json:"grants"`  // token responses by grant type
	Refused     []string       `json:"refused"` // errors of the token endpoint
	Live        []string       `json:"live"`    // refresh tokens that are still valid
	Backchannel struct {
		Success int      `json:"success"`
		Error   []string `json:"error"`
	} `json:"backchannel"`
}

func (op *openIDProvider) state(t *testing.T) providerState {
	t.Helper()
	resp, err := http.Get(op.issuer + "/test/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s providerState
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// setTTL sets the lifetime of access tokens from now on.
func (op *openIDProvider) setTTL(t *testing.T, ttl time.Duration) {
	t.Helper()
	resp, err := http.Post(op.issuer+"/test/ttl", "text/plain", strings.NewReader(fmt.Sprint(int(ttl/time.Second))))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// of returns all issued values of a kind, oldest first.
func (s providerState) of(kind string) []string {
	var values []string
	for _, i := range s.Issued {
		if i.Kind == kind {
			values = append(values, i.Value)
		}
	}
	return values
}

// tokens returns every issued token, and the segments of those that have segments, because a part
// of a token is a leak too.
func (s providerState) tokens() []string {
	var values []string
	for _, i := range s.Issued {
		if i.Kind == "code" { // which passes the browser by design
			continue
		}
		values = append(values, i.Value)
		if parts := strings.Split(i.Value, "."); len(parts) == 3 {
			values = append(values, parts[1], parts[2])
		}
	}
	return values
}

// expiry returns exp of a token that the provider has just signed.
func expiry(t *testing.T, jwt string) time.Time {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatal("the provider's access token is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Exp == 0 {
		t.Fatalf("the provider's access token has no exp (%v)", err)
	}
	return time.Unix(claims.Exp, 0)
}
