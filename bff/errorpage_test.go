package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// The application's template is shown for problems, with what the built-in page gets.
// Markup in the texts is escaped.
func TestErrorPages(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) {
		cfg.Pages.ErrorPages = fstest.MapFS{
			"templates/problem.html": {Data: []byte(`<!doctype html><title>{{.Title}}</title><link rel="stylesheet" href="{{asset "shop.css"}}"><p id="shop">{{.Code}} {{.Status}} {{.Message}}`)},
			"assets/shop.css":        {Data: []byte("p { color: green }")},
		}
	})
	got := s.browser().back("/api/auth/callback?code=x&state=y")
	if got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, `<p id="shop">cookies_missing 400 `) {
		t.Errorf("got %d %s, want the application's page with code and status", got.StatusCode, got.body)
	}
	if got.Header.Get("Content-Security-Policy") == "" || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got the header %v, want the policy of the pages and no-store", got.Header)
	}
	if nowhere := s.browser().navigate("/nowhere"); !strings.Contains(nowhere.body, "Page not found") {
		t.Errorf("got %s, want the built-in page for a path without a page", nowhere.body)
	}
}

// Templates that replace nothing, or cannot be parsed, stop the start.
func TestErrorPagesRefused(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]fstest.MapFS{
		"templates/eror.html": {"templates/eror.html": {}},
		"neither":             {"other.html": {}},
		"unclosed action":     {"templates/problem.html": {Data: []byte("{{.Title")}},
		"Nothing":             {"templates/problem.html": {Data: []byte("{{.Nothing}}")}},
		"icon.png":            {"templates/notfound.html": {Data: []byte(`{{define "content"}}{{asset "icon.png"}}{{end}}`)}},
	} {
		s := start(t)
		cfg := s.cfg
		cfg.Pages.ErrorPages = files
		if _, err := bff.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: got %v, want an error with %q", files, err, name)
		}
	}
}

// With a page of the front end, browsers are redirected there. Requests of scripts get
// JSON, and the page itself and questions are never redirected.
func TestErrorPath(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Pages.ErrorPath = "/error" })
	b := s.browser()
	got := b.navigate("/api/auth/login?max_age=x&returnTo=/orders%3Fpage%3D2")
	wantStatus(t, got, http.StatusSeeOther)
	to, err := url.Parse(got.location())
	if err != nil || to.Path != "/error" || to.Host != "" {
		t.Fatalf("got a redirect to %v, want /error", to)
	}
	query := to.Query()
	for name, want := range map[string]string{"code": "link_invalid", "status": "400", "returnTo": "/orders?page=2"} {
		if query.Get(name) != want {
			t.Errorf("got %s=%q, want %q", name, query.Get(name), want)
		}
	}
	if query.Get("request") != got.Header.Get("X-Request-Id") || len(query) != 4 {
		t.Errorf("got the parameters %v, want the request's id and no text", query)
	}
	wantStatus(t, b.fetch("/api/auth/login?max_age=x"), http.StatusBadRequest)
	tooMany := header("Cookie", "x="+strings.Repeat("x", 100<<10))
	wantStatus(t, b.navigate("/public", tooMany), http.StatusSeeOther)
	wantStatus(t, b.navigate("/error", tooMany), http.StatusRequestHeaderFieldsTooLarge)
	b.signIn()
	question := b.navigate("/api/auth/logout", site("cross-site"))
	wantStatus(t, question, http.StatusForbidden)
	if !strings.Contains(question.body, "/api/auth/logout") {
		t.Errorf("got %s, want the built-in question", question.body)
	}
}

func TestErrorPathRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, c := range []struct {
		path   string
		change func(*bff.Config)
		want   string
	}{
		{"https://evil.example/", nil, "Pages.ErrorPath"},
		{"//evil.example", nil, "Pages.ErrorPath"},
		{"/error?x=1", nil, "Pages.ErrorPath"},
		{"/api/error", nil, "Pages.ErrorPath"},
		{"/private/error", nil, "needs a login"},
		{"/error", func(cfg *bff.Config) { cfg.Access.Public = []string{"/"} }, "needs a login"},
		{"/error", func(cfg *bff.Config) { cfg.Access.Public = []string{"/", "/error"} }, ""},
	} {
		cfg := s.cfg
		cfg.Pages.ErrorPath = c.path
		if c.change != nil {
			c.change(&cfg)
		}
		err := cfg.Validate()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.path, err, c.want)
		}
	}
}
