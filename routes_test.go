package gatehouse

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
)

// The setting routes has all of bff.Route, as a file and as a variable.
func TestRoutesSetting(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certtest.New(t, "Private CA").PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	const list = `
- path: /orders
  to: [https://orders-1, https://orders-2]
  strip-prefix: true
  token: user
  audience: orders
  scope: read write
  grant: exchange
  request-headers: X-Tenant
  max-body-bytes: 1048576
  timeout: 30s
  probe: /health
  ca-file: CA
- path: /api/products
  to: gateway
  public: true
`
	text := strings.ReplaceAll(list, "CA\n", ca+"\n")
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(file, []byte("routes:"+strings.ReplaceAll(text, "\n", "\n  ")), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]settings.Sources{
		"variable": {Environ: bffEnvironment("GATEHOUSE_ROUTES=" + text)},
		"file":     {Environ: bffEnvironment(), Flags: settings.Flags{"config": {file}}},
	} {
		p := configuredFrom(t, from)
		if err := p.values.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := p.validate(partSet{BFF: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		routes := p.cfg.BFF.Routes
		if len(routes) != 2 || p.cfg.Routes[0].CAFile != ca {
			t.Fatalf("%s: %+v", name, p.cfg.Routes)
		}
		first, second := routes[0], routes[1]
		if first.Path != "/orders" || len(first.Upstream.Targets) != 2 || !first.StripPrefix || first.Public || first.MaxBodyBytes != 1<<20 || first.Upstream.Timeout != 30*time.Second ||
			first.Upstream.Probe != "/health" || first.RequestHeaders[0] != "X-Tenant" || first.Token != (bff.RouteToken{Kind: bff.TokenUser, Audience: "orders", Scope: "read write", Grant: bff.GrantExchange}) {
			t.Errorf("%s: %+v", name, first)
		}
		if second.Path != "/api/products" || len(second.Upstream.Targets) != 0 || !second.Public {
			t.Errorf("%s: %+v", name, second)
		}
		security, err := p.cfg.TLS.Load(p.process(partSet{BFF: true}))
		if err != nil || security.Routes[0] == nil || security.Routes[0].VerifyConnection == nil || security.Routes[1] != nil {
			t.Errorf("%s: %v, %+v", name, err, security)
		}
	}
}

// The configurations in the documents are valid.
func TestRoutesDocumented(t *testing.T) {
	t.Parallel()
	found := 0
	for _, name := range []string{"docs/routes.md", "docs/from-the-tutorial.md"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```yaml\n *((?:# gatehouse.yaml\n)?routes:.*?) *```").FindAllStringSubmatch(string(content), -1) {
			found++
			text := strings.ReplaceAll(block[1], "  ca-file: /etc/gatehouse/internal-ca.pem\n", "")
			if name != "docs/routes.md" {
				text = strings.ReplaceAll(text, "\n   ", "\n")
			}
			file := filepath.Join(t.TempDir(), "gatehouse.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p := configuredFrom(t, settings.Sources{Environ: bffEnvironment(), Flags: settings.Flags{"config": {file}}})
			if err := errors.Join(p.values.Err(), p.validate(partSet{BFF: true})); err != nil || len(p.cfg.Routes) == 0 {
				t.Errorf("%s: %v in\n%s", name, err, text)
			}
		}
	}
	if found != 3 {
		t.Errorf("found %d configurations, want 3", found)
	}
}

// Problems of routes are reported in terms of the setting.
func TestRoutesProblems(t *testing.T) {
	t.Parallel()
	const orders = "path: /orders, to: http://orders:3000"
	for list, want := range map[string]string{
		"[{to: http://orders:3000}]":                       "GATEHOUSE_ROUTES (environment): routes[0]: path is missing; add it",
		"[{path: /orders}]":                                "routes[0]: to is missing; add it",
		"[{path: /orders/, to: http://o:1}]":               "GATEHOUSE_ROUTES (environment): routes[0].path=/orders/: ends with a slash; give a prefix such as /orders",
		"[{path: /api/auth, to: http://o:1}]":              "routes[0].path=/api/auth: is an address of the bff itself",
		"[{path: /orders, to: 'orders:3000'}]":             "routes[0].to[0]=orders:3000: the scheme is missing; did you mean http://orders:3000?",
		"[{path: /orders, to: [gateway, http://o:1]}]":     "routes[0].to[0]=gateway: ",
		"[{" + orders + ", tokn: none}]":                   `routes[0]: unknown key "tokn"; did you mean "token"?`,
		"[{" + orders + ", token: nobody}]":                "routes[0].token=nobody: is not a choice; give one of user, client, none",
		"[{" + orders + ", token: none, audience: x}]":     "routes[0].token=none: contradicts audience and scope; remove them, or give another token",
		"[{" + orders + ", scope: x}]":                     "routes[0].audience: is missing; give the audience that the token with this scope must name",
		"[{" + orders + ", ca-file: /nowhere/ca.pem}]":     "routes[0].ca-file=/nowhere/ca.pem: is not usable: ",
		"[{" + orders + ", timeout: 5}]":                   "routes[0].timeout=5: has no unit; write 5s",
		"[{path: /a, to: gateway, strip-prefix: true}]":    "routes[0].strip-prefix: has no effect for a route to the gateway; remove it, or give a server in to",
		"[{" + orders + "}, {path: /Orders, to: gateway}]": "routes[1].path=/Orders: is also that of routes[0]; drop one of the two",
		"[{" + orders + ", strip-prefix: true, public: true}, {path: /admin, to: http://orders:3000}]": "routes[0].path=/orders: leads to the addresses of routes[1] around its rules: /orders/admin reaches what /admin does; give both the same public and token",
		"[{path: /orders, to: 'http://user:hunter2@orders:3000?x'}]":                                   "routes[0].to[0]=http://user:xxxxx@orders:3000?x",
	} {
		err := validated(t, partSet{BFF: true}, bffEnvironment("GATEHOUSE_ROUTES="+list)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", list, err, want)
		}
	}
	p := configured(t, bffEnvironment("GATEHOUSE_ROUTES=[{path: /orders, to: 'http://user:hunter2@orders:3000'}]")...) // refused, and shown nevertheless
	for _, s := range p.values.Shown() {
		if s.Name == "routes" && s.Value != "[{path: /orders, to: http://user:xxxxx@orders:3000}]" {
			t.Errorf("shown as %q", s.Value)
		}
	}
	warnings := p.cfg.TLS.InClear(p.process(partSet{BFF: true}))
	if len(warnings) != 2 || warnings[1].Setting != "routes" || !strings.Contains(warnings[1].Problem, "routes[0] /orders") {
		t.Errorf("warnings %+v, want one of the gateway and one of the route", warnings)
	}
}
