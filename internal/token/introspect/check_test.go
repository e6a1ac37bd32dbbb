package introspect_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
)

// Check says that a credential is right only if another one is refused.
func TestCheck(t *testing.T) {
	t.Parallel()
	inactive := answer(200, "application/json", `{"active":false}`)
	second := func(h http.HandlerFunc) http.HandlerFunc {
		n := 0
		return func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 1 {
				inactive(w, r)
				return
			}
			h(w, r)
		}
	}
	for name, c := range map[string]struct {
		instead http.HandlerFunc
		change  func(*clientauth.Config)
		want    check.Status
		says    string
	}{
		"right":                        {nil, nil, check.OK, "takes the credential of client the api (client_secret_basic)"},
		"wrong secret":                 {nil, func(c *clientauth.Config) { c.Secret = "wrong" }, check.Wrong, "SETTING Client.Secret"},
		"wrong id":                     {nil, func(c *clientauth.Config) { c.ID = "web" }, check.Wrong, "SETTING Client.ID"},
		"not allowed":                  {refuse(403, "access_denied"), nil, check.Wrong, "allow the client"},
		"anyone may ask":               {inactive, nil, check.Warn, "also to a random credential"},
		"fails at the control request": {second(refuse(500, "server_error")), nil, check.Unknown, "server_error"},
		"down":                         {refuse(503, ""), nil, check.Wrong, "status 503"},
		"another endpoint":             {answer(200, "application/json", `{"error":"x"}`), nil, check.Wrong, "SETTING Endpoint"},
		"a page":                       {answer(200, "text/html", "<html>"), nil, check.Wrong, "content type"},
		"all tokens are active":        {answer(200, "application/json", `{"active":true,"aud":"https://api.example","sub":"eve"}`), nil, check.Wrong, "do not trust it"},
		"active for anything":          {answer(200, "application/json", `{"active":true}`), nil, check.Wrong, "do not trust it"},
		"a method that is not listed":  {nil, func(c *clientauth.Config) { c.Auth = clientauth.NoAuth; c.Secret = "" }, check.Wrong, "does not list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(cfg *introspect.EndpointConfig, _ *introspect.Config[*token.Claims]) {
				if c.change != nil {
					c.change(&cfg.Client)
				}
			})
			if c.instead != nil {
				s.fail(c.instead)
			}
			got := s.endpoint.Check(t.Context())
			if text := got.What + "; " + got.Remedy; got.Status != c.want || !strings.Contains(text, c.says) {
				t.Errorf("got %s %s, want %s with %q", got.Status, text, c.want, c.says)
			}
			if all, _ := s.requests(); all > 2 {
				t.Errorf("%d requests, want at most one with a random credential", all)
			}
			if s.log.Len() > 0 {
				t.Errorf("logged: %s", s.log)
			}
		})
	}
	s := start(t)
	s.issuer.SetMetadata("introspection_endpoint", tokentest.Absent)
	if _, err := s.provider.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.endpoint.Check(t.Context()); got.Status != check.Wrong || !strings.Contains(got.What, "set SETTING Endpoint") {
		t.Errorf("without an endpoint: %+v", got)
	}
}
