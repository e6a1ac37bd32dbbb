package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOpaqueTokens: with a provider that issues opaque access tokens, a user signs in, calls the
// API, outlives a token and signs out, and the server asks the provider about the tokens. A
// secret that the provider refuses is found by the check, by the log and at the admin port, and is
// replaced without a restart.
func TestOpaqueTokens(t *testing.T) {
	t.Parallel()
	const apiSecret = "introspection-secret: %41 & + that needs encoding"
	address, rest, admin := freeAddress(t), freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(address)
	op := startProvider(t, freeAddress(t), base, firstTTL, "API_CLIENT_SECRET="+apiSecret)
	file := secretFile(filepath.Join(t.TempDir(), "introspection"))
	file.write(t, "wrong")
	env := append(op.environment(base), "GATEHOUSE_INTROSPECTION=on", "GATEHOUSE_INTROSPECTION_CLIENT_ID=api",
		"GATEHOUSE_INTROSPECTION_CLIENT_SECRET_FILE="+string(file))
	checks := func(status string, says ...string) {
		t.Helper()
		_, said := outcome(t, t.TempDir(), env, "check", "--json")
		var report struct {
			Results []struct{ Status, Proof, What, Remedy string }
		}
		if err := json.NewDecoder(strings.NewReader(said)).Decode(&report); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		for _, r := range report.Results {
			if r.Proof != "introspection" {
				continue
			}
			for _, want := range says {
				if !strings.Contains(r.What+r.Remedy, want) {
					t.Errorf("check says %+v, want %q", r, want)
				}
			}
			if r.Status == status {
				return
			}
		}
		t.Errorf("check: introspection is not %s: %s", status, said)
	}
	checks("wrong", "client api", "GATEHOUSE_INTROSPECTION_CLIENT_SECRET")
	p := gatehouse(t, append(env, "GATEHOUSE_LISTEN_ADMIN="+admin, "GATEHOUSE_LOG_FORMAT=json"), "serve", "--listen-bff="+address,
		"--listen-gateway="+rest, "--listen-grpc="+freeAddress(t), "--denylist=memory:")
	p.ready(t, base+"/readyz")
	in := installation{base: base, op: op, processes: []*process{p}}
	alice, bob := newVisitor(t), newVisitor(t)
	signsIn(t, in, alice, "alice")
	if got := alice.fetch(t, "/api/private-route"); got.status != http.StatusServiceUnavailable {
		t.Errorf("with a wrong secret: %d, want 503\n%s", got.status, got.body)
	}
	for _, want := range []string{"token introspection refused: opaque tokens cannot be verified", `"setting":"GATEHOUSE_INTROSPECTION_CLIENT_SECRET"`} {
		eventually(t, "the log has "+want, func() error {
			if !strings.Contains(p.out.String(), want) {
				return errors.New("not yet")
			}
			return nil
		})
	}
	wantReadiness(t, admin, "GATEHOUSE_INTROSPECTION_CLIENT_SECRET")

	file.write(t, apiSecret)
	p.reads(t, "GATEHOUSE_INTROSPECTION_CLIENT_SECRET")
	checks("ok", "client api")
	callsAPI(t, in, alice)
	wantReadiness(t, admin, "")
	first := op.state(t).of("access_token")[0]
	if strings.Contains(first, ".") {
		t.Fatalf("the provider issues JWTs")
	}
	eventually(t, "the first token has ended", func() error {
		if got := bearing(t, rest, first); got.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("status %d", got.StatusCode)
		}
		return nil
	})
	op.setTTL(t, 10*time.Minute)
	callsAPI(t, in, alice) // refreshed
	if n := op.state(t).Grants["refresh_token"]; n == 0 {
		t.Error("not refreshed")
	}

	// A logout makes tokens inactive at the provider, and refused here at once if they were kept.
	signsIn(t, in, bob, "bob")
	tokens := op.state(t).of("access_token")
	bobs := tokens[len(tokens)-1]
	alices := tokens[len(tokens)-2]
	if got := bearing(t, rest, alices); got.StatusCode != http.StatusOK {
		t.Errorf("alice's token: %d", got.StatusCode)
	}
	signsOut(t, in, bob)
	if got := bearing(t, rest, bobs); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("bob's token, after his logout: %d, want 401", got.StatusCode)
	}
	if got := bearing(t, rest, "invented"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("an invented token: %d, want 401", got.StatusCode)
	}
	nothingReached(t, in, bob)
	for _, secret := range slices.Concat(tokens, []string{apiSecret}) {
		if strings.Contains(p.out.String(), secret) {
			t.Error("a token or the secret is in the log")
		}
	}
	if strings.Contains(p.out.String(), "(opaque)") {
		t.Error("the log warns of opaque tokens")
	}
}

// wantReadiness waits until the admin port shows a problem of token introspection with a text, or
// none for "".
func wantReadiness(t *testing.T, admin, text string) {
	t.Helper()
	eventually(t, "readiness of token introspection", func() error {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var body strings.Builder
		if err := resp.Write(&body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || !strings.Contains(body.String(), "token introspection") ||
			(text != "") != strings.Contains(body.String(), "degraded") || !strings.Contains(body.String(), text) {
			return fmt.Errorf("%s", body.String())
		}
		return nil
	})
}
