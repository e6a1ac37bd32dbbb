package bff_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

func TestLogout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		elsewhere := s.browser().signIn()
		refresh := s.idp.good()
		stolen := b.session()
		res := b.navigate("/api/auth/logout?returnTo=/public", site("same-origin"))
		wantStatus(t, res, http.StatusSeeOther)

		// At the provider (RP-Initiated Logout §2).
		u, err := url.Parse(res.location())
		if err != nil || u.Scheme+"://"+u.Host+u.Path != issuerURL+"/logout" {
			t.Fatalf("sent to %q", res.location())
		}
		q := u.Query()
		if q.Get("client_id") != clientID || q.Get("post_logout_redirect_uri") != "http://localhost:3000" || strings.Count(q.Get("id_token_hint"), ".") != 2 || q.Get("state") == "" {
			t.Error("a parameter is wrong")
		}
		// The hint is in the address only.
		if res.body != "" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("Cache-Control %q, body %q", res.Header.Get("Cache-Control"), res.body)
		}

		// Here the session ends at once.
		if cleared := res.set("gatehouse"); cleared == nil || cleared.MaxAge >= 0 || b.signedIn() {
			t.Error("the cookie is not cleared")
		}
		b.cookies["gatehouse"] = stolen
		if b.signedIn() {
			t.Error("the session has not ended")
		}
		if !elsewhere.signedIn() {
			t.Error("another session ended")
		}

		// Revoked afterwards: otherwise Keycloak would not tell its other clients.
		synctest.Wait()
		if len(s.idp.revoked()) != 0 {
			t.Error("revoked before the browser returned from the provider")
		}
		back := b.navigate("/?state="+url.QueryEscape(q.Get("state")), site("cross-site"))
		wantStatus(t, back, http.StatusSeeOther)
		b.navigate("/?state=" + url.QueryEscape(q.Get("state"))) // again, while the first revokes
		if back.location() != "/public" {
			t.Errorf("back to %q", back.location())
		}
		synctest.Wait()
		if got := s.idp.revoked(); len(got) != 1 || !slices.Contains(refresh, got[0]) {
			t.Errorf("%d revocations", len(got))
		}
		if call := s.idp.called("/revoke")[0]; call.form.Get("token_type_hint") != "refresh_token" || call.header.Get("Authorization") == "" {
			t.Errorf("the revocation: %v", call.form["token_type_hint"])
		}
		time.Sleep(time.Minute) // of the fake clock
		if n := len(s.idp.revoked()); n != 1 {
			t.Errorf("%d revocations", n)
		}
	})
}

// The refresh token is revoked although the browser does not return from the
// provider.
func TestLogoutWithoutReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		stop := s.running(t)
		s.browser().signIn().navigate("/api/auth/logout")
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if n := len(s.idp.revoked()); n != 0 {
			t.Errorf("%d revocations after 29 s", n)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if n := len(s.idp.revoked()); n != 1 {
			t.Errorf("%d revocations after 33 s", n)
		}
		stop()
	})
}

// A node that stops while it revokes waits for the provider: no other node has
// the token.
func TestStopWaitsForRevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		goOn := make(chan struct{})
		s.idp.instead["/revoke"] = func(w http.ResponseWriter, _ *http.Request) {
			<-goOn
			w.WriteHeader(http.StatusOK)
		}
		stop := s.running(t)
		b := s.browser().signIn()
		q := sentTo(t, b.navigate("/api/auth/logout"))
		b.navigate("/?state=" + url.QueryEscape(q.Get("state")))
		synctest.Wait() // the provider has the request
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("the node stopped while it revoked")
		default:
		}
		close(goOn)
		<-stopped
	})
}

// running is run for a bubble: it stops before the bubble ends.
func (s *system) running(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended, node := make(chan error), s.BFF
	go func() { ended <- node.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// When a node is killed after a logout, one other node revokes the token.
func TestAnotherNodeRevokes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		refresh := s.idp.good
		s.browser().signIn().navigate("/api/auth/logout") // at this node, which then stops working
		due := refresh()
		s.reconfigure()
		stopOne := s.running(t)
		s.reconfigure()
		stopTwo := s.running(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.idp.revoked(); len(got) != 1 || got[0] != due[0] {
			t.Errorf("%d revocations", len(got))
		}
		stopOne()
		stopTwo()
		if n := len(s.idp.revoked()); n != 1 {
			t.Errorf("%d revocations at the end", n)
		}
	})
}

// A browser may return from the provider to another node.
func TestLogoutReturnsToAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		u, err := url.Parse(b.navigate("/api/auth/logout?returnTo=/public").location())
		if err != nil {
			t.Fatal(err)
		}
		s.reconfigure()
		res := b.navigate("/?state="+url.QueryEscape(u.Query().Get("state")), site("cross-site"))
		if res.location() != "/public" {
			t.Errorf("back to %q", res.location())
		}
		synctest.Wait()
		if n := len(s.idp.revoked()); n != 1 {
			t.Errorf("%d revocations", n)
		}
	})
}

// A revocation is retried if the provider is unavailable, and not if it refuses.
func TestRevocationRetry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		calls  int
	}{
		"an outage":  {refuse(503, "temporarily_unavailable"), 2},
		"a hang":     {hang, 2},
		"a refusal":  {refuse(400, "unsupported_token_type"), 1},
		"not for us": {refuse(401, "invalid_client"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				stop := s.running(t)
				s.idp.change(func(p *provider) { p.instead["/revoke"] = c.answer })
				s.browser().signIn().navigate("/api/auth/logout")
				time.Sleep(50 * time.Second)
				s.idp.change(func(p *provider) { clear(p.instead) })
				time.Sleep(5 * time.Minute)
				if n := len(s.idp.called("/revoke")); n != c.calls {
					t.Errorf("%d calls, want %d", n, c.calls)
				}
				if good := len(s.idp.good()) == 0; good != (c.calls == 2) {
					t.Errorf("revoked in the end: %t", good)
				}
				stop()
			})
		})
	}
}

// A revocation that cannot be stored is made at once.
func TestRevocationNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		s.store.change(func(s *store) { s.notes = outage })
		wantStatus(t, b.navigate("/api/auth/logout"), http.StatusSeeOther)
		synctest.Wait()
		if n := len(s.idp.revoked()); n != 1 {
			t.Errorf("%d revocations", n)
		}
	})
}

// Pending revocations are sealed: a stolen store reveals no token.
func TestPendingRevocationsAreSealed(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	refresh := s.idp.good()[0]
	b.navigate("/api/auth/logout")
	s.clock.Advance(time.Minute)
	notes, err := s.store.DueNotes(t.Context(), "revocation", 10)
	if err != nil || len(notes) != 1 {
		t.Fatalf("%d notes, %v", len(notes), err)
	}
	if bytes.Contains(notes[0].Value, []byte(refresh)) || strings.Contains(notes[0].Key, refresh) {
		t.Error("the store has the refresh token in plain text")
	}
}

// A form of the bff's own pages signs out like a link. One of another site does
// not.
func TestLogoutByPost(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	b := s.browser().signIn()
	for _, edits := range [][]edit{
		{site("cross-site")}, {site("same-site")}, {header("Origin", "https://blog.shop.example")}, {header("Origin", "null")},
	} {
		wantStatus(t, b.do(http.MethodPost, "/api/auth/logout", nil, edits...), http.StatusForbidden)
	}
	if !b.signedIn() {
		t.Fatal("signed out")
	}
	res := b.do(http.MethodPost, "/api/auth/logout?returnTo=/public", nil, site("same-origin"), header("Origin", "https://shop.example"))
	wantStatus(t, res, http.StatusSeeOther)
	if !strings.HasPrefix(res.location(), issuerURL+"/logout?") || b.signedIn() {
		t.Errorf("sent to %q", res.location())
	}
}

// A process that stops carries out its pending revocations.
func TestStopRevokes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		s.browser().signIn().navigate("/api/auth/logout")
		s.browser().signIn().navigate("/api/auth/logout")
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := len(s.idp.revoked()); n != 2 {
			t.Errorf("%d revocations", n)
		}
	})
}

// The session ends here if the provider has no logout, or is unavailable.
func TestLogoutWithoutProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.idp.metadata["end_session_endpoint"] = ""
		s.reconfigure()
		b := s.browser().signIn()
		res := b.navigate("/api/auth/logout?returnTo=/public")
		if res.location() != "/public" || b.signedIn() {
			t.Errorf("sent to %q", res.location())
		}
		synctest.Wait()
		if n := len(s.idp.revoked()); n != 1 {
			t.Errorf("%d revocations, want one at once", n)
		}

		// Not reached since the start of this node; the session is of another.
		b.signIn()
		known := s.BFF
		again := unfollowed(t, s)
		again.cookies = b.cookies
		if res := again.navigate("/api/auth/logout"); res.location() != "/" {
			t.Errorf("sent to %q", res.location())
		}
		s.BFF = known
		if b.signedIn() {
			t.Error("signed in")
		}
	})
}

func TestLogoutAtAuth0(t *testing.T) {
	t.Parallel()
	s := start(t)
	lay(s.idp.metadata, map[string]any{"end_session_endpoint": tokentest.Absent, "issuer": "https://tenant.eu.auth0.com/"})
	s.at.Issuer = "https://tenant.eu.auth0.com"
	s.idp.id["iss"] = "https://tenant.eu.auth0.com/"
	b := follow(t, s)
	if err := s.cfg.Provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.signIn()
	want := "https://tenant.eu.auth0.com/v2/logout?client_id=web%3Aclient&returnTo=http%3A%2F%2Flocalhost%3A3000"
	if got := b.navigate("/api/auth/logout").location(); got != want {
		t.Errorf("sent to %q", got)
	}
}

// Cognito's logout endpoint redirects to an allowed sign-out URL for its own two
// parameters only.
func TestLogoutAtCognito(t *testing.T) {
	t.Parallel()
	const issuer = "https://cognito-idp.eu-central-1.amazonaws.com" // without the id of the pool
	for name, announced := range map[string]any{"announced": "https://idp.example/logout", "not announced": tokentest.Absent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			lay(s.idp.metadata, map[string]any{"end_session_endpoint": announced, "issuer": issuer})
			s.at.Issuer = issuer
			s.idp.id["iss"] = issuer
			b := follow(t, s)
			if err := s.cfg.Provider.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.signIn()
			want := "https://idp.example/logout?client_id=web%3Aclient&logout_uri=http%3A%2F%2Flocalhost%3A3000"
			if got := b.navigate("/api/auth/logout").location(); got != want {
				t.Errorf("sent to %q", got)
			}
		})
	}
}

// Dex answers a redirect URI without an id_token_hint with an error page.
func TestLogoutAtDex(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Login.Scope = "openid audience:server:client_id:" + audience })
	s.idp.change(func(p *provider) { p.id["aud"], p.id["azp"] = []string{audience, clientID}, clientID })
	u, err := url.Parse(s.browser().signIn().navigate("/api/auth/logout", site("same-origin")).location())
	if err != nil || u.Path != "/logout" || u.RawQuery != "client_id=web%3Aclient" {
		t.Errorf("sent to %v: %v", u, err)
	}
}

// Logout CSRF: a logout by a link of another site needs a confirmation. So does
// one of a sibling subdomain, which SameSite takes for the same site.
func TestLogoutFromAnotherSite(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	for name, edits := range map[string][]edit{
		"a link on another site":         {site("cross-site")},
		"a sibling subdomain":            {site("same-site")},
		"an old browser, another site":   {without("Sec-Fetch-Site"), header("Referer", "https://evil.example/localhost:3000")},
		"an old browser, a similar site": {without("Sec-Fetch-Site"), header("Referer", "http://localhost:3000.evil.example/")},
		"an old browser, another port":   {without("Sec-Fetch-Site"), header("Referer", "http://localhost:3001/")},
		"an old browser, no referrer":    {without("Sec-Fetch-Site")},
		"a prefetch of our own page":     {site("same-origin"), header("Sec-Purpose", "prefetch")},
		"a prerender of the address bar": {site("none"), header("Sec-Purpose", "prefetch;prerender")},
		"an older prefetch":              {site("same-origin"), header("Purpose", "prefetch")},
		// Texts of other users may have images of any address.
		"an image of our own page":        {site("same-origin"), header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "image")},
		"a frame of our own page":         {site("same-origin"), header("Sec-Fetch-Dest", "iframe")},
		"a style of our own page":         {site("same-origin"), header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "style")},
		"an image of a sibling subdomain": {site("same-site"), header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "image")},
	} {
		res := b.navigate("/api/auth/logout?returnTo=/public", edits...)
		wantStatus(t, res, http.StatusForbidden)
		if len(res.Cookies()) != 0 || !b.signedIn() {
			t.Fatalf("%s: signed out", name)
		}
		if name == "a link on another site" && !strings.Contains(res.body, `href="/api/auth/logout?returnTo=%2Fpublic"`) {
			t.Errorf("the page does not ask: %s", res.body)
		}
	}
	for name, edits := range map[string][]edit{
		"our own link":             {site("same-origin")},
		"our own script":           {site("same-origin"), header("Sec-Fetch-Mode", "cors"), header("Sec-Fetch-Dest", "empty")},
		"typed":                    {site("none")},
		"an old browser, our link": {without("Sec-Fetch-Site"), header("Referer", "http://localhost:3000/private")},
	} {
		b.signIn()
		if res := b.navigate("/api/auth/logout", edits...); !strings.HasPrefix(res.location(), issuerURL+"/logout") || b.signedIn() {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
}

// Without a session the browser is not sent to the provider.
func TestLogoutWithoutSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	res := b.navigate("/api/auth/logout?returnTo=/public")
	if res.location() != "/public" || len(res.Cookies()) != 0 {
		t.Errorf("sent to %q, %d cookies", res.location(), len(res.Cookies()))
	}
	b.cookies["gatehouse"] = "stale"
	if res := b.navigate("/api/auth/logout"); res.location() != "/" || b.session() != "" {
		t.Errorf("sent to %q", res.location())
	}
}

// A logout that fails keeps the cookie.
func TestLogoutDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.store.change(func(s *store) { s.delete = outage })
	res := b.navigate("/api/auth/logout")
	wantStatus(t, res, http.StatusServiceUnavailable)
	if len(res.Cookies()) != 0 {
		t.Error("the cookie was cleared")
	}
	s.store.change(func(s *store) { s.delete = nil })
	if !b.signedIn() {
		t.Error("signed out")
	}
}

// Only a state of a logout of this bff is accepted, and only for 15 minutes.
func TestLogoutState(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	u, err := url.Parse(b.navigate("/api/auth/logout?returnTo=/public").location())
	if err != nil {
		t.Fatal(err)
	}
	state := u.Query().Get("state")
	for name, c := range map[string]struct {
		path string
		want int
	}{
		"made up":          {"/?state=AAAA", 200},
		"cut":              {"/?state=" + state[:len(state)-4], 200},
		"at another place": {"/public?state=" + state, 200},
		"of a login":       {"/?state=" + sentTo(t, b.navigate("/api/auth/login")).Get("state"), 200},
		"itself":           {"/?state=" + state, 303},
	} {
		if res := b.navigate(c.path); res.StatusCode != c.want {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
	for _, value := range b.cookies { // sealed for another purpose
		wantStatus(t, b.navigate("/?state="+value), http.StatusOK)
	}
	if res := b.fetch("/?state=" + state); res.StatusCode != http.StatusOK {
		t.Errorf("a fetch was redirected: %d", res.StatusCode)
	}
	s.clock.Advance(20 * time.Minute)
	if res := b.navigate("/?state=" + state); res.location() != "/" {
		t.Errorf("an old state led to %q", res.location())
	}
}

// A logout at one node signs out at all.
func TestLogoutOnAnotherNode(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	value, one := b.session(), s.BFF
	s.reconfigure()
	b.navigate("/api/auth/logout")
	s.BFF = one
	b.cookies["gatehouse"] = value
	if b.signedIn() {
		t.Error("signed in")
	}
}

// The redirect has no ID token with the API's audience, which an API may accept
// as an access token: client_id identifies the client. This is logged once.
func TestLogoutHint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		aud      any
		audience string
		hint     bool
	}{
		{"the client alone", clientID, audience, true},
		{"the client and another API", []string{clientID, "https://other.example"}, audience, true},
		{"the API too", []string{clientID, audience}, audience, false},
		{"the API first", []string{audience, clientID}, audience, false},
		{"no audience configured", []string{clientID, audience}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := &record{}
			s := start(t, logsTo(log), func(cfg *bff.Config) { cfg.Login.Audience = c.audience })
			s.idp.change(func(p *provider) { p.id["aud"], p.id["azp"] = c.aud, clientID })
			for range 3 {
				u, err := url.Parse(s.browser().signIn().navigate("/api/auth/logout", site("same-origin")).location())
				if err != nil || u.Path != "/logout" {
					t.Fatalf("sent to %v: %v", u, err)
				}
				q := u.Query()
				if q.Has("id_token_hint") != c.hint {
					t.Errorf("hint: %t, want %t", q.Has("id_token_hint"), c.hint)
				}
				if q.Get("client_id") != clientID || q.Get("post_logout_redirect_uri") == "" || q.Get("state") == "" {
					t.Errorf("parameters %v", slices.Sorted(maps.Keys(q)))
				}
			}
			want := 0
			if !c.hint {
				want = 1
			}
			if n := log.count("level=WARN msg=\"logout without id_token_hint"); n != want {
				t.Errorf("%d warnings, want %d", n, want)
			}
		})
	}
}
