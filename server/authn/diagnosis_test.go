package authn_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

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
		"opaque":                       {"2YotnFZFEjr1zCsicMWpAA", free, "(opaque)"},
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
