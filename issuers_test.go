package gatehouse

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// threeIssuers is the setting issuers of the documents.
const threeIssuers = `
- issuer: https://token.actions.githubusercontent.com
  class: machines
  audiences: https://api.example
  require-claims: {repository_owner: octo}
  grants:
    - where: {sub: "repo:octo/shop:ref:refs/heads/main", event_name: push}
      permissions: [publish, read]
    - where: {sub: "repo:octo/*"}
      permissions: read
- issuer: https://kubernetes.default.svc.cluster.local
  class: machines
  audiences: [https://api.example]
  jwks-url: https://kubernetes.default.svc/openid/v1/jwks
  bearer-token-file: /var/run/secrets/kubernetes.io/serviceaccount/token
  grants:
    - where: {"kubernetes.io.namespace": shop, "kubernetes.io.serviceaccount.name": worker}
      permissions: [products.import]
- issuer: https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc
  audiences: [7example]
  audience-claim: client_id
  algorithms: [RS256, ES256]
  require-typ: [JWT]
  require-claims: {token_use: [access]}
  permissions-claim: cognito:groups
`

func TestIssuers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "issuers.yaml")
	if err := os.WriteFile(file, []byte(threeIssuers), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf.yaml")
	if err := os.WriteFile(conf, []byte("issuers:"+strings.ReplaceAll(threeIssuers, "\n", "\n  ")), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]settings.Sources{
		"variable": {Environ: serverEnvironment("GATEHOUSE_ISSUERS=" + threeIssuers)},
		"file":     {Environ: serverEnvironment("GATEHOUSE_ISSUERS_FILE=" + file)},
		"key":      {Environ: serverEnvironment("GATEHOUSE_CONFIG=" + conf)},
	} {
		p := configuredFrom(t, from)
		if err := p.values.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := p.validate(partSet{Server: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		list, err := p.openIssuers(nil, nil)
		if err != nil || len(list) != 3 {
			t.Fatalf("%s: got %d issuers, %v", name, len(list), err)
		}
		github, cognito := list[0], list[2]
		if github.Class != authn.Machines || github.Grants[0].Where["event_name"] != "push" || !slices.Equal(github.Grants[1].Permissions, []string{"read"}) ||
			!slices.Equal(github.RequireClaims["repository_owner"], []string{"octo"}) {
			t.Errorf("%s: got %+v", name, github)
		}
		if list[1].Provider.HasMetadata() || !github.Provider.HasMetadata() {
			t.Errorf("%s: a provider has keys of another source than configured", name)
		}
		if cognito.Class != authn.Users || cognito.AudienceClaim != "client_id" || !slices.Equal(cognito.Algorithms, []string{"RS256", "ES256"}) {
			t.Errorf("%s: got %+v", name, cognito)
		}
		if got := p.cfg.Gateway.Resource.Issuers; len(got) != 3 || got[0] != "https://token.actions.githubusercontent.com" {
			t.Errorf("%s: published issuers are %q", name, got)
		}
	}
}

// The issuer that users sign in at may have its rules in the list.
func TestRulesOfTheLoginIssuer(t *testing.T) {
	t.Parallel()
	p := configured(t, serverEnvironment("GATEHOUSE_ISSUERS=[{issuer: https://issuer.example/, audiences: shop, audience-claim: client_id, require-claims: {token_use: access}}]",
		"GATEHOUSE_OIDC_CLIENT_ID=shop")...)
	if err := p.validate(partSet{Server: true}); err != nil {
		t.Fatal(err)
	}
	if len(p.cfg.Gateway.Resource.Issuers) != 0 {
		t.Errorf("published twice: %q", p.cfg.Gateway.Resource.Issuers)
	}
	all, err := p.assemble(t.Context(), partSet{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = all.close(nil) }()
	if len(all.issuers) != 1 || all.issuers[0].Provider != all.provider {
		t.Errorf("got %+v, want the provider of oidc-issuer", all.issuers)
	}
}

// The command check asks each issuer for its keys.
func TestCheckIssuers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := tokentest.NewIssuer(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer refusing.Close()
	foreign := httptest.NewTLSServer(http.NotFoundHandler())
	defer foreign.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	bad := filepath.Join(dir, "keys.json")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := fmt.Sprintf(`[{issuer: %q, class: machines, audiences: a, grants: [{where: {sub: "a:*", b: c}, permissions: [read, write]}]},
		{issuer: %q, audiences: a, algorithms: ES256, jwks-url: %q}, {issuer: refusing, audiences: a, jwks-url: %q},
		{issuer: foreign, audiences: a, jwks-url: %q}, {issuer: %q, audiences: a}, {issuer: file, audiences: a, jwks-file: %q}]`,
		good.URL, "es256", good.URL+"/keys", refusing.URL, foreign.URL, gone.URL, bad)
	p := configured(t, serverEnvironment("GATEHOUSE_ISSUERS="+list, "GATEHOUSE_DATABASE_URL=memory:")...)
	all, err := p.assemble(t.Context(), partSet{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = all.close(nil) }()
	results := all.checkIssuers(t.Context())
	for i, want := range []struct {
		status       check.Status
		what, remedy string
	}{
		{check.OK, "its key set has keys that can be used (RS256); its tokens are those of machines: b=c and sub=a:* gives read, write", ""},
		{check.Wrong, "set issuers[1].algorithms=", ""},
		{check.Wrong, "so that its tokens get 503: ", "issuers[2].bearer-token-file"},
		{check.Wrong, "certificate", "issuers[3].ca-file"},
		{check.Wrong, "refused", "issuers[4].jwks-url"},
		{check.Wrong, bad, "write the issuer's key set into the file issuers[5].jwks-file"},
	} {
		r := results[i]
		if r.Status != want.status || !strings.Contains(r.What, want.what) || !strings.Contains(r.Remedy, want.remedy) || !strings.HasPrefix(r.Proof, "issuer ") {
			t.Errorf("issuer %d: got %+v, want %+v", i, r, want)
		}
	}
}

func TestWrongIssuers(t *testing.T) {
	t.Parallel()
	const machines = "issuer: https://ci.example, class: machines, audiences: a"
	for name, tt := range map[string]struct{ list, want string }{
		"no issuer":       {`[{audiences: a}]`, "issuers[0]: issuer is missing; add it"},
		"no audiences":    {`[{issuer: https://ci.example}]`, "issuers[0]: audiences is missing; add it"},
		"misspelt key":    {`[{issuer: https://ci.example, audiences: a, audience: a}]`, `unknown key "audience"; did you mean "audiences"?`},
		"class":           {`[{issuer: https://ci.example, audiences: a, class: robots}]`, "issuers[0].class=robots"},
		"http":            {`[{issuer: "http://ci.example", audiences: a}]`, "issuers[0].issuer=http://ci.example: "},
		"http keys":       {`[{issuer: ci, audiences: a, jwks-url: "http://ci.example/jwks"}]`, "issuers[0].jwks-url=http://ci.example/jwks: http is accepted on loopback only; give the https address of the key set"},
		"two sources":     {`[{issuer: ci, audiences: a, jwks-url: "https://ci.example/jwks", jwks-file: keys.json}]`, "issuers[0].jwks-file=keys.json: is set beside jwks-url"},
		"no CA file":      {`[{issuer: https://ci.example, audiences: a, ca-file: /none.pem}]`, "issuers[0].ca-file=/none.pem: cannot be used: "},
		"no grants":       {`[{` + machines + `}]`, "issuers[0].grants: is missing; say which claims"},
		"pattern":         {`[{` + machines + `, grants: [{where: {sub: "repo:octo*"}, permissions: x}]}]`, `issuers[0].grants[0].where.sub=repo:octo*: has "*" beside other characters`},
		"grants of users": {`[{issuer: https://ci.example, audiences: a, grants: [{where: {sub: x}, permissions: x}]}]`, "issuers[0].grants=1: are for machines only; set the class to machines"},
		"grant for all":   {`[{` + machines + `, grants: [{where: {}, permissions: x}]}]`, "issuers[0].grants[0]"},
		"client id":       {`[{issuer: https://ci.example, audiences: shop}]`, "issuers[0].audiences=shop: is also the client's id"},
		"twice":           {`[{issuer: https://ci.example, audiences: a}, {issuer: https://ci.example/, audiences: a}]`, "issuers[1].issuer=https://ci.example/: is also that of element 0"},
		"login issuer":    {`[{issuer: https://issuer.example, audiences: a, jwks-file: keys.json}]`, "issuers[0].jwks-file=keys.json: is set for the issuer that users sign in at"},
		"login machines":  {`[{issuer: https://issuer.example, class: machines, audiences: a, grants: [{where: {sub: x}}]}]`, "issuers[0].class=machines: is not possible"},
		"algorithms":      {`[{issuer: https://ci.example, audiences: a, algorithms: [RS256, ES265]}]`, "issuers[0].algorithms=RS256,ES265: has ES265, which is no signature algorithm"},
		"algorithm":       {`[{issuer: https://ci.example, audiences: a, algorithms: HS256}]`, "issuers[0].algorithms=HS256"},
		"no list":         {`https://ci.example`, "is not a list"},
	} {
		err := validated(t, partSet{Server: true}, serverEnvironment("GATEHOUSE_ISSUERS="+tt.list, "GATEHOUSE_OIDC_CLIENT_ID=shop")...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: more than one error: %v", name, err)
		}
	}
}
