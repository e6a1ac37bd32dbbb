package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// TestSeveralIssuers runs the program with the issuer that users sign in at, one of the shape
// of GitHub Actions, the API server of a Kubernetes cluster, an Amazon Cognito user pool, and
// one that is down.
func TestSeveralIssuers(t *testing.T) {
	t.Parallel()
	users, github, cognito := tokentest.NewIssuer(t), tokentest.NewIssuer(t), tokentest.NewIssuer(t)
	cluster := tokentest.NewUnserved(t, "https://kubernetes.default.svc.cluster.local")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	dir := t.TempDir()
	ca := certtest.New(t, "cluster")
	certFile, keyFile := ca.Issue(t, "127.0.0.1").Write(t, dir, "apiserver")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer of-the-pod" || r.URL.Path != "/openid/v1/jwks" {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{cluster.Key().JWK()}})
	}))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	api.StartTLS()
	t.Cleanup(api.Close)
	podToken := filepath.Join(dir, "token")
	if err := os.WriteFile(podToken, []byte("of-the-pod\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	list := fmt.Sprintf(`[
		{issuer: %q, class: machines, audiences: %q, require-claims: {repository_owner: octo},
			grants: [{where: {sub: "repo:octo/shop:*"}, permissions: [publish]}]},
		{issuer: %q, class: machines, audiences: %q, jwks-url: "%s/openid/v1/jwks", ca-file: %q, bearer-token-file: %q,
			grants: [{where: {kubernetes.io.namespace: shop}, permissions: [import]}]},
		{issuer: %q, audiences: shop-client, audience-claim: client_id, require-claims: {token_use: access}, permissions-claim: cognito:groups},
		{issuer: down, audiences: %q, jwks-url: %q}]`,
		github.URL, opAudience, cluster.URL, opAudience, api.URL, ca.Write(t, dir, "ca"), podToken, cognito.URL, opAudience, gone.URL+"/jwks")
	rest, admin := freeAddress(t), freeAddress(t)
	env := append(tutorialEnvironment(users.URL, "http://localhost:"+portOf(freeAddress(t))), "GATEHOUSE_ISSUERS="+list)
	p := gatehouse(t, env, "serve", "--listen-bff="+freeAddress(t), "--listen-gateway="+rest, "--listen-grpc="+freeAddress(t), "--listen-admin="+admin)
	p.ready(t, "http://"+rest+"/readyz")

	claims := func(base map[string]any, more ...map[string]any) map[string]any {
		all := maps.Clone(base)
		for _, m := range more {
			maps.Copy(all, m)
		}
		return all
	}
	job := map[string]any{"aud": opAudience, "sub": "repo:octo/shop:ref:refs/heads/main", "repository_owner": "octo"}
	pod := map[string]any{"aud": []string{opAudience}, "sub": "system:serviceaccount:shop:worker", "kubernetes.io": map[string]any{"namespace": "shop"}}
	pool := map[string]any{"client_id": "shop-client", "token_use": "access"}
	const notForMachines = `"CALLER_CLASS_NOT_ALLOWED"`
	for _, c := range []struct {
		name, token string
		status      int
		body        string // part of it
	}{
		{"user", users.Mint(map[string]any{"aud": opAudience}), http.StatusOK, "private route"},
		{"user of Cognito", cognito.Mint(pool), http.StatusOK, "private route"},
		{"job", github.Mint(job), http.StatusForbidden, notForMachines}, // verified: the method is for users
		{"pod", cluster.Mint(pod), http.StatusForbidden, notForMachines},
		{"ID token of Cognito", cognito.Mint(map[string]any{"aud": "shop-client", "token_use": "id"}), http.StatusUnauthorized, ""},
		{"job of another owner", github.Mint(claims(job, map[string]any{"repository_owner": "octo-evil"})), http.StatusUnauthorized, ""},
		{"job of another repository", github.Mint(claims(job, map[string]any{"sub": "repo:octo/shop-evil:ref:refs/heads/main"})), http.StatusUnauthorized, ""},
		{"pod of another namespace", cluster.Mint(claims(pod, map[string]any{"kubernetes.io": map[string]any{"namespace": "other"}})), http.StatusUnauthorized, ""},
		{"job that calls itself a user", github.Mint(claims(job, map[string]any{"iss": users.URL})), http.StatusUnauthorized, ""},
		{"issuer that is down", users.Mint(map[string]any{"aud": opAudience, "iss": "down"}), http.StatusServiceUnavailable, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+rest+"/api/private-route", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s: got %d %s (%v), want %d with %q", c.name, resp.StatusCode, body, err, c.status, c.body)
		}
	}

	state := textAt(t, "http://"+admin+"/readyz")
	for _, want := range []string{"issuer " + github.URL, "issuer " + cluster.URL, "issuer down"} {
		if !strings.Contains(state, want) {
			t.Errorf("/readyz of the admin port has no %q:\n%s", want, state)
		}
	}
	figures := textAt(t, "http://"+admin+"/metrics")
	for _, want := range []string{`gatehouse_provider_available{gatehouse_issuer="down"`, `gatehouse_provider_available{gatehouse_issuer="` + users.URL + `"`} {
		if !strings.Contains(figures, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	_, said := outcome(t, t.TempDir(), env, "check", "server")
	for _, want := range []string{
		"issuer " + cluster.URL, "kubernetes.io.namespace=shop gives import", "sub=repo:octo/shop:* gives publish", "issuers[3].jwks-url",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("check does not say %q:\n%s", want, said)
		}
	}
}

// textAt returns the body of an answer.
func textAt(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
