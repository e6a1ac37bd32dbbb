package devidp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

// fail switches a fault on.
func (s *system) fail(f devidp.Fault) {
	s.t.Helper()
	if err := s.provider.Fail(f); err != nil {
		s.t.Fatal(err)
	}
}

// refusal returns status and error of a token response that refuses; 0 for success, -1
// for no response.
func refusal(err error) (status int, code string) {
	if err == nil {
		return 0, ""
	}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return e.Response.StatusCode, e.ErrorCode
	}
	return -1, ""
}

// TestLifetimes: a change of the lifetimes applies to the next tokens.
func TestLifetimes(t *testing.T) {
	t.Parallel()
	s := start(t)
	lifetimes := func(token *oauth2.Token) (access, id float64) {
		_, claims := s.verify(token.AccessToken)
		_, idClaims := s.verify(idToken(token))
		return claims["exp"].(float64) - claims["iat"].(float64), idClaims["exp"].(float64) - idClaims["iat"].(float64)
	}
	b := s.browser()
	if access, id := lifetimes(s.signIn(b, "seller")); access != 300 || id != 3600 {
		t.Errorf("by default: access tokens %v s, ID tokens %v s", access, id)
	}
	if err := s.provider.SetBehavior(devidp.Behavior{
		AccessTokenLifetime: 20 * time.Second, IDTokenLifetime: 40 * time.Second, RefreshTokenLifetime: time.Minute,
	}); err != nil {
		t.Fatal(err)
	}
	token := s.signIn(b, "seller")
	if access, id := lifetimes(token); access != 20 || id != 40 || token.Extra("expires_in") != 20.0 {
		t.Errorf("changed: access tokens %v s, ID tokens %v s, expires_in %v", access, id, token.Extra("expires_in"))
	}
	s.clock.advance(59 * time.Second)
	token, err := s.refresh(token.RefreshToken)
	if err != nil {
		t.Fatal("before the end of the refresh token:", err)
	}
	s.clock.advance(time.Second)
	if _, err := s.refresh(token.RefreshToken); err == nil {
		t.Error("a refresh succeeded after the end of the refresh token")
	}
	s.provider.Reset()
	if access, id := lifetimes(s.signIn(b, "seller")); access != 300 || id != 3600 {
		t.Errorf("after a reset: access tokens %v s, ID tokens %v s", access, id)
	}
}

// TestRefreshTokenModes: with "keep" a refresh token works again and again, with
// "none" there is none.
func TestRefreshTokenModes(t *testing.T) {
	t.Parallel()
	s := start(t)
	set := func(mode devidp.RefreshTokens) {
		t.Helper()
		if err := s.provider.SetBehavior(devidp.Behavior{RefreshTokens: mode}); err != nil {
			t.Fatal(err)
		}
	}
	set(devidp.KeepRefreshTokens)
	kept := s.signIn(s.browser(), "seller").RefreshToken
	for range 3 {
		token, err := s.refresh(kept)
		if err != nil || token.RefreshToken != kept || token.Extra("refresh_token") != nil {
			t.Fatalf("refresh of a kept token: %v, response has %v", err, token.Extra("refresh_token"))
		}
	}
	set(devidp.NoRefreshTokens)
	if token := s.signIn(s.browser(), "seller"); token.RefreshToken != "" {
		t.Error("a refresh token was issued")
	}
	if _, err := s.refresh(kept); err != nil {
		t.Error("the former token:", err)
	}
	set(devidp.RotateRefreshTokens)
	if token, err := s.refresh(kept); err != nil || token.RefreshToken == kept {
		t.Errorf("refresh with rotation: %v", err)
	}
	if _, err := s.refresh(kept); err == nil {
		t.Error("a rotated token worked again")
	}
}

// TestRefuseRefresh: a refresh gets the chosen error, and the refresh token stays valid.
func TestRefuseRefresh(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.signIn(s.browser(), "seller").RefreshToken
	for _, tt := range []struct {
		fault  devidp.Fault
		status int
		code   string
	}{
		{devidp.Fault{}, 400, "invalid_grant"},
		{devidp.Fault{Error: "interaction_required"}, 400, "interaction_required"},
		{devidp.Fault{Error: "interaction_required", Status: 403}, 403, "interaction_required"},
		{devidp.Fault{Error: "temporarily_unavailable", RetryAfter: 7 * time.Second}, 503, "temporarily_unavailable"},
		{devidp.Fault{Error: "invalid_client"}, 401, "invalid_client"},
		{devidp.Fault{Error: "mfa_required", Status: 200}, 200, "mfa_required"},
	} {
		tt.fault.Kind = devidp.RefuseRefresh
		s.fail(tt.fault)
		_, err := s.refresh(token)
		if status, code := refusal(err); status != tt.status || code != tt.code {
			t.Errorf("%+v: got %d %s", tt.fault, status, code)
		}
		if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && tt.fault.RetryAfter > 0 && e.Response.Header.Get("Retry-After") != "7" {
			t.Errorf("%+v: Retry-After %q", tt.fault, e.Response.Header.Get("Retry-After"))
		}
	}
	if n := len(s.provider.Faults()); n != 1 {
		t.Errorf("%d faults, want the last one, which has replaced the others", n)
	}
	s.signIn(s.browser(), "seller") // is no refresh
	if n, err := s.provider.Heal(""); n != 1 || err != nil {
		t.Errorf("healed %d: %v", n, err)
	}
	if _, err := s.refresh(token); err != nil {
		t.Error("after the fault:", err)
	}
}

// TestFaultOfAUser: a fault for a user does not affect others, and Times counts the
// user's requests only.
func TestFaultOfAUser(t *testing.T) {
	t.Parallel()
	for _, kind := range []devidp.FaultKind{devidp.RefuseRefresh, devidp.LoseRefresh, devidp.Down, devidp.Disconnect} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := start(t, func(c *devidp.Config) { c.Behavior.RefreshTokens = devidp.KeepRefreshTokens })
			seller := s.signIn(s.browser(), "seller").RefreshToken
			buyer := s.signIn(s.browser(), "buyer").RefreshToken
			s.fail(devidp.Fault{Kind: kind, User: "dev|seller", Times: 2})
			for i, want := range []bool{true, true, false} {
				if _, err := s.refresh(buyer); err != nil {
					t.Errorf("the other user: %v", err)
				}
				if _, err := s.refresh(seller); (err != nil) != want {
					t.Errorf("request %d: %v, want a failure: %t", i, err, want)
				}
			}
			if faults := s.provider.Faults(); len(faults) != 0 {
				t.Errorf("left over: %v", faults)
			}
		})
	}
}

// TestLoseRefresh: the refresh has happened, so the rotated token is used up.
func TestLoseRefresh(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.signIn(s.browser(), "seller").RefreshToken
	s.fail(devidp.Fault{Kind: devidp.LoseRefresh, Times: 1})
	_, err := s.refresh(token)
	if status, _ := refusal(err); status != -1 {
		t.Errorf("got a response: %v", err)
	}
	_, err = s.refresh(token)
	if status, code := refusal(err); status != 400 || code != "invalid_grant" {
		t.Errorf("the second use: %v", err)
	}
}

// TestDown: every endpoint of the protocol fails, for all or for one user; pages of
// the provider about itself do not.
func TestDown(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	token := s.signIn(b, "seller")
	other := s.signIn(s.browser(), "buyer")
	s.fail(devidp.Fault{Kind: devidp.Down, User: "seller", RetryAfter: time.Minute})
	if got := b.open(s.attempt(s.oauth()).url); got.status != 503 || got.header.Get("Retry-After") != "60" || !strings.Contains(got.body, "provider is down") {
		t.Errorf("authorization of the user: %d %s", got.status, got.body)
	}
	_, err := s.refresh(token.RefreshToken)
	if status, _ := refusal(err); status != 503 {
		t.Errorf("refresh of the user: %v", err)
	}
	if status, _ := s.userinfo(other.AccessToken); status != 200 {
		t.Errorf("userinfo of another user: %d", status)
	}
	s.fail(devidp.Fault{Kind: devidp.Down, Status: 502})
	for _, path := range []string{"/.well-known/openid-configuration", "/keys", "/authorize", "/login", "/userinfo", "/end_session"} {
		if got := s.browser().open(s.issuer + path); got.status != 502 {
			t.Errorf("%s: got status %d", path, got.status)
		}
	}
	if got := b.open(s.issuer + "/"); got.status != 200 {
		t.Errorf("home page: got status %d", got.status)
	}
	s.fail(devidp.Fault{Kind: devidp.Disconnect})
	if resp, err := http.Get(s.issuer + "/keys"); err == nil {
		resp.Body.Close()
		t.Errorf("a response from a provider that disconnects: %s", resp.Status)
	}
	s.provider.Reset()
	if _, err := s.refresh(token.RefreshToken); err != nil {
		t.Errorf("after a reset: %v", err)
	}
}

// TestSlow: a delay ends with its time, when it is healed, and when the client leaves.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *devidp.Config) { c.Behavior.RefreshTokens = devidp.KeepRefreshTokens })
	seller := s.signIn(s.browser(), "seller").RefreshToken
	buyer := s.signIn(s.browser(), "buyer").RefreshToken
	s.fail(devidp.Fault{Kind: devidp.Slow, Delay: 20 * time.Millisecond, Times: 1})
	begun := time.Now()
	if _, err := s.refresh(seller); err != nil || time.Since(begun) < 20*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	if faults := s.provider.Faults(); len(faults) != 0 {
		t.Errorf("left over: %v", faults)
	}

	s.fail(devidp.Fault{Kind: devidp.Slow, Delay: 10 * time.Minute, User: "seller", Times: 1})
	done := make(chan error, 1)
	go func() {
		_, err := s.refresh(seller)
		done <- err
	}()
	if _, err := s.refresh(buyer); err != nil {
		t.Error("another user:", err)
	}
	for len(s.provider.Faults()) > 0 { // until the request waits
		runtime.Gosched()
	}
	if _, err := s.provider.Heal("seller", devidp.Slow); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error("healed:", err)
	}

	s.fail(devidp.Fault{Kind: devidp.Slow, Delay: 10 * time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.oauth().TokenSource(ctx, &oauth2.Token{RefreshToken: seller}).Token(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client that leaves: %v", err)
	} // the provider's handler ends, or the server's Close would hang
}

func TestFailUserinfo(t *testing.T) {
	t.Parallel()
	s := start(t)
	seller, buyer := s.signIn(s.browser(), "seller").AccessToken, s.signIn(s.browser(), "buyer").AccessToken
	s.fail(devidp.Fault{Kind: devidp.FailUserinfo, User: "seller"})
	for token, want := range map[string]int{seller: 500, buyer: 200} {
		if status, _ := s.userinfo(token); status != want {
			t.Errorf("got status %d, want %d", status, want)
		}
	}
}

// TestLogOut: sessions end, for all or for one user, and clients are notified before
// LogOut returns. Refresh tokens are revoked by RevokeTokens only.
func TestLogOut(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = calls.url })
	b, other := s.browser(), s.browser()
	token := s.signIn(b, "seller")
	s.signIn(other, "buyer")
	if n, err := s.provider.LogOut(t.Context(), "seller"); n != 1 || err != nil || len(calls.tokens) != 1 {
		t.Errorf("%d sessions, %d notified: %v", n, len(calls.tokens), err)
	}
	if b.signedIn() || !other.signedIn() {
		t.Errorf("the user: %t, the other: %t", b.signedIn(), other.signedIn())
	}
	if _, claims := s.verify(calls.next(t)); claims["sub"] != "dev|seller" {
		t.Errorf("logout token of %v", claims["sub"])
	}
	token, err := s.refresh(token.RefreshToken)
	if err != nil {
		t.Fatal("refresh after the logout:", err)
	}
	if n, err := s.provider.RevokeTokens("seller"); n != 1 || err != nil {
		t.Errorf("%d sign-ins revoked: %v", n, err)
	}
	if _, err := s.refresh(token.RefreshToken); err == nil {
		t.Error("a revoked token worked")
	}
	s.signIn(b, "seller")
	if n, err := s.provider.LogOut(t.Context(), ""); n != 2 || err != nil || len(calls.tokens) != 2 {
		t.Errorf("everyone: %d sessions, %d notified: %v", n, len(calls.tokens), err)
	}
}

// TestLogOutFailure: an error names the client that cannot be notified.
func TestLogOutFailure(t *testing.T) {
	t.Parallel()
	broken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(broken.Close)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = broken.URL })
	s.signIn(s.browser(), "seller")
	if n, err := s.provider.LogOut(t.Context(), ""); n != 1 || err == nil || !strings.Contains(err.Error(), "client "+clientID) {
		t.Errorf("%d sessions: %v", n, err)
	}
}

// TestMint: minted tokens have the claims of a user or machine, and any others.
func TestMint(t *testing.T) {
	t.Parallel()
	s := start(t, withMachine)
	now := float64(s.clock.now().Unix())
	mint := func(req devidp.TokenRequest) (header, claims map[string]any) {
		t.Helper()
		token, told, err := s.provider.Mint(req)
		if err != nil {
			t.Fatal(err)
		}
		header, claims = s.verify(token)
		if told["jti"] != claims["jti"] {
			t.Errorf("told %v, want %v", told, claims)
		}
		return header, claims
	}
	header, claims := mint(devidp.TokenRequest{User: "seller", Scopes: []string{"a", "b"}})
	if header["typ"] != "at+jwt" || claims["sub"] != "dev|seller" || claims["scope"] != "a b" || claims["exp"] != now+300 || claims["client_id"] != clientID {
		t.Errorf("a user: %v %v", header, claims)
	}
	if _, claims := mint(devidp.TokenRequest{User: "seller"}); claims["scope"] != "openid profile email offline_access products:write" {
		t.Errorf("by default: scope %v", claims["scope"])
	}
	if _, claims := mint(devidp.TokenRequest{User: "seller", Scopes: []string{}}); claims["scope"] != nil {
		t.Errorf("with none: scope %v", claims["scope"])
	}
	header, claims = mint(devidp.TokenRequest{
		Machine: "robot", Type: "JWT", Lifetime: -time.Minute,
		Claims: map[string]any{"aud": "else", "tenant": map[string]any{"id": 7.0}, "jti": nil},
	})
	if header["typ"] != "JWT" || claims["sub"] != "robot" || claims["aud"] != "else" || claims["exp"] != now-60 || claims["iat"] != now-120 ||
		claims["tenant"].(map[string]any)["id"] != 7.0 || claims["jti"] != nil {
		t.Errorf("a machine: %v %v", header, claims)
	}
	token, _, err := s.provider.Mint(devidp.TokenRequest{User: "seller", UnknownKey: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, set := s.getJSON(s.issuer + "/keys"); len(set["keys"].([]any)) != 1 || strings.Count(token, ".") != 2 {
		t.Errorf("a token of an unknown key: %v", set)
	}
	for name, req := range map[string]devidp.TokenRequest{
		"neither": {}, "both": {User: "seller", Machine: "robot"}, "unknown user": {User: "x"}, "unknown machine": {Machine: "x"},
		"a relying party": {Machine: clientID}, "a claim that is no JSON": {User: "seller", Claims: map[string]any{"f": func() {}}},
	} {
		if _, _, err := s.provider.Mint(req); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestWrongControls: an error names the field, the value and the remedy.
func TestWrongControls(t *testing.T) {
	t.Parallel()
	s := start(t)
	for want, f := range map[string]devidp.Fault{
		`Kind is missing; give one of refuse-refresh`:                                  {},
		`Kind "slwo" is unknown; did you mean "slow"? Otherwise give one of`:           {Kind: "slwo"},
		`User "seler" is unknown; did you mean "seller"? Otherwise give one of seller`: {Kind: devidp.Down, User: "seler"},
		`Times "-1" is out of range; give 1 to`:                                        {Kind: devidp.Down, Times: -1},
		`Error "No\"" is no OAuth error; give`:                                         {Kind: devidp.RefuseRefresh, Error: `No"`},
		`Status "302" is no status of an error; give`:                                  {Kind: devidp.Down, Status: 302},
		`Status "200" is no status of an error; give`:                                  {Kind: devidp.Down, Status: 200},
		`Delay "0s" is out of range; give`:                                             {Kind: devidp.Slow},
		`Delay "1h0m0s" is out of range; give`:                                         {Kind: devidp.Slow, Delay: time.Hour},
		`Delay "1s" has no effect with the kind down; leave it out, or`:                {Kind: devidp.Down, Delay: time.Second},
		`Error "x" has no effect with the kind down`:                                   {Kind: devidp.Down, Error: "x"},
		`RetryAfter "1ms" is not a number of seconds`:                                  {Kind: devidp.Down, RetryAfter: time.Millisecond},
	} {
		if err := s.provider.Fail(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", f, err, want)
		}
	}
	for want, b := range map[string]devidp.Behavior{
		`AccessTokenLifetime "-1s" is negative`:                                             {AccessTokenLifetime: -time.Second},
		`IDTokenLifetime "1ms" is shorter than`:                                             {IDTokenLifetime: time.Millisecond},
		`RefreshTokenLifetime "876000h0m0s" is too lo`:                                      {RefreshTokenLifetime: 876000 * time.Hour},
		`RefreshTokens "no" is unknown; did you mean "none"? Otherwise give one of rotate,`: {RefreshTokens: "no"},
	} {
		if err := s.provider.SetBehavior(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", b, err, want)
		}
	}
	if len(s.provider.Faults()) != 0 || s.provider.Behavior().AccessTokenLifetime != 5*time.Minute {
		t.Error("a refused change had an effect")
	}
}
