package bff_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// asked returns the option that has a function called at each sign-in.
func asked(f func(context.Context, *bff.SignIn) error) func(*bff.Config) {
	return func(cfg *bff.Config) { cfg.Hooks.SignIn = f }
}

// me returns the claims that /api/auth/me returns.
func (b *browser) me() map[string]any {
	b.s.t.Helper()
	res := b.fetch("/api/auth/me")
	wantStatus(b.s.t, res, http.StatusOK)
	var claims map[string]any
	if err := json.Unmarshal([]byte(res.body), &claims); err != nil {
		b.s.t.Fatal(err)
	}
	return claims
}

// The session gets the claims that the hook leaves, at each node and on the pages. A
// refresh changes none that the hook has decided, and all others.
func TestSignInHookClaims(t *testing.T) {
	t.Parallel()
	var got bff.SignIn
	s := start(t, asked(func(_ context.Context, in *bff.SignIn) error {
		got = *in
		got.Claims = maps.Clone(in.Claims)
		in.Claims["role"] = struct {
			Name  string `json:"name"`
			Level int    `json:"level"`
		}{"seller", 3}
		in.Claims["name"] = "Ada of the Shop"
		delete(in.Claims, "email")
		return nil
	}))
	s.idp.change(func(p *provider) {
		p.id["gatehouse_decided_claims"], p.id["jti"] = []string{"picture", "sub"}, tokentest.Absent
	})
	s.run()
	b := s.browser()
	wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login").location()), header("User-Agent", "Browser/1")), http.StatusSeeOther)
	if got.Issuer != issuerURL || got.Subject != "user-1" || got.SessionID != "sid-1" || got.Client != "192.0.2.1" || got.UserAgent != "Browser/1" || got.Claims["email"] != "ada@example.com" {
		t.Errorf("the hook got %+v", got)
	}
	if got.AccessToken() != b.access() {
		t.Error("the hook got another access token than the API")
	}
	for _, text := range []string{fmt.Sprint(got), fmt.Sprintf("%+v %#v", got, &got)} {
		if strings.Contains(text, got.AccessToken()) {
			t.Errorf("formatted, the token shows: %s", text)
		}
	}
	want := map[string]any{
		"sub": "user-1", "sid": "sid-1", "name": "Ada of the Shop", "picture": "https://idp.example/ada.png",
		"role": map[string]any{"name": "seller", "level": 3.0},
	}
	for _, node := range []*system{s, s.node()} {
		if got := b.as(node).me(); !reflect.DeepEqual(got, want) {
			t.Errorf("me returns %v, want %v", got, want)
		}
	}
	if page := b.navigate("/profile"); !strings.Contains(page.body, "Ada of the Shop") || strings.Contains(page.body, "decided") {
		t.Errorf("the profile page does not show the claims of the hook alone:\n%s", page.body)
	}

	s.idp.change(func(p *provider) {
		maps.Copy(p.id, map[string]any{"name": "Ada Married", "email": "new@example.com", "picture": "https://idp.example/new.png", "role": "admin"})
	})
	before := b.access()
	s.clock.Advance(10 * time.Minute)
	if b.access() == before {
		t.Fatal("not refreshed")
	}
	want["picture"] = "https://idp.example/new.png"
	if got := b.me(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a refresh me returns %v, want %v", got, want)
	}
}

// A hook that changes nothing leaves the session as it would be without it.
func TestSignInHookUnchanged(t *testing.T) {
	t.Parallel()
	s := start(t, asked(func(context.Context, *bff.SignIn) error { return nil }))
	s.idp.change(func(p *provider) { p.id["big"] = json.RawMessage("12345678901234567890") })
	s.browser().signIn()
	with := s.store.newest()
	if got := s.browser().signIn().me(); fmt.Sprint(got["name"]) != "Ada" || with == s.store.newest() {
		t.Errorf("me returns %v", got)
	}
	if body := s.browser().signIn().fetch("/api/auth/me").body; !strings.Contains(body, "12345678901234567890") {
		t.Errorf("a number was changed: %s", body)
	}
}

// A provider cannot have a claim kept from refreshes.
func TestDecidedClaimsOfProvider(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.change(func(p *provider) { p.id["gatehouse_decided_claims"] = []string{"picture"} })
	b := s.browser().signIn()
	s.idp.change(func(p *provider) { p.id["picture"] = "https://idp.example/new.png" })
	s.clock.Advance(10 * time.Minute)
	b.access()
	if got := b.me()["picture"]; got != "https://idp.example/new.png" {
		t.Errorf("after a refresh the picture is %v, want that of the new ID token", got)
	}
}

// A refused sign-in has no session, its tokens are revoked, it is recorded, and every
// repetition of the callback has the same page, at every node.
func TestSignInHookRefusal(t *testing.T) {
	t.Parallel()
	var a auditor
	var calls atomic.Int64
	option, read := measured()
	logged := &record{secrets: map[string]string{}}
	s := start(t, a.audited, option, func(cfg *bff.Config) { cfg.Logger = logger(logged) }, asked(func(context.Context, *bff.SignIn) error {
		calls.Add(1)
		return fmt.Errorf("account: %w", &bff.Refusal{
			Reason: "no account<b>", Title: "No <script>alert(1)</script> account", Message: "Ask\nfor\u202e one.\x00" + strings.Repeat("é", 5000),
			Link: &web.Link{Label: "Ask <b>for</b> access", Href: "/ask?x=1"},
		})
	}))
	s.run()
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/orders").location())
	other := b.copied().as(s.node())
	var bodies []string
	for _, browser := range []*browser{b.copied(), other, b} {
		res := browser.back(callback)
		wantStatus(t, res, http.StatusForbidden)
		if browser.session() != "" || res.set(session.CookieName) != nil {
			t.Error("a refused sign-in has a session cookie")
		}
		bodies = append(bodies, strings.ReplaceAll(res.body, res.Header.Get("X-Request-Id"), ""))
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control is %q", got)
		}
	}
	if bodies[0] != bodies[1] || bodies[1] != bodies[2] {
		t.Errorf("three answers to one callback differ:\n%s", strings.Join(bodies, "\n"))
	}
	for _, want := range []string{
		"No &lt;script&gt;alert(1)&lt;/script&gt; account", "Ask for one.", `href="/ask?x=1"`, "Ask &lt;b&gt;for&lt;/b&gt; access",
		"/api/auth/login?prompt=login&amp;returnTo=%2Forders",
	} {
		if !strings.Contains(bodies[0], want) {
			t.Errorf("the page lacks %q:\n%s", want, bodies[0])
		}
	}
	if n := strings.Count(bodies[0], "é"); n > 1000 || strings.Contains(bodies[0], "\u202e") {
		t.Errorf("the message is not cut and cleaned: %d", n)
	}
	if calls.Load() != 1 || s.store.newest() != (session.ID{}) {
		t.Errorf("the hook was called %d times, and the newest session is %v; want one call and no session", calls.Load(), s.store.newest())
	}
	eventually(t, "the refresh token is revoked", func() bool { return len(s.idp.good()) == 0 && len(s.idp.revoked()) == 1 })
	events := a.want(t, "a refusal", "sign_in_refused application user-1 192.0.2.1")
	if events[0].Reason != "noaccountb" || events[0].Issuer != issuerURL {
		t.Errorf("the event is %+v, want the reason without markup", events[0])
	}
	if n := read(t, "gatehouse.login.outcomes", "gatehouse.result=application"); n != 3 {
		t.Errorf("%v refusals were counted, want each callback", n)
	}
	if logged.count("login refused by the application") != 1 || logged.count("noaccountb") != 1 || logged.count("script") != 0 {
		t.Errorf("the log is\n%s", logged.log.String())
	}
}

// A refusal leaves an earlier session of the browser alone. Scripts get JSON, a silent
// login returns, and a page of the front end gets the reason.
func TestSignInHookRefusalForms(t *testing.T) {
	t.Parallel()
	var refuses atomic.Bool
	s := start(t, func(cfg *bff.Config) { cfg.Pages.ErrorPath = "/error" }, asked(func(context.Context, *bff.SignIn) error {
		if refuses.Load() {
			return &bff.Refusal{Reason: "suspended", Status: http.StatusServiceUnavailable, Link: &web.Link{Label: "x", Href: "javascript:alert(1)"}}
		}
		return nil
	}))
	b := s.browser().signIn()
	refuses.Store(true)
	callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/orders").location())
	script := b.copied().fetch(callback)
	wantStatus(t, script, http.StatusServiceUnavailable)
	if script.Header.Get("Retry-After") == "" || !strings.Contains(script.body, "cannot sign in here") {
		t.Errorf("a script got %v %s", script.Header, script.body)
	}
	res := b.back(callback)
	wantStatus(t, res, http.StatusSeeOther)
	to, _ := url.Parse(res.location())
	if q := to.Query(); to.Path != "/error" || q.Get("code") != "sign_in_refused" || q.Get("reason") != "suspended" || q.Get("status") != "503" || q.Get("returnTo") != "/orders" {
		t.Errorf("sent to %s", to)
	}
	if !b.signedIn() {
		t.Error("the earlier session has ended")
	}
	silent := b.back(s.idp.authorize(b.navigate("/api/auth/login?prompt=none&returnTo=/public").location()))
	wantStatus(t, silent, http.StatusSeeOther)
	if silent.location() != "/public" {
		t.Errorf("a silent login led to %q", silent.location())
	}
}

// A hook that does not decide fails the login: the user sees that something went wrong, and
// the log why.
func TestSignInHookFailures(t *testing.T) {
	t.Parallel()
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	for name, c := range map[string]struct {
		hook func(context.Context, *bff.SignIn) error
		log  string
	}{
		"panic":       {func(context.Context, *bff.SignIn) error { panic("boom") }, "hooks_test.go"},
		"error":       {func(context.Context, *bff.SignIn) error { return errors.New("accounts are away") }, "accounts are away"},
		"nil refusal": {func(context.Context, *bff.SignIn) error { return (*bff.Refusal)(nil) }, "hook SignIn failed"},
		"1 MB":        {func(_ context.Context, in *bff.SignIn) error { in.Claims["x"] = strings.Repeat("x", 1<<20); return nil }, "more than 16384"},
		"subject":     {func(_ context.Context, in *bff.SignIn) error { in.Claims["sub"] = "admin"; return nil }, `sub`},
		"issuer":      {func(_ context.Context, in *bff.SignIn) error { delete(in.Claims, "iss"); return nil }, `iss`},
		"sid":         {func(_ context.Context, in *bff.SignIn) error { in.Claims["sid"] = nil; return nil }, `sid`},
		"nonce":       {func(_ context.Context, in *bff.SignIn) error { in.Claims["nonce"] = "x"; return nil }, `nonce`},
		"no claims":   {func(_ context.Context, in *bff.SignIn) error { in.Claims = nil; return nil }, `cannot be changed`},
		"own claim":   {func(_ context.Context, in *bff.SignIn) error { in.Claims["gatehouse_decided_claims"] = 1; return nil }, `gatehouse_decided_claims`},
		"function":    {func(_ context.Context, in *bff.SignIn) error { in.Claims["f"] = func() {}; return nil }, "cannot be encoded"},
		"cycle":       {func(_ context.Context, in *bff.SignIn) error { in.Claims["c"] = cyclic; return nil }, "cannot be encoded"},
		"access token": {func(_ context.Context, in *bff.SignIn) error {
			in.Claims["t"] = []string{"Bearer " + in.AccessToken()}
			return nil
		}, "contains the access token"},
		"token as name": {func(_ context.Context, in *bff.SignIn) error { in.Claims[in.AccessToken()] = 1; return nil }, "contains the access token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a auditor
			option, read := measured()
			logged := &record{secrets: map[string]string{}}
			s := start(t, a.audited, option, asked(c.hook), func(cfg *bff.Config) { cfg.Logger = logger(logged) })
			b := s.browser()
			res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
			wantStatus(t, res, http.StatusInternalServerError)
			if b.session() != "" || s.store.newest() != (session.ID{}) {
				t.Error("there is a session")
			}
			if strings.Contains(res.body, "boom") || strings.Contains(res.body, "away") {
				t.Errorf("the page shows the cause: %s", res.body)
			}
			if logged.count(c.log) == 0 || logged.count("hook SignIn failed") != 1 {
				t.Errorf("the log lacks %q:\n%s", c.log, logged.log.String())
			}
			eventually(t, "the refresh token is revoked", func() bool { return len(s.idp.good()) == 0 })
			a.want(t, name)
			if n := read(t, "gatehouse.login.outcomes", "gatehouse.result=internal"); n != 1 {
				t.Errorf("%v faults were counted", n)
			}
			for value := range everything.copied() {
				if strings.Contains(logged.log.String(), value) {
					t.Error("the log has a secret")
				}
			}
		})
	}
}

// copied returns the secrets of all tests.
func (r *record) copied() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.secrets)
}

// A hook that hangs is given up after its time, and those that never return are limited.
func TestSignInHookHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := bubble(t, asked(func(ctx context.Context, _ *bff.SignIn) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the context has no deadline")
			}
			<-release // ignores its context
			return nil
		}), func(cfg *bff.Config) { cfg.Hooks.Timeout = 2 * time.Second; cfg.Login.Rate = 10_000 })
		began := time.Now()
		b := s.browser()
		wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login").location())), http.StatusInternalServerError)
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("answered after %v, want the hook's timeout of 2 s", took)
		}
		var all sync.WaitGroup
		for range 120 {
			all.Go(func() {
				b := s.browser()
				b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
			})
		}
		all.Wait()
		synctest.Wait()
		if n := everything.count("too many calls of the hook"); n < 20 {
			t.Errorf("%d of 121 logins were refused at once, want those beyond 100", n)
		}
		close(release)
		synctest.Wait()
	})
}

// A mourner keeps the ends of sessions that the hook was told of.
type mourner struct {
	mu    sync.Mutex
	ended []audit.Event
}

func (m *mourner) told(_ context.Context, e audit.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, e)
}

// want waits for exactly these ends, in any order, and forgets them.
func (m *mourner) want(t *testing.T, when string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	eventually(t, when, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.ended) >= len(want)
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.ended {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Action, e.Cause, e.Subject)))
		if len(e.Session) != 16 || e.Issuer != issuerURL || e.Time.IsZero() {
			t.Errorf("%s: the event is %+v", when, e)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: told of %q, want %q", when, got, want)
	}
	m.ended = nil
}

// The hook is told of each session that this process ends, once, with the cause, also
// without an audit log.
func TestSessionEnded(t *testing.T) {
	t.Parallel()
	var m mourner
	s := start(t, func(cfg *bff.Config) {
		cfg.Hooks.SessionEnded, cfg.Audit, cfg.Sessions.MaxPerUser = m.told, nil, 3
	})
	b := s.browser().signIn()
	b.signIn()
	m.want(t, "another sign-in", "session_ended replaced user-1")
	b.do(http.MethodPost, "/api/auth/logout", nil, site("same-origin"), header("Origin", s.cfg.BaseURL))
	m.want(t, "a sign-out", "sign_out user user-1")
	b.do(http.MethodPost, "/api/auth/logout", nil, site("same-origin"), header("Origin", s.cfg.BaseURL))

	var laptop *browser
	for range 4 {
		s.clock.Advance(time.Second)
		laptop = s.browser().signIn()
	}
	m.want(t, "too many sessions", "session_ended evicted user-1")
	wantStatus(t, laptop.end("/api/auth/sessions"), http.StatusOK)
	m.want(t, "the end of all others", "sign_out everywhere user-1", "sign_out everywhere user-1")
	tell(s, url.Values{"logout_token": {s.idp.logoutToken(map[string]any{"sid": tokentest.Absent})}})
	m.want(t, "a logout token", "sign_out back_channel user-1")

	s.clock.Advance(time.Minute)
	b = s.browser().signIn()
	s.idp.change(func(p *provider) { p.instead["/token"] = refuse(http.StatusBadRequest, "invalid_grant") })
	s.clock.Advance(10 * time.Minute)
	wantStatus(t, b.fetch("/api/private-route"), http.StatusUnauthorized)
	m.want(t, "a refused refresh", "session_ended not_refreshed user-1")
}

// A hook that hangs or panics delays no logout, is given up at its time, and holds what
// waits within bounds.
func TestSessionEndedMisbehaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		release := make(chan struct{})
		logged := &record{secrets: map[string]string{}}
		s := bubble(t, func(cfg *bff.Config) {
			cfg.Logger = logger(logged)
			cfg.Login.Rate = 10_000
			cfg.Hooks.SessionEnded = func(context.Context, audit.Event) {
				if told.Add(1) == 1 {
					panic("boom")
				}
				<-release
			}
		})
		began := time.Now()
		for range 10 {
			b := s.browser().signIn()
			b.do(http.MethodPost, "/api/auth/logout", nil, site("same-origin"), header("Origin", s.cfg.BaseURL))
			if b.signedIn() {
				t.Error("still signed in")
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("10 logouts took %v", took)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if told.Load() != 10 {
			t.Errorf("told of %d ends, want 10", told.Load())
		}
		if logged.count("hook SessionEnded failed") != 1 || logged.count("boom") == 0 {
			t.Errorf("the log is\n%s", logged.log.String())
		}
		close(release)
	})
}

// An invalid time for hooks is refused.
func TestHooksRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, timeout := range []time.Duration{-1, time.Minute} {
		cfg := s.cfg
		cfg.Hooks.Timeout = timeout
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "Hooks.Timeout") {
			t.Errorf("%v: got %v", timeout, err)
		}
	}
}
