package bff_test

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// A process that has just started does not know the provider yet. Requests wait
// for it, at most 2 s, and only then get 503.
func TestFirstRequestsWaitForTheProvider(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		answers time.Duration // when the provider does
		served  bool
		waits   time.Duration
	}{
		{"answers after 1 s", time.Second, true, time.Second},
		{"answers after 3 s", 3 * time.Second, false, 2 * time.Second},
		{"never answers", time.Hour, false, 2 * time.Second},
	} {
		for name, request := range map[string]func(s *system, b *browser, callback, logoutToken string) (res *response, served int){
			"login": func(_ *system, b *browser, _, _ string) (*response, int) {
				return b.navigate("/api/auth/login"), http.StatusSeeOther
			},
			"callback": func(_ *system, b *browser, callback, _ string) (*response, int) {
				return b.back(callback), http.StatusSeeOther
			},
			"logout token": func(s *system, _ *browser, _, logoutToken string) (*response, int) {
				return tell(s, url.Values{"logout_token": {logoutToken}}), http.StatusOK
			},
			"refresh": func(_ *system, b *browser, _, _ string) (*response, int) {
				return b.fetch("/api/private-route"), http.StatusOK
			},
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := bubble(t)
					b := s.browser().signIn()
					callback := s.idp.authorize(b.navigate("/api/auth/login").location())
					<-time.After(s.idp.lifetime) // the access token has expired
					up := time.Now().Add(c.answers)
					late := func(w http.ResponseWriter, r *http.Request) {
						select {
						case <-time.After(time.Until(up)):
							s.idp.change(func(p *provider) { delete(p.instead, r.URL.Path) })
							s.idp.serve(w, r)
						case <-r.Context().Done():
						}
					}
					s.idp.change(func(p *provider) { p.instead["/.well-known/openid-configuration"] = late })
					restarted := unfollowed(t, s)
					restarted.cookies = b.cookies
					s.run()
					began := time.Now()
					res, want := request(s, restarted, callback, s.idp.logoutToken(nil))
					waited := time.Since(began)
					if !c.served {
						want = http.StatusServiceUnavailable
						if res.Header.Get("Retry-After") == "" {
							t.Error("503 without Retry-After")
						}
					}
					wantStatus(t, res, want)
					if waited != c.waits {
						t.Errorf("waited %v, want %v", waited, c.waits)
					}
				})
			})
		}
	}
}
