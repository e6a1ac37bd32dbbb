package authn_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

func info(method string) *grpc.UnaryServerInfo { return &grpc.UnaryServerInfo{FullMethod: method} }

// Each bad token gets its code and reason; only the log has the cause.
func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	otherKey := tokentest.NewKey(t, 2048)
	now := time.Now()
	for _, c := range []struct {
		name   string
		token  string
		reason string
		logged string
	}{
		{"expired", mint(issuer, map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}), authn.ReasonTokenExpired, "exp was"},
		{"other audience", mint(issuer, map[string]any{"aud": "https://other.example"}), authn.ReasonTokenInvalid, "aud does not contain"},
		{"other issuer", mint(issuer, map[string]any{"iss": "https://evil.example"}), authn.ReasonTokenInvalid, "iss"},
		{"no exp", mint(issuer, map[string]any{"exp": tokentest.Absent}), authn.ReasonTokenInvalid, "exp is missing"},
		{"no subject and no client", mint(issuer, map[string]any{"sub": tokentest.Absent}), authn.ReasonTokenInvalid, "neither sub nor a client id"},
		{"signed with another key", otherKey.Sign(`{"alg":"RS256","kid":"`+issuer.Key().ID+`"}`, payload(t, mint(issuer, nil))), authn.ReasonTokenInvalid, "signature"},
		{"alg none", issuer.Sign(`{"alg":"none","kid":"`+issuer.Key().ID+`"}`, payload(t, mint(issuer, nil))), authn.ReasonTokenInvalid, "alg"}, // CVE-2015-9235
		{"bound to a key", mint(issuer, map[string]any{"cnf": map[string]any{"jkt": "x"}}), authn.ReasonTokenInvalid, "cnf"},
		{"permissions of a wrong type", mint(issuer, map[string]any{"permissions": map[string]any{"a": true}}), authn.ReasonTokenInvalid, "claim permissions is neither"},
		{"a number among permissions", mint(issuer, map[string]any{"permissions": []any{"a", 1}}), authn.ReasonTokenInvalid, "claim permissions is neither"},
		{"permissions null", mint(issuer, map[string]any{"permissions": nil}), authn.ReasonTokenInvalid, "claim permissions is neither"},
		{"malformed", "rubbish", authn.ReasonTokenInvalid, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			table, methods := newTable(t, nil)
			v := newVerifier(t, issuer, authn.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			_, called, err := call(incoming(t.Context(), "Bearer "+c.token), authn.NewInterceptor(v, table), methods[0])
			wantRefusal(t, err, codes.Unauthenticated, c.reason)
			if called {
				t.Error("the handler ran")
			}
			public := map[string]string{
				authn.ReasonTokenExpired: "the bearer token has expired",
				authn.ReasonTokenInvalid: "the bearer token is not valid here",
			}[c.reason]
			if st := status.Convert(err); st.Message() != public || len(st.Details()) != 1 {
				t.Errorf("the public status is %v, want %q with the reason only", st.Proto(), public)
			}
			if !strings.Contains(log.String(), c.logged) {
				t.Errorf("the log is %q, want the cause %q in it", log.String(), c.logged)
			}
			if strings.Contains(log.String(), c.token) {
				t.Error("the log has the token")
			}
			for i, segment := range strings.Split(c.token, ".") {
				if i > 0 && strings.Contains(log.String(), segment) {
					t.Errorf("the log has segment %d of the token", i)
				}
			}
		})
	}
}

// payload is the second segment of a token, decoded.
func payload(t *testing.T, raw string) string {
	t.Helper()
	return decode(t, strings.Split(raw, ".")[1])
}

// Without keys, calls with a token get Unavailable, not Unauthenticated; calls of public
// methods without a token succeed.
func TestUnverifiable(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil, &authv1.Policy{Public: true})
	v := newCold(t, issuer)
	if v.Ready() == nil {
		t.Fatal("the verifier is ready without keys")
	}
	i := authn.NewInterceptor(v, table)
	for _, method := range methods {
		_, called, err := call(incoming(t.Context(), "Bearer "+mint(issuer, nil)), i, method)
		wantRefusal(t, err, codes.Unavailable, authn.ReasonUnverifiable)
		if called {
			t.Errorf("%s: the handler ran", method)
		}
		st := status.Convert(err)
		if strings.Contains(st.String(), "refused") || strings.Contains(st.String(), "issuer.example") {
			t.Errorf("the public status names the provider: %v", st)
		}
		retry := slices.IndexFunc(st.Details(), func(d any) bool {
			info, ok := d.(*errdetails.RetryInfo)
			return ok && info.RetryDelay.AsDuration() == 2*time.Second
		})
		if retry < 0 {
			t.Errorf("the details are %v, want RetryInfo of 2 s", st.Details())
		}
	}
	if _, called, err := call(t.Context(), i, methods[1]); err != nil || !called {
		t.Errorf("an anonymous call of a public method is refused: %v", err)
	}
	if _, _, err := call(t.Context(), i, methods[0]); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a call without a token got %v, want Unauthenticated even without keys", err)
	}
	// A malformed token is invalid even without keys.
	_, _, err := call(incoming(t.Context(), "Bearer x.y.z"), i, methods[0])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenInvalid)
}

// Each condition of a policy, met and not met.
func TestConditions(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	clock := newClock()
	issuer.Now = clock.Now
	at := clock.Now()
	ago := func(d time.Duration) int64 { return at.Add(-d).Unix() }
	scopes := &authv1.Policy{Scopes: []string{"products:read", "products:write"}}
	permissions := &authv1.Policy{Permissions: []string{"edit", "publish"}}
	fresh := &authv1.Policy{MaxAge: durationpb.New(5 * time.Minute)}
	strong := &authv1.Policy{AcrValues: []string{"urn:mfa", "phr"}}
	all := &authv1.Policy{
		Scopes: []string{"s"}, Permissions: []string{"p"}, MaxAge: durationpb.New(time.Minute), AcrValues: []string{"a"},
	}
	noScope := []string{"scope", "products:read products:write"}
	noPermission := []string{"permissions", "edit publish"}
	type claims = map[string]any
	for _, c := range []struct {
		name     string
		policy   *authv1.Policy
		cfg      authn.Config
		claims   claims
		reason   string // "" if accepted
		metadata []string
	}{
		{"scopes as a string", scopes, authn.Config{}, claims{"scope": "openid products:write products:read"}, "", nil},
		{"scopes as a list", scopes, authn.Config{}, claims{"scope": []string{"products:write", "products:read"}}, "", nil},
		{"scp as a string", scopes, authn.Config{}, claims{"scp": "products:write products:read"}, "", nil},
		{"scp as a list", scopes, authn.Config{}, claims{"scp": []string{"products:write", "products:read"}}, "", nil},
		{"one scope", scopes, authn.Config{}, claims{"scope": "products:read"}, authn.ReasonScopeMissing, noScope},
		{"no scope", scopes, authn.Config{}, nil, authn.ReasonScopeMissing, noScope},
		{"scope of another case", scopes, authn.Config{}, claims{"scope": "products:READ products:write"}, authn.ReasonScopeMissing, noScope},
		{"longer scopes", scopes, authn.Config{}, claims{"scope": "products:reader products:writer"}, authn.ReasonScopeMissing, noScope},
		{"scopes in one string of a list", scopes, authn.Config{}, claims{"scope": []string{"products:read products:write"}}, authn.ReasonScopeMissing, noScope},
		{"scopes between tabs", scopes, authn.Config{}, claims{"scope": "products:read\tproducts:write"}, authn.ReasonScopeMissing, noScope},
		{"permissions instead of scopes", scopes, authn.Config{}, claims{"permissions": []string{"products:read", "products:write"}}, authn.ReasonScopeMissing, noScope},
		{"permissions", permissions, authn.Config{}, claims{"permissions": []string{"publish", "edit"}}, "", nil},
		{"permissions as a string", permissions, authn.Config{}, claims{"permissions": "edit publish"}, "", nil},
		{"one permission", permissions, authn.Config{}, claims{"permissions": []string{"edit"}}, authn.ReasonPermissionMissing, noPermission},
		{"no permissions", permissions, authn.Config{}, nil, authn.ReasonPermissionMissing, noPermission},
		{"scopes instead of permissions", permissions, authn.Config{}, claims{"scope": "edit publish"}, authn.ReasonPermissionMissing, noPermission},
		{"nested claim", permissions, authn.Config{PermissionsClaim: "realm_access.roles"},
			claims{"realm_access": claims{"roles": []string{"edit", "publish"}}}, "", nil},
		{"nested claim that is absent", permissions, authn.Config{PermissionsClaim: "realm_access.roles"},
			claims{"permissions": []string{"edit", "publish"}}, authn.ReasonPermissionMissing, noPermission},
		{"claim whose name has dots", permissions, authn.Config{PermissionsClaim: "https://shop.example/roles"},
			claims{"https://shop.example/roles": []string{"edit", "publish"}}, "", nil},
		{"fresh", fresh, authn.Config{}, claims{"auth_time": ago(5 * time.Minute)}, "", nil},
		{"stale", fresh, authn.Config{}, claims{"auth_time": ago(5*time.Minute + time.Second)}, authn.ReasonStepUpRequired, []string{"max_age", "300"}},
		{"of unknown age", fresh, authn.Config{}, nil, authn.ReasonStepUpRequired, []string{"max_age", "300"}},
		{"strong", strong, authn.Config{}, claims{"acr": "phr"}, "", nil},
		{"weak", strong, authn.Config{}, claims{"acr": "pwd"}, authn.ReasonStepUpRequired, []string{"acr_values", "urn:mfa phr"}},
		{"of unknown strength", strong, authn.Config{}, nil, authn.ReasonStepUpRequired, []string{"acr_values", "urn:mfa phr"}},
		{"everything", all, authn.Config{}, claims{"scope": "s", "permissions": "p", "auth_time": ago(0), "acr": "a"}, "", nil},
		{"everything but acr", all, authn.Config{}, claims{"scope": "s", "permissions": "p", "auth_time": ago(0)},
			authn.ReasonStepUpRequired, []string{"max_age", "60", "acr_values", "a"}},
		{"everything but a scope", all, authn.Config{}, claims{"permissions": "p", "auth_time": ago(0), "acr": "a"}, authn.ReasonScopeMissing, []string{"scope", "s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table, methods := newTable(t, c.policy)
			c.cfg.Now = clock.Now
			i := authn.NewInterceptor(newVerifier(t, issuer, c.cfg), table)
			raw := mint(issuer, c.claims)
			for _, attempt := range []string{"new token", "seen token"} {
				_, called, err := call(incoming(t.Context(), "Bearer "+raw), i, methods[0])
				if c.reason == "" {
					if err != nil || !called {
						t.Fatalf("%s: refused: %v", attempt, err)
					}
					continue
				}
				code := codes.PermissionDenied
				if c.reason == authn.ReasonStepUpRequired {
					code = codes.Unauthenticated // RFC 9470 §3: 401, since signing in again helps
				}
				wantRefusal(t, err, code, c.reason, c.metadata...)
				if called {
					t.Errorf("%s: the handler ran", attempt)
				}
			}
		})
	}
}

// A sign-in becomes too old while its token is valid and cached.
func TestMaxAgePasses(t *testing.T) {
	t.Parallel()
	issuer, clock := newIssuer(t), newClock()
	issuer.Now = clock.Now
	table, methods := newTable(t, &authv1.Policy{MaxAge: durationpb.New(time.Minute)})
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Now: clock.Now}), table)
	ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"auth_time": clock.Now().Unix()}))
	if _, _, err := call(ctx, i, methods[0]); err != nil {
		t.Fatal(err)
	}
	clock.Advance(61 * time.Second)
	_, _, err := call(ctx, i, methods[0])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonStepUpRequired, "max_age", "60")
	clock.Advance(10 * time.Minute)
	_, _, err = call(ctx, i, methods[0])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenExpired)
}

// Every field of a principal comes from its claim.
func TestPrincipal(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	now := time.Now().Truncate(time.Second)
	v := newVerifier(t, issuer, authn.Config{})
	p, err := v.Verify(t.Context(), mint(issuer, map[string]any{
		"sub": "s", "client_id": "c", "scope": "a b", "permissions": []string{"p", "q"}, "sid": "S", "jti": "J", "acr": "A",
		"auth_time": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"email": "ada@example.org", "org": map[string]any{"id": 7}, "https://example.org/tier": "gold",
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"Issuer":      p.Issuer == "https://issuer.example",
		"Subject":     p.Subject == "s",
		"ClientID":    p.ClientID == "c",
		"Scopes":      slices.Equal(p.Scopes, []string{"a", "b"}) && p.HasScope("b") && !p.HasScope("c") && !p.HasScope(""),
		"Permissions": slices.Equal(p.Permissions, []string{"p", "q"}) && p.HasPermission("q") && !p.HasPermission("a"),
		"SessionID":   p.SessionID == "S",
		"TokenID":     p.TokenID == "J",
		"ACR":         p.ACR == "A",
		"AuthTime":    p.AuthTime.Equal(now.Add(-time.Minute)),
		"IssuedAt":    p.IssuedAt.Equal(now),
		"ExpiresAt":   p.ExpiresAt.Equal(now.Add(time.Minute)),
	} {
		if !ok {
			t.Errorf("%s: got %+v", name, p)
		}
	}
	for path, want := range map[string]any{"email": "ada@example.org", "https://example.org/tier": "gold"} {
		if got, ok := p.Claim(path); !ok || got != want {
			t.Errorf("Claim(%q) = %v, %v; want %v", path, got, ok, want)
		}
	}
	if got, ok := p.Claim("org.name"); ok {
		t.Errorf("Claim of an absent claim returned %v", got)
	}
	if _, ok := (&authn.Principal{}).Claim("email"); ok {
		t.Error("a principal made by a test has a claim")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	provider := oidctest.NewProvider(t, newIssuer(t))
	for _, c := range []struct {
		name string
		cfg  authn.Config
		says string
	}{
		{"no provider", authn.Config{Audience: audience}, "Provider is missing"},
		{"audience of the client", authn.Config{Provider: provider, Audience: "web", Profile: authn.ProfileConfig{ClientID: "web"}}, `Audience "web" is also the client's id`},
		{"no audience", authn.Config{Provider: provider}, "Audience is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := authn.NewVerifier(c.cfg)
			wantError(t, err, c.says)
		})
	}
}

// If ID tokens have the same audience, only the type distinguishes them
// (RFC 8725 §3.12).
func TestRequireATJWT(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	v := newVerifier(t, issuer, authn.Config{Profile: authn.ProfileConfig{RequireATJWT: true}})
	_, err := v.Verify(t.Context(), mint(issuer, nil))
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenInvalid)
	if _, err := v.Verify(t.Context(), issuer.Mint(map[string]any{"aud": audience}, map[string]any{"typ": "at+jwt"})); err != nil {
		t.Errorf("an access token by RFC 9068 is refused: %v", err)
	}
}
