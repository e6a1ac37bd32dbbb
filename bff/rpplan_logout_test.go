package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// signsOut is the common part of the logout plans: the user signs out here, and
// is sent to the end_session_endpoint. It returns the parameters.
func signsOut(t *testing.T, b *browser) url.Values {
	t.Helper()
	res := b.navigate("/api/auth/logout?returnTo=/public", site("same-origin"))
	wantStatus(t, res, http.StatusSeeOther)
	u, err := url.Parse(res.location())
	if err != nil || u.Scheme+"://"+u.Host+u.Path != issuerURL+"/logout" {
		t.Fatalf("sent to %q", res.location())
	}
	q := u.Query()
	if strings.Count(q.Get("id_token_hint"), ".") != 2 || q.Get("post_logout_redirect_uri") != b.s.cfg.BaseURL || q.Get("state") == "" {
		t.Error("id_token_hint, post_logout_redirect_uri or state is missing")
	}
	if b.signedIn() {
		t.Error("still signed in here")
	}
	return q
}

// returns is the post-logout redirect. It must end at a page.
func returns(t *testing.T, b *browser, query, to string) {
	t.Helper()
	res := b.navigate("/"+query, site("cross-site"))
	if to == "" {
		wantStatus(t, res, http.StatusOK)
	} else if res.StatusCode != http.StatusSeeOther || res.location() != to {
		t.Errorf("status %d, to %q", res.StatusCode, res.location())
	}
	if b.signedIn() {
		t.Error("signed in again")
	}
}

// TestRPPlanRPInitiatedLogout is oidcc-client-rp-initiated-logout-rp-basic.
func TestRPPlanRPInitiatedLogout(t *testing.T) {
	t.Parallel()
	run(t, []module{
		{"oidcc-client-test-rp-init-logout", func(t *testing.T, s *system, signIn signIn) {
			b := accepts(t, s, signIn)
			q := signsOut(t, b)
			returns(t, b, "?"+url.Values{"state": q["state"]}.Encode(), "/public")
		}},
		{"oidcc-client-test-rp-init-logout-other-state", func(t *testing.T, s *system, signIn signIn) {
			b := accepts(t, s, signIn)
			signsOut(t, b)
			returns(t, b, "?state=another", "")
		}},
		{"oidcc-client-test-rp-init-logout-no-state", func(t *testing.T, s *system, signIn signIn) {
			b := accepts(t, s, signIn)
			signsOut(t, b)
			returns(t, b, "", "")
		}},
	}, byQuery)
}

// TestRPPlanBackChannelLogout is oidcc-client-back-channel-logout-rp-basic. Each
// token is sent twice: during the session, which an invalid one must not end,
// and, as in the plan, while the user signs out.
func TestRPPlanBackChannelLogout(t *testing.T) {
	t.Parallel()
	const backchannel = "oidcc-client-test-rp-backchannel-rpinitlogout"
	type claims = map[string]any
	logout := func(good bool, change claims, header claims, reform func(string) string) func(*testing.T, *system, signIn) {
		return func(t *testing.T, s *system, signIn signIn) {
			b := accepts(t, s, signIn)
			send := func() {
				t.Helper()
				raw := s.idp.logoutToken(change, header)
				if reform != nil {
					raw = reform(raw)
				}
				want := http.StatusBadRequest
				if good {
					want = http.StatusOK
				}
				res := tell(s, url.Values{"logout_token": {raw}})
				wantStatus(t, res, want)
				if !strings.Contains(res.Header.Get("Cache-Control"), "no-store") {
					t.Errorf("Cache-Control %q", res.Header.Get("Cache-Control"))
				}
			}
			send()
			if b.signedIn() == good {
				t.Fatalf("signed in: %t", !good)
			}
			if good { // and once more with another session: this one is barred
				s.idp.id["sid"] = "sid-2"
				change = claims{"sid": "sid-2"}
				b = accepts(t, s, signIn)
			}
			q := signsOut(t, b)
			send()
			returns(t, b, "?"+url.Values{"state": q["state"]}.Encode(), "/public")
		}
	}
	run(t, []module{
		{backchannel, logout(true, nil, nil, nil)},
		{backchannel + "-alg-none", logout(false, nil, claims{"alg": "none", "kid": tokentest.Absent}, func(raw string) string {
			head, _, _ := cutLast(raw, ".")
			return head + "."
		})},
		{backchannel + "-no-event", logout(false, claims{"events": tokentest.Absent}, nil, nil)},
		{backchannel + "-with-nonce", logout(false, claims{"nonce": "nonce"}, nil, nil)},
		{backchannel + "-wrong-alg", logout(false, nil, claims{"alg": "HS256"}, nil)},
		{backchannel + "-wrong-aud", logout(false, claims{"aud": clientID + "1"}, nil, nil)},
		{backchannel + "-wrong-event", logout(false, claims{"events": claims{"http://schemas.openid.net/event/frontchannel-logout": claims{}}}, nil, nil)},
		{backchannel + "-wrong-iss", logout(false, claims{"iss": issuerURL + "/1"}, nil, nil)},
	}, byQuery)
}

// TestRPPlanFrontChannelLogout is oidcc-client-front-channel-logout-rp-basic,
// and the module of the comprehensive logout plan where the provider begins.
func TestRPPlanFrontChannelLogout(t *testing.T) {
	t.Parallel()
	run(t, []module{
		{"oidcc-client-test-rp-frontchannel-rpinitlogout", func(t *testing.T, s *system, signIn signIn) {
			b := accepts(t, s, signIn)
			q := signsOut(t, b)
			wantStatus(t, frame(b, issuerURL, "sid-1", without("Cookie")), http.StatusOK)
			returns(t, b, "?"+url.Values{"state": q["state"]}.Encode(), "/public")
		}},
		{"oidcc-client-test-rp-frontchannel-opinitlogout", func(t *testing.T, s *system, signIn signIn) {
			b := accepts(t, s, signIn)
			wantStatus(t, frame(b, issuerURL, "sid-1", without("Cookie")), http.StatusOK)
			if b.signedIn() {
				t.Error("still signed in")
			}
		}},
	}, byQuery)
}
