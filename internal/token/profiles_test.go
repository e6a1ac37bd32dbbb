package token_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// TestAccessTokensAreNothingElse: tokens of our issuer with our audience and a valid
// signature that are not access tokens (RFC 8725 §3.11, §3.12), each with the types
// that an access token may have.
func TestAccessTokensAreNothingElse(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	plain := newAccess(t, p)
	dex := newAccess(t, p, func(c *token.AccessConfig[*principal]) { c.InsecureIDTokenShape = true })
	told := newAccess(t, p, func(c *token.AccessConfig[*principal]) { c.IDTokenClients = []string{"other", "web-client"} })
	both := []string{"web-client", audience}
	const bad = token.ReasonInvalid
	for _, c := range []struct {
		claims map[string]any
		jwt    token.Reason // with the header's typ absent or JWT
		at     token.Reason // with at+jwt
		dex    token.Reason // with JWT and InsecureIDTokenShape
		told   token.Reason // with JWT and IDTokenClients
	}{
		{map[string]any{}, 0, 0, 0, 0},
		{map[string]any{"azp": "web-client", "client_id": "web-client", "auth_time": 1, "acr": "1", "sid": "s"}, 0, 0, 0, 0},

		// ID tokens.
		{map[string]any{"nonce": "n"}, bad, 0, 0, bad},
		{map[string]any{"nonce": "n", "aud": both}, bad, 0, 0, bad},
		{map[string]any{"nonce": ""}, bad, 0, 0, bad},
		{map[string]any{"nonce": nil}, bad, bad, bad, bad},
		{map[string]any{"nonce": 1}, bad, bad, bad, bad},
		{map[string]any{"at_hash": "h"}, bad, bad, 0, bad},
		{map[string]any{"at_hash": "h", "nonce": "n", "aud": both}, bad, bad, 0, bad}, // Dex's access tokens
		{map[string]any{"at_hash": nil}, bad, bad, bad, bad},
		{map[string]any{"at_hash": ""}, bad, bad, bad, bad},
		{map[string]any{"at_hash": 1}, bad, bad, bad, bad},
		{map[string]any{"c_hash": "h"}, bad, bad, bad, bad},
		{map[string]any{"c_hash": "h", "at_hash": "h", "nonce": "n", "aud": both}, bad, bad, bad, bad}, // Dex's ID tokens
		{map[string]any{"c_hash": nil}, bad, bad, bad, bad},
		{map[string]any{"c_hash": 1}, bad, bad, bad, bad},
		{map[string]any{"s_hash": "h"}, bad, bad, bad, bad},
		{map[string]any{"s_hash": nil}, bad, bad, bad, bad},
		{map[string]any{"aud": both}, 0, 0, 0, bad},
		{map[string]any{"aud": both, "typ": "Bearer"}, 0, 0, 0, bad},

		// Security events, including logout tokens.
		{map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, bad, bad, bad, bad},
		{map[string]any{"events": map[string]any{}}, bad, bad, bad, bad},
		{map[string]any{"events": nil}, bad, bad, bad, bad},
		{map[string]any{"events": "x"}, bad, bad, bad, bad},

		// Keycloak's payload typ.
		{map[string]any{"typ": "Bearer"}, 0, 0, 0, 0},
		{map[string]any{"typ": "Bearer", "nonce": "n"}, 0, 0, 0, 0}, // before version 25
		{map[string]any{"typ": "bearer", "nonce": "n"}, bad, 0, 0, bad},
		{map[string]any{"typ": "JWT", "nonce": "n"}, bad, 0, 0, bad},
		{map[string]any{"typ": "Bearer", "at_hash": "h"}, bad, bad, 0, bad},
		{map[string]any{"typ": "ID"}, bad, bad, bad, bad},
		{map[string]any{"typ": "Refresh"}, bad, bad, bad, bad},
		{map[string]any{"typ": "Offline"}, bad, bad, bad, bad},
		{map[string]any{"typ": "Logout"}, bad, bad, bad, bad},
		{map[string]any{"typ": "id"}, bad, bad, bad, bad},
		{map[string]any{"typ": "REFRESH"}, bad, bad, bad, bad},
		{map[string]any{"typ": "oFFLINE"}, bad, bad, bad, bad},
		{map[string]any{"typ": "logout"}, bad, bad, bad, bad},
		{map[string]any{"typ": nil}, bad, bad, bad, bad},
		{map[string]any{"typ": []string{"Bearer"}}, bad, bad, bad, bad},
		{map[string]any{"typ": true}, bad, bad, bad, bad},
		{map[string]any{"typ": "another kind"}, 0, 0, 0, 0}, // a claim with another meaning

		// Cognito's token_use.
		{map[string]any{"token_use": "access"}, 0, 0, 0, 0},
		{map[string]any{"token_use": "access", "nonce": "n"}, bad, 0, 0, bad},
		{map[string]any{"token_use": "id"}, bad, bad, bad, bad},
		{map[string]any{"token_use": "Access"}, bad, bad, bad, bad},
		{map[string]any{"token_use": ""}, bad, bad, bad, bad},
		{map[string]any{"token_use": nil}, bad, bad, bad, bad},
		{map[string]any{"token_use": []string{"access"}}, bad, bad, bad, bad},
	} {
		t.Run(fmt.Sprint(c.claims), func(t *testing.T) {
			mint := func(typ any) string {
				claims := map[string]any{"aud": audience}
				maps.Copy(claims, c.claims)
				return issuer.Mint(claims, map[string]any{"typ": typ})
			}
			for _, typ := range []any{"JWT", "jwt", tokentest.Absent} {
				check(t, plain, mint(typ), c.jwt)
				check(t, dex, mint(typ), c.dex)
				check(t, told, mint(typ), c.told)
			}
			for _, typ := range []any{"at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"} {
				check(t, plain, mint(typ), c.at)
				check(t, told, mint(typ), c.at)
			}
		})
	}
	t.Run("the audience is a client id", func(t *testing.T) {
		v := newAccess(t, p, func(c *token.AccessConfig[*principal]) { c.IDTokenClients = []string{audience} })
		check(t, v, issuer.Mint(map[string]any{"aud": audience}), bad)
		check(t, v, issuer.Mint(map[string]any{"aud": audience}, map[string]any{"typ": "at+jwt"}), 0)
	})
}

// TestIDAndLogoutTokensAreNothingElse: other kinds of token are refused as ID tokens
// and as logout tokens.
func TestIDAndLogoutTokensAreNothingElse(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	ids, err := token.NewIDVerifier(token.ClientConfig{Provider: p, ClientID: "web-client"})
	if err != nil {
		t.Fatal(err)
	}
	logouts, err := token.NewLogoutVerifier(token.ClientConfig{Provider: p, ClientID: "web-client"})
	if err != nil {
		t.Fatal(err)
	}
	event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	const bad = token.ReasonInvalid
	for _, c := range []struct {
		claims     map[string]any
		id, logout token.Reason // with nonce, and with events
	}{
		{map[string]any{}, 0, 0},
		{map[string]any{"typ": "ID"}, 0, bad},
		{map[string]any{"typ": "Logout"}, bad, 0},
		{map[string]any{"typ": "Bearer"}, bad, bad},
		{map[string]any{"typ": "Refresh"}, bad, bad},
		{map[string]any{"typ": "offline"}, bad, bad},
		{map[string]any{"typ": nil}, bad, bad},
		{map[string]any{"token_use": "id"}, 0, bad},
		{map[string]any{"token_use": "access"}, bad, bad},
		{map[string]any{"token_use": nil}, bad, bad},
		{map[string]any{"at_hash": "h"}, 0, bad},
		{map[string]any{"c_hash": "h"}, 0, bad},
		{map[string]any{"s_hash": "h"}, 0, bad},
	} {
		t.Run(fmt.Sprint(c.claims), func(t *testing.T) {
			mint := func(name string, value any) string {
				claims := map[string]any{"aud": "web-client", name: value}
				maps.Copy(claims, c.claims)
				return issuer.Mint(claims)
			}
			_, err := ids.Verify(t.Context(), mint("nonce", "n"), token.IDChecks{Nonce: "n"})
			if got := reason(t, err); got != c.id {
				t.Errorf("as ID token: %v, want %v (%v)", got, c.id, err)
			}
			_, err = logouts.Verify(t.Context(), mint("events", event))
			if got := reason(t, err); got != c.logout {
				t.Errorf("as logout token: %v, want %v (%v)", got, c.logout, err)
			}
		})
	}
}

// TestLogoutTokenWithoutExpiry: the logout tokens of Ory Hydra have no exp
// (ory/hydra#4035). They are valid for two minutes from iat.
func TestLogoutTokenWithoutExpiry(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	now := time.Now()
	v, err := token.NewLogoutVerifier(token.ClientConfig{
		Provider: newProvider(t, issuer, nil), ClientID: "web-client", Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	hydra := map[string]any{
		"aud": []string{"web-client"}, "sub": tokentest.Absent, "sid": "s1", "exp": tokentest.Absent,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for _, c := range []struct {
		name   string
		claims map[string]any
		want   token.Reason
	}{
		{"just made", nil, 0},
		{"in time", map[string]any{"iat": now.Unix() - 119}, 0},
		{"two minutes old", map[string]any{"iat": now.Unix() - 121}, token.ReasonExpired},
		{"a day old", map[string]any{"iat": now.Unix() - 86400}, token.ReasonExpired},
		{"by a clock that is ahead", map[string]any{"iat": now.Unix() + 59}, 0},
		{"too far ahead", map[string]any{"iat": now.Unix() + 62}, token.ReasonInvalid},
		{"neither exp nor iat", map[string]any{"iat": tokentest.Absent}, token.ReasonInvalid},
		{"iat null", map[string]any{"iat": nil}, token.ReasonInvalid},
		{"exp null", map[string]any{"exp": nil}, token.ReasonInvalid},
		{"exp a string", map[string]any{"exp": "0"}, token.ReasonInvalid},
		{"exp 0", map[string]any{"exp": 0}, token.ReasonExpired},
		{"exp that is over", map[string]any{"exp": now.Unix() - 61}, token.ReasonExpired},
		{"no jti", map[string]any{"jti": tokentest.Absent}, token.ReasonInvalid},
		{"no events", map[string]any{"events": tokentest.Absent}, token.ReasonInvalid},
		{"neither sub nor sid", map[string]any{"sid": tokentest.Absent}, token.ReasonInvalid},
		{"nonce", map[string]any{"nonce": "n"}, token.ReasonInvalid},
		{"another audience", map[string]any{"aud": "other"}, token.ReasonInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims := map[string]any{"iat": now.Unix()}
			maps.Copy(claims, hydra)
			maps.Copy(claims, c.claims)
			got, err := v.Verify(t.Context(), issuer.Mint(claims))
			if r := reason(t, err); r != c.want {
				t.Fatalf("reason %v, want %v (%v)", r, c.want, err)
			}
			if err == nil && !got.Expiry.After(got.IssuedAt) {
				t.Errorf("expiry %v: a jti must be remembered until then", got.Expiry)
			}
		})
	}
}
