package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A provider under test: how `gatehouse serve` is configured for it, and how a visitor uses its
// pages.
type tried struct {
	issuer string // the prefix of its pages too
	ttl    time.Duration
	env    []string
	// enters signs the user in, from the page that the visitor has open.
	enters func(t *testing.T, v *visitor)
	// confirms submits the provider's logout confirmation, if there is one.
	confirms func(t *testing.T, v *visitor)
	// ends ends the user's sessions at the provider without the browser's help.
	ends func(t *testing.T, v *visitor)
}

// TestProviders runs one story with every provider.
func TestProviders(t *testing.T) {
	t.Parallel()
	t.Run("OidcProvider", func(t *testing.T) {
		t.Parallel()
		address := freeAddress(t)
		base := "http://localhost:" + portOf(address)
		op := startProvider(t, freeAddress(t), base, firstTTL)
		tellStory(t, base, address, tried{
			issuer: op.issuer, ttl: firstTTL, env: op.environment(base),
			enters:   func(t *testing.T, v *visitor) { v.submit(t, map[string]string{"login": "alice"}) },
			confirms: func(t *testing.T, v *visitor) { v.submit(t, nil) },
			ends: func(t *testing.T, v *visitor) {
				v.open(t, op.issuer+"/session/end")
				v.submit(t, nil)
			},
		})
	})
	t.Run("DevelopmentProvider", func(t *testing.T) {
		t.Parallel()
		address := freeAddress(t)
		base := "http://localhost:" + portOf(address)
		_, env, _ := startGated(t, base, firstTTL)
		tellStory(t, base, address, tried{
			issuer: strings.TrimPrefix(env[0], "GATEHOUSE_OIDC_ISSUER="), ttl: firstTTL, env: env,
			enters: func(t *testing.T, v *visitor) {
				method, action, values := formOf(t, v.page)
				values.Set("user", "seller")
				values.Del("cancel") // the other button
				v.navigate(t, method, resolve(t, v.page.url, action), values, v.page.url)
			},
			ends: func(t *testing.T, v *visitor) {
				v.open(t, strings.TrimPrefix(env[0], "GATEHOUSE_OIDC_ISSUER=")+"/end_session")
				v.submit(t, nil)
			},
		})
	})
	t.Run("Keycloak", func(t *testing.T) {
		t.Parallel()
		// Both clients of one Keycloak, one after the other: it is slow to start, and its pages and
		// tokens are the same.
		address := freeAddress(t)
		base := "http://localhost:" + portOf(address)
		k := startKeycloak(t, base)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "client-key.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, env := range map[string][]string{
			"Secret": {"GATEHOUSE_OIDC_CLIENT_ID=" + keycloakSecretClient, "GATEHOUSE_OIDC_CLIENT_SECRET=" + k.clientSecret},
			// A key instead of a secret, and pushed requests, which the client requires.
			"KeyAndPushedRequests": {"GATEHOUSE_OIDC_CLIENT_ID=" + keycloakKeyClient, "GATEHOUSE_OIDC_CLIENT_KEY_FILE=" + file},
		} {
			t.Run(name, func(t *testing.T) {
				tellStory(t, base, address, tried{
					issuer: k.issuer, ttl: keycloakTTL,
					env: append(env, "GATEHOUSE_OIDC_ISSUER="+k.issuer, "GATEHOUSE_AUDIENCE="+keycloakAudience,
						"GATEHOUSE_BASE_URL="+base, "GATEHOUSE_SECRET="+rand.Text()+rand.Text()),
					enters: k.enter,
					ends:   func(t *testing.T, _ *visitor) { k.endSessions(t) },
				})
			})
		}
	})
}

// tellStory signs a user in and out in every way: by a protected page; without a prompt, as the
// provider has a session; past the expiry of an access token; ended by the provider; and by a
// logout.
func tellStory(t *testing.T, base, address string, p tried) {
	t.Helper()
	bff := gatehouse(t, append(slices.Concat([]string{"GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:"}, p.env),
		"GATEHOUSE_LISTEN_BFF="+address, "GATEHOUSE_LISTEN_GATEWAY=127.0.0.1:0", "GATEHOUSE_LISTEN_GRPC=127.0.0.1:0"), "serve")
	bff.ready(t, base+"/readyz")
	v := newVisitor(t)
	atProvider := func(what string) {
		t.Helper()
		if !strings.HasPrefix(v.page.url, originOf(t, p.issuer)+"/") {
			t.Fatalf("%s led to %s, want the provider's page\n%s", what, v.page.url, v.page.body)
		}
	}
	signedIn := func(what string) {
		t.Helper()
		if v.page.url != base+"/private" || v.page.status != http.StatusOK {
			t.Fatalf("%s: landed at %s with status %d\n%s", what, v.page.url, v.page.status, v.page.body)
		}
		v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	}
	signedOut := func(what string) {
		t.Helper()
		if got := v.fetch(t, "/api/auth/me"); got.status != http.StatusNoContent {
			t.Fatalf("%s: /api/auth/me says %d %s, want 204", what, got.status, got.body)
		}
		v.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
	}
	enters := func(what string) {
		t.Helper()
		v.open(t, base+"/private")
		atProvider(what)
		p.enters(t, v)
		signedIn(what)
	}

	// A silent login without a session at the provider returns to the page.
	v.open(t, base+"/")
	v.open(t, base+"/api/auth/login?prompt=none&returnTo=/public").wants(t, http.StatusOK, "text/html")
	if v.page.url != base+"/public" {
		t.Errorf("a silent login without a session ended at %s, want %s/public", v.page.url, base)
	}
	signedOut("after a silent login without a session")

	enters("the first login")
	entered := time.Now()
	me := v.fetch(t, "/api/auth/me").wants(t, http.StatusOK, "application/json").json(t)
	for _, claim := range []string{"sub", "name", "email"} {
		if text, _ := me[claim].(string); text == "" {
			t.Errorf("/api/auth/me has no %s: %v", claim, me)
		}
	}
	eventually(t, "the access token runs out", func() error {
		if left := p.ttl + 2*time.Second - time.Since(entered); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	var tabs sync.WaitGroup
	for range 5 {
		tabs.Go(func() {
			if got := v.fetch(t, "/api/private-route"); got.status != http.StatusOK {
				t.Errorf("past the access token's life: %d %s", got.status, got.body)
			}
		})
	}
	tabs.Wait()

	// The session cookie is gone, the provider's is not: it does not prompt.
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	v.client.Jar.SetCookies(u, []*http.Cookie{{Name: sessionCookie, Path: "/", MaxAge: -1}})
	signedOut("without our cookie")
	v.open(t, base+"/api/auth/login?prompt=none&returnTo=/private")
	signedIn("a silent login")

	p.ends(t, v)
	v.page.url = base + "/" // in the tab of the application
	eventually(t, "the provider's logout arrives", func() error {
		if got := v.fetch(t, "/api/auth/me"); got.status != http.StatusNoContent {
			return httpError(got)
		}
		return nil
	})
	signedOut("after the provider's logout")

	enters("a login after the provider's logout")
	v.follow(t, "/api/auth/logout?returnTo=/public")
	if p.confirms != nil {
		atProvider("the logout")
		p.confirms(t, v)
	}
	if v.page.url != base+"/public" {
		t.Errorf("the logout ended at %s, want %s/public\n%s", v.page.url, base, v.page.body)
	}
	signedOut("after the logout")
	v.open(t, base+"/private")
	atProvider("the private page after the logout")
	if code := bff.stop(t); code != 0 {
		t.Errorf("gatehouse serve ended with exit code %d, want 0", code)
	}
}
