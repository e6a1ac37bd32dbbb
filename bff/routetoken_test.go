//go:build unix

package bff_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// Parallel requests for the API and for routes with tokens of all kinds, at several nodes: each
// gets its token, and every token is requested once.
func TestRouteTokensAtSeveralNodes(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real := begin(t)
			routes, behind := tokenRoutes(t)
			s := start(t, real.handle(t), routed(routes...))
			nodes := []*system{s}
			for range 2 {
				other := *s
				real.handle(t)(&other.cfg)
				other.reconfigure()
				nodes = append(nodes, &other)
			}
			for _, n := range nodes {
				n.run()
			}
			b := s.browser().signIn()
			paths := []string{"/api/private-route"}
			for _, r := range routes {
				paths = append(paths, r.Path)
			}
			for range 2 {
				before := len(s.idp.refreshes())
				const each = 12
				var asking sync.WaitGroup
				for i := range each * len(paths) {
					asking.Go(func() {
						if res := b.as(nodes[i%len(nodes)]).fetch(paths[i/len(nodes)%len(paths)]); res.StatusCode != http.StatusOK {
							t.Errorf("%s: status %d: %s", paths[i/len(nodes)%len(paths)], res.StatusCode, res.body)
						}
					})
				}
				asking.Wait()
				wantAudiences(t, behind.requests(), each*len(routes))
				if n := len(s.idp.refreshes()) - before; n > 2 {
					t.Errorf("%d refreshes, want one for the session and one for the route", n)
				}
				for _, r := range s.api.requests() {
					if bearer(r) == "" {
						t.Error("a request for the API has no token")
					}
				}
				s.clock.Advance(20 * time.Minute)
			}
			if len(s.idp.good()) != 1 {
				t.Error("the grant was revoked")
			}
		})
	}
}

// The check requests the client's own tokens, and says what only a user can prove.
func TestCheckOfRouteTokens(t *testing.T) {
	t.Parallel()
	routes, _ := tokenRoutes(t)
	s := start(t, routed(routes...))
	for status, want := range map[bff.CheckStatus]string{
		bff.CheckOK:      `route token: /mail: the client gets a token for "https://orders.example.com" by client credentials`,
		bff.CheckUnknown: `route token: /stock: that users get a token for "stock" (grant: exchange) needs a user`,
	} {
		if got := found(s, status); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", status, got, want)
		}
	}
	s = start(t, routed(routes...))
	s.idp.change(func(p *provider) {
		p.metadata["grant_types_supported"] = []string{"authorization_code", "refresh_token", "client_credentials"}
		p.answer = map[string]any{"access_token": "opaque"}
	})
	s.reconfigure()
	if got, want := found(s, bff.CheckWarn), "token-exchange, which Routes[1] (/stock) uses"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := found(s, bff.CheckWrong), "/mail (Routes[2]): the client does not get a token"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A session does not keep more tokens than it has room for, so that more are refused.
func TestTooManyRouteTokens(t *testing.T) {
	t.Parallel()
	s := start(t)
	for n := range 17 {
		s.cfg.Routes = append(s.cfg.Routes, bff.Route{Path: "/r" + strconv.Itoa(n), Token: bff.RouteToken{Audience: "a" + strconv.Itoa(n)}})
		if err := s.cfg.Validate(); (err != nil) != (n == 16) {
			t.Errorf("%d routes: %v", n+1, err)
		}
	}
}
