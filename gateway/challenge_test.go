package gateway_test

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestChallenge checks challenges of RFC 6750 §3 and RFC 9470 §3. The status message
// is hostile in every case and must not become part of the header, as with the
// error handler of grpc-gateway.
func TestChallenge(t *testing.T) {
	t.Parallel()
	const bearer = `Bearer realm="gatehouse"`
	const hostile = "x\", error=\"stolen\", Basic realm=\"\r\nSet-Cookie: a=b"
	info := func(reason string, pairs ...string) *errdetails.ErrorInfo {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return &errdetails.ErrorInfo{Domain: "gatehouse", Reason: reason, Metadata: m}
	}
	cases := []struct {
		name   string
		code   codes.Code
		info   *errdetails.ErrorInfo
		status int
		want   string
	}{
		{"no token", codes.Unauthenticated, info("TOKEN_MISSING"), 401, bearer},
		{"expired", codes.Unauthenticated, info("TOKEN_EXPIRED"), 401, bearer + `, error="invalid_token", error_description="The access token has expired."`},
		{"invalid", codes.Unauthenticated, info("TOKEN_INVALID"), 401, bearer + `, error="invalid_token", error_description="The access token is not valid."`},
		{"revoked", codes.Unauthenticated, info("TOKEN_REVOKED"), 401, bearer + `, error="invalid_token", error_description="The access token has been revoked."`},
		{"scope", codes.PermissionDenied, info("SCOPE_MISSING", "scope", "products:write products:read"), 403,
			bearer + `, error="insufficient_scope", error_description="The access token lacks a scope that is needed.", scope="products:write products:read"`},
		{"scope, unnamed", codes.PermissionDenied, info("SCOPE_MISSING"), 403,
			bearer + `, error="insufficient_scope", error_description="The access token lacks a scope that is needed."`},
		{"malformed scope", codes.PermissionDenied, info("SCOPE_MISSING", "scope", "a\"b ok \r\n c\\d é"), 403,
			bearer + `, error="insufficient_scope", error_description="The access token lacks a scope that is needed.", scope="ok"`},
		{"permission", codes.PermissionDenied, info("PERMISSION_MISSING", "permissions", "delete:all"), 403,
			bearer + `, error="insufficient_scope", error_description="The access token lacks a permission that is needed."`},
		{"permission with a scope", codes.PermissionDenied, info("PERMISSION_MISSING", "scope", "admin"), 403,
			bearer + `, error="insufficient_scope", error_description="The access token lacks a permission that is needed.", scope="admin"`},
		{"class of callers", codes.PermissionDenied, info("CALLER_CLASS_NOT_ALLOWED", "callers", "users"), 403,
			bearer + `, error="insufficient_scope", error_description="The access token is of an issuer whose callers are not admitted."`},
		{"step up", codes.Unauthenticated, info("STEP_UP_REQUIRED", "acr_values", "urn:a urn:b", "max_age", "300"), 401,
			bearer + `, error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is required.", acr_values="urn:a urn:b", max_age="300"`},
		{"step up by age alone", codes.Unauthenticated, info("STEP_UP_REQUIRED", "max_age", "300"), 401,
			bearer + `, error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is required.", max_age="300"`},
		{"step up is a 401 whatever the code", codes.PermissionDenied, info("STEP_UP_REQUIRED"), 401,
			bearer + `, error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is required."`},
		{"quoting", codes.Unauthenticated, info("STEP_UP_REQUIRED", "acr_values", "a\"b\\c\r\nd", "max_age", "5, error=x"), 401,
			bearer + `, error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is required.", acr_values="a\"b\\cd"`},
		{"unknown reason", codes.Unauthenticated, info("TOKEN_PURPLE"), 401, bearer},
		{"no reason", codes.Unauthenticated, nil, 401, bearer},
		{"another domain", codes.PermissionDenied, &errdetails.ErrorInfo{Domain: "things", Reason: "SCOPE_MISSING", Metadata: map[string]string{"scope": "x"}}, 403, ""},
		{"reason of the service", codes.PermissionDenied, nil, 403, ""},
		{"not about a token", codes.NotFound, info("TOKEN_INVALID"), 404, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st := status.New(c.code, hostile)
			if c.info != nil {
				var err error
				if st, err = st.WithDetails(c.info); err != nil {
					t.Fatal(err)
				}
			}
			g := start(t, gateway.Config{}, &backend{answer: fails(st.Err())})
			response := send(g, "GET", "/api/private-route", nil, "")
			if response.StatusCode != c.status {
				t.Errorf("status %d, want %d", response.StatusCode, c.status)
			}
			if got := strings.Join(response.Header.Values("WWW-Authenticate"), " | "); got != c.want {
				t.Errorf("challenge\n got %s\nwant %s", got, c.want)
			}
			if got := response.Header.Get("Set-Cookie"); got != "" {
				t.Errorf("Set-Cookie: %s", got)
			}
		})
	}
}

// TestTwoAuthorizations checks that two values are refused with 400
// (invalid_request, RFC 6750 §3.1): metadata would contain both, and the server
// would use either.
func TestTwoAuthorizations(t *testing.T) {
	t.Parallel()
	const want = `Bearer realm="gatehouse", error="invalid_request", error_description="Send one Authorization header."`
	for _, header := range [][]string{
		{"Authorization: Bearer a", "Authorization: Bearer b"},
		{"Authorization: Bearer a", "Authorization: Bearer a"},
		{"Authorization: Bearer a", "authorization: Basic b"},
		{"Authorization: Bearer \xc3\xa9"}, // the runtime would drop it and call without a token
	} {
		b := &backend{}
		response := send(start(t, gateway.Config{}, b), "GET", "/api/private-route", header, "")
		if got := response.Header.Get("WWW-Authenticate"); response.StatusCode != 400 || got != want {
			t.Errorf("%q: got %d, %s; want 400, %s", header, response.StatusCode, got, want)
		}
		if b.call() != "" {
			t.Errorf("%q: the server was called", header)
		}
	}
}
