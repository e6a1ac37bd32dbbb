package bff_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

func formPost(c *bff.Config) { c.Login.ResponseMode = bff.ModeFormPost }

// posts is the provider's page that submits its response: a navigation from
// another site, to which browsers add no cookie of ours (SameSite=Lax), and then
// the redirect, with cookies.
func (b *browser) posts(callback string, edits ...edit) *response {
	b.s.t.Helper()
	path, query, _ := strings.Cut(callback, "?")
	res := b.do(http.MethodPost, path, strings.NewReader(query), append([]edit{
		site("cross-site"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document"), header("Accept", "text/html"),
		header("Origin", issuerURL), header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie"),
	}, edits...)...)
	if res.StatusCode != http.StatusSeeOther {
		return res
	}
	if !strings.HasPrefix(res.location(), "/api/auth/callback") {
		b.s.t.Fatalf("sent on to %q", res.location())
	}
	if b.session() != "" {
		b.s.t.Fatal("the form itself signed in")
	}
	return b.back(res.location())
}

func (b *browser) answers() []string {
	var names []string
	for name := range b.cookies {
		if strings.Contains(name, "answer") {
			names = append(names, name)
		}
	}
	return names
}

func TestFormPost(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*bff.Config){"http": {formPost}, "https": {formPost, https}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, options...)
			s.idp.metadata["authorization_response_iss_parameter_supported"] = true
			s.reconfigure()
			b := s.browser()
			location := b.navigate("/api/auth/login?returnTo=/private").location()
			if u, _ := url.Parse(location); u.Query().Get("response_mode") != "form_post" {
				t.Errorf("asked for %q", location)
			}
			callback := s.idp.authorize(location, func(q url.Values) { q.Set("iss", issuerURL) })
			path, query, _ := strings.Cut(callback, "?")
			res := b.do(http.MethodPost, path, strings.NewReader(query), site("cross-site"), header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie"))
			wantStatus(t, res, http.StatusSeeOther)
			form, _ := url.ParseQuery(query)
			if strings.Contains(res.location(), form.Get("code")) || res.body != "" || res.Header.Get("Cache-Control") != "no-store" {
				t.Error("the code stands in an address after all")
			}
			if len(res.Cookies()) != 1 {
				t.Fatalf("%d cookies", len(res.Cookies()))
			}
			c := res.Cookies()[0]
			if !c.HttpOnly || c.Secure != (name == "https") || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 60 || c.Path != "/" || c.Domain != "" ||
				strings.HasPrefix(c.Name, "__Host-") != (name == "https") || strings.Contains(c.Value, form.Get("code")) {
				t.Errorf("cookie %s: %d bytes, %+v", c.Name, len(c.Value), c.MaxAge)
			}
			res = b.back(res.location())
			wantStatus(t, res, http.StatusSeeOther)
			if res.location() != "/private" || !b.signedIn() || len(b.answers()) != 0 {
				t.Errorf("to %q, answers left %v", res.location(), b.answers())
			}
		})
	}
}

// Everything is checked where the cookies are: a form signs in only the browser
// that started the login (login CSRF), and once.
func TestFormPostIsNoShortcut(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	s.idp.metadata["authorization_response_iss_parameter_supported"] = true
	s.reconfigure()
	iss := func(q url.Values) { q.Set("iss", issuerURL) }
	mallory, alice := s.browser(), s.browser()
	his := s.idp.authorize(mallory.navigate("/api/auth/login").location(), iss)
	wantStatus(t, alice.posts(his), http.StatusBadRequest)
	if alice.session() != "" || len(s.idp.called("/token")) != 0 {
		t.Error("signed in as the attacker")
	}
	for name, c := range map[string]struct {
		change func(url.Values)
		status int
	}{
		"no iss, which is promised": {func(q url.Values) { q.Del("iss") }, http.StatusBadRequest},
		"another iss":               {func(q url.Values) { q.Set("iss", "https://evil.example") }, http.StatusBadRequest},
		"two codes":                 {func(q url.Values) { iss(q); q.Add("code", "another") }, http.StatusBadRequest},
		"two states":                {func(q url.Values) { iss(q); q.Add("state", "another") }, http.StatusBadRequest},
		"another state":             {func(q url.Values) { iss(q); q.Set("state", "another") }, http.StatusBadRequest},
		"no state":                  {func(q url.Values) { iss(q); q.Del("state") }, http.StatusBadRequest},
		"an endless state":          {func(q url.Values) { iss(q); q.Set("state", strings.Repeat("s", 5000)) }, http.StatusBadRequest},
		"neither code nor error":    {func(q url.Values) { iss(q); q.Del("code") }, http.StatusBadRequest},
		"an endless code":           {func(q url.Values) { iss(q); q.Set("code", strings.Repeat("c", 5000)) }, http.StatusBadRequest},
		"cancelled":                 {func(q url.Values) { iss(q); q.Del("code"); q.Set("error", "access_denied") }, http.StatusForbidden},
	} {
		b := s.browser()
		wantStatus(t, b.posts(s.idp.authorize(b.navigate("/api/auth/login").location(), c.change)), c.status)
		if b.session() != "" || len(s.idp.called("/token")) != 0 {
			t.Errorf("%s: signed in, or the code redeemed", name)
		}
	}
	// Again, as after a reload.
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location(), iss)
	wantStatus(t, b.posts(callback), http.StatusSeeOther)
	b.cookies = map[string]string{}
	wantStatus(t, b.posts(callback), http.StatusBadRequest)
	// Other bodies, and too large ones.
	for name, edits := range map[string][]edit{
		"JSON":     {header("Content-Type", "application/json")},
		"no type":  {without("Content-Type")},
		"nothing":  {func(r *http.Request) { r.Body = http.NoBody }},
		"too much": {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(strings.Repeat("a=b&", 1<<15))) }},
	} {
		b := s.browser()
		wantStatus(t, b.posts(s.idp.authorize(b.navigate("/api/auth/login").location(), iss), edits...), http.StatusBadRequest)
		if b.session() != "" {
			t.Errorf("%s: signed in", name)
		}
	}
}

// The response waits a minute, sealed, for its browser.
func TestFormAnswerRunsOut(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	b := s.browser()
	path, query, _ := strings.Cut(s.idp.authorize(b.navigate("/api/auth/login").location()), "?")
	res := b.do(http.MethodPost, path, strings.NewReader(query), site("cross-site"), header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie"))
	s.clock.Advance(61 * time.Second)
	wantStatus(t, b.back(res.location()), http.StatusBadRequest)
	if b.session() != "" {
		t.Error("signed in")
	}
}

// A page of another site can post forms too, and must not fill the browser with
// cookies until every request gets 431.
func TestFormsDoNotPileUp(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	b := s.browser()
	for i := range 20 {
		b.posts(fmt.Sprintf("/api/auth/callback?state=s%d&code=%s", i, strings.Repeat("c", 2000)))
		if n := len(b.answers()); n > 5 {
			t.Fatalf("%d cookies", n)
		}
	}
	// Without the GET between two posts, as from windows that are closed at once.
	for i := range 20 {
		b.do(http.MethodPost, "/api/auth/callback", strings.NewReader("state=x"+strings.Repeat("y", i)+"&code=z"), site("cross-site"),
			header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie"))
	}
	b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
	wantStatus(t, b.back("/api/auth/callback?state=none"), http.StatusBadRequest)
	if n := len(b.answers()); n > 5 {
		t.Errorf("%d cookies", n)
	}
}

// Forms of windows that are closed before they return are not treated as a
// cookie bomb, which would cost all cookies of the domain. They last a minute,
// and a login goes on meanwhile.
func TestFormsOfStrangersSignNobodyOut(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	b := s.browser().signIn()
	for i := range 20 {
		b.do(http.MethodPost, "/api/auth/callback", strings.NewReader(fmt.Sprintf("state=s%d&code=%s", i, strings.Repeat("c", 2500))), site("cross-site"),
			header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie"))
	}
	if len(b.answers()) != 20 {
		t.Fatalf("the bomb is no bomb: %v", b.answers())
	}
	res := b.navigate("/private")
	if wantStatus(t, res, http.StatusOK); res.Header.Get("Clear-Site-Data") != "" || !b.signedIn() {
		t.Errorf("Clear-Site-Data %q", res.Header.Get("Clear-Site-Data"))
	}
	delete(b.cookies, "gatehouse")
	path, query, _ := strings.Cut(s.idp.authorize(b.navigate("/api/auth/login").location()), "?")
	res = b.do(http.MethodPost, path, strings.NewReader(query), site("cross-site"), header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie"))
	if b.back(res.location()); !b.signedIn() || len(b.answers()) > 0 {
		t.Errorf("not signed in, %d answers left", len(b.answers()))
	}
}

// Parallel tabs are all signed in, whatever the order of their forms.
func TestFormPostInParallelTabs(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	b := s.browser()
	var forms, ways []string
	for _, to := range []string{"/a", "/b", "/c"} {
		forms = append(forms, s.idp.authorize(b.navigate("/api/auth/login?returnTo="+to).location()))
	}
	for _, form := range forms {
		path, query, _ := strings.Cut(form, "?")
		ways = append(ways, b.do(http.MethodPost, path, strings.NewReader(query), site("cross-site"), header("Content-Type", "application/x-www-form-urlencoded"), without("Cookie")).location())
	}
	for i, to := range []string{"/c", "/b", "/a"} {
		res := b.back(ways[2-i])
		wantStatus(t, res, http.StatusSeeOther)
		if res.location() != to || !b.signedIn() {
			t.Errorf("back to %q, want %q", res.location(), to)
		}
	}
}

// This is the one POST from another site that is accepted: no other method or
// path, and only with form_post.
func TestOnlyTheFormMayComeFromElsewhere(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	for _, c := range []struct{ method, path string }{
		{http.MethodPut, "/api/auth/callback"}, {http.MethodDelete, "/api/auth/callback"}, {http.MethodPost, "/api/auth/callback/"},
		{http.MethodPost, "/api/auth/login"}, {http.MethodPost, "/api/auth/logout"}, {http.MethodPost, "/api/private-route"}, {http.MethodPost, "/api/auth/Callback"},
	} {
		wantStatus(t, s.browser().do(c.method, c.path, strings.NewReader("state=x&code=y"), site("cross-site"), header("Content-Type", "application/x-www-form-urlencoded")), http.StatusForbidden)
	}
	off := start(t)
	wantStatus(t, off.browser().do(http.MethodPost, "/api/auth/callback", strings.NewReader("state=x&code=y"), site("cross-site"), header("Content-Type", "application/x-www-form-urlencoded")), http.StatusForbidden)
	if len(off.idp.called("/token")) != 0 {
		t.Error("redeemed")
	}
}
