package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

const documentFile = "../../gen/openapi/openapi.json"

// TestOpenAPIDocument holds the committed document, from which clients can be
// generated without a running gateway, to what the gateway serves. The two
// differ in what an installation knows: issuer and session cookie.
func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	want := written(t, "openapi")
	got, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
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
	var doc described
	serve(t, "gateway", func(_, address string) {
		response, err := http.Get("http://" + address + "/api/openapi.json")
		if err != nil {
			t.Error(err)
			return
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&doc); err != nil {
			t.Error(err)
		}
	}, "GATEHOUSE_OIDC_ISSUER=https://issuer.example", "GATEHOUSE_BASE_URL=https://app.example", "GATEHOUSE_GRPC_TARGET=passthrough:///127.0.0.1:1")
	byID := map[string]string{} // a method's name → "VERB /path" in the document
	for path, item := range doc.Paths {
		for verb, op := range item {
			byID[op.OperationID] = strings.ToUpper(verb) + " " + path
		}
	}
	methods, compared, routed := check(t).Methods, 0, 0
	for _, method := range methods {
		if len(method.REST) == 0 {
			continue
		}
		routed++
		name := method.Method[strings.LastIndexByte(method.Method, '.')+1:]
		where, ok := byID[strings.ReplaceAll(name, "/", "_")]
		if !ok {
			t.Errorf("%s is served, and not in the document", method.Method)
			continue
		}
		compared++
		verb, path, _ := strings.Cut(where, " ")
		op := doc.Paths[path][strings.ToLower(verb)]
		rule := authn.Rule{
			Method: method.Method, Public: op.Policy.Public, Scopes: op.Policy.Scopes, Permissions: op.Policy.Permissions,
			MaxAge: time.Duration(op.Policy.MaxAge) * time.Second, ACRValues: op.Policy.ACRValues,
		}
		if rule.String() != method.Policy {
			t.Errorf("%s: the server wants %q, the document says %q", where, method.Policy, rule)
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
	if compared != routed || compared == 0 {
		t.Errorf("compared %d methods of %d", compared, routed)
	}
	// The gateway tells of a cookie that it never reads.
	if got := doc.Components.SecuritySchemes["session"]["name"]; got != session.SecureCookieName {
		t.Errorf("the session's cookie is called %q in the document, want %q", got, session.SecureCookieName)
	}
	if got, want := doc.Components.SecuritySchemes["openid"]["openIdConnectUrl"], "https://issuer.example/.well-known/openid-configuration"; got != want {
		t.Errorf("the provider's metadata is at %q in the document, want %q", got, want)
	}
}

// written returns what a command writes.
func written(t *testing.T, command string, environ ...string) []byte {
	t.Helper()
	var out, er bytes.Buffer
	if code := gatehouse.Run(t.Context(), app(), []string{command}, environ, &out, &er); code != 0 {
		t.Fatalf("%s: exit code %d: %s", command, code, er.String())
	}
	return out.Bytes()
}
