//go:build unix

package bff_test

import (
	"net/http"
	"sync"
	"testing"
	"time"
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
