package token_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

func TestIDTokens(t *testing.T) {
	t.Parallel()
	const client, nonce, access = "web-client", "nonce-1", "an access token"
	issuer := tokentest.NewUnserved(t, "https://id.example")
	now := time.Now()
	v, err := token.NewIDVerifier(token.ClientConfig{Provider: newProvider(t, issuer, nil), ClientID: client, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	type claims = map[string]any
	login := token.IDChecks{Nonce: nonce, AccessToken: access}
	refresh := token.IDChecks{Subject: "user-1", Nonce: nonce, AccessToken: access}
	hour := time.Hour
	maxAge := token.IDChecks{Nonce: nonce, MaxAge: &hour}
	acr := token.IDChecks{Nonce: nonce, ACRValues: []string{"mfa", "phr"}}
	for _, c := range []struct {
		name   string
		checks token.IDChecks
		claims claims
		header claims
		want   token.Reason
	}{
		{name: "plain", checks: login},
		{name: "azp ours", checks: login, claims: claims{"azp": client}},
		{name: "several audiences with our azp", checks: login, claims: claims{"aud": []string{"x", client}, "azp": client}},
		{name: "at_hash right", checks: login, claims: claims{"at_hash": tokentest.AccessTokenHash(access)}},
		{name: "at_hash without an access token to compare", checks: token.IDChecks{Nonce: nonce}, claims: claims{"at_hash": "x"}},
		{name: "large, as with many groups", checks: login, claims: claims{"groups": strings.Repeat("g", 40<<10)}},
		{name: "typ absent", checks: login, header: claims{"typ": tokentest.Absent}},

		{name: "larger than 64 KiB", checks: login, claims: claims{"groups": strings.Repeat("g", 64<<10)}, want: token.ReasonMalformed},
		{name: "access token by its typ", checks: login, header: claims{"typ": "at+jwt"}, want: token.ReasonInvalid},
		{name: "logout token by its typ", checks: login, header: claims{"typ": "logout+jwt"}, want: token.ReasonInvalid},
		{name: "logout token by its events", checks: login, claims: claims{"events": claims{}}, want: token.ReasonInvalid},
		{name: "aud of another client", checks: login, claims: claims{"aud": "other"}, want: token.ReasonInvalid},
		{name: "several audiences, no azp", checks: login, claims: claims{"aud": []string{"x", client}}, want: token.ReasonInvalid},
		{name: "azp of another client", checks: login, claims: claims{"azp": "other"}, want: token.ReasonInvalid},
		{name: "sub absent", checks: login, claims: claims{"sub": tokentest.Absent, "client_id": "x"}, want: token.ReasonInvalid},
		{name: "sub too long", checks: login, claims: claims{"sub": strings.Repeat("s", 256)}, want: token.ReasonInvalid},
		{name: "iat absent", checks: login, claims: claims{"iat": tokentest.Absent}, want: token.ReasonInvalid},
		{name: "expired", checks: login, claims: claims{"exp": now.Unix() - 61}, want: token.ReasonExpired},
		{name: "alg none", checks: login, header: claims{"alg": "none"}, want: token.ReasonMalformed},
		{name: "issuer of another", checks: login, claims: claims{"iss": "https://other.example"}, want: token.ReasonInvalid},

		{name: "nonce absent", checks: login, claims: claims{"nonce": tokentest.Absent}, want: token.ReasonInvalid},
		{name: "nonce of another login: injected code", checks: login, claims: claims{"nonce": "nonce-2"}, want: token.ReasonInvalid},
		{name: "nonce empty", checks: login, claims: claims{"nonce": ""}, want: token.ReasonInvalid},
		{name: "zero checks refuse", checks: token.IDChecks{}, want: token.ReasonInvalid},
		{name: "zero checks refuse without nonce too", checks: token.IDChecks{}, claims: claims{"nonce": tokentest.Absent}, want: token.ReasonInvalid},
		{name: "at_hash wrong", checks: login, claims: claims{"at_hash": tokentest.AccessTokenHash("another")}, want: token.ReasonInvalid},

		{name: "refresh without nonce", checks: refresh, claims: claims{"nonce": tokentest.Absent}},
		{name: "refresh with the nonce", checks: refresh},
		{name: "refresh, nonce of the login not kept", checks: token.IDChecks{Subject: "user-1"}},
		{name: "refresh with auth_time", checks: refresh, claims: claims{"auth_time": now.Add(-time.Hour).Unix()}},
		{name: "refresh with another nonce", checks: refresh, claims: claims{"nonce": "nonce-2"}, want: token.ReasonInvalid},
		{name: "refresh with another sub", checks: refresh, claims: claims{"sub": "user-2"}, want: token.ReasonInvalid},
		{name: "refresh with an auth_time ahead", checks: refresh, claims: claims{"auth_time": now.Add(time.Hour).Unix()}},
		{name: "refresh with another aud", checks: refresh, claims: claims{"aud": "other"}, want: token.ReasonInvalid},

		{name: "max_age kept", checks: maxAge, claims: claims{"auth_time": now.Add(-59 * time.Minute).Unix()}},
		{name: "max_age exceeded", checks: maxAge, claims: claims{"auth_time": now.Add(-62 * time.Minute).Unix()}, want: token.ReasonInvalid},
		{name: "max_age without auth_time", checks: maxAge, want: token.ReasonInvalid},
		{name: "auth_time ahead", checks: maxAge, claims: claims{"auth_time": now.Add(2 * time.Minute).Unix()}, want: token.ReasonInvalid},
		{name: "acr among those asked", checks: acr, claims: claims{"acr": "phr"}},
		{name: "acr of another", checks: acr, claims: claims{"acr": "pwd"}, want: token.ReasonInvalid},
		{name: "acr absent", checks: acr, want: token.ReasonInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := claims{"aud": client, "nonce": nonce, "iat": now.Unix(), "exp": now.Unix() + 300}
			maps.Copy(all, c.claims)
			got, err := v.Verify(t.Context(), issuer.Mint(all, c.header), c.checks)
			if r := reason(t, err); r != c.want {
				t.Fatalf("reason %v, want %v (%v)", r, c.want, err)
			}
			if (got == nil) != (err != nil) {
				t.Errorf("claims %v with error %v", got, err)
			}
		})
	}
}

func TestLogoutTokens(t *testing.T) {
	t.Parallel()
	const client = "web-client"
	issuer := tokentest.NewUnserved(t, "https://id.example")
	v, err := token.NewLogoutVerifier(token.ClientConfig{Provider: newProvider(t, issuer, nil), ClientID: client})
	if err != nil {
		t.Fatal(err)
	}
	type claims = map[string]any
	event := claims{"http://schemas.openid.net/event/backchannel-logout": claims{}}
	absent := tokentest.Absent
	for _, c := range []struct {
		name   string
		claims claims
		header claims
		want   token.Reason
	}{
		{name: "sub alone"},
		{name: "sid alone", claims: claims{"sub": absent, "sid": "s1"}},
		{name: "sub and sid", claims: claims{"sid": "s1"}},
		{name: "typ logout+jwt", header: claims{"typ": "logout+jwt"}},
		{name: "typ absent", header: claims{"typ": absent}},
		{name: "aud a list", claims: claims{"aud": []string{client, "other"}}},
		{name: "event with content", claims: claims{"events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{"x": 1}, "other": 1}}},

		{name: "alg none", header: claims{"alg": "none"}, want: token.ReasonMalformed},
		{name: "alg HS256", header: claims{"alg": "HS256"}, want: token.ReasonMalformed},
		{name: "typ at+jwt", header: claims{"typ": "at+jwt"}, want: token.ReasonInvalid},
		{name: "aud wrong", claims: claims{"aud": "other"}, want: token.ReasonInvalid},
		{name: "iss wrong", claims: claims{"iss": "https://other.example"}, want: token.ReasonInvalid},
		{name: "expired", claims: claims{"exp": time.Now().Unix() - 61}, want: token.ReasonExpired},
		{name: "exp and iat missing", claims: claims{"exp": absent, "iat": absent}, want: token.ReasonInvalid},
		{name: "iat missing", claims: claims{"iat": absent}, want: token.ReasonInvalid},
		{name: "jti missing", claims: claims{"jti": absent}, want: token.ReasonInvalid},
		{name: "neither sub nor sid", claims: claims{"sub": absent}, want: token.ReasonInvalid},
		{name: "nonce present: an ID token", claims: claims{"nonce": "n"}, want: token.ReasonInvalid},
		{name: "nonce empty", claims: claims{"nonce": ""}, want: token.ReasonInvalid},
		{name: "events missing", claims: claims{"events": absent}, want: token.ReasonInvalid},
		{name: "events null", claims: claims{"events": nil}, want: token.ReasonInvalid},
		{name: "events a list", claims: claims{"events": []string{"http://schemas.openid.net/event/backchannel-logout"}}, want: token.ReasonInvalid},
		{name: "events empty", claims: claims{"events": claims{}}, want: token.ReasonInvalid},
		{name: "event wrong", claims: claims{"events": claims{"http://schemas.openid.net/event/other": claims{}}}, want: token.ReasonInvalid},
		{name: "event no object", claims: claims{"events": claims{"http://schemas.openid.net/event/backchannel-logout": true}}, want: token.ReasonInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := claims{"aud": client, "events": event}
			maps.Copy(all, c.claims)
			got, err := v.Verify(t.Context(), issuer.Mint(all, c.header))
			if r := reason(t, err); r != c.want {
				t.Fatalf("reason %v, want %v (%v)", r, c.want, err)
			}
			if err == nil && got.Subject == "" && got.SessionID == "" {
				t.Error("neither sub nor sid came through")
			}
		})
	}
}

func TestVerifierConfigs(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	_, noAudience := token.NewAccessVerifier(token.AccessConfig[*principal]{Provider: p, Principal: toPrincipal})
	_, noPrincipal := token.NewAccessVerifier(token.AccessConfig[*principal]{Provider: p, Audience: audience})
	_, noProvider := token.NewAccessVerifier(token.AccessConfig[*principal]{Audience: audience, Principal: toPrincipal})
	_, noClient := token.NewIDVerifier(token.ClientConfig{Provider: p})
	_, noIDProvider := token.NewIDVerifier(token.ClientConfig{ClientID: "c"})
	_, noLogoutClient := token.NewLogoutVerifier(token.ClientConfig{Provider: p})
	_, noLogoutProvider := token.NewLogoutVerifier(token.ClientConfig{ClientID: "c"})
	for field, errs := range map[string][]error{
		"Audience":  {noAudience},
		"Principal": {noPrincipal},
		"Provider":  {noProvider, noIDProvider, noLogoutProvider},
		"ClientID":  {noClient, noLogoutClient},
	} {
		for _, err := range errs {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%v does not name %s", err, field)
			}
		}
	}
}
