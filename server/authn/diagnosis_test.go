package authn_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// The first tokens that do not fit are reported once, with the name of the setting.
// Permissions are missed only if a policy needs one.
func TestTokensThatDoNotFit(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	needing, _ := newTable(t, &authv1.Policy{Permissions: []string{"orders:write"}})
	free, _ := newTable(t, &authv1.Policy{Scopes: []string{"orders"}})
	for name, c := range map[string]struct {
		raw   string
		table *authn.Table
		want  string
	}{
		"no permissions, and needed":   {mint(issuer, nil), needing, `setting="SETTING PermissionsClaim"`},
		"no permissions, and not":      {mint(issuer, nil), free, ""},
		"permissions":                  {mint(issuer, map[string]any{"permissions": []string{}}), needing, ""},
		"another audience":             {mint(issuer, map[string]any{"aud": "https://other.example"}), free, `setting="SETTING Audience"`},
		"opaque":                       {"2YotnFZFEjr1zCsicMWpAA", free, "or set SETTING Introspection.Endpoint, so that the server asks"},
		"another audience, and forged": {strings.TrimRight(mint(issuer, map[string]any{"aud": "https://other.example"}), "abcdefghijklmnopqrstuvwxyz") + "AAAA", free, ""},
	} {
		var log bytes.Buffer
		v := newVerifier(t, issuer, authn.Config{
			SettingName: func(field string) string { return "SETTING " + field },
			Logger:      slog.New(slog.NewTextHandler(&log, nil)),
		})
		authn.NewInterceptor(v, c.table)
		for range 2 {
			_, _ = v.Verify(t.Context(), c.raw)
		}
		const event = "access tokens do not fit the configuration"
		if n := strings.Count(log.String(), event); n != min(1, len(c.want)) || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s: reported %d times, want %q:\n%s", name, n, c.want, log.String())
		}
	}
}

// Where opaque tokens are introspected they are no problem, and answers are inspected as JWTs
// are.
func TestOpaqueTokensThatDoNotFit(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	tokens := introspecting(issuer)
	needing, _ := newTable(t, &authv1.Policy{Permissions: []string{"orders:write"}})
	free, _ := newTable(t, &authv1.Policy{Scopes: []string{"orders"}})
	good := map[string]any{"aud": audience, "sub": "ada"}
	for name, c := range map[string]struct {
		claims map[string]any
		table  *authn.Table
		want   string
	}{
		"all is well":                {good, free, ""},
		"invented":                   {nil, free, ""},
		"for years":                  {map[string]any{"aud": audience, "sub": "ada", "exp": time.Now().Add(1e4 * time.Hour).Unix()}, free, ""},
		"no permissions, and needed": {good, needing, `setting="SETTING PermissionsClaim"`},
		"another audience":           {map[string]any{"aud": "web", "sub": "ada"}, free, `audience \"web\", not`},
		"another issuer":             {map[string]any{"aud": audience, "sub": "ada", "iss": "https://other.example"}, free, `issuer \"https://other.example\"`},
	} {
		var log bytes.Buffer
		tokens.set(opaque, c.claims)
		v := newVerifier(t, issuer, introspection(issuer, authn.Config{
			SettingName: func(field string) string { return "SETTING " + field },
			Logger:      slog.New(slog.NewTextHandler(&log, nil)),
		}))
		authn.NewInterceptor(v, c.table)
		for range 2 {
			_, _ = v.Verify(t.Context(), opaque)
		}
		const event = "access tokens do not fit the configuration"
		if n := strings.Count(log.String(), event); n != min(1, len(c.want)) || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s: reported %d times, want %q:\n%s", name, n, c.want, log.String())
		}
		if strings.Contains(log.String(), opaque) {
			t.Errorf("%s: the token is logged", name)
		}
	}
}
