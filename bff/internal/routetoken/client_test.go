package routetoken_test

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/routetoken"
)

func wantStatus(t testing.TB, err error, status int) *routetoken.Error {
	t.Helper()
	e, ok := errors.AsType[*routetoken.Error](err)
	if !ok || e.Status != status {
		t.Fatalf("error %v (%+v), want one with status %d", err, e, status)
	}
	return e
}

// All requests share one token of the client, which is renewed before it expires.
func TestClientToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		src := n.tokens.Source(routetoken.Route{Path: "/orders", Grant: routetoken.Client, Audience: orders, Scope: "read write"})
		w.idp.change(func() { w.idp.delay = time.Second })
		got := map[string]bool{}
		var mu sync.Mutex
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				token, err := n.get(src, nil)
				mu.Lock()
				defer mu.Unlock()
				got[token] = true
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		forms := w.idp.asked()
		if len(got) != 1 || len(forms) != 1 {
			t.Fatalf("%d tokens by %d requests, want one", len(got), len(forms))
		}
		want := url.Values{"grant_type": {"client_credentials"}, "audience": {orders}, "resource": {orders}, "scope": {"read write"}}
		if forms[0].Encode() != want.Encode() {
			t.Errorf("requested %v, want %v", forms[0], want)
		}
		// Another route for the same has the same token, one for another audience has not.
		if token, err := n.get(n.tokens.Source(routetoken.Route{Path: "/x", Grant: routetoken.Client, Audience: orders, Scope: "read write"}), nil); err != nil || !got[token] {
			t.Errorf("another route got another token, %v", err)
		}
		if token, err := n.get(n.source(routetoken.Client, stock), nil); err != nil || got[token] {
			t.Errorf("a route for another audience got this token, %v", err)
		}
		w.idp.asked()
		time.Sleep(9*time.Minute + time.Second)
		before := time.Now()
		if token, err := n.get(src, nil); err != nil || !got[token] || time.Since(before) != 0 {
			t.Errorf("the request waited for the renewal: %v, %v", err, time.Since(before))
		}
		time.Sleep(2 * time.Second)
		if token, err := n.get(src, nil); err != nil || got[token] || len(w.idp.asked()) != 1 {
			t.Errorf("the token was not renewed: %v", err)
		}
		n.stop()
	})
}

// The token outlives the outage of the provider, and the outage causes few requests.
func TestClientTokenInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		src := n.source(routetoken.Client, orders)
		if _, err := n.get(src, nil); err != nil {
			t.Fatal(err)
		}
		w.idp.asked()
		w.idp.change(func() { w.idp.instead = func(url.Values) (int, map[string]any) { return 503, nil } })
		for range 60 { // the last minute
			time.Sleep(time.Second)
		}
		time.Sleep(8 * time.Minute)
		for range 59 {
			if _, err := n.get(src, nil); err != nil {
				t.Fatalf("a valid token was not used: %v", err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		var last error
		for range 600 {
			_, last = n.get(src, nil)
			time.Sleep(100 * time.Millisecond)
		}
		if e := wantStatus(t, last, http.StatusServiceUnavailable); e.RetryAfter <= 0 || e.RetryAfter > 8*time.Second {
			t.Errorf("Retry-After %v", e.RetryAfter)
		}
		if asked := len(w.idp.asked()); asked > 25 {
			t.Errorf("%d requests in two minutes of an outage", asked)
		}
		w.idp.change(func() { w.idp.instead = nil })
		time.Sleep(9 * time.Second)
		if _, err := n.get(src, nil); err != nil || len(w.idp.asked()) != 1 {
			t.Errorf("after the outage: %v", err)
		}
		n.stop()
	})
}

// What the provider does not give is an error of its class, and is not requested again
// for some seconds.
func TestClientTokenRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		answer map[string]any
		want   int
		words  []string
	}{
		"the grant is not allowed":  {400, map[string]any{"error": "unauthorized_client"}, 502, []string{"level=ERROR", "routes[1].token", "route=/orders", "allow the client this grant"}},
		"the credential is refused": {401, map[string]any{"error": "invalid_client"}, 502, []string{"level=ERROR", "setting=Client.Secret", "invalid_client"}},
		"the target is refused":     {400, map[string]any{"error": "invalid_target"}, 502, []string{"level=ERROR", "routes[1].audience", "invalid_target"}},
		"the scope is refused":      {400, map[string]any{"error": "invalid_scope"}, 502, []string{"level=ERROR", "routes[1].scope"}},
		"access is denied":          {403, map[string]any{"error": "access_denied"}, 403, []string{"level=INFO", "route=/orders"}},
		"a server error":            {500, nil, 503, []string{"level=DEBUG", "class=transient"}},
		"another audience":          {200, map[string]any{"access_token": jwt(api)}, 502, []string{"level=ERROR", "routes[1].audience", api, "allow this client to request it"}},
		"an opaque token":           {200, map[string]any{"access_token": "opaque"}, 502, []string{"level=ERROR", "opaque", "issue JWTs"}},
		"another token type":        {200, map[string]any{"token_type": "DPoP"}, 502, []string{"level=ERROR", "bearer"}},
		"expired":                   {200, map[string]any{"access_token": "e30.eyJhdWQiOiJodHRwczovL29yZGVycy5leGFtcGxlIiwiZXhwIjoxfQ.c2ln", "expires_in": nil}, 502, []string{"level=ERROR", "expired", "NTP"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.start()
				src := n.source(routetoken.Client, orders)
				w.idp.change(func() {
					w.idp.answer = test.answer
					if test.status != 200 {
						w.idp.instead = func(url.Values) (int, map[string]any) { return test.status, test.answer }
					}
				})
				for range 5 {
					_, err := n.get(src, nil)
					wantStatus(t, err, test.want)
				}
				if asked := len(w.idp.asked()); asked != 1 {
					t.Errorf("%d requests, want 1", asked)
				}
				w.wantLine(test.words...)
				w.idp.change(func() { w.idp.answer, w.idp.instead = nil, nil })
				time.Sleep(5 * time.Second)
				if _, err := n.get(src, nil); err != nil {
					t.Errorf("after the correction: %v", err)
				}
				n.stop()
			})
		})
	}
}

// A token that the upstream refuses is replaced once, not at each refusal.
func TestClientTokenRefusedByUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start()
		src := n.source(routetoken.Client, orders)
		first, err := n.get(src, nil)
		if err != nil {
			t.Fatal(err)
		}
		if src.Refused(nil, "Bearer "+first) {
			t.Error("a token that has just been issued is replaced")
		}
		time.Sleep(time.Minute)
		if !src.Refused(nil, "Bearer "+first) {
			t.Error("a refused token is not replaced")
		}
		second, err := n.get(src, nil)
		if err != nil || second == first {
			t.Fatalf("the same token again, %v", err)
		}
		if !src.Refused(nil, "Bearer "+first) {
			t.Error("a request with the former token is not told of the new one")
		}
		time.Sleep(10 * time.Second)
		if src.Refused(nil, "Bearer "+second) {
			t.Error("a second refusal within 30 s replaces the token")
		}
		if asked := len(w.idp.asked()); asked != 2 {
			t.Errorf("%d requests, want 2", asked)
		}
		n.stop()
	})
}

// Without expires_in the token says when it expires, and otherwise it is used for a few minutes.
func TestUnknownLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.idp.answer = map[string]any{"expires_in": nil}
		n := w.start()
		src := n.source(routetoken.Client, orders)
		if _, err := n.get(src, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if _, err := n.get(src, nil); err != nil || len(w.idp.asked()) != 1 {
			t.Errorf("within its assumed lifetime: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if _, err := n.get(src, nil); err != nil || len(w.idp.asked()) != 1 {
			t.Errorf("after its assumed lifetime: %v", err)
		}
		n.stop()
	})
}
