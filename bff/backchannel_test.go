package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// tell makes the provider's request, which has no cookie and no header of a
// browser.
func tell(s *system, form url.Values, edits ...edit) *response {
	s.t.Helper()
	edits = append([]edit{header("Content-Type", "application/x-www-form-urlencoded")}, edits...)
	return s.browser().do(http.MethodPost, "/api/auth/backchannel-logout", strings.NewReader(form.Encode()), edits...)
}

func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claims map[string]any
		ends   []string // of: phone and laptop of user-1, other of user-2
	}{
		"by sid":                          {map[string]any{"sub": tokentest.Absent}, []string{"laptop"}},
		"by sid, sub beside it":           {nil, []string{"laptop"}},
		"by sub: all of the person's":     {map[string]any{"sid": tokentest.Absent}, []string{"laptop", "phone"}},
		"by an unknown sid":               {map[string]any{"sid": "sid-9", "sub": tokentest.Absent}, nil},
		"by an unknown sub":               {map[string]any{"sid": tokentest.Absent, "sub": "user-9"}, nil},
		"several audiences, ours of them": {map[string]any{"aud": []string{"other", clientID}}, []string{"laptop"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			laptop := s.browser().signIn()
			s.idp.change(func(p *provider) { p.id["sid"] = "sid-2" })
			phone := s.browser().signIn()
			s.idp.change(func(p *provider) { p.id["sid"], p.id["sub"] = "sid-3", "user-2" })
			other := s.browser().signIn()
			res := tell(s, url.Values{"logout_token": {s.idp.logoutToken(c.claims)}})
			wantStatus(t, res, http.StatusOK)
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control %q", res.Header.Get("Cache-Control"))
			}
			for device, b := range map[string]*browser{"laptop": laptop, "phone": phone, "other": other} {
				want := true
				for _, ended := range c.ends {
					want = want && ended != device
				}
				if b.signedIn() != want {
					t.Errorf("%s signed in: %t", device, !want)
				}
			}
		})
	}
}

// Each check of OpenID Connect Back-Channel Logout §2.6.
func TestBackchannelLogoutRefuses(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			testBackchannelLogoutRefuses(t, start(t).signWith(alg), alg)
		})
	}
}

func testBackchannelLogoutRefuses(t *testing.T, s *system, alg string) {
	b := s.browser().signIn()
	now := s.clock.Now().Unix()
	make := func(claims map[string]any, header ...map[string]any) url.Values {
		return url.Values{"logout_token": {s.idp.logoutToken(claims, header...)}}
	}
	for name, form := range map[string]url.Values{
		"alg none (CVE-2015-9235)": make(nil, map[string]any{"alg": "none"}),
		"alg HS256":                make(nil, map[string]any{"alg": "HS256"}),
		"another alg":              make(nil, map[string]any{"alg": anotherAlgorithm(alg)}),
		"alg in lower case":        make(nil, map[string]any{"alg": strings.ToLower(alg)}),
		"a key of another alg":     {"logout_token": {s.idp.signedWith(anotherAlgorithm(alg), s.idp.logoutToken(nil))}},
		"unknown key":              make(nil, map[string]any{"kid": "x"}),
		"typ at+jwt":               make(nil, map[string]any{"typ": "at+jwt"}),
		"wrong aud":                make(map[string]any{"aud": "other"}),
		"no aud":                   make(map[string]any{"aud": tokentest.Absent}),
		"wrong iss":                make(map[string]any{"iss": "https://evil.example"}),
		"no events":                make(map[string]any{"events": tokentest.Absent}),
		"another event":            make(map[string]any{"events": map[string]any{"urn:x": map[string]any{}}}),
		"event no object":          make(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": true}}),
		"events a list":            make(map[string]any{"events": []string{"http://schemas.openid.net/event/backchannel-logout"}}),
		"a nonce":                  make(map[string]any{"nonce": "n"}),
		"no jti":                   make(map[string]any{"jti": tokentest.Absent}),
		"no iat":                   make(map[string]any{"iat": tokentest.Absent}),
		"no exp, and too old":      make(map[string]any{"exp": tokentest.Absent, "iat": now - 121}),
		"neither exp nor iat":      make(map[string]any{"exp": tokentest.Absent, "iat": tokentest.Absent}),
		"expired":                  make(map[string]any{"exp": now - 600}),
		"of the future":            make(map[string]any{"iat": now + 600}),
		"neither sub nor sid":      make(map[string]any{"sub": tokentest.Absent, "sid": tokentest.Absent}),
		"an empty sid":             make(map[string]any{"sub": tokentest.Absent, "sid": ""}),
		"an ID token":              make(map[string]any{"events": tokentest.Absent, "nonce": "n"}, map[string]any{"typ": "JWT"}),
		"no JWT":                   {"logout_token": {"hello"}},
		"empty":                    {"logout_token": {""}},
		"none":                     {},
		"two":                      {"logout_token": {s.idp.logoutToken(nil), s.idp.logoutToken(nil)}},
		"too long":                 {"logout_token": {strings.Repeat("a", 100<<10)}},
	} {
		res := tell(s, form)
		wantStatus(t, res, http.StatusBadRequest)
		if !strings.Contains(res.body, `"error":"invalid_request"`) || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name, res.body)
		}
		if !b.signedIn() {
			t.Fatalf("%s: signed out", name)
		}
	}
	token := s.idp.logoutToken(nil)
	wantStatus(t, tell(s, url.Values{"logout_token": {token}}, header("Content-Type", "application/json")), http.StatusBadRequest)
	res := s.browser().do(http.MethodPost, "/api/auth/backchannel-logout?logout_token="+token, nil)
	wantStatus(t, res, http.StatusBadRequest) // a query would be logged
	wantStatus(t, s.browser().fetch("/api/auth/backchannel-logout?logout_token="+token), http.StatusMethodNotAllowed)
	if !b.signedIn() {
		t.Error("signed out")
	}
}

// A logout token that was used ends no later session.
func TestBackchannelReplay(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	form := url.Values{"logout_token": {s.idp.logoutToken(nil)}}
	wantStatus(t, tell(s, form), http.StatusOK)
	s.clock.Advance(time.Second)
	if b.signIn(); !b.signedIn() {
		t.Fatal("not signed in")
	}
	s.clock.Advance(time.Minute)
	wantStatus(t, tell(s, form), http.StatusBadRequest)
	if !b.signedIn() {
		t.Error("signed out by a replay")
	}
	// Used tokens are known to all nodes.
	wantStatus(t, tell(s.node(), form), http.StatusBadRequest)
	if !b.signedIn() {
		t.Error("signed out by a replay at another node")
	}
}

// Ory Hydra's logout tokens have no exp and no sub. They end the session of their
// sid, once, while they are valid.
func TestBackchannelLogoutWithoutExpiry(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	form := url.Values{"logout_token": {s.idp.logoutToken(map[string]any{"exp": tokentest.Absent, "sub": tokentest.Absent})}}
	s.clock.Advance(110 * time.Second)
	wantStatus(t, tell(s, form), http.StatusOK)
	if b.signedIn() {
		t.Error("signed in")
	}
	s.clock.Advance(time.Second)
	b.signIn()
	for range 3 {
		wantStatus(t, tell(s, form), http.StatusBadRequest) // because of its jti, and then of its age
		s.clock.Advance(time.Minute)
	}
	if !b.signedIn() {
		t.Error("signed out by a replay")
	}
}

// A back-channel logout arrives, at any node, while a login of its user is in
// progress and has no session yet. The login fails and its tokens are revoked.
func TestBackchannelBarsLogin(t *testing.T) {
	t.Parallel()
	const behind = "behind"
	for name, c := range map[string]struct {
		claims   map[string]any // of the logout
		sid, sub any            // of the login
		begun    time.Duration  // how long after the logout it begins
		authTime time.Duration  // how long after the logout the user authenticated; 0 for no auth_time
		barred   bool
	}{
		"of this session":                      {claims: nil, barred: true},
		"of another session":                   {claims: map[string]any{"sid": "sid-2"}},
		"of this person":                       {claims: map[string]any{"sid": tokentest.Absent}, barred: true},
		"of another person":                    {claims: map[string]any{"sid": tokentest.Absent, "sub": "user-2"}},
		"of this person, who has come again":   {claims: map[string]any{"sid": tokentest.Absent}, authTime: 5 * time.Second},
		"of this person, who was there before": {claims: map[string]any{"sid": tokentest.Absent}, authTime: -5 * time.Second, barred: true},
		// Clocks may differ by a minute, as with tokens.
		"of this person, by a clock that is behind": {claims: map[string]any{"sid": tokentest.Absent, "iat": behind}, authTime: -time.Minute, barred: true},
		"a login that begins afterwards, by sid":    {claims: nil, begun: time.Second},
		"a login that begins afterwards, by sub":    {claims: map[string]any{"sid": tokentest.Absent}, begun: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			other := s.node()
			if c.claims["iat"] == behind {
				c.claims["iat"] = s.clock.Now().Add(-50 * time.Second).Unix()
			}
			form := url.Values{"logout_token": {s.idp.logoutToken(c.claims)}}
			if c.authTime != 0 {
				s.idp.change(func(p *provider) { p.id["auth_time"] = s.clock.Now().Add(c.authTime).Unix() })
			}
			b := s.browser()
			if c.begun > 0 {
				wantStatus(t, tell(other, form), http.StatusOK)
				s.clock.Advance(c.begun)
			}
			callback := s.idp.authorize(b.navigate("/api/auth/login").location())
			if c.begun == 0 {
				s.clock.Advance(6 * time.Second)
				// After the revocation has looked for sessions, and before this one
				// is stored.
				s.store.change(func(st *store) {
					st.create = func() error {
						wantStatus(t, tell(other, form), http.StatusOK)
						return nil
					}
				})
			}
			res := b.back(callback)
			if !c.barred {
				wantStatus(t, res, http.StatusSeeOther)
				if !b.signedIn() {
					t.Error("not signed in")
				}
				return
			}
			wantStatus(t, res, http.StatusUnauthorized)
			if !strings.Contains(res.body, "could not be completed") || b.session() != "" || res.set("gatehouse") != nil {
				t.Errorf("signed in: %s", res.body)
			}
			if _, err := s.store.Get(t.Context(), s.store.newest()); err == nil {
				t.Error("the session has not ended")
			}
			eventually(t, "what it got is revoked", func() bool { return len(s.idp.revoked()) == 1 })
		})
	}
}

// A login fails with 503 if the store does not tell whether it is barred.
func TestBarsDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.store.change(func(s *store) { s.notes = outage })
	b := s.browser()
	res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
	wantStatus(t, res, http.StatusServiceUnavailable)
	if b.session() != "" {
		t.Error("signed in")
	}
	wantStatus(t, tell(s, url.Values{"logout_token": {s.idp.logoutToken(nil)}}), http.StatusServiceUnavailable)
}

// A logout that fails is answered with 503, and the provider may retry it.
func TestBackchannelDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	form := url.Values{"logout_token": {s.idp.logoutToken(map[string]any{"sid": tokentest.Absent})}}

	known := s.BFF
	unfollowed(t, s)
	res := tell(s, form)
	wantStatus(t, res, http.StatusServiceUnavailable) // no keys yet
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.BFF = known
	s.store.change(func(s *store) { s.bySubject = outage })
	wantStatus(t, tell(s, form), http.StatusServiceUnavailable)
	s.store.change(func(s *store) { s.bySubject = nil })
	if !b.signedIn() {
		t.Fatal("signed out")
	}
	wantStatus(t, tell(s, form), http.StatusOK)
	if b.signedIn() {
		t.Error("signed in")
	}
}
