package devidp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

func (s *system) endSession(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return s.issuer + "/end_session?" + q.Encode()
}

// signedIn reports whether the browser has a session at the provider.
func (b *browser) signedIn() bool {
	b.s.t.Helper()
	got := b.open(b.s.attempt(b.s.oauth(), "prompt", "none").url)
	return got.to != nil && got.to.Query().Has("code")
}

func TestEndSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	token := s.signIn(b, "seller")
	s.clock.advance(2 * time.Hour) // the ID token has expired, and is valid as a hint
	got := b.open(s.endSession("id_token_hint", idToken(token), "post_logout_redirect_uri", afterwards, "state", "a b&c"))
	if got.to == nil || got.to.String() != afterwards+"?state=a+b%26c" {
		t.Errorf("sent to %v (%d)", got.to, got.status)
	}
	if b.signedIn() {
		t.Error("the session lives")
	}
	if _, err := s.refresh(token.RefreshToken); err != nil {
		t.Errorf("offline access ended with the session: %v", err)
	}
}

func TestEndSessionStaysHere(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	token := s.signIn(b, "seller")
	if got := b.open(s.endSession("id_token_hint", idToken(token))); got.status != http.StatusOK || !strings.Contains(got.body, "You are signed out") {
		t.Errorf("%d %v", got.status, got.to)
	}
	if b.signedIn() {
		t.Error("the session lives")
	}
}

// TestEndSessionAsks: without a valid hint the user is asked, since any page could
// send the browser here.
func TestEndSessionAsks(t *testing.T) {
	t.Parallel()
	s := start(t)
	buyers := idToken(s.signIn(s.browser(), "buyer"))
	access := s.signIn(s.browser(), "seller").AccessToken
	for name, query := range map[string][]string{
		"nothing":                 nil,
		"no hint":                 {"client_id", clientID, "post_logout_redirect_uri", afterwards, "state", "x"},
		"no client either":        {"post_logout_redirect_uri", afterwards, "state", "x"},
		"another person's hint":   {"id_token_hint", buyers, "post_logout_redirect_uri", afterwards, "state", "x"},
		"hint of another run":     {"id_token_hint", "e30.e30.e30", "post_logout_redirect_uri", afterwards, "state", "x"},
		"an access token as hint": {"id_token_hint", access, "post_logout_redirect_uri", afterwards, "state", "x"},
	} {
		b := s.browser()
		s.signIn(b, "seller")
		got := b.open(s.endSession(query...))
		if got.status != http.StatusOK || !strings.Contains(got.body, "Sign out?") || !b.signedIn() {
			t.Errorf("%s: %d %v, still signed in: %t", name, got.status, got.to, b.signedIn())
			continue
		}
		form := url.Values{"confirm": {"1"}}
		for i := 0; i < len(query); i += 2 {
			if query[i] != "id_token_hint" {
				form.Set(query[i], query[i+1])
			}
		}
		got = b.submit(s.issuer+"/end_session/confirm", form, "Sec-Fetch-Site", "same-origin")
		if b.signedIn() {
			t.Errorf("%s: signed in after the confirmation", name)
		}
		if query != nil && (got.to == nil || got.to.String() != afterwards+"?state=x") {
			t.Errorf("%s: sent to %v", name, got.to)
		}
	}
}

// TestEndSessionWithoutSession: without a session the user is not asked, as after a
// restart of the provider.
func TestEndSessionWithoutSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	got := s.browser().open(s.endSession("id_token_hint", "e30.e30.e30", "post_logout_redirect_uri", afterwards, "state", "x"))
	if got.to == nil || got.to.String() != afterwards+"?state=x" {
		t.Errorf("sent to %v (%d)", got.to, got.status)
	}
}

// TestEndSessionRefuses: there is no redirect to an address that is not registered.
func TestEndSessionRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	hint := idToken(s.signIn(b, "seller"))
	for name, query := range map[string][]string{
		"foreign address":          {"id_token_hint", hint, "post_logout_redirect_uri", "https://evil.example"},
		"foreign address, no hint": {"post_logout_redirect_uri", "https://evil.example"},
		"longer address":           {"id_token_hint", hint, "post_logout_redirect_uri", afterwards + "/"},
		"another client's address": {"client_id", otherID, "post_logout_redirect_uri", afterwards},
		"unknown client":           {"client_id", "nobody", "post_logout_redirect_uri", afterwards},
		"hint of another client":   {"id_token_hint", hint, "client_id", otherID},
	} {
		got := b.open(s.endSession(query...))
		if got.status != http.StatusBadRequest || got.to != nil {
			t.Errorf("%s: %d, Location %v", name, got.status, got.to)
		}
	}
	got := b.submit(s.issuer+"/end_session/confirm", url.Values{"post_logout_redirect_uri": {"https://evil.example"}}, "Sec-Fetch-Site", "same-origin")
	if got.status != http.StatusBadRequest || got.to != nil {
		t.Errorf("confirmation: %d, Location %v", got.status, got.to)
	}
	if !b.signedIn() {
		t.Error("a refused request ended the session")
	}
}

func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = calls.url })
	b := s.browser()
	token := s.signIn(b, "seller")
	_, id := s.verify(idToken(token))
	s.clock.advance(time.Minute)

	// A POST without the cookie, as from another site: the hint has the session.
	s.browser().submit(s.issuer+"/end_session", url.Values{"id_token_hint": {idToken(token)}})
	header, claims := s.verify(calls.next(t))
	if header["typ"] != "logout+jwt" {
		t.Errorf("typ %v", header["typ"])
	}
	now := float64(s.clock.now().Unix())
	jti := claims["jti"]
	want := map[string]any{
		"iss": s.issuer, "sub": "dev|seller", "aud": []any{clientID}, "sid": id["sid"], "iat": now, "exp": now + 120, "jti": jti,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if diff := cmp.Diff(want, claims); diff != "" || jti == "" || jti == nil {
		t.Errorf("logout token, jti %v (-want +got):\n%s", jti, diff)
	}
	if b.signedIn() {
		t.Error("the session lives")
	}
	// Shutdown waits for the requests in flight.
	if err := s.provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(calls.tokens); n != 0 {
		t.Errorf("%d more calls for one logout", n)
	}
}

// TestAnotherUserEndsTheSession: the browser's earlier session ends, and its clients
// get logout tokens.
func TestAnotherUserEndsTheSession(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = calls.url })
	b := s.browser()
	_, before := s.verify(idToken(s.signIn(b, "seller")))
	a := s.attempt(s.oauth(), "prompt", "select_account")
	a.code(t, s, b.choose(b.open(a.url), "buyer"))
	if _, claims := s.verify(calls.next(t)); claims["sid"] != before["sid"] || claims["sub"] != "dev|seller" {
		t.Errorf("logout token for %v %v, want %v", claims["sub"], claims["sid"], before["sid"])
	}
	if !b.signedIn() {
		t.Error("the new person is not signed in")
	}
}

// TestBackChannelFailure: a failed request is logged and delays nothing.
func TestBackChannelFailure(t *testing.T) {
	t.Parallel()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	t.Cleanup(broken.Close)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = broken.URL })
	b := s.browser()
	got := b.open(s.endSession("id_token_hint", idToken(s.signIn(b, "seller")), "post_logout_redirect_uri", afterwards))
	if got.to == nil || got.to.String() != afterwards {
		t.Errorf("sent to %v", got.to)
	}
	if err := s.provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if logs := s.logs.String(); !strings.Contains(logs, "back-channel logout failed") || !strings.Contains(logs, "400 Bad Request") {
		t.Errorf("log:\n%s", logs)
	}
}

// TestShutdownCancels: requests that hang are cancelled when the context ends.
func TestShutdownCancels(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server notices a closed connection only after the body is read
		close(arrived)
		<-r.Context().Done()
	}))
	t.Cleanup(hung.Close)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = hung.URL })
	b := s.browser()
	b.open(s.endSession("id_token_hint", idToken(s.signIn(b, "seller"))))
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.provider.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	s.signIn(b, "seller")
	s.clock.advance(12*time.Hour - time.Second)
	if !b.signedIn() {
		t.Error("gone too early")
	}
	s.clock.advance(time.Second)
	if b.signedIn() {
		t.Error("still there after 12 hours")
	}
}
