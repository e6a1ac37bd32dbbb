package devidp_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

const machineSecret = "a secret of the machine"

func withMachine(c *devidp.Config) {
	c.Machines = []directory.Machine{{ID: "robot", Secret: machineSecret, Permissions: []string{"products:write"}}}
}

// TestClientCredentials: a machine gets an access token (RFC 6749 §4.4, RFC 9068
// §2.2) without claims of a user.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	s := start(t, withMachine)
	for name, style := range map[string]oauth2.AuthStyle{"basic": oauth2.AuthStyleInHeader, "post": oauth2.AuthStyleInParams} {
		cfg := clientcredentials.Config{
			ClientID: "robot", ClientSecret: machineSecret, TokenURL: s.issuer + "/oauth/token", AuthStyle: style,
			Scopes: []string{"products:write"}, EndpointParams: url.Values{"audience": {audience}},
		}
		token, err := cfg.Token(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if token.RefreshToken != "" || token.Extra("id_token") != nil || token.TokenType != "Bearer" || token.Extra("expires_in") != 300.0 {
			t.Errorf("%s: %v, ID token %v, %v s", name, token.TokenType, token.Extra("id_token"), token.Extra("expires_in"))
		}
		header, claims := s.verify(token.AccessToken)
		delete(claims, "iat")
		delete(claims, "exp")
		delete(claims, "jti")
		want := map[string]any{
			"iss": s.issuer, "sub": "robot", "client_id": "robot", "azp": "robot", "aud": []any{audience},
			"scope": "products:write", "permissions": []any{"products:write"},
		}
		if diff := cmp.Diff(want, claims); diff != "" || header["typ"] != "at+jwt" {
			t.Errorf("%s: claims differ (-want +got), type %v:\n%s", name, header["typ"], diff)
		}
		if status, _ := s.userinfo(token.AccessToken); status != http.StatusUnauthorized {
			t.Errorf("%s: userinfo of a machine: got status %d", name, status)
		}
	}
}

func TestClientCredentialsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, withMachine)
	for name, c := range map[string]struct {
		form   url.Values
		status int
		want   string
	}{
		"wrong secret":     {url.Values{"client_secret": {"wrong"}}, 401, "invalid_client"},
		"a scope too many": {url.Values{"scope": {"products:write sessions:admin"}}, 400, "invalid_scope"},
		"another audience": {url.Values{"audience": {"https://other.example"}}, 400, "invalid_target"},
		"another resource": {url.Values{"resource": {"https://other.example"}}, 400, "invalid_target"},
		"a relying party":  {url.Values{"client_id": {clientID}, "client_secret": {secret}}, 400, "unauthorized_client"},
		"a person's grant": {url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, 400, "unauthorized_client"},
		"a refresh":        {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, 400, "unauthorized_client"},
	} {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"}, "client_secret": {machineSecret}}
		maps.Copy(form, c.form)
		if status, body := s.postRaw("/oauth/token", form); status != c.status || body["error"] != c.want {
			t.Errorf("%s: %d %v, want %d %s", name, status, body, c.status, c.want)
		}
	}
	// A machine has no authorization endpoint, and no page links to it.
	b := s.browser()
	if page := b.open(s.issuer + "/authorize?" + url.Values{"client_id": {"robot"}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {callback}}.Encode()); page.status != http.StatusBadRequest {
		t.Errorf("a login for a machine: %d", page.status)
	}
	if page := b.open(s.issuer + "/"); page.status != 200 || strings.Contains(page.body, `href=""`) {
		t.Errorf("the home page: %d %s", page.status, page.body)
	}
	_, metadata := s.getJSON(s.issuer + "/.well-known/openid-configuration")
	if grants, _ := metadata["grant_types_supported"].([]any); !slices.Contains(grants, any("client_credentials")) {
		t.Errorf("grants: %v", grants)
	}
}

// TestMachineOfAnotherIssuer: the tokens of a machine of the class machines are those of
// another issuer, and say nothing about what the machine may do.
func TestMachineOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *devidp.Config) {
		withMachine(c)
		c.Machines[0].Class, c.Machines[0].Scopes = directory.ClassMachines, []string{"products:read"}
	})
	cfg := clientcredentials.Config{ClientID: "robot", ClientSecret: machineSecret, TokenURL: s.issuer + "/oauth/token"}
	token, err := cfg.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	minted, _, err := s.provider.Mint(devidp.TokenRequest{Machine: "robot"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": s.issuer + "/machines", "sub": "robot", "client_id": "robot", "azp": "robot", "aud": []any{audience},
	}
	for name, raw := range map[string]string{"client credentials": token.AccessToken, "on request": minted} {
		_, claims := s.verify(raw)
		for _, varying := range []string{"iat", "exp", "jti"} {
			delete(claims, varying)
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("%s: claims differ (-want +got):\n%s", name, diff)
		}
	}
}
