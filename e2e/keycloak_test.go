package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keycloakVersion is the version that tools/setup installs.
const keycloakVersion = "26.4.7"

// A keycloak is a Keycloak process with the realm "gatehouse": one user, alice, and one client for
// each authentication method, all for a bff at one base URL.
type keycloak struct {
	*process
	origin, issuer string
	password       string // of alice and of the administrator
	clientSecret   string
}

const (
	keycloakSecretClient = "shop-bff"
	keycloakKeyClient    = "shop-bff-key"
	keycloakAudience     = "https://api.shop.example"
	keycloakTTL          = 5 * time.Second
)

func startKeycloak(t *testing.T, base string) *keycloak {
	t.Helper()
	k := startEmptyKeycloak(t)
	k.admin(t, http.MethodPost, "", k.realm(base))
	return k
}

// startEmptyKeycloak starts Keycloak without the realm.
func startEmptyKeycloak(t *testing.T) *keycloak {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	kc := filepath.Join(cache, "gatehouse", "keycloak-"+keycloakVersion, "bin", "kc.sh")
	for _, needed := range []string{kc, "java"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Fatalf("Keycloak %s with a Java runtime is needed and not installed: run `make test`, which installs them where it can (%v)", keycloakVersion, err)
		}
	}
	address := freeAddress(t)
	k := &keycloak{origin: "http://" + address, password: rand.Text(), clientSecret: rand.Text()}
	k.issuer = k.origin + "/realms/gatehouse"
	k.process = start(t, "keycloak", []string{
		"KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD=" + k.password, "JAVA_OPTS_KC_HEAP=-Xms64m -Xmx512m",
	}, kc, "start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1", "--http-port="+portOf(address), "--hostname-strict=false", "--cache=local")
	within(t, compiling, "Keycloak", func() error {
		select {
		case <-k.done:
			t.Fatalf("Keycloak has ended:\n%s", k.out)
		default:
		}
		resp, err := http.Get(k.origin + "/realms/master")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	return k
}

// realm is the configuration that docs/providers/keycloak.md describes.
func (k *keycloak) realm(base string) map[string]any {
	client := func(id string, more map[string]any) map[string]any {
		c := map[string]any{
			"clientId": id, "enabled": true, "protocol": "openid-connect", "publicClient": false,
			"standardFlowEnabled": true, "implicitFlowEnabled": false, "directAccessGrantsEnabled": false,
			"redirectUris": []string{base + "/api/auth/callback"},
			"attributes": map[string]any{
				"post.logout.redirect.uris":           base,
				"pkce.code.challenge.method":          "S256",
				"backchannel.logout.url":              base + "/api/auth/backchannel-logout",
				"backchannel.logout.session.required": "true",
			},
			"protocolMappers": []map[string]any{{
				"name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
				"config": map[string]string{"included.custom.audience": keycloakAudience, "access.token.claim": "true", "id.token.claim": "false"},
			}},
		}
		for name, value := range more {
			if attributes, ok := value.(map[string]any); ok && name == "attributes" {
				maps.Copy(c["attributes"].(map[string]any), attributes)
				continue
			}
			c[name] = value
		}
		return c
	}
	return map[string]any{
		"realm": "gatehouse", "enabled": true, "sslRequired": "external",
		"accessTokenLifespan": int(keycloakTTL / time.Second),
		"revokeRefreshToken":  true, "refreshTokenMaxReuse": 0, // rotation, with detection of reuse
		"clients": []any{
			client(keycloakSecretClient, map[string]any{"secret": k.clientSecret}),
			client(keycloakKeyClient, map[string]any{
				"clientAuthenticatorType": "client-jwt",
				"attributes":              map[string]any{"use.jwks.url": "true", "jwks.url": base + "/api/auth/jwks.json", "require.pushed.authorization.requests": "true"},
			}),
		},
		"users": []any{map[string]any{
			"username": "alice", "enabled": true, "email": "alice@example.com", "emailVerified": true, "firstName": "Alice", "lastName": "Adams",
			"credentials": []any{map[string]any{"type": "password", "value": k.password, "temporary": false}},
			"realmRoles":  []string{"offline_access"},
		}},
	}
}

// admin calls Keycloak's administration API at a path below /admin/realms.
func (k *keycloak) admin(t *testing.T, method, path string, content any) []byte {
	t.Helper()
	resp, err := http.PostForm(k.origin+"/realms/master/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {k.password},
	})
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		Value string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&token)
	_ = resp.Body.Close()
	if err != nil || token.Value == "" {
		t.Fatalf("Keycloak gave its administrator no token: %s, %v", resp.Status, err)
	}
	encoded, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, k.origin+"/admin/realms"+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Value)
	req.Header.Set("Content-Type", "application/json")
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, body, err)
	}
	return body
}

// realmName returns the name of the realm, the end of the issuer.
func (k *keycloak) realmName() string { return k.issuer[strings.LastIndexByte(k.issuer, '/')+1:] }

// endSessions ends alice's sessions at Keycloak, which notifies its clients.
func (k *keycloak) endSessions(t *testing.T) {
	t.Helper()
	var users []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(k.admin(t, http.MethodGet, "/"+k.realmName()+"/users?username=alice", nil), &users); err != nil || len(users) != 1 {
		t.Fatalf("alice is %v (%v)", users, err)
	}
	k.admin(t, http.MethodPost, "/"+k.realmName()+"/users/"+users[0].ID+"/logout", nil)
}

// enter fills in Keycloak's sign-in page.
func (k *keycloak) enter(t *testing.T, v *visitor) {
	t.Helper()
	method, action, values := formOf(t, v.page)
	values.Set("username", "alice")
	values.Set("password", k.password)
	if !strings.HasPrefix(action, k.origin) {
		t.Fatalf("Keycloak's form leads to %q", action)
	}
	v.navigate(t, method, action, values, v.page.url)
}
