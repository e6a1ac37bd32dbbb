package authn_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/faults"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

const clientID = "shop-client"

// several are issuers as a server meets them together.
type several struct {
	primary, github, cognito *tokentest.Issuer
	cfg                      authn.Config
}

// newSeveral returns issuers with keys, the first of which is the primary one.
func newSeveral(t testing.TB) *several {
	t.Helper()
	s := &several{
		primary: newIssuer(t),
		github:  tokentest.NewUnserved(t, "https://token.actions.example"),
		cognito: tokentest.NewUnserved(t, "https://cognito-idp.example/pool"),
	}
	provider := func(issuer *tokentest.Issuer) *oidc.Provider {
		p := oidctest.NewProvider(t, issuer)
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	s.cfg = authn.Config{Provider: provider(s.primary), Audience: audience, Profile: authn.ProfileConfig{ClientID: clientID}}
	s.cfg.Issuers = []authn.IssuerConfig{{
		Provider: provider(s.github), Class: authn.Machines, Audiences: []string{audience},
		RequireClaims: map[string][]string{"repository_owner": {"octo"}},
		Grants: []authn.Grant{
			{Where: map[string]string{"sub": "repo:octo/shop:*"}, Permissions: []string{"read"}},
			{Where: map[string]string{"sub": "repo:octo/shop:ref:refs/heads/main", "event_name": "push"}, Permissions: []string{"publish", "read"}, Scopes: []string{"deploy"}},
		},
	}, {
		Provider: provider(s.cognito), Audiences: []string{clientID}, AudienceClaim: "client_id",
		RequireClaims: map[string][]string{"token_use": {"access"}}, PermissionsClaim: "cognito:groups",
	}}
	return s
}

func (s *several) verifier(t testing.TB, change ...func(*authn.Config)) *authn.Verifier {
	t.Helper()
	cfg := s.cfg
	cfg.Issuers = slices.Clone(cfg.Issuers)
	for _, f := range change {
		f(&cfg)
	}
	v, err := authn.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *several) githubToken(claims map[string]any) string {
	all := map[string]any{
		"aud": audience, "sub": "repo:octo/shop:ref:refs/heads/main", "repository": "octo/shop", "repository_owner": "octo", "event_name": "push",
		"permissions": []string{"admin"}, "scope": "everything",
	}
	maps.Copy(all, claims)
	return s.github.Mint(all)
}

func (s *several) cognitoToken(claims map[string]any) string {
	all := map[string]any{"client_id": clientID, "token_use": "access", "scope": "openid", "cognito:groups": []string{"sellers"}}
	maps.Copy(all, claims)
	return s.cognito.Mint(all)
}

// Each issuer's tokens are verified by its own rules.
func TestSeveralIssuers(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	v := s.verifier(t)
	for range 2 { // verified, then from the cache
		for _, want := range []struct {
			token               string
			issuer              string
			class               authn.Class
			permissions, scopes []string
		}{
			{mint(s.primary, map[string]any{"permissions": []string{"edit"}, "scope": "a b"}), s.primary.URL, authn.Users, []string{"edit"}, []string{"a", "b"}},
			{s.githubToken(nil), s.github.URL, authn.Machines, []string{"publish", "read"}, []string{"deploy"}},
			{s.githubToken(map[string]any{"event_name": "pull_request"}), s.github.URL, authn.Machines, []string{"read"}, nil},
			{s.cognitoToken(nil), s.cognito.URL, authn.Users, []string{"sellers"}, []string{"openid"}},
			{s.cognitoToken(map[string]any{"aud": []string{"x", clientID}}), s.cognito.URL, authn.Users, []string{"sellers"}, []string{"openid"}},
		} {
			p, err := v.Verify(t.Context(), want.token)
			if err != nil {
				t.Errorf("%s: %v", want.issuer, err)
				continue
			}
			if p.Issuer != want.issuer || p.Class != want.class || !slices.Equal(p.Permissions, want.permissions) || !slices.Equal(p.Scopes, want.scopes) {
				t.Errorf("got %s %v %q %q, want %+v", p.Issuer, p.Class, p.Permissions, p.Scopes, want)
			}
		}
	}
}

// What one issuer has signed is worth nothing under another's name or rules.
func TestHostileTokensOfSeveralIssuers(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	var log bytes.Buffer
	v := s.verifier(t, func(cfg *authn.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	})
	now := time.Now().Unix()
	body := func(iss string) string {
		return fmt.Sprintf(`{"iss":%s,"aud":%q,"sub":"user-1","iat":%d,"exp":%d}`, iss, audience, now, now+300)
	}
	head := func(kid string) string { return fmt.Sprintf(`{"alg":"RS256","typ":"JWT","kid":%q}`, kid) }
	quoted := func(issuer *tokentest.Issuer) string { return fmt.Sprintf("%q", issuer.URL) }
	own := func(payload string) string { return s.primary.Sign(head(s.primary.Key().ID), payload) }
	for name, raw := range map[string]string{
		"signed by another issuer, its kid":       s.github.Sign(head(s.github.Key().ID), body(quoted(s.primary))),
		"signed by another issuer, our kid":       s.github.Sign(head(s.primary.Key().ID), body(quoted(s.primary))),
		"signed by the issuer, another's kid":     s.primary.Sign(head(s.github.Key().ID), body(quoted(s.primary))),
		"the primary's token as one of a machine": s.primary.Mint(map[string]any{"iss": s.github.URL, "aud": audience, "sub": "repo:octo/shop:ref:refs/heads/main", "repository_owner": "octo"}),
		"a machine's token as a user's":           s.github.Mint(map[string]any{"iss": s.primary.URL, "aud": audience, "permissions": []string{"admin"}}),
		"slash at the end":                        own(body(`"` + s.primary.URL + `/"`)),
		"slash at the end, further issuer":        s.githubToken(map[string]any{"iss": s.github.URL + "/"}),
		"two slashes":                             own(body(`"` + s.primary.URL + `//"`)),
		"upper case":                              own(body(`"` + strings.ToUpper(s.primary.URL) + `"`)),
		"upper-case host":                         own(body(`"https://ISSUER.example"`)),
		"Cyrillic letter":                         own(body(`"https://іssuer.example"`)),
		"full-width dot":                          own(body(`"https://issuer。example"`)),
		"space":                                   own(body(`" ` + s.primary.URL + `"`)),
		"NUL":                                     own(body(`"` + s.primary.URL + `\u0000"`)),
		"port":                                    own(body(`"` + s.primary.URL + `:443"`)),
		"dots":                                    own(body(`"` + s.primary.URL + `/."`)),
		"two issuers":                             own(strings.Replace(body(quoted(s.primary)), "{", `{"iss":`+quoted(s.github)+`,`, 1)),
		"two issuers, one with an escape":         own(strings.Replace(body(quoted(s.primary)), "{", `{"\u0069ss":`+quoted(s.github)+`,`, 1)),
		"other case of the claim":                 own(strings.Replace(body(quoted(s.primary)), `"iss"`, `"ISS"`, 1)),
		"nested":                                  own(body(`{"iss":` + quoted(s.primary) + `}`)),
		"nested elsewhere":                        own(strings.Replace(body(quoted(s.primary)), `"iss":`, `"x":{"iss":`, 1) + "}"),
		"list":                                    own(body(`[` + quoted(s.primary) + `]`)),
		"null":                                    own(body(`null`)),
		"number":                                  own(body(`1`)),
		"empty":                                   own(body(`""`)),
		"lone surrogate":                          own(body(`"` + s.primary.URL + `\ud800"`)),
		"unknown issuer":                          own(body(`"https://evil.example"`)),
		"16 KiB of issuer":                        own(body(`"https://` + strings.Repeat("a", 11<<10) + `"`)),
		"more than 16 KiB":                        own(body(`"https://` + strings.Repeat("a", 16<<10) + `"`)),
		"10,000 claims named iss":                 own("{" + strings.Repeat(`"iss":"",`, 1_000) + `"a":1}`),
		"machine without a grant":                 s.githubToken(map[string]any{"sub": "repo:octo/other:ref:refs/heads/main"}),
		"machine of another owner":                s.githubToken(map[string]any{"repository_owner": "octo-evil"}),
		"machine, owner as a number":              s.githubToken(map[string]any{"repository_owner": 1}),
		"machine, owner absent":                   s.githubToken(map[string]any{"repository_owner": tokentest.Absent}),
		"machine for another audience":            s.githubToken(map[string]any{"aud": clientID}),
		"Cognito's ID token":                      s.cognito.Mint(map[string]any{"aud": clientID, "token_use": "id"}),
		"Cognito's ID token with a client_id":     s.cognitoToken(map[string]any{"token_use": "id"}),
		"Cognito, no token_use":                   s.cognitoToken(map[string]any{"token_use": tokentest.Absent}),
		"Cognito, another client":                 s.cognitoToken(map[string]any{"client_id": "other"}),
		"Cognito, another API in aud":             s.cognitoToken(map[string]any{"aud": "https://other.example"}),
		"Cognito with our audience in aud alone":  s.cognitoToken(map[string]any{"client_id": tokentest.Absent, "aud": audience}),
		"primary with Cognito's shape":            s.primary.Mint(map[string]any{"client_id": clientID, "token_use": "access"}),
	} {
		if p, err := v.Verify(t.Context(), raw); err == nil {
			t.Errorf("%s: accepted as %+v", name, p)
		} else if code := status.Code(err); code != codes.Unauthenticated {
			t.Errorf("%s: code %v, want Unauthenticated", name, code)
		}
	}
	// An escape is another spelling in JSON of the same issuer.
	if _, err := v.Verify(t.Context(), own(body(`"https:\/\/issuer.ex\u0061mple"`))); err != nil {
		t.Errorf("escapes in iss: %v", err)
	}
	for _, want := range []string{"none of the issuers", "no grant matches", "claim repository_owner has none of", "client_id contains none of"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	// Unknown issuers and foreign signatures fetch nothing.
	for _, issuer := range []*tokentest.Issuer{s.primary, s.github, s.cognito} {
		if _, keys := issuer.Fetches(); keys > 3 { // the first fetch, and the budget for unknown kids
			t.Errorf("%s: %d fetches of keys", issuer.URL, keys)
		}
	}
}

// The same sub at two issuers are two principals, also for revocation.
func TestSameSubjectAtTwoIssuers(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	list, err := denylist.New(denylist.Config{})
	if err != nil {
		t.Fatal(err)
	}
	v := s.verifier(t, func(cfg *authn.Config) { cfg.Denylist = list })
	ids := map[string]any{"sub": "user-1", "sid": "S", "jti": "J"}
	one, two := mint(s.primary, ids), s.cognitoToken(ids)
	for range 2 {
		a, aerr := v.Verify(t.Context(), one)
		b, berr := v.Verify(t.Context(), two)
		if aerr != nil || berr != nil {
			t.Fatal(aerr, berr)
		}
		if a.Issuer == b.Issuer || a.Subject != b.Subject || a == b {
			t.Errorf("got %+v and %+v", a, b)
		}
	}
	now := time.Now()
	for name, deny := range map[string]func() error{
		"subject": func() error {
			return list.DenySubject(t.Context(), s.cognito.URL, "user-1", now.Add(time.Second), now.Add(time.Hour))
		},
		"session": func() error { return list.DenySession(t.Context(), s.cognito.URL, "S", now.Add(time.Hour)) },
		"token":   func() error { return list.DenyToken(t.Context(), s.cognito.URL, "J", now.Add(time.Hour)) },
	} {
		if err := deny(); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), two); err == nil {
			t.Errorf("%s denied: the token is accepted", name)
		}
		if _, err := v.Verify(t.Context(), one); err != nil {
			t.Errorf("%s denied at another issuer: %v", name, err)
		}
	}
}

// An element with the primary provider has the rules for its tokens.
func TestRulesOfThePrimaryIssuer(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	cfg := authn.Config{Provider: s.cfg.Issuers[1].Provider, Issuers: s.cfg.Issuers[1:2], Profile: s.cfg.Profile}
	v, err := authn.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := v.Verify(t.Context(), s.cognitoToken(nil)); err != nil || p.ClientID != clientID {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := v.Verify(t.Context(), s.cognitoToken(map[string]any{"token_use": "id"})); err == nil {
		t.Error("an ID token is accepted")
	}
	if _, err := v.Verify(t.Context(), mint(s.primary, nil)); err == nil {
		t.Error("a token of no issuer is accepted")
	}
}

func TestIssuerClaims(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://okta.example")
	s := newSeveral(t)
	other := oidctest.NewProvider(t, issuer)
	v := s.verifier(t, func(cfg *authn.Config) {
		cfg.Issuers = append(cfg.Issuers, authn.IssuerConfig{
			Provider: other, Audiences: []string{audience}, RequireTypes: []string{"AT+JWT"},
			ClientIDClaim: "cid", ScopesClaim: "granted", PermissionsClaim: "realm.roles",
		})
	})
	if err := other.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	claims := func(more map[string]any) map[string]any {
		all := map[string]any{"aud": audience, "cid": "C", "granted": []string{"a"}, "realm": map[string]any{"roles": []string{"r"}}}
		maps.Copy(all, more)
		return all
	}
	p, err := v.Verify(t.Context(), issuer.Mint(claims(nil), map[string]any{"typ": "application/at+jwt"}))
	if err != nil || p.ClientID != "C" || !slices.Equal(p.Scopes, []string{"a"}) || !slices.Equal(p.Permissions, []string{"r"}) {
		t.Errorf("got %+v, %v", p, err)
	}
	for name, raw := range map[string]string{
		"typ JWT":      issuer.Mint(claims(nil)),
		"no typ":       issuer.Mint(claims(nil), map[string]any{"typ": tokentest.Absent}),
		"cid a number": issuer.Mint(claims(map[string]any{"cid": 1}), map[string]any{"typ": "at+jwt"}),
		"scopes null":  issuer.Mint(claims(map[string]any{"granted": nil}), map[string]any{"typ": "at+jwt"}),
	} {
		if _, err := v.Verify(t.Context(), raw); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v, want Unauthenticated", name, err)
		}
	}
}

// An issuer that is broken has only its own tokens refused, and delays no other.
func TestBrokenIssuer(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	many.WriteString(`{"keys":[{}`)
	many.WriteString(strings.Repeat(`,{"kty":"RSA"}`, 10_000))
	many.WriteString(`]}`)
	answers := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	serve := func(h http.HandlerFunc) func(*testing.T) string {
		return func(t *testing.T) string {
			srv := httptest.NewServer(h)
			t.Cleanup(srv.Close)
			return srv.URL
		}
	}
	for name, start := range map[string]func(*testing.T) string{
		"down": func(*testing.T) string {
			srv := httptest.NewServer(http.NotFoundHandler())
			srv.Close()
			return srv.URL
		},
		"hung": func(t *testing.T) string {
			srv := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(srv.Close)
			proxy := faults.NewProxy(t, "tcp", srv.Listener.Addr().String())
			proxy.Freeze()
			return "http://" + proxy.Addr()
		},
		"slow": serve(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // the body never ends
		}),
		"failing":    serve(answers(http.StatusInternalServerError, "text/plain", "down")),
		"no keys":    serve(answers(http.StatusOK, "application/json", `{"keys":[]}`)),
		"many keys":  serve(answers(http.StatusOK, "application/json", many.String())),
		"a web page": serve(answers(http.StatusOK, "text/html", "<html>")),
		"endless":    serve(answers(http.StatusOK, "application/json", strings.Repeat(" ", 2<<20))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSeveral(t)
			broken, err := oidc.NewProvider(oidc.Config{Issuer: "broken", JWKSURL: start(t) + "/keys"})
			if err != nil {
				t.Fatal(err)
			}
			log := &countingHandler{text: "too many tokens wait"}
			v := s.verifier(t, func(cfg *authn.Config) {
				cfg.Logger = slog.New(log)
				cfg.Issuers = append(cfg.Issuers, authn.IssuerConfig{Provider: broken, Audiences: []string{audience}})
			})
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = v.Run(ctx) })
			defer running.Wait()
			defer stop()
			checkOthers(t, s, v, func() string { return mint(s.primary, map[string]any{"iss": "broken"}) }, 2*maxWaiting)
			if log.n.Load() == 0 {
				t.Error("no token was refused without waiting")
			}
			if err := v.Ready(); err != nil {
				t.Errorf("Ready() = %v: the primary issuer has its keys", err)
			}
		})
	}
}

// maxWaiting is the number of tokens that may wait for the keys of one issuer.
const maxWaiting = 64

// A countingHandler counts log lines whose error contains a text.
type countingHandler struct {
	slog.Handler
	text string
	n    atomic.Int64
}

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), h.text) {
			h.n.Add(1)
		}
		return true
	})
	return nil
}

// checkOthers sends a flood of tokens of a broken issuer, and meanwhile checks that those
// of the other issuers are accepted without delay.
func checkOthers(t *testing.T, s *several, v *authn.Verifier, hostile func() string, flood int, duringFlood ...func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var ended atomic.Int64
	surplus := make(chan struct{})
	tokens := make([]string, flood)
	for i := range tokens {
		tokens[i] = hostile()
	}
	for _, raw := range tokens { // signed already, so that they come faster than they leave
		wg.Go(func() {
			if _, err := v.Verify(ctx, raw); status.Code(err) != codes.Unavailable {
				t.Errorf("broken issuer: %v, want Unavailable", err)
			}
			if ended.Add(1) == int64(flood-maxWaiting) {
				close(surplus)
			}
		})
	}
	start := time.Now()
	for range 10 {
		for name, raw := range map[string]string{"primary": mint(s.primary, nil), "machine": s.githubToken(nil), "Cognito": s.cognitoToken(nil)} {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("30 tokens of the other issuers took %v", took)
	}
	<-surplus // those beyond the limit do not wait, so that they hold no stream of a connection
	for _, f := range duringFlood {
		f()
	}
	cancel()
	wg.Wait()
}

// A flood of invented kids at an issuer that hangs after it has given its keys.
func TestKidFloodAtAnIssuer(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	machine := tokentest.NewIssuer(t)
	proxy := faults.NewProxy(t, "tcp", strings.TrimPrefix(machine.URL, "http://"))
	provider, err := oidc.NewProvider(oidc.Config{Issuer: machine.URL, JWKSURL: "http://" + proxy.Addr() + "/keys"})
	if err != nil {
		t.Fatal(err)
	}
	if err := provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := s.verifier(t, func(cfg *authn.Config) {
		cfg.Issuers = append(cfg.Issuers, authn.IssuerConfig{Provider: provider, Audiences: []string{audience}})
	})
	proxy.Freeze()
	proxy.Cut() // the next fetch needs a connection, which hangs
	n := 0
	own := func() {
		t.Helper()
		if _, err := v.Verify(t.Context(), mint(machine, nil)); err != nil {
			t.Errorf("the issuer's own token, by a key at hand: %v", err)
		}
	}
	checkOthers(t, s, v, func() string {
		n++
		return machine.Mint(map[string]any{"aud": audience}, map[string]any{"kid": fmt.Sprint("invented-", n)})
	}, 2*maxWaiting, own)
	own()
}

// Run fetches the keys of all issuers.
func TestRunOfSeveralIssuers(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	v := s.verifier(t, func(cfg *authn.Config) {
		cfg.Provider = oidctest.NewProvider(t, s.primary)
		cfg.Issuers[0].Provider, cfg.Issuers[1].Provider = oidctest.NewProvider(t, s.github), oidctest.NewProvider(t, s.cognito)
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	for _, raw := range []string{mint(s.primary, nil), s.githubToken(nil), s.cognitoToken(nil)} {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Error(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A cached token ends with the keys of its own issuer.
func TestOldKeysOfOneIssuer(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	now := newClock()
	provider := func(issuer *tokentest.Issuer) *oidc.Provider {
		p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client(), Now: now.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	primary := provider(s.primary)
	v := s.verifier(t, func(cfg *authn.Config) {
		cfg.Now, cfg.Provider, cfg.Issuers[1].Provider = now.Now, primary, provider(s.cognito)
	})
	times := map[string]any{"iat": now.Now().Unix(), "exp": now.Now().Add(48 * time.Hour).Unix()}
	own, other := mint(s.primary, times), s.cognitoToken(times)
	for _, raw := range []string{own, other} {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	now.Advance(25 * time.Hour)
	if err := primary.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the keys are not waited for
	if _, err := v.Verify(ctx, other); status.Code(err) != codes.Unavailable {
		t.Errorf("with the keys of yesterday: %v, want Unavailable", err)
	}
	if _, err := v.Verify(ctx, own); err != nil {
		t.Errorf("with confirmed keys: %v", err)
	}
}

// The policy of a method decides which class may call it.
func TestClassOfCallers(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	table, methods := newTable(t,
		nil,
		&authv1.Policy{Callers: []authv1.Callers{machines}, Permissions: []string{"publish"}},
		&authv1.Policy{Callers: []authv1.Callers{machines, users}, Scopes: []string{"deploy"}})
	i := authn.NewInterceptor(s.verifier(t), table)
	machine, user := incoming(t.Context(), "Bearer "+s.githubToken(nil)), incoming(t.Context(), "Bearer "+mint(s.primary, map[string]any{"permissions": []string{"publish"}, "scope": "deploy"}))
	for n, want := range []struct{ machine, user bool }{{false, true}, {true, false}, {true, true}} {
		for ctx, allowed := range map[context.Context]bool{machine: want.machine, user: want.user} {
			_, called, err := call(ctx, i, methods[n])
			if called != allowed {
				t.Errorf("method %d: called = %v, want %v (%v)", n, called, allowed, err)
			}
			if !allowed && errorInfo(status.Convert(err)).GetReason() != authn.ReasonCallerNotAllowed {
				t.Errorf("method %d: %v, want %s", n, err, authn.ReasonCallerNotAllowed)
			}
		}
	}
}

func TestIssuersConfig(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	grant := authn.Grant{Where: map[string]string{"sub": "a:*"}, Permissions: []string{"x"}}
	machinesOf := func(change func(*authn.IssuerConfig)) []authn.IssuerConfig {
		c := authn.IssuerConfig{Provider: s.cfg.Issuers[0].Provider, Class: authn.Machines, Audiences: []string{audience}, Grants: []authn.Grant{grant}}
		change(&c)
		return []authn.IssuerConfig{c}
	}
	usersOf := func(change func(*authn.IssuerConfig)) []authn.IssuerConfig {
		c := authn.IssuerConfig{Provider: s.cfg.Issuers[1].Provider, Audiences: []string{audience}}
		change(&c)
		return []authn.IssuerConfig{c}
	}
	twin := tokentest.NewUnserved(t, s.primary.URL)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	slash, err := oidc.NewProvider(oidc.Config{Issuer: s.github.URL + "/", JWKSFile: file})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		issuers []authn.IssuerConfig
		want    string // the field; "" for no error
	}{
		{"machines", machinesOf(func(*authn.IssuerConfig) {}), ""},
		{"users", usersOf(func(*authn.IssuerConfig) {}), ""},
		{"no provider", usersOf(func(c *authn.IssuerConfig) { c.Provider = nil }), "Issuers[0].Provider"},
		{"another provider of the primary issuer", usersOf(func(c *authn.IssuerConfig) { c.Provider = oidctest.NewProvider(t, twin) }), "Issuers[0].Provider"},
		{"issuer twice", append(usersOf(func(*authn.IssuerConfig) {}), usersOf(func(*authn.IssuerConfig) {})...), "Issuers[1].Provider"},
		{"issuer twice but for a slash", append(machinesOf(func(*authn.IssuerConfig) {}), usersOf(func(c *authn.IssuerConfig) { c.Provider = slash })...), "Issuers[1].Provider"},
		{"no class", usersOf(func(c *authn.IssuerConfig) { c.Class = 7 }), "Issuers[0].Class"},
		{"no audience", usersOf(func(c *authn.IssuerConfig) { c.Audiences = nil }), "Issuers[0].Audiences"},
		{"empty audience", usersOf(func(c *authn.IssuerConfig) { c.Audiences = []string{""} }), "Issuers[0].Audiences"},
		{"client id as audience", usersOf(func(c *authn.IssuerConfig) { c.Audiences = []string{clientID} }), "Issuers[0].Audiences"},
		{"client id as audience of machines", machinesOf(func(c *authn.IssuerConfig) { c.Audiences = []string{audience, clientID} }), "Issuers[0].Audiences"},
		{"client id as audience of access tokens", usersOf(func(c *authn.IssuerConfig) { c.Audiences, c.RequireTypes = []string{clientID}, []string{"at+jwt"} }), ""},
		{"client id as audience of any type", usersOf(func(c *authn.IssuerConfig) {
			c.Audiences, c.RequireTypes = []string{clientID}, []string{"at+jwt", "JWT"}
		}), "Issuers[0].Audiences"},
		{"client id in another claim", usersOf(func(c *authn.IssuerConfig) { c.Audiences, c.AudienceClaim = []string{clientID}, "client_id" }), "Issuers[0].Audiences"},
		{"algorithm", usersOf(func(c *authn.IssuerConfig) { c.Algorithms = []string{"HS256"} }), "Issuers[0].Algorithms"},
		{"empty type", usersOf(func(c *authn.IssuerConfig) { c.RequireTypes = []string{""} }), "Issuers[0].RequireTypes"},
		{"claim without values", usersOf(func(c *authn.IssuerConfig) { c.RequireClaims = map[string][]string{"a": nil} }), "Issuers[0].RequireClaims"},
		{"grants for users", usersOf(func(c *authn.IssuerConfig) { c.Grants = []authn.Grant{grant} }), "Issuers[0].Grants"},
		{"machines without grants", machinesOf(func(c *authn.IssuerConfig) { c.Grants = nil }), "Issuers[0].Grants"},
		{"permissions of machines", machinesOf(func(c *authn.IssuerConfig) { c.PermissionsClaim = "p" }), "Issuers[0].PermissionsClaim"},
		{"scopes of machines", machinesOf(func(c *authn.IssuerConfig) { c.ScopesClaim = "s" }), "Issuers[0].ScopesClaim"},
		{"primary issuer of machines", machinesOf(func(c *authn.IssuerConfig) { c.Provider = s.cfg.Provider }), "Issuers[0].Class"},
		{"grant for everything", machinesOf(func(c *authn.IssuerConfig) { c.Grants[0].Where = nil }), "Issuers[0].Grants[0].Where"},
		{"pattern for everything", machinesOf(func(c *authn.IssuerConfig) { c.Grants[0].Where = map[string]string{"sub": "*"} }), "Issuers[0].Grants[0].Where.sub"},
		{"pattern beside text", machinesOf(func(c *authn.IssuerConfig) { c.Grants[0].Where = map[string]string{"sub": "repo:octo*"} }), "Issuers[0].Grants[0].Where.sub"},
		{"grant of nothing", machinesOf(func(c *authn.IssuerConfig) { c.Grants[0].Permissions = nil }), ""},
	} {
		cfg := s.cfg
		cfg.Issuers = tt.issuers
		err := cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want+" ")) {
			t.Errorf("%s: Validate() = %v, want an error about %q", tt.name, err, tt.want)
		}
	}
}
