package server_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Tokens of the issuer for our audience that are not access tokens are refused for
// unary methods, streams and public methods.
func TestTokensOfOtherProfiles(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{unary: func(context.Context, string) (string, error) { return "answer", nil }}, nil)
	for _, claims := range []map[string]any{
		{"aud": []string{"web-client", audience}, "nonce": "n"},
		{"aud": []string{"web-client", audience}, "at_hash": "h"},
		{"c_hash": "h"},
		{"s_hash": "h"},
		{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}},
		{"typ": "ID"}, {"typ": "Refresh"}, {"typ": "Offline"}, {"typ": "Logout"},
		{"token_use": "id"},
		{"typ": nil},
	} {
		for way, conn := range s.ways {
			ctx := s.authorized(t.Context(), claims)
			for _, method := range []string{echo, openEcho} {
				_, err := invoke(ctx, conn, method, "x")
				if status.Code(err) != codes.Unauthenticated || reason(err) != authn.ReasonTokenInvalid {
					t.Errorf("%v, %s, %s: %v", claims, way, method, err)
				}
			}
			if _, err := receive(open(ctx, t, conn, watch)); status.Code(err) != codes.Unauthenticated {
				t.Errorf("%v, %s: a stream: %v", claims, way, err)
			}
		}
	}
}

// The profile settings decide about the same token.
func TestProfileSettings(t *testing.T) {
	t.Parallel()
	idToken := map[string]any{"aud": []string{"web-client", audience}, "azp": "web-client"}
	dexAccess := map[string]any{"aud": []string{"web-client", audience}, "nonce": "n", "at_hash": "h"}
	dexID := map[string]any{"aud": []string{"web-client", audience}, "nonce": "n", "at_hash": "h", "c_hash": "h"}
	for _, c := range []struct {
		name   string
		change func(*server.Config)
		claims map[string]any
		code   codes.Code
	}{
		{"plain", nil, idToken, codes.OK},
		{"plain", nil, dexAccess, codes.Unauthenticated},
		{"IDTokenClients", func(cfg *server.Config) { cfg.Authn.Profile.IDTokenClients = []string{"web-client"} }, idToken, codes.Unauthenticated},
		{"InsecureIDTokenShape", func(cfg *server.Config) { cfg.Authn.Profile.InsecureIDTokenShape = true }, dexAccess, codes.OK},
		{"InsecureIDTokenShape", func(cfg *server.Config) { cfg.Authn.Profile.InsecureIDTokenShape = true }, dexID, codes.Unauthenticated},
	} {
		t.Run(fmt.Sprint(c.name, c.claims), func(t *testing.T) {
			t.Parallel()
			s := start(t, &probe{unary: func(context.Context, string) (string, error) { return "answer", nil }}, c.change)
			for way, conn := range s.ways {
				if _, err := invoke(s.authorized(t.Context(), c.claims), conn, echo, "x"); status.Code(err) != c.code {
					t.Errorf("%s: %v, want %v", way, err, c.code)
				}
			}
		})
	}
}
