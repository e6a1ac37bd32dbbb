package bff_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// jwtFor returns an access token for an audience. Its signature is the server's to verify.
func jwtFor(s *system, audience string, n int64) string {
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":%d,"sub":"alice","jti":"%d"}`, issuerURL, audience, s.cfg.Now().Add(time.Hour).Unix(), n)
	return secret("route token", encode([]byte(`{"alg":"RS256","typ":"at+jwt"}`))+"."+encode([]byte(claims))+"."+encode([]byte(fmt.Sprint("signature", n))))
}

// Routes get the client's own token and the user's for another audience. A token that the
// server refuses is replaced once; what remains is 502 for the client's and 401 for the
// user's, and without a token the answer says which class of failure it is.
func TestRouteTokens(t *testing.T) {
	t.Parallel()
	refused := atomic.Value{}
	refused.Store("")
	be := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if got := refused.Load().(string); got == "all" || got != "" && got == bearer(r) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	client := bff.RouteToken{Kind: bff.TokenClient, Audience: "jobs"}
	s := start(t, routed(
		bff.Route{Path: "/jobs", Upstream: be.to(), Token: client},
		bff.Route{Path: "/open", Upstream: be.to(), Token: client, Public: true},
		bff.Route{Path: "/orders", Upstream: be.to(), Token: bff.RouteToken{Audience: "orders"}},
		bff.Route{Path: "/visits", Upstream: be.to(), Token: bff.RouteToken{Audience: "orders"}, Public: true},
		bff.Route{Path: "/denied", Upstream: be.to(), Token: bff.RouteToken{Audience: "denied", Grant: bff.GrantExchange}},
		bff.Route{Path: "/wrong", Upstream: be.to(), Token: bff.RouteToken{Audience: "wrong", Grant: bff.GrantExchange}},
	))
	b := s.browser().signIn()
	b.fetch("/api/private-route")
	own := bearer(s.api.requests()[0])
	s.idp.change(func(p *provider) { p.instead["/token"] = routeTokens(s) })
	visitor := s.browser()
	token := func(b *browser, path string, status int) string {
		t.Helper()
		wantStatus(t, b.fetch(path), status)
		seen := be.requests()
		if len(seen) == 0 {
			return ""
		}
		return bearer(seen[len(seen)-1])
	}
	jobs, orders := token(b, "/jobs/1", 200), token(b, "/orders/1", 200)
	for what, got := range map[string]bool{
		"the client's token is one for its audience": jobs != "" && jobs != own && jobs != orders,
		"all sessions and visitors share it":         token(visitor, "/open/1", 200) == jobs,
		"it is not for those without a session":      token(visitor, "/jobs/1", 401) == "",
		"the user's token is one for its audience":   orders != "" && orders != own,
		"it is kept":                               token(b, "/orders/2", 200) == orders,
		"visitors have none":                       token(visitor, "/visits/1", 200) == "" && token(b, "/visits/1", 200) == orders,
		"the provider denies it":                   token(b, "/denied", 403) == "",
		"it is for another audience, and not used": token(b, "/wrong", 502) == "",
		"the API gets the session's still":         b.access() == own,
		"all are signed in":                        b.signedIn(),
	} {
		if !got {
			t.Errorf("not so: %s", what)
		}
	}
	s.clock.Advance(time.Minute)
	for path, old := range map[string]string{"/jobs/1": jobs, "/orders/1": orders} {
		refused.Store(old)
		if got := token(b, path, 200); got == "" || got == old {
			t.Errorf("%s: no other token after a refusal", path)
		}
	}
	refused.Store("all")
	be.requests()
	res := b.fetch("/jobs/1", header("Referer", "http://localhost:3000/page"))
	if res.StatusCode != http.StatusBadGateway || res.Header.Get("Gatehouse-Login") != "" {
		t.Errorf("the client's token is refused: %d %v", res.StatusCode, res.Header)
	}
	res = b.fetch("/orders/1")
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Gatehouse-Login") == "" {
		t.Errorf("the user's token is refused: %d %v", res.StatusCode, res.Header)
	}
	if !b.signedIn() {
		t.Error("the session has ended")
	}
}

// routeTokens answers the token requests of routes.
func routeTokens(s *system) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		audience := r.PostForm.Get("audience")
		answer := map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": jwtFor(s, audience, n.Add(1))}
		switch grant := r.PostForm.Get("grant_type"); {
		case audience == "denied":
			reply(w, http.StatusForbidden, map[string]string{"error": "access_denied"})
			return
		case audience == "wrong":
			answer["access_token"] = jwtFor(s, "https://api.example", n.Load())
		case grant == "refresh_token":
			answer["refresh_token"] = secret("refresh token", fmt.Sprint("rotated-refresh-token-", n.Load()))
		}
		if strings.HasSuffix(r.PostForm.Get("grant_type"), "token-exchange") {
			answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
		}
		reply(w, http.StatusOK, answer)
	}
}
