package bff_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestTokensOfAnotherProvider: after the provider was changed, sessions of the former one
// go on until their access token expires. The new provider gets none of their tokens.
func TestTokensOfAnotherProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		former, leaving := s.browser().signIn(), s.browser().signIn()
		granted := s.idp.good()
		s.idp.change(func(p *provider) { p.metadata["issuer"] = "https://new.example" })
		s.at.Issuer = "https://new.example/"
		s.reconfigure()

		time.Sleep(4*time.Minute + 30*time.Second) // a refresh is due
		if former.access() == "" || !former.signedIn() {
			t.Error("the session has ended before its access token")
		}
		res := leaving.navigate("/api/auth/logout", site("same-origin"))
		wantStatus(t, res, http.StatusSeeOther)
		if to := sentTo(t, res); to.Has("id_token_hint") {
			t.Errorf("the new provider gets the ID token of the former one: %v", to)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if res := former.fetch("/api/private-route"); res.StatusCode != http.StatusUnauthorized || former.signedIn() {
			t.Errorf("after the access token has expired: status %d, signed in: %v", res.StatusCode, former.signedIn())
		}
		if n := len(s.idp.refreshes()); n != 0 {
			t.Errorf("the new provider got %d refresh tokens", n)
		}
		for _, token := range s.idp.revoked() {
			if strings.Contains(strings.Join(granted, " "), token) {
				t.Error("the new provider got a refresh token to revoke")
			}
		}
	})
}
