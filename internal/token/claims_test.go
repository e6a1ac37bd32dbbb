package token_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// claimsOf verifies an access token with these claims and returns what Principal
// gets.
func claimsOf(t *testing.T, claims map[string]any) *token.Claims {
	t.Helper()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	v, err := token.NewAccessVerifier(token.AccessConfig[*token.Claims]{
		Provider:  newProvider(t, issuer, nil),
		Audience:  audience,
		Principal: func(c *token.Claims) (*token.Claims, error) { return c, nil },

		InsecureIDTokenShape: true, // for nonce and at_hash
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := v.Verify(t.Context(), issuer.Mint(with(claims, "aud", audience)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaims(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	got := claimsOf(t, map[string]any{
		"sub": "u\u00e4\n1", "client_id": "web", "azp": "party", "scope": "openid  products:write ", "scp": []string{"ignored"},
		"iat": now, "nbf": now, "exp": json.Number("32503680000.5"), "auth_time": 86400,
		"acr": "mfa", "amr": []string{"pwd", "otp"}, "sid": "s1", "jti": "j1", "nonce": "n", "at_hash": "h",
	})
	want := &token.Claims{
		Issuer: "https://id.example", Subject: "u\u00e4\n1", ClientID: "web", AuthorizedParty: "party",
		Audience: []string{audience}, Scopes: []string{"openid", "products:write"},
		IssuedAt: time.Unix(now, 0), NotBefore: time.Unix(now, 0), Expiry: time.Unix(32503680000, 5e8), AuthTime: time.Unix(86400, 0),
		ACR: "mfa", AMR: []string{"pwd", "otp"}, SessionID: "s1", ID: "j1", Nonce: "n", AtHash: "h", Type: "JWT",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(token.Claims{})); diff != "" {
		t.Error(diff)
	}
}

func TestScopesAndClientID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		claims map[string]any
		scopes []string
		client string
	}{
		{"none", nil, nil, ""},
		{"scope string", map[string]any{"scope": "a b"}, []string{"a", "b"}, ""},
		{"scope list", map[string]any{"scope": []string{"a", "b"}}, []string{"a", "b"}, ""},
		{"scp string (Entra)", map[string]any{"scp": "a b"}, []string{"a", "b"}, ""},
		{"scp list (Okta)", map[string]any{"scp": []string{"a", "b"}}, []string{"a", "b"}, ""},
		{"empty scope hides scp", map[string]any{"scope": "", "scp": "admin"}, []string{}, ""},
		{"only the space separates", map[string]any{"scope": "a\tb c"}, []string{"a\tb", "c"}, ""},
		{"a list is not split", map[string]any{"scope": []string{"a b"}}, []string{"a b"}, ""},
		{"azp (Auth0, Keycloak)", map[string]any{"azp": "web"}, nil, "web"},
		{"client_id before azp", map[string]any{"azp": "web", "client_id": "job"}, nil, "job"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := claimsOf(t, c.claims)
			if diff := cmp.Diff(c.scopes, got.Scopes, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if got.ClientID != c.client {
				t.Errorf("client %q, want %q", got.ClientID, c.client)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	c := claimsOf(t, map[string]any{
		"permissions":               []string{"read:x", "write:x"},
		"realm_access":              map[string]any{"roles": []string{"admin"}, "a.b": map[string]any{"c": true}},
		"https://example.com/roles": "seller buyer",
		"https://example.com/app":   map[string]any{"tier": json.Number("12345678901234567890")},
		"a":                         map[string]any{"b": "inner", "only": 1},
		"a.b":                       "whole",
		"nothing":                   nil,
		"mixed":                     []any{"x", 1},
	})
	for path, want := range map[string]any{
		"permissions":                  []any{"read:x", "write:x"},
		"realm_access.roles":           []any{"admin"},
		"realm_access.a.b.c":           true,
		"https://example.com/roles":    "seller buyer",
		"https://example.com/app.tier": json.Number("12345678901234567890"),
		"a.b":                          "whole",
		"a.only":                       json.Number("1"),
		"nothing":                      nil,
	} {
		if got, ok := c.Lookup(path); !ok || !cmp.Equal(got, want) {
			t.Errorf("Lookup(%q) = %v, %v; want %v", path, got, ok, want)
		}
	}
	for _, path := range []string{"", ".", "a.", ".a", "absent", "realm_access.absent", "permissions.0", "nothing.x", "realm_access.roles.admin"} {
		if got, ok := c.Lookup(path); ok {
			t.Errorf("Lookup(%q) = %v; want nothing", path, got)
		}
	}
	for path, want := range map[string][]string{
		"permissions":               {"read:x", "write:x"},
		"realm_access.roles":        {"admin"},
		"https://example.com/roles": {"seller", "buyer"},
	} {
		if got, ok := c.Strings(path); !ok || !cmp.Equal(got, want) {
			t.Errorf("Strings(%q) = %q, %v; want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"nothing", "mixed", "a", "absent"} {
		if got, ok := c.Strings(path); ok {
			t.Errorf("Strings(%q) = %q; want nothing", path, got)
		}
	}
	// Claims are shared, so callers must get copies.
	c.Map()["realm_access"].(map[string]any)["roles"] = "changed"
	c.JSON()[0] = 'X'
	var want map[string]any
	if err := json.Unmarshal(c.JSON(), &want); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(c.Map()); string(got) != mustRemarshal(t, c.JSON()) {
		t.Errorf("Map and JSON differ:\n%s\n%s", got, c.JSON())
	}
}

func mustRemarshal(t *testing.T, data []byte) string {
	t.Helper()
	v, err := decodeJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return asJSON(v)
}
