package routetoken_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/routetoken"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A user's token comes from one refresh. The session keeps its own access token, and the new
// refresh token, and the other nodes find the route's token in it.
func TestTokenByRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.start(), w.start()
		time.Sleep(11 * time.Second) // the nodes see each other
		browser := a.login()
		before := a.load(browser)
		src := a.tokens.Source(routetoken.Route{Path: "/orders", Grant: routetoken.Refresh, Audience: orders, Scope: "orders:read"})
		got, err := a.get(src, browser)
		if err != nil || got == before.Data.Tokens.Access {
			t.Fatalf("got %q, %v", got, err)
		}
		want := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {before.Data.Tokens.Refresh},
			"audience": {orders}, "resource": {orders}, "scope": {"orders:read"},
		}
		if forms := w.idp.asked(); len(forms) != 1 || forms[0].Encode() != want.Encode() {
			t.Errorf("requested %v, want %v", forms, want)
		}
		after := b.load(browser)
		if after.Data.Tokens.Access != before.Data.Tokens.Access || after.Data.Tokens.Refresh == before.Data.Tokens.Refresh || !after.Data.Tokens.ExpiresAt.Equal(before.Data.Tokens.ExpiresAt) {
			t.Error("the session must keep its access token, and have the new refresh token")
		}
		there := b.tokens.Source(routetoken.Route{Path: "/orders", Grant: routetoken.Refresh, Audience: orders, Scope: "orders:read"})
		if other, err := b.get(there, browser); err != nil || other != got || len(w.idp.asked()) != 0 {
			t.Errorf("the other node got another token, %v", err)
		}
		// Both are renewed in the background when they are due, each for its audience.
		time.Sleep(9*time.Minute + time.Second)
		if now, err := b.get(there, browser); err != nil || now != got {
			t.Errorf("a request waited for the renewal, %v", err)
		}
		synctest.Wait()
		if _, err := b.refresh.Fresh(t.Context(), b.load(browser)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if asked := grants(w.idp.asked()); asked != "refresh_token "+orders+", refresh_token "+api {
			t.Errorf("requested %s", asked)
		}
		if now, err := a.get(src, browser); err != nil || now == got || a.load(browser).Data.Tokens.Access == before.Data.Tokens.Access {
			t.Errorf("the tokens were not renewed, %v", err)
		}
		a.stop()
		b.stop()
	})
}

// A provider that does not know the audience parameter answers with the default audience. The
// token is discarded, and the new refresh token kept.
func TestTokenForAnotherAudienceIsDiscarded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer map[string]any
		word   string
	}{
		"the default audience": {map[string]any{"access_token": jwt(api)}, "multi-resource refresh tokens"},
		"opaque":               {map[string]any{"access_token": "opaque"}, "issue JWTs"},
		"no bearer token":      {map[string]any{"token_type": "N_A"}, "bearer"},
		"no token":             {map[string]any{"access_token": ""}, "bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.start()
				browser := n.login()
				before := n.load(browser)
				src := n.source(routetoken.Refresh, orders)
				w.idp.change(func() { w.idp.answer = test.answer })
				for range 3 {
					_, err := n.get(src, browser)
					wantStatus(t, err, http.StatusBadGateway)
				}
				after := n.load(browser)
				if after.Data.Tokens.Access != before.Data.Tokens.Access || after.Data.Tokens.Refresh == before.Data.Tokens.Refresh || len(after.Data.Routes) != 0 {
					t.Error("the session must keep its access token, and have the new refresh token")
				}
				if asked := len(w.idp.asked()); asked != 1 {
					t.Errorf("%d requests, want 1", asked)
				}
				w.wantLine("level=ERROR", "route=/orders", test.word)
				w.idp.change(func() { w.idp.answer = nil })
				time.Sleep(6 * time.Second)
				if _, err := n.get(src, browser); err != nil {
					t.Errorf("after the correction: %v", err)
				}
				n.stop()
			})
		})
	}
}

// Only the end of the grant ends the session.
func TestRefusedRefreshes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		code   string
		want   int // 0 for the end of the session
	}{
		"invalid_grant":       {400, "invalid_grant", 0},
		"invalid_target":      {400, "invalid_target", http.StatusBadGateway},
		"invalid_scope":       {400, "invalid_scope", http.StatusBadGateway},
		"invalid_client":      {401, "invalid_client", http.StatusBadGateway},
		"access_denied":       {403, "access_denied", http.StatusForbidden},
		"consent_required":    {400, "consent_required", http.StatusForbidden},
		"mfa_required":        {403, "mfa_required", http.StatusForbidden},
		"a server error":      {500, "", http.StatusServiceUnavailable},
		"temporarily refused": {400, "temporarily_unavailable", http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.start()
				browser := n.login()
				before := n.load(browser)
				w.idp.change(func() {
					w.idp.instead = func(form url.Values) (int, map[string]any) {
						if form.Get("audience") != orders {
							return -1, nil
						}
						return test.status, map[string]any{"error": test.code}
					}
				})
				_, err := n.get(n.source(routetoken.Refresh, orders), browser)
				if test.want == 0 {
					if !errors.Is(err, session.ErrNotFound) {
						t.Errorf("error %v, want ErrNotFound", err)
					}
					if _, err := n.sessions.Load(t.Context(), browser); !errors.Is(err, session.ErrNotFound) {
						t.Errorf("the session goes on, %v", err)
					}
					n.stop()
					return
				}
				wantStatus(t, err, test.want)
				// The session's own refresh is not held back.
				time.Sleep(9*time.Minute + time.Second)
				s, err := n.refresh.Fresh(t.Context(), n.load(browser))
				synctest.Wait()
				if err != nil || n.load(browser).Data.Tokens.Access == before.Data.Tokens.Access {
					t.Errorf("the session was not refreshed: %v %v", s, err)
				}
				n.stop()
			})
		})
	}
}

// Keycloak answers invalid_client to an exchange for an audience that is no client.
func TestExchangeForUnknownAudience(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{http.StatusBadRequest: "routes[1].audience", http.StatusUnauthorized: "setting=Client.Secret"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			n := w.start()
			browser := n.login()
			w.idp.change(func() {
				w.idp.instead = func(url.Values) (int, map[string]any) { return status, map[string]any{"error": "invalid_client"} }
			})
			_, err := n.get(n.source(routetoken.Exchange, orders), browser)
			wantStatus(t, err, http.StatusBadGateway)
			w.wantLine("level=ERROR", "route=/orders", want)
			n.stop()
		})
	}
}

// Without a refresh token the log names what to change.
func TestNoRefreshToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		browser := n.login()
		s := n.load(browser)
		without := *s
		without.Data.Tokens.Refresh = ""
		_, err := n.source(routetoken.Refresh, orders).Authorization(t.Context(), &without)
		wantStatus(t, err, http.StatusBadGateway)
		w.wantLine("level=ERROR", "routes[1].grant", "Login.Scope", "grant: exchange")
		if len(w.idp.asked()) != 0 {
			t.Error("the provider was asked")
		}
		n.stop()
	})
}

// An answer that does not come may have spent the refresh token: no node sends it again while the
// session's access token is valid, and the session goes on afterwards.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.start(), w.start()
		browser := a.login()
		w.idp.change(func() {
			w.idp.instead = func(url.Values) (int, map[string]any) { return 0, nil }
		})
		_, err := a.get(a.source(routetoken.Refresh, orders), browser)
		wantStatus(t, err, http.StatusServiceUnavailable)
		time.Sleep(time.Minute)
		w.idp.change(func() { w.idp.instead = nil })
		if asked := len(w.idp.asked()); asked != 1 {
			t.Errorf("%d requests, want 1", asked)
		}
		for _, n := range []*node{a, b} {
			_, err := n.get(n.source(routetoken.Refresh, orders), browser)
			wantStatus(t, err, http.StatusServiceUnavailable)
			if s, err := n.refresh.Fresh(t.Context(), n.load(browser)); err != nil || s == nil {
				t.Errorf("the session's own token: %v", err)
			}
		}
		synctest.Wait()
		if asked := len(w.idp.asked()); asked != 0 {
			t.Errorf("the refresh token was sent %d times while the access token was valid", asked)
		}
		time.Sleep(9 * time.Minute)
		s, err := b.refresh.Fresh(t.Context(), b.load(browser))
		if err != nil || !s.Data.Tokens.ExpiresAt.After(time.Now()) {
			t.Errorf("after the access token expired: %v", err)
		}
		a.stop()
		b.stop()
	})
}

// Requests for the API and for two routes at three nodes never use a refresh token twice, nor at
// the same time.
func TestOneRefreshAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		nodes := []*node{w.start(), w.start(), w.start()}
		time.Sleep(11 * time.Second)
		browser := nodes[0].login()
		w.idp.change(func() { w.idp.delay = 300 * time.Millisecond })
		for round := range 4 {
			var group sync.WaitGroup
			for _, n := range nodes {
				for range 3 {
					for _, audience := range []string{orders, stock} {
						group.Go(func() {
							if _, err := n.get(n.source(routetoken.Refresh, audience), browser); err != nil {
								t.Errorf("round %d: %s: %v", round, audience, err)
							}
						})
					}
					group.Go(func() {
						if _, err := n.refresh.Fresh(context.Background(), n.load(browser)); err != nil {
							t.Errorf("round %d: the session's own: %v", round, err)
						}
					})
				}
			}
			group.Wait()
			time.Sleep(5 * time.Second) // what runs in the background
			asked := grants(w.idp.asked())
			t.Logf("round %d: %s", round, asked)
			for _, audience := range []string{orders, stock} {
				if n := strings.Count(asked, audience); n > 1 {
					t.Errorf("round %d: %d requests for %s", round, n, audience)
				}
			}
			time.Sleep([]time.Duration{9*time.Minute + time.Second, 11 * time.Minute, 9*time.Minute + 30*time.Second, time.Minute}[round])
		}
		w.idp.change(func() {
			if w.idp.most != 1 || len(w.idp.current) != 1 {
				t.Errorf("%d refreshes at the same time, %d grants are left", w.idp.most, len(w.idp.current))
			}
		})
		for _, n := range nodes {
			n.stop()
		}
	})
}

// A logout during a refresh for a route wins, and the new refresh token is revoked.
func TestLogoutDuringARefresh(t *testing.T) {
	t.Parallel()
	for _, grant := range []routetoken.Grant{routetoken.Refresh, routetoken.Exchange} {
		t.Run(string(grant), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.start()
				browser := n.login()
				s := n.load(browser)
				w.idp.change(func() { w.idp.delay = time.Second })
				done := make(chan error)
				go func() {
					_, err := n.source(grant, orders).Authorization(context.Background(), s)
					done <- err
				}()
				time.Sleep(500 * time.Millisecond)
				if err := n.sessions.End(t.Context(), s, session.ReasonSignedOut); err != nil {
					t.Fatal(err)
				}
				if err := <-done; !errors.Is(err, session.ErrNotFound) {
					t.Errorf("error %v, want ErrNotFound", err)
				}
				if _, err := n.sessions.Load(t.Context(), browser); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("the session is back: %v", err)
				}
				w.idp.change(func() {
					if grant == routetoken.Refresh && (len(w.idp.revoked) != 1 || w.idp.revoked[0] == s.Data.Tokens.Refresh) {
						t.Errorf("revoked %d tokens, want the new refresh token", len(w.idp.revoked))
					}
				})
				n.stop()
			})
		})
	}
}

// A browser that leaves does not end the refresh: the new refresh token is kept.
func TestBrowserLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		browser := n.login()
		s := n.load(browser)
		w.idp.change(func() { w.idp.delay = time.Second })
		src := n.source(routetoken.Refresh, orders)
		ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		_, err := src.Authorization(ctx, s)
		wantStatus(t, err, http.StatusServiceUnavailable)
		time.Sleep(2 * time.Second)
		if _, err := n.get(src, browser); err != nil || len(w.idp.asked()) != 1 {
			t.Errorf("after the browser has left: %v", err)
		}
		if n.load(browser).Data.Tokens.Refresh == s.Data.Tokens.Refresh {
			t.Error("the new refresh token was lost")
		}
		n.stop()
	})
}

// The ID token of another user in the answer ends the session, as at any refresh.
func TestIDTokenOfAnotherUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		browser := n.login()
		id := func(sub string) string {
			return w.idp.signer.Mint(map[string]any{"iss": issuer, "aud": "shop", "sub": sub})
		}
		src := n.source(routetoken.Refresh, orders)
		w.idp.change(func() { w.idp.answer = map[string]any{"id_token": id(subject)} })
		before := n.load(browser).Data.Tokens
		if _, err := n.get(src, browser); err != nil {
			t.Fatal(err)
		}
		if after := n.load(browser).Data.Tokens; after.ID != before.ID || after.Access != before.Access {
			t.Error("the session has another ID token or access token")
		}
		w.idp.change(func() { w.idp.answer = map[string]any{"id_token": id("mallory")} })
		_, err := n.get(n.source(routetoken.Refresh, stock), browser)
		if _, gone := n.sessions.Load(t.Context(), browser); !errors.Is(err, session.ErrNotFound) || !errors.Is(gone, session.ErrNotFound) {
			t.Errorf("errors %v and %v, want the end of the session", err, gone)
		}
		n.stop()
	})
}

// While not all nodes can read them, a node keeps the tokens for itself.
func TestTokensThatCannotBeStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		older := session.Note{Kind: "node", Key: "older", Value: []byte(`{"keys":["` + w.keyID() + `"],"seals":[1],"formats":[1]}`),
			DueAt: time.UnixMilli(1), ExpiresAt: time.Now().Add(time.Hour)}
		if err := w.store.PutNote(t.Context(), older); err != nil {
			t.Fatal(err)
		}
		n := w.start()
		browser := n.login()
		for _, grant := range []routetoken.Grant{routetoken.Refresh, routetoken.Exchange} {
			src := n.source(grant, orders)
			first, err := n.get(src, browser)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if again, err := n.get(src, browser); err != nil || again != first {
					t.Errorf("%s: another token, %v", grant, err)
				}
			}
			if asked := len(w.idp.asked()); asked != 1 || len(n.load(browser).Data.Routes) != 0 {
				t.Errorf("%s: %d requests, %d stored tokens, want 1 and none", grant, asked, len(n.load(browser).Data.Routes))
			}
		}
		n.stop()
	})
}

// What the upstream refuses is replaced once.
func TestTokenRefusedByUpstream(t *testing.T) {
	t.Parallel()
	for _, grant := range []routetoken.Grant{routetoken.Refresh, routetoken.Exchange} {
		t.Run(string(grant), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.start()
				browser := n.login()
				src := n.source(grant, orders)
				first, err := n.get(src, browser)
				if err != nil {
					t.Fatal(err)
				}
				if src.Refused(n.load(browser), "Bearer "+first) {
					t.Error("a token that has just been issued is replaced")
				}
				time.Sleep(time.Minute)
				if !src.Refused(n.load(browser), "Bearer "+first) {
					t.Error("a refused token is not replaced")
				}
				second, err := n.get(src, browser)
				if err != nil || second == first {
					t.Fatalf("the same token again, %v", err)
				}
				time.Sleep(10 * time.Second)
				if src.Refused(n.load(browser), "Bearer "+second) {
					t.Error("a second refusal within 30 s replaces the token")
				}
				if now, err := n.get(src, browser); err != nil || now != second || len(w.idp.asked()) != 2 {
					t.Errorf("afterwards: %v", err)
				}
				// If the provider does not answer, the refused token is sent: another upstream may take it.
				time.Sleep(time.Minute)
				w.idp.change(func() { w.idp.instead = func(url.Values) (int, map[string]any) { return 503, nil } })
				if !src.Refused(n.load(browser), "Bearer "+second) {
					t.Error("a refused token is not replaced")
				}
				if now, err := n.get(src, browser); err != nil || now != second {
					t.Errorf("in an outage: %v", err)
				}
				n.stop()
			})
		})
	}
}

// Errors 500 for a route hold back its own requests, and no refresh.
func TestFailuresOfOneRoute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		var browsers []*http.Request
		for range 20 {
			browsers = append(browsers, n.login())
		}
		w.idp.change(func() {
			w.idp.instead = func(form url.Values) (int, map[string]any) {
				if form.Get("audience") == orders {
					return 500, nil
				}
				return -1, nil
			}
		})
		broken, good := n.source(routetoken.Refresh, orders), n.source(routetoken.Refresh, stock)
		for _, browser := range browsers {
			_, err := n.get(broken, browser)
			wantStatus(t, err, http.StatusServiceUnavailable)
		}
		if asked := len(w.idp.asked()); asked != 5 {
			t.Errorf("%d requests until the breaker of the route opened, want 5", asked)
		}
		for _, browser := range browsers {
			if _, err := n.get(good, browser); err != nil {
				t.Fatalf("another route: %v", err)
			}
		}
		time.Sleep(11 * time.Minute)
		for _, browser := range browsers {
			if _, err := n.refresh.Fresh(t.Context(), n.load(browser)); err != nil {
				t.Fatalf("a refresh: %v", err)
			}
		}
		// An outage of the provider holds back both.
		w.idp.change(func() { w.idp.instead = func(url.Values) (int, map[string]any) { return 503, nil } })
		time.Sleep(11 * time.Minute)
		for _, browser := range browsers[:5] {
			_, err := n.get(good, browser)
			wantStatus(t, err, http.StatusServiceUnavailable)
		}
		w.idp.asked()
		_, err := n.refresh.Fresh(t.Context(), n.load(browsers[10]))
		if _, ok := errors.AsType[*refresh.Unavailable](err); !ok || len(w.idp.asked()) != 0 {
			t.Errorf("a refresh with an open breaker: %v", err)
		}
		n.stop()
	})
}

// An exchange sends the session's valid access token.
func TestTokenByExchange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		browser := n.login()
		before := n.load(browser)
		src := n.tokens.Source(routetoken.Route{Path: "/orders", Grant: routetoken.Exchange, Audience: "orders", Scope: "read"})
		got, err := n.get(src, browser)
		if err != nil {
			t.Fatal(err)
		}
		const kind = "urn:ietf:params:oauth:token-type:access_token"
		want := url.Values{
			"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token": {before.Data.Tokens.Access}, "subject_token_type": {kind}, "requested_token_type": {kind},
			"audience": {"orders"}, "scope": {"read"},
		}
		if forms := w.idp.asked(); len(forms) != 1 || forms[0].Encode() != want.Encode() {
			t.Errorf("requested %v, want %v", forms, want)
		}
		after := n.load(browser)
		if len(after.Data.Routes) != 1 || after.Data.Routes[0].Access != got || after.Data.Tokens != before.Data.Tokens {
			t.Error("the session must have the token, and be the same otherwise")
		}
		// After the session's own token has expired, it is refreshed first.
		time.Sleep(11 * time.Minute)
		if _, err := n.get(src, browser); err != nil {
			t.Fatal(err)
		}
		if forms := w.idp.asked(); len(forms) != 2 || forms[1].Get("subject_token") != n.load(browser).Data.Tokens.Access {
			t.Errorf("requested %s", grants(forms))
		}
		n.stop()
	})
}

// An exchange says nothing about the session, not even with invalid_grant.
func TestRefusedExchanges(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		answer map[string]any
		want   int
		words  []string
	}{
		"invalid_grant":      {400, map[string]any{"error": "invalid_grant"}, 502, []string{"level=ERROR", "routes[1].grant"}},
		"not allowed":        {403, map[string]any{"error": "unauthorized_client"}, 502, []string{"level=ERROR", "routes[1].grant"}},
		"not supported":      {400, map[string]any{"error": "unsupported_grant_type"}, 502, []string{"level=ERROR", "routes[1].grant"}},
		"access_denied":      {403, map[string]any{"error": "access_denied"}, 403, []string{"level=INFO"}},
		"N_A":                {200, map[string]any{"token_type": "N_A"}, 502, []string{"level=ERROR", "bearer"}},
		"an ID token":        {200, map[string]any{"issued_token_type": "urn:ietf:params:oauth:token-type:id_token"}, 502, []string{"level=ERROR", "issued_token_type"}},
		"no type":            {200, map[string]any{"issued_token_type": nil}, 502, []string{"level=ERROR", "issued_token_type"}},
		"another audience":   {200, map[string]any{"access_token": jwt(api)}, 502, []string{"level=ERROR", "allow its exchange"}},
		"an error in a page": {502, nil, 503, []string{"level=DEBUG"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.start()
				browser := n.login()
				before := n.load(browser)
				w.idp.change(func() {
					w.idp.answer = test.answer
					if test.status != 200 {
						w.idp.instead = func(url.Values) (int, map[string]any) { return test.status, test.answer }
					}
				})
				for range 3 {
					_, err := n.get(n.source(routetoken.Exchange, orders), browser)
					wantStatus(t, err, test.want)
				}
				if asked := len(w.idp.asked()); asked != 1 {
					t.Errorf("%d requests, want 1", asked)
				}
				w.wantLine(test.words...)
				if after := n.load(browser); after.Data.Tokens != before.Data.Tokens {
					t.Error("the session has other tokens")
				}
				n.stop()
			})
		})
	}
}
