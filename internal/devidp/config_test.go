package devidp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

func TestIssuer(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"http://127.0.0.1:3001":         "",
		"http://127.9.8.7":              "",
		"https://localhost:3001":        "",
		"http://LOCALHOST:3001":         "",
		"http://[::1]:3001":             "",
		"http://127.0.0.1:3001/":        "",
		"":                              "empty",
		"127.0.0.1:3001":                "not a URL",
		"localhost:3001":                "neither http nor https",
		"ftp://127.0.0.1":               "neither http nor https",
		"http://":                       "not on loopback",
		"http://0.0.0.0:3001":           "not on loopback",
		"http://[::]:3001":              "not on loopback",
		"http://192.168.1.10:3001":      "not on loopback",
		"http://[::ffff:10.0.0.1]":      "not on loopback",
		"https://login.example.com":     "not on loopback",
		"http://localhost.example.com":  "not on loopback",
		"http://127.0.0.1.example.com":  "not on loopback",
		"http://localhost@example.com":  "more than an origin",
		"http://127.0.0.1:3001/tenant":  "more than an origin",
		"http://127.0.0.1:3001?x=1":     "more than an origin",
		"http://127.0.0.1:3001#":        "more than an origin",
		"http://user:secret@127.0.0.1/": "more than an origin",
	} {
		_, err := devidp.New(devidp.Config{
			Issuer: issuer, Audience: audience,
			Clients: []devidp.Client{{ID: "a", Secret: "b", RedirectURIs: []string{callback}}},
		})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", issuer, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Issuer")):
			t.Errorf("%q: %v, want an error with %q", issuer, err, want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error repeats a password: %v", issuer, err)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*devidp.Config)
		want   string
	}{
		"no audience":            {func(c *devidp.Config) { c.Audience = "" }, "Audience"},
		"negative lifetime":      {func(c *devidp.Config) { c.Behavior.AccessTokenLifetime = -time.Second }, "AccessTokenLifetime"},
		"no clients":             {func(c *devidp.Config) { c.Clients = nil }, "Clients"},
		"client without ID":      {func(c *devidp.Config) { c.Clients[0].ID = "" }, "ID"},
		"client without secret":  {func(c *devidp.Config) { c.Clients[0].Secret = "" }, "Secret"},
		"client is the API":      {func(c *devidp.Config) { c.Clients[0].ID = audience }, "Audience"},
		"no redirect URI":        {func(c *devidp.Config) { c.Clients[0].RedirectURIs = nil }, "RedirectURIs"},
		"relative redirect URI":  {func(c *devidp.Config) { c.Clients[0].RedirectURIs = []string{"/cb"} }, `"/cb"`},
		"fragment":               {func(c *devidp.Config) { c.Clients[0].PostLogoutRedirectURIs = []string{"http://a/#"} }, `"http://a/#"`},
		"script":                 {func(c *devidp.Config) { c.Clients[0].RedirectURIs = []string{"javascript:alert(1)"} }, "javascript"},
		"back channel":           {func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = "logout" }, `"logout"`},
		"machine without ID":     {func(c *devidp.Config) { c.Machines = []directory.Machine{{Secret: "b"}} }, "ID"},
		"machine without secret": {func(c *devidp.Config) { c.Machines = []directory.Machine{{ID: "m"}} }, "Secret"},
		"machine is the API":     {func(c *devidp.Config) { c.Machines = []directory.Machine{{ID: audience, Secret: "b"}} }, "Audience"},
		"machine and client":     {func(c *devidp.Config) { c.Machines = []directory.Machine{{ID: "a", Secret: "b"}} }, "twice"},
		"one ID twice":           {func(c *devidp.Config) { c.Clients = append(c.Clients, c.Clients[0]) }, "twice"},
	}
	for name, tt := range tests {
		cfg := devidp.Config{
			Issuer: "http://127.0.0.1:3001", Audience: audience,
			Clients: []devidp.Client{{ID: "a", Secret: "very-secret", RedirectURIs: []string{callback}}},
		}
		tt.change(&cfg)
		if _, err := devidp.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: %v, want an error with %s", name, err, tt.want)
		}
	}
}

func TestAccessTokenLifetime(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *devidp.Config) { c.Behavior.AccessTokenLifetime = 20 * time.Second })
	token := s.signIn(s.browser(), "seller")
	_, claims := s.verify(token.AccessToken)
	if token.ExpiresIn != 20 || claims["exp"].(float64)-claims["iat"].(float64) != 20 {
		t.Errorf("expires_in %d, claims %v", token.ExpiresIn, claims)
	}
}
