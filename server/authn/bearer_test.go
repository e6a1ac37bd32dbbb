package authn_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Forms of the authorization value, for a method that needs a token and for a public
// one.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil, &authv1.Policy{Public: true})
	guarded, public := methods[0], methods[1]
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
	good := mint(issuer, nil)
	bad := good[:len(good)-8] + "AAAAAAAA"

	const missing, invalid = authn.ReasonTokenMissing, authn.ReasonTokenInvalid
	for _, c := range []struct {
		name            string
		values          []string
		guarded, public string // the reason of the refusal, "" for none
	}{
		{"nothing", nil, missing, ""},
		{"good", []string{"Bearer " + good}, "", ""},
		{"lower case", []string{"bearer " + good}, "", ""},
		{"upper case", []string{"BEARER " + good}, "", ""},
		{"bad signature", []string{"Bearer " + bad}, invalid, invalid},
		{"no token", []string{"Bearer"}, invalid, invalid},
		{"no token after a space", []string{"Bearer "}, invalid, invalid},
		{"empty value", []string{""}, missing, missing},
		{"token alone", []string{good}, missing, missing},
		{"basic", []string{"Basic dTpw"}, missing, missing},
		{"dpop", []string{"DPoP " + good}, missing, missing},
		{"longer scheme", []string{"Bearerx " + good}, missing, missing},
		{"space before", []string{" Bearer " + good}, missing, missing},
		{"two spaces", []string{"Bearer  " + good}, invalid, invalid},
		{"tab", []string{"Bearer\t" + good}, missing, missing},
		{"space after", []string{"Bearer " + good + " "}, invalid, invalid},
		{"two in one", []string{"Bearer " + good + ", Bearer " + good}, invalid, invalid},
		// Some readers use the first value, others the last.
		{"two values", []string{"Bearer " + good, "Bearer " + good}, invalid, invalid},
		{"bad one second", []string{"Bearer " + good, "Bearer " + bad}, invalid, invalid},
		{"good one second", []string{"Basic dTpw", "Bearer " + good}, invalid, invalid},
		{"too long", []string{"Bearer " + strings.Repeat("a", 20<<10)}, invalid, invalid},
		{"many dots", []string{"Bearer " + strings.Repeat(".", 10<<10)}, invalid, invalid}, // CVE-2025-30204
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for method, reason := range map[string]string{guarded: c.guarded, public: c.public, "/unknown.Service/Method": c.guarded} {
				p, called, err := call(incoming(t.Context(), c.values...), i, method)
				if reason != "" {
					wantRefusal(t, err, codes.Unauthenticated, reason)
					if called {
						t.Errorf("%s: the handler ran", method)
					}
					continue
				}
				if err != nil || !called {
					t.Fatalf("%s: refused: %v", method, err)
				}
				if (p != nil) != (len(c.values) > 0) {
					t.Errorf("%s: the handler saw the principal %v", method, p)
				}
			}
		})
	}

	t.Run("no metadata at all", func(t *testing.T) {
		t.Parallel()
		_, called, err := call(t.Context(), i, guarded)
		wantRefusal(t, err, codes.Unauthenticated, missing)
		if called {
			t.Error("the handler ran")
		}
	})
}

// Tokens are accepted only in the header.
func TestTokenElsewhere(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(
		"access_token", mint(issuer, nil), "cookie", "authorization="+mint(issuer, nil),
		"grpc-metadata-authorization", "Bearer "+mint(issuer, nil), "x-authorization", "Bearer "+mint(issuer, nil),
	))
	_, _, err := call(ctx, i, methods[0])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenMissing)
}

// A context without a principal, or with a nil one, has none.
func TestNoPrincipal(t *testing.T) {
	t.Parallel()
	for _, ctx := range []context.Context{t.Context(), authn.NewContext(t.Context(), nil)} {
		if p, ok := authn.FromContext(ctx); ok || p != nil {
			t.Errorf("FromContext returned %v, %v", p, ok)
		}
	}
}

// The interceptor returns what the handler returns.
func TestHandlerOutcome(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
	want := status.Error(codes.AlreadyExists, "there is one")
	resp, err := i.Unary(incoming(t.Context(), "Bearer "+mint(issuer, nil)), "request", info(methods[0]),
		func(_ context.Context, req any) (any, error) { return req, want })
	if resp != "request" || err != want {
		t.Errorf("got %v, %v; want what the handler returned", resp, err)
	}
}
