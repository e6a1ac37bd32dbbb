package token_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

func TestFindings(t *testing.T) {
	t.Parallel()
	const dex = "openid audience:server:client_id:api"
	for _, c := range []struct {
		name   string
		cfg    token.ProfileSettings
		fields []string
		says   string
	}{
		{"plain", token.ProfileSettings{ClientID: "web", Audience: "api", Scope: "openid profile email offline_access"}, nil, ""},
		{"nothing set", token.ProfileSettings{}, nil, ""},
		{"clients listed", token.ProfileSettings{ClientID: "web", Audience: "api", IDTokenClients: []string{"web"}}, nil, ""},
		{"Dex, not allowed for", token.ProfileSettings{ClientID: "web", Audience: "api", Scope: dex}, []string{"InsecureIDTokenShape"}, "are refused"},
		{"Dex", token.ProfileSettings{ClientID: "web", Audience: "api", Scope: dex, InsecureIDTokenShape: true}, []string{"InsecureIDTokenShape"}, "unless they have c_hash"},
		{"Dex, its own client listed", token.ProfileSettings{ClientID: "web", Audience: "api", Scope: dex, InsecureIDTokenShape: true, IDTokenClients: []string{"web"}},
			[]string{"InsecureIDTokenShape", "IDTokenClients"}, "remove it"},
		{"ZITADEL", token.ProfileSettings{ClientID: "web", Audience: "1", Scope: "openid urn:zitadel:iam:org:project:id:1:aud"}, []string{"Scope"}, "id_token_hint"},
		{"the audience is a client", token.ProfileSettings{ClientID: "web", Audience: "api", IDTokenClients: []string{"api"}}, []string{"IDTokenClients"}, "at+jwt"},
		{"the audience is a client, at+jwt required", token.ProfileSettings{ClientID: "web", Audience: "api", IDTokenClients: []string{"api"}, RequireATJWT: true}, nil, ""},
	} {
		var fields, text []string
		for _, f := range c.cfg.Findings() {
			fields = append(fields, f.Field)
			text = append(text, f.What, f.Remedy)
		}
		if !slices.Equal(fields, c.fields) || !strings.Contains(strings.Join(text, "; "), c.says) {
			t.Errorf("%s: %v: %v", c.name, fields, text)
		}
	}
}
