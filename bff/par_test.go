package bff_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// RFC 9126: the browser carries client_id and request_uri. Everything else is
// sent to the provider directly, with the client's authentication.
func TestPushedAuthorizationRequest(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]bff.AuthMethod{"basic": bff.AuthBasic, "post": bff.AuthPost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(c *bff.Config) { c.Client.Auth = auth })
			s.idp.offersPAR()
			s.idp.metadata["require_pushed_authorization_requests"] = true
			s.reconfigure()
			b := s.browser()
			res := b.navigate("/api/auth/login?returnTo=/private&login_hint=ada&scope=admin")
			q := sentTo(t, res)
			if len(q) != 3 || q.Get("client_id") != clientID || !strings.HasPrefix(q.Get("request_uri"), "urn:") || q.Get("tenant") != "a" {
				t.Errorf("the browser carries %v", q)
			}
			pushed := s.idp.called("/par")[0].form
			for name, want := range map[string]string{
				"response_type": "code", "redirect_uri": "http://localhost:3000/api/auth/callback", "scope": "openid profile email offline_access",
				"code_challenge_method": "S256", "audience": audience, "resource": audience, "login_hint": "ada",
			} {
				if pushed.Get(name) != want {
					t.Errorf("pushed %s = %q, want %q", name, pushed[name], want)
				}
			}
			back := b.back(s.idp.authorize(res.location()))
			wantStatus(t, back, http.StatusSeeOther)
			if back.location() != "/private" || !b.signedIn() {
				t.Errorf("back to %q", back.location())
			}
		})
	}
}

// After a failed push the parameters are not sent through the browser: an
// attacker who makes pushes fail could force that.
func TestPushFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int
		shows  string
	}{
		"down":           {refuse(http.StatusServiceUnavailable, ""), http.StatusServiceUnavailable, "Try again"},
		"refused":        {refuse(http.StatusBadRequest, "invalid_scope"), http.StatusBadGateway, "Error: invalid_scope"},
		"client unknown": {refuse(http.StatusUnauthorized, "invalid_client"), http.StatusBadGateway, "Error: invalid_client"},
		"HTML":           {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, http.StatusServiceUnavailable, "Try again"},
		"no request_uri": {func(w http.ResponseWriter, _ *http.Request) { reply(w, 201, map[string]any{"expires_in": 60}) }, http.StatusServiceUnavailable, "Try again"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 201, map[string]any{"request_uri": strings.Repeat("u", 4096)})
		}, http.StatusServiceUnavailable, "Try again"},
		"redirected away": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, issuerURL+"/elsewhere", http.StatusTemporaryRedirect)
		}, http.StatusBadGateway, "did not work"},
		"404, as if absent": {http.NotFound, http.StatusBadGateway, "did not work"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.idp.offersPAR()
			s.idp.instead["/par"] = c.answer
			s.reconfigure()
			b := s.browser()
			res := b.navigate("/api/auth/login?returnTo=/private")
			wantStatus(t, res, c.status)
			if len(b.attempts()) != 0 || !strings.Contains(res.body, c.shows) || !strings.Contains(res.body, "returnTo=%2Fprivate") {
				t.Errorf("attempts %v: %s", b.attempts(), res.body)
			}
			if len(s.idp.called("/elsewhere")) != 0 {
				t.Error("a redirect was followed, with our credentials")
			}
		})
	}
}

func TestPushIsOptional(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Login.OmitPAR = true })
	s.idp.offersPAR()
	s.reconfigure()
	s.browser().signIn()
	if len(s.idp.called("/par")) != 0 {
		t.Error("pushed although turned off")
	}
	// What the provider requires can be neither turned off nor missing.
	for _, change := range []map[string]any{
		{"require_pushed_authorization_requests": true},
		{"require_pushed_authorization_requests": true, "pushed_authorization_request_endpoint": tokentest.Absent},
	} {
		lay(s.idp.metadata, change)
		s.reconfigure()
		wantStatus(t, s.browser().navigate("/api/auth/login"), http.StatusServiceUnavailable)
		wantStatus(t, s.browser().fetch("/readyz"), http.StatusServiceUnavailable)
		if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "ushed") {
			t.Errorf("Ready returns %v", err)
		}
		s.cfg.Login.OmitPAR = false
	}
}

// A hanging provider costs a browser 5 seconds.
func TestPushHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.idp.offersPAR()
		s.idp.instead["/par"] = hang
		s.reconfigure()
		began := time.Now()
		wantStatus(t, s.browser().navigate("/api/auth/login"), http.StatusServiceUnavailable)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Whatever part of the provider hangs or is slow, a browser's request ends
// within 10 seconds.
func TestCallbackIsBounded(t *testing.T) {
	t.Parallel()
	slowly := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(4900 * time.Millisecond):
				h(w, r)
			case <-r.Context().Done():
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser()
		s.idp.instead["/token"] = slowly(s.idp.token)
		s.idp.instead["/userinfo"] = hang
		s.idp.instead["/keys"] = hang
		s.idp.id["email"] = tokentest.Absent
		for name, header := range map[string]map[string]any{"userinfo hangs": {}, "the keys hang too": {"kid": "new"}} {
			s.idp.change(func(p *provider) { p.idHeader = header })
			began := time.Now()
			b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
			if took := time.Since(began); took > 10*time.Second || took < 4900*time.Millisecond {
				t.Errorf("%s: took %v", name, took)
			}
		}
		<-time.After(time.Minute) // on the bubble's clock, so that the request for the keys ends within it
	})
}

// RFC 6749 §3.1: the endpoint's own query is kept; our parameters win.
func TestEndpointQuery(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.metadata["authorization_endpoint"] = issuerURL + "/authorize?tenant=a&scope=theirs"
	s.reconfigure()
	q := sentTo(t, s.browser().navigate("/api/auth/login"))
	if q.Get("tenant") != "a" || len(q["scope"]) != 1 || q.Get("scope") == "theirs" {
		t.Errorf("%v", q)
	}
}
