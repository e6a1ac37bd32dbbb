package app

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"flag"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

var update = flag.Bool("update", false, "write gen/openapi/openapi.json anew")

const documentFile = "../../gen/openapi/openapi.json"

// TestOpenAPIDocument holds the committed document, from which clients can be
// generated without a running gateway, to what the gateway serves. The two
// differ in what an installation knows: issuer and session cookie.
func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	g, err := gateway.New(gateway.Config{
		Conn: new(grpc.ClientConn), Services: exposedServices(),
		Document: gateway.DocumentConfig{Title: title, Version: version, Comments: comments},
	})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Indent(&want, g.OpenAPI(), "", "  "); err != nil {
		t.Fatal(err)
	}
	want.WriteByte('\n')
	if *update {
		if err := os.MkdirAll("../../gen/openapi", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(documentFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the gateway serves; run: make generate", documentFile)
	}
}

// described is what the tests read of a document.
type described struct {
	Paths map[string]map[string]struct {
		OperationID string                `json:"operationId"`
		Description string                `json:"description"`
		Security    []map[string][]string `json:"security"`
		Responses   map[string]any        `json:"responses"`
		Policy      struct {
			Public      bool     `json:"public"`
			Scopes      []string `json:"scopes"`
			Permissions []string `json:"permissions"`
			MaxAge      int64    `json:"maxAge"`
			ACRValues   []string `json:"acrValues"`
		} `json:"x-gatehouse-policy"`
	} `json:"paths"`
	Components struct {
		SecuritySchemes map[string]map[string]string `json:"securitySchemes"`
	} `json:"components"`
}

// TestOpenAPIPolicies: what the server enforces, what gatehouse check prints
// and what the document says of who may call are one, for every method that is
// served.
func TestOpenAPIPolicies(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://issuer.example")
	var printed bytes.Buffer
	cfg := Config{
		Issuer: issuer.URL, Audience: "https://api.example", BaseURL: "https://app.example", ClientID: "app", ClientSecret: "secret",
		Secrets: []string{rand.Text() + rand.Text()}, SessionStore: "memory:", DatabaseURL: "memory:", Output: &printed,
	}
	cfg.withDefaults()
	p, err := assemble(t.Context(), cfg, All, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(nil)
	(&check.Report{Methods: p.methods()}).Text(&printed)
	var doc described
	if err := json.Unmarshal(p.gateway.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	byID := map[string]string{} // a method's name → "VERB /path" in the document
	for path, item := range doc.Paths {
		for verb, op := range item {
			byID[op.OperationID] = strings.ToUpper(verb) + " " + path
		}
	}
	routed := map[string]bool{}
	for _, r := range p.gateway.Routes() {
		routed[r.RPC] = true
	}
	rules, compared := p.server.Rules(), 0
	for _, rule := range rules {
		if !routed[rule.Method] {
			continue
		}
		name := rule.Method[strings.LastIndexByte(rule.Method, '.')+1:]
		where, ok := byID[strings.ReplaceAll(name, "/", "_")]
		if !ok {
			t.Errorf("%s is served, and not in the document", rule.Method)
			continue
		}
		compared++
		verb, path, _ := strings.Cut(where, " ")
		op := doc.Paths[path][strings.ToLower(verb)]
		said := authn.Rule{
			Method: rule.Method, Public: op.Policy.Public, Scopes: op.Policy.Scopes, Permissions: op.Policy.Permissions,
			MaxAge: time.Duration(op.Policy.MaxAge) * time.Second, ACRValues: op.Policy.ACRValues,
		}
		if said.String() != rule.String() {
			t.Errorf("%s: the server wants %q, the document says %q", where, rule, said)
		}
		line := ""
		for l := range strings.Lines(printed.String()) {
			if strings.HasPrefix(l, rule.Method+" ") {
				line = strings.TrimSpace(l)
			}
		}
		if !strings.HasSuffix(line, said.String()) {
			t.Errorf("%s: the document says %q, gatehouse check prints %q", where, said, line)
		}
		open := slices.ContainsFunc(op.Security, func(way map[string][]string) bool { return len(way) == 0 })
		if open != rule.Public {
			t.Errorf("%s: public is %v, and security is %v", where, rule.Public, op.Security)
		}
		for _, scheme := range []string{"bearer", "openid", "session"} {
			if !slices.ContainsFunc(op.Security, func(way map[string][]string) bool {
				scopes, ok := way[scheme]
				return ok && slices.Equal(scopes, append([]string{}, rule.Scopes...))
			}) {
				t.Errorf("%s: security has no %s with the scopes %q: %v", where, scheme, rule.Scopes, op.Security)
			}
		}
		for _, condition := range slices.Concat(rule.Scopes, rule.Permissions, rule.ACRValues) {
			if !strings.Contains(op.Description, "`"+condition+"`") {
				t.Errorf("%s: the description does not name %q: %s", where, condition, op.Description)
			}
		}
		if _, ok := op.Responses["403"]; ok == rule.Public {
			t.Errorf("%s: public is %v, and 403 is documented: %v", where, rule.Public, ok)
		}
		if _, ok := op.Responses["401"]; !ok {
			t.Errorf("%s: 401 is not documented, and a bad token gets one everywhere", where)
		}
	}
	if compared != len(routed) || compared == 0 {
		t.Errorf("compared %d methods of %d", compared, len(routed))
	}
	// The gateway tells of a cookie that it never reads.
	if got := doc.Components.SecuritySchemes["session"]["name"]; got != session.SecureCookieName {
		t.Errorf("the session's cookie is called %q in the document, want %q", got, session.SecureCookieName)
	}
	if got, want := doc.Components.SecuritySchemes["openid"]["openIdConnectUrl"], "https://issuer.example/.well-known/openid-configuration"; got != want {
		t.Errorf("the provider's metadata is at %q in the document, want %q", got, want)
	}
}

// TestOpenAPIOff: GATEHOUSE_API_DOCS=off.
func TestOpenAPIOff(t *testing.T) {
	t.Parallel()
	cfg := Config{GRPCTarget: "passthrough:///127.0.0.1:1", APIDocs: APIDocsOff, Output: io.Discard}
	cfg.withDefaults()
	p, err := assemble(t.Context(), cfg, Parts{Gateway: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(nil)
	if p.gateway.OpenAPI() != nil {
		t.Error("the API describes itself although that is off")
	}
}

// BenchmarkDescription is what the description costs at the start.
func BenchmarkDescription(b *testing.B) {
	for _, off := range []bool{false, true} {
		b.Run("off="+strconv.FormatBool(off), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := gateway.New(gateway.Config{
					Conn: new(grpc.ClientConn), Services: exposedServices(),
					Document: gateway.DocumentConfig{Off: off, Title: title, Version: version, Comments: comments},
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
