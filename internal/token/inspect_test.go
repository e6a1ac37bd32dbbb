package token_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// payloadOf returns the payload of a token as text.
func payloadOf(t *testing.T, raw string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// TestInspector shows tokens that do not fit to an Inspector, as a bff gets them of the
// provider and as a server gets them of clients. Each problem is logged once.
func TestInspector(t *testing.T) {
	t.Parallel()
	const api = "https://api.example"
	now := time.Now()
	good := map[string]any{"aud": api, "exp": now.Add(10 * time.Minute).Unix(), "permissions": []string{"a"}}
	with := func(change map[string]any) map[string]any {
		claims := map[string]any{}
		for _, m := range []map[string]any{good, change} {
			maps.Copy(claims, m)
		}
		return claims
	}
	stranger := tokentest.NewKey(t, 2048)
	for name, c := range map[string]struct {
		raw            func(*tokentest.Issuer) string
		issued, served string // "" for silence
	}{
		"all is well": {func(i *tokentest.Issuer) string { return i.Mint(good) }, "", ""},
		"opaque": {func(*tokentest.Issuer) string { return "2YotnFZFEjr1zCsicMWpAA" },
			"setting=AUDIENCE problem=\"the provider issues access tokens that are no JWTs (opaque): the server cannot verify them\" remedy=\"register the API \\\"https://api.example\\\"",
			"a client sent an access token that is no JWT; if it is the provider's, its access tokens are opaque"},
		"a JWE": {func(*tokentest.Issuer) string { return "eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc" }, "are no JWTs (opaque)", "is no JWT"},
		"another audience": {func(i *tokentest.Issuer) string {
			return i.Mint(with(map[string]any{"aud": []string{"account", "other"}}))
		},
			`setting=AUDIENCE problem="access tokens have the audience \"account\" \"other\", not \"https://api.example\": the server refuses them"`,
			`setting=AUDIENCE problem="access tokens have the audience \"account\" \"other\", not \"https://api.example\"`},
		"no audience": {func(i *tokentest.Issuer) string { return i.Mint(with(map[string]any{"aud": tokentest.Absent})) }, "have the audience none", "have the audience none"},
		"a slash more": {func(i *tokentest.Issuer) string { return i.Mint(with(map[string]any{"iss": i.URL + "/"})) },
			"the slash at the end differs", "the slash at the end differs"},
		"another address": {func(i *tokentest.Issuer) string {
			return i.Mint(with(map[string]any{"iss": "http://keycloak:8080/realms/x"}))
		},
			`setting=ISSUER problem="access tokens have the issuer \"http://keycloak:8080/realms/x\"`, `access tokens have the issuer \"http://keycloak:8080/realms/x\"`},
		"a foreign key": {func(i *tokentest.Issuer) string {
			return stranger.Sign(`{"alg":"RS256","typ":"JWT","kid":"stranger"}`, payloadOf(t, i.Mint(good)))
		}, `the provider has issued an access token that is signed by the key \"stranger\", which is not in the provider's key set`,
			`a client sent an access token for this API that is signed by the key \"stranger\"`},
		"a forged audience": {func(i *tokentest.Issuer) string {
			return stranger.Sign(`{"alg":"RS256","typ":"JWT","kid":"`+i.Key().ID+`"}`, payloadOf(t, i.Mint(with(map[string]any{"aud": "evil"}))))
		}, `audience \"evil\"`, ""},
		"a day and an hour": {func(i *tokentest.Issuer) string {
			return i.Mint(with(map[string]any{"iat": now.Unix(), "exp": now.Add(25 * time.Hour).Unix()}))
		}, "access tokens live for 25h0m0s", "access tokens live for 25h0m0s"},
		"a minute": {func(i *tokentest.Issuer) string {
			return i.Mint(with(map[string]any{"iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}))
		}, "access tokens live for 1m0s only", "access tokens live for 1m0s only"},
		"no permissions": {func(i *tokentest.Issuer) string { return i.Mint(with(map[string]any{"permissions": tokentest.Absent})) },
			`setting=PERMISSIONS problem="the access token has no claim \"permissions\"`, `setting=PERMISSIONS problem="the access token has no claim \"permissions\"`},
		"garbage with dots": {func(*tokentest.Issuer) string { return "a.b" }, "are no JWTs", ""},
		"another algorithm": {func(i *tokentest.Issuer) string {
			return tokentest.Segment(`{"alg":"HS256"}`) + "." + strings.Split(i.Mint(good), ".")[1] + ".AAAA"
		},
			"issues access tokens that the server does not accept", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := tokentest.NewIssuer(t)
			provider := oidctest.NewProvider(t, issuer)
			if err := provider.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			raw := c.raw(issuer)
			inspector := func() (*token.Inspector, *bytes.Buffer) {
				var log bytes.Buffer
				i := token.NewInspector(token.InspectorConfig{
					Provider: provider, Audience: api, AudienceField: "Audience", PermissionsField: "Permissions",
					Setting: func(field string) string {
						return map[string]string{"Audience": "AUDIENCE", "Permissions": "PERMISSIONS", "Provider.Issuer": "ISSUER"}[field]
					},
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
				})
				i.Require("permissions")
				return i, &log
			}
			said := func(who string, log *bytes.Buffer, want string) {
				t.Helper()
				text := log.String()
				switch lines := strings.Count(text, "\n"); {
				case want == "" && text != "":
					t.Errorf("%s: got %s, want silence", who, text)
				case want != "" && (lines != 1 && name != "a forged audience" || !strings.Contains(text, want) || !strings.HasPrefix(text[strings.Index(text, "level="):], "level=WARN msg=\"access tokens do not fit the configuration\"")):
					t.Errorf("%s: got %d lines, want one with %s:\n%s", who, lines, want, text)
				}
				if len(raw) > 30 && strings.Contains(text, raw) {
					t.Errorf("%s: the token is logged", who)
				}
			}
			i, log := inspector()
			i.Issued(t.Context(), raw)
			said("issued", log, c.issued)

			i, log = inspector()
			v, err := token.NewAccessVerifier(token.AccessConfig[string]{
				Provider: provider, Audience: api, Inspector: i, CacheSize: -1,
				Principal: func(c *token.Claims) (string, error) { return c.Subject, nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				_, _, _ = v.Verify(t.Context(), raw)
			}
			said("served", log, c.served)
		})
	}
}
