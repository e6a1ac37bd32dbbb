package gatehouse

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// TestUnmatchedCallers: the check names what policies and grants do not have in common.
func TestUnmatchedCallers(t *testing.T) {
	t.Parallel()
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://ci.example"})
	if err != nil {
		t.Fatal(err)
	}
	issuers := func(class authn.Class, permissions ...string) []authn.IssuerConfig {
		return []authn.IssuerConfig{{Provider: provider, Class: class, Grants: []authn.Grant{{Permissions: permissions, Scopes: []string{"deploy"}}}}}
	}
	rules := func(classes ...authn.Class) []authn.Rule {
		return []authn.Rule{
			{Method: "/shop.S/Read", Callers: []authn.Class{authn.Users}},
			{Method: "/shop.S/Publish", Callers: classes, Permissions: []string{"products:publish"}, Scopes: []string{"deploy"}},
		}
	}
	for name, c := range map[string]struct {
		rules   []authn.Rule
		issuers []authn.IssuerConfig
		want    string
	}{
		"neither":           {rules(authn.Users), nil, ""},
		"users alone":       {rules(authn.Users), issuers(authn.Users), ""},
		"a match":           {rules(authn.Users, authn.Machines), issuers(authn.Machines, "products:publish"), ""},
		"no issuer":         {rules(authn.Machines), issuers(authn.Users), "/shop.S/Publish admits machines, and there is no issuer of that class"},
		"no method":         {rules(authn.Users), issuers(authn.Machines), "tokens of https://ci.example open no method: no policy has CALLERS_MACHINES"},
		"misspelt":          {rules(authn.Machines), issuers(authn.Machines, "product:publish"), `a grant of https://ci.example has the permission "product:publish", which no policy names; did you mean products:publish?`},
		"unlike all others": {rules(authn.Machines), issuers(authn.Machines, "x"), `a grant of https://ci.example has the permission "x", which no policy names`},
	} {
		if got := strings.Join(unmatchedCallers(c.rules, c.issuers), "\n"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
