package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestProtectedResourceMetadata checks RFC 9728: if the audience is an address of
// the gateway, refused clients learn which issuer's token they need.
func TestProtectedResourceMetadata(t *testing.T) {
	t.Parallel()
	missing, err := status.New(codes.Unauthenticated, "a bearer token is required").
		WithDetails(&errdetails.ErrorInfo{Reason: "TOKEN_MISSING", Domain: "gatehouse"})
	if err != nil {
		t.Fatal(err)
	}
	const issuer, jobs = "https://login.example/", "https://jobs.example"
	for _, c := range []struct {
		name, audience, host, path string
		shown                      bool
	}{
		{"its own address", "https://api.example", "api.example", "/.well-known/oauth-protected-resource", true},
		{"with a path, which follows the well-known part", "https://api.example/v1", "API.example", "/.well-known/oauth-protected-resource/v1", true},
		{"with a port", "https://api.example:8443", "api.example:8443", "/.well-known/oauth-protected-resource", true},
		{"reached under another host", "https://api.example", "localhost:5000", "/.well-known/oauth-protected-resource", false},
		{"not https", "http://api.example", "api.example", "/.well-known/oauth-protected-resource", false},
		{"not a URL", "shop-api", "shop-api", "/.well-known/oauth-protected-resource", false},
		{"with a query", "https://api.example?v=1", "api.example", "/.well-known/oauth-protected-resource", false},
		{"none", "", "example.com", "/.well-known/oauth-protected-resource", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, gateway.Config{Resource: gateway.ResourceConfig{Audience: c.audience, Issuer: issuer, Issuers: []string{jobs, issuer}}}, &backend{answer: fails(missing.Err())})
			refused := send(g, http.MethodGet, "http://"+c.host+"/api/private-route", nil, "")
			challenge := refused.Header.Get("WWW-Authenticate")
			want := `, resource_metadata="https://` + strings.ToLower(c.host) + c.path + `"`
			if got := strings.HasSuffix(challenge, want); got != c.shown || refused.StatusCode != http.StatusUnauthorized {
				t.Errorf("%d, challenge %s; names the metadata: %v, want %v", refused.StatusCode, challenge, got, c.shown)
			}
			if !c.shown && strings.Contains(challenge, "resource_metadata") {
				t.Errorf("challenge %s", challenge)
			}
			response := send(g, http.MethodGet, "http://"+c.host+c.path, nil, "")
			if !c.shown {
				if response.StatusCode != http.StatusNotFound {
					t.Errorf("metadata: %d, want 404", response.StatusCode)
				}
				return
			}
			var document map[string]any
			if err := json.Unmarshal([]byte(read(t, response)), &document); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]any{
				"resource":                 c.audience,
				"authorization_servers":    []any{issuer, jobs},
				"bearer_methods_supported": []any{"header"},
			}, document); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			if post := send(g, http.MethodPost, "http://"+c.host+c.path, nil, ""); post.StatusCode != http.StatusMethodNotAllowed || post.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("POST: %d, Allow %q", post.StatusCode, post.Header.Get("Allow"))
			}
		})
	}
}
