package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

func TestProblem(t *testing.T) {
	t.Parallel()
	p := newPages(t, &sally)
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Cache-Control", "public, max-age=60")
	p.Problem(w, httptest.NewRequest("GET", "/api/auth/callback?code=secret-code", nil), web.Problem{
		Status:    http.StatusServiceUnavailable,
		Title:     "Sign-in is not available",
		Message:   "The provider did not answer.",
		Detail:    "Request 0f3c",
		Action:    web.Link{Label: "Try again", Href: "/api/auth/login?returnTo=%2Fprivate"},
		Secondary: &web.Link{Label: "Home", Href: "/"},
	})
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	checkHeaders(t, w)
	doc := parse(t, w)
	main := find(doc, "main")[0]
	if got, want := text(main), "Sign-in is not available The provider did not answer. Try again Home Request 0f3c"; got != want {
		t.Errorf("text = %q, want %q", got, want)
	}
	links := find(main, "a")
	if len(links) != 2 || attr(links[0], "href") != "/api/auth/login?returnTo=%2Fprivate" || attr(links[1], "href") != "/" {
		t.Errorf("links: %v", links)
	}
	for _, leak := range []string{"secret-code", "Sally"} {
		if strings.Contains(w.Body.String(), leak) {
			t.Errorf("page contains %q", leak)
		}
	}
	// The front end may be another server, so that the page loads only files
	// below the bff's own prefix.
	for _, u := range assetsOf(t, doc) {
		if !strings.HasPrefix(u, web.AssetPrefix) {
			t.Errorf("problem page loads %q", u)
		}
		if a := get(p.Assets(), u); a.Code != 200 {
			t.Errorf("%s: %d", u, a.Code)
		}
	}
}

func TestProblemDefaults(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	w := httptest.NewRecorder()
	p.Problem(w, httptest.NewRequest("GET", "/x", nil), web.Problem{})
	main := find(parse(t, w), "main")[0]
	if w.Code != 500 || text(main) != "Something went wrong Go to the home page" {
		t.Errorf("status %d: %q", w.Code, text(main))
	}
}

func TestProblemToHead(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	newPages(t, nil).Problem(w, httptest.NewRequest("HEAD", "/x", nil), web.Problem{Status: 400, Title: "No"})
	if w.Code != 400 || w.Body.Len() != 0 {
		t.Errorf("status %d with %d bytes of body", w.Code, w.Body.Len())
	}
}
