package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// TestCheck runs `gatehouse check` with valid configurations, and with ones that only the provider
// can show to be wrong.
func TestCheck(t *testing.T) {
	t.Parallel()
	const base = "http://localhost:3000"
	op := startProvider(t, freeAddress(t), base, firstTTL)
	other := tokentest.NewIssuer(t)
	other.SetMetadata("issuer", "https://someone-else.example")
	closed := "http://" + freeAddress(t)
	for _, c := range []struct {
		name string
		env  []string
		code int
		// wrong is a text of the line that reports the error; says are texts of the other lines.
		wrong, says []string
	}{
		{name: "all is well", says: []string{"every setting", op.issuer, opClientID, "its secret is right", "offline access", "took one of ours with the redirect URI " + base + "/api/auth/callback",
			"back-channel logout URI", base + "/api/auth/backchannel-logout", "the session store can be written", "the clocks", "/audioarchive.v1.StatusService/GetStatus", "GET /api/private-route"}},
		{name: "no audience", env: []string{"AUTH0_AUDIENCE="}, code: 1,
			wrong: []string{"GATEHOUSE_AUDIENCE", "opaque access tokens", "register the API", "give its identifier"}},
		{name: "wrong secret", env: []string{"AUTH0_CLIENT_SECRET=" + shortSecret}, code: 1,
			wrong: []string{"refuses client " + opClientID, "invalid_client", "GATEHOUSE_OIDC_CLIENT_SECRET"}},
		{name: "unknown client", env: []string{"AUTH0_CLIENT_ID=unregistered"}, code: 1,
			wrong: []string{"refuses client unregistered", "GATEHOUSE_OIDC_CLIENT_ID"}},
		{name: "another base URL", env: []string{"AUTH0_BASE_URL=http://localhost:3999"}, code: 1,
			wrong: []string{"redirect URI http://localhost:3999/api/auth/callback is not registered", "register the redirect URI", "GATEHOUSE_BASE_URL=http://localhost:3999"}},
		{name: "the tutorial's scope", env: []string{"AUTH0_SCOPE=openid profile email"},
			says: []string{"warn  no refresh token is to be expected, as GATEHOUSE_OIDC_SCOPE lacks offline_access"}},
		{name: "no listener", env: []string{"AUTH0_ISSUER_BASE_URL=" + closed}, code: 1,
			wrong: []string{"GATEHOUSE_OIDC_ISSUER=" + closed, "refused", "correct the issuer"}},
		{name: "no provider there", env: []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer + "/nowhere"}, code: 1,
			wrong: []string{"GATEHOUSE_OIDC_ISSUER=" + op.issuer + "/nowhere", "404", "correct the issuer"}},
		{name: "another provider there", env: []string{"AUTH0_ISSUER_BASE_URL=" + other.URL}, code: 1,
			wrong: []string{"GATEHOUSE_OIDC_ISSUER=" + other.URL, "https://someone-else.example", "GATEHOUSE_OIDC_INTERNAL_URL=" + other.URL}},
		{name: "tokens that blur", env: []string{"GATEHOUSE_INSECURE_ID_TOKEN_SHAPE=true"}, says: []string{"warn  GATEHOUSE_INSECURE_ID_TOKEN_SHAPE", "are accepted as access tokens"}},
		{name: "short secret", env: []string{"AUTH0_SECRET=" + shortSecret}, code: 1,
			wrong: []string{"AUTH0_SECRET (environment)", "openssl rand -hex 32"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, said := outcome(t, t.TempDir(), append(op.environment(base), c.env...), "check")
			if code != c.code {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, said)
			}
			var wrong, rest []string
			for line := range strings.Lines(said) {
				if strings.HasPrefix(line, "WRONG ") {
					wrong = append(wrong, line)
				} else {
					rest = append(rest, line)
				}
			}
			if want := min(1, len(c.wrong)); len(wrong) != want {
				t.Errorf("%d errors reported, want %d:\n%s", len(wrong), want, said)
			}
			for _, text := range c.wrong {
				if !strings.Contains(strings.Join(wrong, ""), text) {
					t.Errorf("the errors lack %q:\n%s", text, said)
				}
			}
			for _, text := range c.says {
				if !strings.Contains(strings.Join(rest, ""), text) {
					t.Errorf("the other lines lack %q:\n%s", text, said)
				}
			}
			if contains(said, []string{tutorialSecret, opClientSecret, shortSecret}) {
				t.Errorf("a secret is shown:\n%s", said)
			}
		})
	}
}

// TestCheckJSON reads the report in JSON.
func TestCheckJSON(t *testing.T) {
	t.Parallel()
	const base = "http://localhost:3000"
	op := startProvider(t, freeAddress(t), base, firstTTL)
	for _, c := range []struct {
		env  []string
		code int
		want map[string]string
	}{
		{nil, 0, map[string]string{"settings": "ok", "provider": "ok", "keys": "ok", "credential": "ok", "redirect URI": "ok", "clock": "ok", "session store": "ok"}},
		{[]string{"AUTH0_CLIENT_SECRET=" + shortSecret}, 1, map[string]string{"credential": "wrong"}},
		{[]string{"GATEHOUSE_LOGIN_RATE=-1"}, 1, map[string]string{"settings": "wrong"}},
	} {
		code, said := outcome(t, t.TempDir(), append(op.environment(base), c.env...), "check", "--json")
		var report struct {
			Results []struct{ Status, Proof, What string }
		}
		if err := json.NewDecoder(strings.NewReader(said)).Decode(&report); err != nil || code != c.code {
			t.Errorf("%v: exit code %d, want %d, %v:\n%s", c.env, code, c.code, err, said)
		}
		got := map[string]string{}
		for _, result := range report.Results {
			got[result.Proof] = result.Status
		}
		for proof, status := range c.want {
			if got[proof] != status {
				t.Errorf("%v: %s is %q, want %q:\n%s", c.env, proof, got[proof], status, said)
			}
		}
	}
}

// TestHelp compares the help with the settings of the contract.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"--help"}} {
		code, said := outcome(t, t.TempDir(), nil, args...)
		if code != 0 {
			t.Errorf("%v: exit code %d, want 0", args, code)
		}
		for _, text := range []string{"dev", "serve", "bff", "gateway", "server", "check", "version",
			"--oidc-issuer", "--base-url", "--audience", "--secret", "--session-store", "--listen-grpc"} {
			if !strings.Contains(said, text) {
				t.Errorf("%v: %s is not explained", args, text)
			}
		}
	}
	code, said := outcome(t, t.TempDir(), nil, "version")
	if code != 0 || !regexp.MustCompile(`^gatehouse \S+.* go1\.\d+`).MatchString(said) {
		t.Errorf("version: exit code %d, said %q", code, said)
	}
}
