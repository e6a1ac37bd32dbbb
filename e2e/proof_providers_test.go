//go:build proof

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A resourceServer is an API behind a route. It verifies the tokens of requests, and answers with
// their header and claims.
type resourceServer struct {
	url string

	mu   sync.Mutex
	last string // the newest token
}

func newResourceServer(t *testing.T, issuer, audience string, algorithms ...string) *resourceServer {
	t.Helper()
	provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := authn.NewVerifier(authn.Config{Provider: provider, Audience: audience, Algorithms: algorithms})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = provider.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	rs := &resourceServer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := verifier.Verify(r.Context(), bearer); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		rs.mu.Lock()
		rs.last = bearer
		rs.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"header": segment(bearer, 0), "claims": segment(bearer, 1)})
	}))
	t.Cleanup(server.Close)
	rs.url = server.URL
	return rs
}

// token returns the newest token.
func (rs *resourceServer) token() string {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.last
}

// segment decodes a segment of a JWT.
func segment(jwt string, i int) map[string]any {
	var decoded map[string]any
	if parts := strings.Split(jwt, "."); len(parts) == 3 {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[i])
		_ = json.Unmarshal(raw, &decoded)
	}
	return decoded
}

// arrives sends a request to a resource server, and returns header and claims of the token that
// has come there.
func arrives(t *testing.T, v *visitor, path string) (header, claims map[string]any) {
	t.Helper()
	got := v.fetch(t, path).wants(t, http.StatusOK, "application/json").json(t)
	header, _ = got["header"].(map[string]any)
	claims, _ = got["claims"].(map[string]any)
	return header, claims
}

// renewed waits until a path gets another token than before.
func renewed(t *testing.T, v *visitor, path string, before any) {
	t.Helper()
	eventually(t, path+" gets a new token", func() error {
		if _, claims := arrives(t, v, path); claims["jti"] == before {
			return errors.New("the same token")
		}
		return nil
	})
}

// A matrix has the rows of the section of a provider.
type matrix struct {
	provider string
	rows     [][]string
}

// run runs the test of a feature, and adds its row.
func (m *matrix) run(t *testing.T, feature, how string, test func(t *testing.T)) {
	t.Helper()
	result := "fails"
	if t.Run(feature, test) {
		result = "works"
	}
	m.rows = append(m.rows, []string{feature, how, result})
}

func (m *matrix) report(t *testing.T) {
	proof.Report(t, proof.Section{
		Title:   "Provider: " + m.provider,
		Text:    "Features of providers, driven through `gatehouse` by a browser's requests. Upstreams verify the tokens that they get.",
		Columns: []string{"feature", "how", "result"}, Rows: m.rows,
	})
}

// TestProofOidcProvider tries features of the npm package oidc-provider that TestAlgorithms and
// TestOpaqueTokens do not.
func TestProofOidcProvider(t *testing.T) {
	m := matrix{provider: "oidc-provider 9.13.3"}
	defer m.report(t)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		m.run(t, "refresh grant for another resource, "+alg, "two `resource` at the login, rotation of refresh tokens", func(t *testing.T) {
			const orders = "https://orders.example"
			address := freeAddress(t)
			base := "http://localhost:" + portOf(address)
			op := startProvider(t, freeAddress(t), base, firstTTL, "SIGNING_ALG="+alg, "OTHER_AUDIENCE="+orders)
			there, own := newResourceServer(t, op.issuer, orders, alg), newResourceServer(t, op.issuer, opAudience, alg)
			env := append(op.environment(base), "GATEHOUSE_ID_TOKEN_ALGORITHMS="+alg, "GATEHOUSE_ACCESS_TOKEN_ALGORITHMS="+alg,
				fmt.Sprintf("GATEHOUSE_ROUTES=[{path: /orders, to: %q, audience: %q}, {path: /own, to: %q}]", there.url, orders, own.url))
			p := gatehouse(t, env, "serve", "--listen-bff="+address, "--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t))
			p.ready(t, base+"/readyz")
			in := installation{base: base, op: op, processes: []*process{p}}
			v := newVisitor(t)
			signsIn(t, in, v, "alice")
			for range 2 {
				_, claims := arrives(t, v, "/orders/5")
				if claims["aud"] != orders || claims["sub"] != "alice" {
					t.Errorf("the route's token: %v", claims)
				}
				_, mine := arrives(t, v, "/own/5")
				if mine["aud"] != opAudience {
					t.Errorf("the session's token: %v", mine)
				}
				callsAPI(t, in, v)
				renewed(t, v, "/orders/5", claims["jti"])
				renewed(t, v, "/own/5", mine["jti"])
			}
			state := op.state(t)
			if len(state.Refused) > 0 || len(state.Live) != 1 || state.Grants["refresh_token"] < 5 {
				t.Errorf("refused %v, %d live refresh tokens, grants %v", state.Refused, len(state.Live), state.Grants)
			}
			signsOut(t, in, v)
			nothingReached(t, in, v)
		})
	}
}

// serveFor runs `gatehouse serve` with the client of a secret at a realm.
func (k *keycloak) serveFor(t *testing.T, base string, more ...string) *process {
	t.Helper()
	p := gatehouse(t, append(k.environment(base), more...), "serve", "--listen-bff=127.0.0.1:"+portOf(strings.TrimPrefix(base, "http://")),
		"--listen-gateway=127.0.0.1:0", "--listen-grpc=127.0.0.1:0")
	p.ready(t, base+"/readyz")
	return p
}

// signsIn signs alice in.
func (k *keycloak) signsIn(t *testing.T, base string) *visitor {
	t.Helper()
	v := newVisitor(t)
	v.open(t, base+"/private")
	k.enter(t, v)
	if v.page.url != base+"/private" || v.page.status != http.StatusOK {
		t.Fatalf("signed in at %s with status %d\n%s", v.page.url, v.page.status, v.page.body)
	}
	return v
}

// waitFor waits until a path answers with a status.
func waitFor(t *testing.T, v *visitor, path string, status int) {
	t.Helper()
	within(t, 2*time.Minute, fmt.Sprintf("%s: %d", path, status), func() error {
		if got := v.fetch(t, path); got.status != status {
			return httpError(got)
		}
		return nil
	})
}
