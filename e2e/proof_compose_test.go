//go:build proof

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// TestProofCompose signs in and out with the settings, the realm and the secrets of deploy/compose,
// at Keycloak, Redis and PostgreSQL as processes. Only the addresses are the test's, the password of
// PostgreSQL, and the lifetime of access tokens.
func TestProofCompose(t *testing.T) {
	address := freeAddress(t)
	base := "http://localhost:" + portOf(address)
	secrets := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "../deploy/compose/secrets", secrets).CombinedOutput(); err != nil {
		t.Fatalf("secrets: %v\n%s", err, out)
	}
	read := func(path string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	redis := redistest.Start(t)
	write("session-store", strings.Replace(read(filepath.Join(secrets, "session-store")), "redis:6379", redis.Addr(), 1))
	for line := range strings.Lines(read(filepath.Join(secrets, "redis.conf"))) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == "requirepass" { // what the store's address needs
			redis.Do(t, "config", "set", name, value)
		}
	}
	write("database-url", pgtest.New(t))

	k := startEmptyKeycloak(t)
	var realm map[string]any
	text := strings.NewReplacer("http://localhost:3000", base, "http://gatehouse:3000", base).Replace(read(filepath.Join(secrets, "realm.json")))
	if err := json.Unmarshal([]byte(text), &realm); err != nil {
		t.Fatal(err)
	}
	realm["accessTokenLifespan"] = int(keycloakTTL / time.Second)
	k.admin(t, http.MethodPost, "", realm)
	administrator := k.password
	alice := read(filepath.Join(secrets, "alice-password"))

	var file struct {
		Services map[string]struct{ Environment map[string]string }
	}
	if err := yaml.Unmarshal([]byte(read("../deploy/compose/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	env := []string{"GATEHOUSE_SESSION_STORE=", "GATEHOUSE_DATABASE_URL="} // given as files
	place := strings.NewReplacer("http://localhost:3000", base, "http://localhost:8080", k.origin, "http://keycloak:8080", k.origin,
		"/run/secrets/", secrets+"/")
	for name, value := range file.Services["gatehouse"].Environment {
		env = append(env, name+"="+place.Replace(value))
	}
	env = append(env, "GATEHOUSE_LISTEN_ADMIN=127.0.0.1:0")
	tellStory(t, base, address, tried{
		issuer: k.issuer, ttl: keycloakTTL, env: env,
		enters: func(t *testing.T, v *visitor) {
			k.password = alice
			k.enter(t, v)
			k.password = administrator
		},
		ends: func(t *testing.T, _ *visitor) { k.endSessions(t) },
	})
	proof.Report(t, proof.Section{
		Title: "Compose file",
		Text: "The settings of `deploy/compose/compose.yaml`, with the realm and the secrets that its script makes, at Keycloak " +
			keycloakVersion + ", Redis and PostgreSQL as processes: sign in, silent login, refresh, end by the provider, logout.",
		Columns: []string{"step", "result"},
		Rows:    [][]string{{"whole story", "passed"}},
	})
}
