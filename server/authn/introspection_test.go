package authn_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// opaqueTokens is an introspection endpoint.
type opaqueTokens struct {
	mu     sync.Mutex
	claims map[string]map[string]any // by token; others are inactive
	down   bool
	asked  []string
}

// introspecting makes an issuer introspect tokens.
func introspecting(issuer *tokentest.Issuer) *opaqueTokens {
	o := &opaqueTokens{claims: map[string]map[string]any{}}
	issuer.SetMetadata("introspection_endpoint", issuer.URL+"/introspect")
	issuer.Handle("/introspect", o)
	return o
}

func (o *opaqueTokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	o.mu.Lock()
	defer o.mu.Unlock()
	raw := r.PostForm.Get("token")
	o.asked = append(o.asked, raw)
	if o.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	response := map[string]any{"active": o.claims[raw] != nil}
	maps.Copy(response, o.claims[raw])
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(response)
}

func (o *opaqueTokens) set(raw string, claims map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claims[raw] = claims
}

func (o *opaqueTokens) setDown(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

func (o *opaqueTokens) requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

// introspection configures a verifier for the issuer's endpoint.
func introspection(issuer *tokentest.Issuer, cfg authn.Config) authn.Config {
	cfg.Introspection = &authn.IntrospectionConfig{
		Client: authn.IntrospectionClient{ID: "api", Secret: "secret of the api"}, HTTPClient: issuer.Client(),
	}
	return cfg
}

const opaque = "2YotnFZFEjr1zCsicMWpAA"

// An opaque token leads to the same principal, and to the same decisions, as a JWT with the
// same claims.
func TestOpaqueToken(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	tokens := introspecting(issuer)
	claims := map[string]any{
		"aud": []string{audience}, "sub": "ada", "client_id": "web", "scope": "read write", "permissions": []string{"edit"}, "sid": "S", "jti": "J",
		"acr": "mfa", "auth_time": time.Now().Unix(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "iss": issuer.URL,
		"realm_access": map[string]any{"roles": []string{"seller"}}, "username": "ada",
	}
	tokens.set(opaque, claims)
	table, methods := newTable(t, nil, &authv1.Policy{Scopes: []string{"write"}, Permissions: []string{"edit"}, AcrValues: []string{"mfa"}},
		&authv1.Policy{Scopes: []string{"delete"}}, &authv1.Policy{Permissions: []string{"publish"}}, &authv1.Policy{Public: true})
	v := newVerifier(t, issuer, introspection(issuer, authn.Config{}))
	i := authn.NewInterceptor(v, table)
	ctx, jwt := incoming(t.Context(), "Bearer "+opaque), incoming(t.Context(), "Bearer "+mint(issuer, claims))
	for n, method := range methods {
		got, called, err := call(ctx, i, method)
		want, wantCalled, wantErr := call(jwt, i, method)
		if called != wantCalled || status.Convert(err).String() != status.Convert(wantErr).String() {
			t.Errorf("method %d: %t, %v, want %t, %v as for a JWT", n, called, err, wantCalled, wantErr)
		}
		if !called {
			continue
		}
		if got.Issuer != want.Issuer || got.Subject != want.Subject || got.ClientID != want.ClientID || strings.Join(got.Scopes, " ") != "read write" ||
			strings.Join(got.Permissions, " ") != "edit" || got.SessionID != "S" || got.TokenID != "J" || got.ACR != "mfa" || got.Class != want.Class ||
			!got.AuthTime.Equal(want.AuthTime) || !got.IssuedAt.Equal(want.IssuedAt) || !got.ExpiresAt.Equal(want.ExpiresAt) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if roles, ok := got.Claim("realm_access.roles"); !ok || len(roles.([]any)) != 1 {
			t.Errorf("Claim(realm_access.roles) = %v, %t", roles, ok)
		}
		if name, _ := got.Claim("username"); name != "ada" {
			t.Errorf("Claim(username) = %v", name)
		}
	}
	if n := tokens.requests(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if !v.Known("Bearer "+opaque) || v.Known("Bearer unknown") {
		t.Error("Known is wrong")
	}
	_, _, err := call(incoming(t.Context(), "Bearer unknown"), i, methods[4])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenInvalid) // also at a public method
}

// A JWT that is refused is never introspected, however the provider would read it.
func TestJWTIsNotIntrospected(t *testing.T) {
	t.Parallel()
	issuer, other := newIssuer(t), newIssuer(t)
	tokens := introspecting(issuer)
	v := newVerifier(t, issuer, introspection(issuer, authn.Config{}))
	good := mint(issuer, nil)
	expired := mint(issuer, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	foreign := other.Mint(map[string]any{"aud": audience, "iss": issuer.URL})
	for name, raw := range map[string]string{
		"expired": expired, "another key": foreign, "another audience": issuer.Mint(map[string]any{"aud": "x"}),
		"an ID token": mint(issuer, map[string]any{"nonce": "x"}), "none": issuer.Sign(`{"alg":"none"}`, `{}`), "padded": good + "=", "twice": good + "." + good,
		"a JWE": "eyJhbGciOiJkaXIifQ..a.b.c", "with a crit": issuer.Sign(`{"alg":"RS256","crit":["x"]}`, `{}`), "cut": good[:len(good)-400],
	} {
		tokens.set(raw, map[string]any{"aud": audience, "sub": "eve"})
		if _, err := v.Verify(t.Context(), raw); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v, want Unauthenticated", name, err)
		}
	}
	if n := tokens.requests(); n != 0 {
		t.Errorf("%d requests: %q", n, tokens.asked)
	}
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Error(err)
	}
}

// While the provider does not answer, opaque tokens get Unavailable with a delay, JWTs are
// accepted. Without introspection opaque tokens are invalid.
func TestIntrospectionDown(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	tokens := introspecting(issuer)
	tokens.set(opaque, map[string]any{"aud": audience, "sub": "ada"})
	tokens.setDown(true)
	v := newVerifier(t, issuer, introspection(issuer, authn.Config{}))
	_, err := v.Verify(t.Context(), opaque)
	wantRefusal(t, err, codes.Unavailable, authn.ReasonUnverifiable)
	if v.IntrospectionReady() == nil || v.Ready() != nil {
		t.Errorf("IntrospectionReady() = %v, Ready() = %v", v.IntrospectionReady(), v.Ready())
	}
	if _, err := v.Verify(t.Context(), mint(issuer, nil)); err != nil {
		t.Error(err)
	}
	_, err = newVerifier(t, issuer, authn.Config{}).Verify(t.Context(), opaque)
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenInvalid)
}

// A stream goes on beyond the life of one answer, and ends when its token is no longer
// active, is denied here, or expires. A token without exp has no other end.
func TestStreamOfOpaqueToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		expires bool
		end     func(*opaqueTokens, *denylist.List)
		within  time.Duration
		code    codes.Code
		reason  string
	}{
		"no longer active": {false, func(o *opaqueTokens, _ *denylist.List) { o.set(opaque, nil) }, 61 * time.Second, codes.Unauthenticated, authn.ReasonTokenInvalid},
		"expires":          {true, nil, 0, codes.Unauthenticated, authn.ReasonTokenExpired},
		"denied": {false, func(_ *opaqueTokens, list *denylist.List) {
			_ = list.DenySession(context.Background(), "https://issuer.example", "S", time.Time{})
		}, time.Second, codes.Unauthenticated, authn.ReasonTokenRevoked},
		"provider down": {false, func(o *opaqueTokens, _ *denylist.List) { o.setDown(true) }, 61 * time.Second, codes.Unavailable, authn.ReasonUnverifiable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer(t)
				tokens := introspecting(issuer)
				claims := map[string]any{"aud": audience, "sub": "ada", "sid": "S"}
				if c.expires {
					claims["exp"] = time.Now().Add(time.Hour).Unix()
				}
				tokens.set(opaque, claims)
				list, err := denylist.New(denylist.Config{})
				if err != nil {
					t.Fatal(err)
				}
				table, methods := newTable(t, nil)
				i := authn.NewInterceptor(newVerifier(t, issuer, introspection(issuer, authn.Config{Denylist: list})), table)
				began := time.Now()
				var ended time.Time
				if c.end != nil {
					ended = began.Add(30*time.Minute + 7*time.Second)
					time.AfterFunc(ended.Sub(began), func() { c.end(tokens, list) })
				} else {
					ended = began.Add(time.Hour)
				}
				err = stream(incoming(t.Context(), "Bearer "+opaque), i, kinds["bidi"], methods[0], &fakeStream{}, func(_ any, ss grpc.ServerStream) error {
					<-ss.Context().Done()
					return ss.Context().Err()
				})
				wantRefusal(t, err, c.code, c.reason)
				if late := time.Since(ended); late < 0 || late > c.within {
					t.Errorf("the stream ended %v after its end, want within %v", late, c.within)
				}
				if n := tokens.requests(); n < 30 || n > 95 {
					t.Errorf("%d requests in half an hour or an hour", n)
				}
				time.Sleep(10 * time.Second) // for a request under way
			})
		})
	}
}

func TestIntrospectionConfig(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	valid := authn.IntrospectionConfig{Client: authn.IntrospectionClient{ID: "api", Secret: "secret of the api"}}
	for name, c := range map[string]struct {
		change func(*authn.IntrospectionConfig)
		says   []string
	}{
		"fine":              {func(*authn.IntrospectionConfig) {}, nil},
		"an endpoint":       {func(c *authn.IntrospectionConfig) { c.Endpoint = "https://login.example/introspect?x=y" }, nil},
		"on loopback":       {func(c *authn.IntrospectionConfig) { c.Endpoint = "http://127.0.0.1:4445/introspect" }, nil},
		"no client":         {func(c *authn.IntrospectionConfig) { c.Client.ID = "" }, []string{"Introspection.Client.ID"}},
		"no credential":     {func(c *authn.IntrospectionConfig) { c.Client.Secret = "" }, []string{"Introspection.Client.Secret"}},
		"no authentication": {func(c *authn.IntrospectionConfig) { c.Client.Secret, c.Client.Auth = "", "none" }, []string{"Introspection.Client.Auth", "RFC 7662"}},
		"another method":    {func(c *authn.IntrospectionConfig) { c.Client.Auth = "tls_client_auth" }, []string{"Introspection.Client.Auth"}},
		"a bad key":         {func(c *authn.IntrospectionConfig) { c.Client.Secret, c.Client.Key = "", "x" }, []string{"Introspection.Client.Key"}},
		"http":              {func(c *authn.IntrospectionConfig) { c.Endpoint = "http://login.example/introspect" }, []string{"Introspection.Endpoint", "use https"}},
		"no URL":            {func(c *authn.IntrospectionConfig) { c.Endpoint = "yes" }, []string{"Introspection.Endpoint"}},
		"userinfo":          {func(c *authn.IntrospectionConfig) { c.Endpoint = "https://a:b@login.example/" }, []string{"Introspection.Endpoint"}},
		"a negative rate":   {func(c *authn.IntrospectionConfig) { c.Rate = -1 }, []string{"Introspection.Rate"}},
	} {
		own := valid
		c.change(&own)
		err := authn.Config{Provider: provider, Audience: audience, Introspection: &own}.Validate()
		if (err != nil) != (c.says != nil) {
			t.Errorf("%s: Validate() = %v", name, err)
		}
		for _, text := range c.says {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: Validate() = %v, want %q named", name, err, text)
			}
		}
	}
	none := newVerifier(t, issuer, authn.Config{})
	if err := errors.Join(none.IntrospectionReady(), none.SetIntrospectionCredential("x", "")); err != nil {
		t.Error(err)
	}
}
