package e2e

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// TestSessionsOfCommit1fe628b starts the program with a session store of that commit: its users
// are signed in. TestProofUpgrade has nodes of both versions side by side.
func TestSessionsOfCommit1fe628b(t *testing.T) {
	t.Parallel()
	const golden = "../bff/session/testdata/1fe628b"
	content, err := os.ReadFile(filepath.Join(golden, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Secrets []string
		SQLite  []struct{ Cookie, Subject string }
	}
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	db, err := os.ReadFile(filepath.Join(golden, "sqlite.db"))
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(t.TempDir(), "sessions.db")
	if err := os.WriteFile(store, db, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, 1)
	// A session belongs to its issuer, so the provider has that of the store.
	issuer := tokentest.NewUnserved(t, "https://idp.example/")
	provider := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: issuer.Client().Transport})
	t.Cleanup(provider.Close)
	f.start(t, withSecrets([]string{
		"GATEHOUSE_OIDC_ISSUER=https://idp.example/", "GATEHOUSE_OIDC_INTERNAL_URL=" + provider.URL,
		"GATEHOUSE_OIDC_CLIENT_ID=e2e", "GATEHOUSE_OIDC_CLIENT_SECRET=" + rand.Text(), "GATEHOUSE_AUDIENCE=https://api.e2e.example",
		"GATEHOUSE_BASE_URL=" + f.base, "GATEHOUSE_SESSION_STORE=sqlite:" + store,
	}, want.Secrets...)...)
	for _, s := range want.SQLite {
		c := &caller{client: http.DefaultClient, cookie: sessionCookie + "=" + s.Cookie}
		resp, body, err := c.get(t.Context(), f.nodes[0], "/api/auth/me")
		if err != nil {
			t.Fatal(err)
		}
		var me struct{ Sub string }
		if err := json.Unmarshal([]byte(body), &me); err != nil || resp.StatusCode != http.StatusOK || me.Sub != s.Subject {
			t.Errorf("/api/auth/me: %s: %s, want subject %s", resp.Status, body, s.Subject)
		}
	}
}
