package web_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

var sally = web.User{
	Name:    "Sally Seller",
	Email:   "sally@example.com",
	Subject: "seller-1",
	Claims: []web.Claim{
		{Name: "email", Value: "sally@example.com"},
		{Name: "sub", Value: "seller-1"},
	},
	ExpiresAt:     time.Date(2026, 11, 30, 18, 4, 5, 0, time.UTC),
	IdleExpiresAt: time.Date(2026, 11, 24, 18, 4, 5, 0, time.UTC),
}

// thing is the path of a page with an {id}.
const thing = "/things/aaaaaaaaaaaaaaaaaaaaaaaaaa"

// called is the path that the private page calls.
const called = "/api/private-route"

// things is a section of an application.
var things = web.Section{
	Files: fstest.MapFS{
		"templates/partials.html": {Data: []byte(`{{define "which"}}<p data-id="{{.}}">A thing</p>{{end}}`)},
		"templates/thing.html":    {Data: []byte(`{{define "content"}}<h1>{{.Title}}</h1>{{if .SignedIn}}{{template "which" .ID}}{{else}}{{template "signin" .}}{{end}}{{end}}`)},
		"assets/thing.js":         {Data: []byte("// Nothing.\n")},
	},
	ID: regexp.MustCompile("^[a-z2-7]{26}$"),
	Pages: []web.Page{
		{Path: "/thing", Template: "thing.html", Title: "Thing", Nav: "Thing", About: "Another section's page.", Script: "thing.js"},
		{Path: "/things/{id}", Template: "thing.html", Title: "One thing"},
		{Path: "/my/things/new", Template: "thing.html", Title: "New thing", Personal: true},
		{Path: "/my/things/{id}", Template: "thing.html", Title: "My thing", Personal: true},
	},
}

// newPages returns pages for the signed-in user u, nil for none.
func newPages(t *testing.T, u *web.User) *web.Pages {
	t.Helper()
	p, err := web.New(web.Config{
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		Sections: []web.Section{things},
		Call:     called,
		User: func(*http.Request) (web.User, bool) {
			if u == nil {
				return web.User{}, false
			}
			return *u, true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// get requests target as a navigation does, with the header fields given as
// names and values.
func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, target, header...)
}

func do(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path string
		user       *web.User
		status     int
		cache      string
		title      string
		contains   []string
		lacks      []string
	}{
		{name: "home signed out", path: "/", status: 200, cache: "private, no-cache", title: "Home · Gatehouse",
			contains: []string{"What is running", "Another section&#39;s page."}, lacks: []string{"Sign out"}},
		{name: "home signed in", path: "/", user: &sally, status: 200, cache: "no-store", title: "Home · Gatehouse",
			contains: []string{"Sally Seller"}},
		{name: "public signed out", path: "/public", status: 200, cache: "private, no-cache", title: "Public · Gatehouse",
			contains: []string{"You are signed out"}},
		{name: "public signed in", path: "/public?page=2", user: &sally, status: 200, cache: "no-store", title: "Public · Gatehouse",
			contains: []string{"signed in as Sally Seller."}},
		{name: "private signed in", path: "/private", user: &sally, status: 200, cache: "no-store", title: "Private · Gatehouse",
			contains: []string{`id="call-api"`, `id="api-result"`, "<noscript>"}},
		{name: "private signed out", path: "/private", status: 401, cache: "no-store", title: "Private · Gatehouse",
			contains: []string{"You are signed out", "Sign in"}, lacks: []string{"call-api"}},
		{name: "profile signed in", path: "/profile", user: &sally, status: 200, cache: "no-store", title: "Profile · Gatehouse",
			contains: []string{"sally@example.com", "<code>sub</code>", `datetime="2026-11-30T18:04:05Z"`, "2026-11-30 18:04 UTC", `datetime="2026-11-24T18:04:05Z"`, `href="/sessions"`}},
		{name: "sessions signed in", path: "/sessions", user: &sally, status: 200, cache: "no-store", title: "Your sessions · Gatehouse",
			contains: []string{`id="sessions"`, `id="end-others"`, "<noscript>", "data-personal"}},
		{name: "sessions signed out", path: "/sessions", status: 401, cache: "no-store", title: "Your sessions · Gatehouse",
			contains: []string{"You are signed out"}, lacks: []string{"end-others", "sessions.js"}},
		{name: "profile signed out", path: "/profile", status: 401, cache: "no-store", title: "Profile · Gatehouse",
			contains: []string{"You are signed out"}, lacks: []string{"Claims"}},
		{name: "profile without claims", path: "/profile", user: &web.User{}, status: 200, cache: "no-store", title: "Profile · Gatehouse",
			contains: []string{"no further claims"}, lacks: []string{"<time", "0001"}},
		{name: "section", path: "/thing?q=x", user: &sally, status: 200, cache: "no-store", title: "Thing · Gatehouse",
			contains: []string{`data-id=""`, "/thing.js"}},
		{name: "section with an identifier", path: thing, user: &sally, status: 200, cache: "no-store", title: "One thing · Gatehouse",
			contains: []string{`data-id="aaaaaaaaaaaaaaaaaaaaaaaaaa"`}},
		{name: "section beside one with an identifier", path: "/my/things/new", user: &sally, status: 200, cache: "no-store", title: "New thing · Gatehouse",
			contains: []string{`data-id=""`}},
		{name: "section signed out", path: "/my" + thing, status: 401, cache: "no-store", title: "My thing · Gatehouse",
			contains: []string{"You are signed out"}, lacks: []string{"data-id"}},
		{name: "unknown", path: "/nowhere", status: 404, cache: "no-store", title: "Page not found · Gatehouse",
			contains: []string{"Go to the home page"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := get(newPages(t, tc.user), tc.path)
			if w.Code != tc.status {
				t.Errorf("status = %d, want %d", w.Code, tc.status)
			}
			checkHeaders(t, w)
			if got := w.Header().Get("Cache-Control"); got != tc.cache {
				t.Errorf("Cache-Control = %q, want %q", got, tc.cache)
			}
			if got := w.Header().Get("Vary"); got != "Cookie" {
				t.Errorf("Vary = %q, want Cookie", got)
			}
			doc := parse(t, w)
			if got := text(find(doc, "title")[0]); got != tc.title {
				t.Errorf("title = %q, want %q", got, tc.title)
			}
			for _, want := range tc.contains {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("page lacks %q", want)
				}
			}
			for _, not := range tc.lacks {
				if strings.Contains(w.Body.String(), not) {
					t.Errorf("page contains %q", not)
				}
			}
		})
	}
}

func checkHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'; " +
			"font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Permissions-Policy":         "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestNavigationBar(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		user  *web.User
		path  string
		items string // texts in order
		last  string // where the last item leads
		here  string // the item marked as current
	}{
		{"signed out", nil, "/", "Home|Thing|Public|Private|Sign in", "/api/auth/login?returnTo=%2F", "Home"},
		{"signed out elsewhere", nil, "/public", "Home|Thing|Public|Private|Sign in", "/api/auth/login?returnTo=%2Fpublic", "Public"},
		{"signed out, nowhere", nil, "/nowhere", "Home|Thing|Public|Private|Sign in", "/api/auth/login?returnTo=%2Fnowhere", ""},
		{"signed in", &sally, "/profile", "Home|Thing|Public|Private|Profile|Signed in as Sally Seller|Sign out", "/api/auth/logout", "Profile"},
		{"no name", &web.User{Email: "a@example.com", Subject: "1"}, "/private", "Home|Thing|Public|Private|Profile|Signed in as a@example.com|Sign out", "/api/auth/logout", "Private"},
		{"subject only", &web.User{Name: " ", Subject: "auth0|42"}, "/", "Home|Thing|Public|Private|Profile|Signed in as auth0|42|Sign out", "/api/auth/logout", "Home"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := parse(t, get(newPages(t, tc.user), tc.path))
			if nav := find(doc, "nav"); len(nav) != 1 {
				t.Fatalf("%d navigation landmarks, want 1", len(nav))
			}
			header := find(doc, "header")[0]
			var items []string
			for _, item := range find(header, "li", "p", "a") {
				if item.Data != "a" || strings.Contains(attr(item, "class"), "button") {
					items = append(items, text(item))
				}
			}
			if got := strings.Join(items, "|"); got != tc.items {
				t.Errorf("items = %q, want %q", got, tc.items)
			}
			links := find(header, "a")
			last := links[len(links)-1]
			if got := attr(last, "href"); got != tc.last {
				t.Errorf("last item leads to %q, want %q", got, tc.last)
			}
			here := ""
			for _, a := range links {
				if attr(a, "aria-current") == "page" {
					here += text(a)
				}
			}
			if here != tc.here {
				t.Errorf("current = %q, want %q", here, tc.here)
			}
		})
	}
}

// The login link of every page has one parameter, a local path (GHSA-4mf2,
// CVE-2022-23527: open redirects by way of returnTo).
func TestReturnTo(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	for _, tc := range []struct{ target, want string }{
		{"/public?page=2&sort=a%20b", "/public?page=2&sort=a%20b"},
		{"/public?x=%26returnTo=//evil.example", "/public?x=%26returnTo=//evil.example"},
		{"/public?q=\"><script>", "/public?q=\"><script>"},
		{"/n%0d%0aSet-Cookie:x", "/n%0d%0aSet-Cookie:x"},
		{"/%5Cevil.example", "/%5Cevil.example"},
		{"/%2F%2Fevil.example", "/%2F%2Fevil.example"},
		{"http://localhost//evil.example", "/"},
		{"http://localhost//evil.example/%2e%2e", "/"},
		{"/api/auth/callback?code=secret&state=x", "/"},
	} {
		t.Run(tc.target, func(t *testing.T) {
			t.Parallel()
			w := get(p, strings.ReplaceAll(strings.ReplaceAll(tc.target, `"`, "%22"), "<", "%3C"))
			links := find(find(parse(t, w), "header")[0], "a")
			u := mustURL(t, attr(links[len(links)-1], "href"))
			want := strings.ReplaceAll(strings.ReplaceAll(tc.want, `"`, "%22"), "<", "%3C")
			if u.Path != "/api/auth/login" || u.Host != "" || len(u.Query()) != 1 || u.Query().Get("returnTo") != want {
				t.Errorf("login link %q, want the single parameter returnTo=%q", u, want)
			}
		})
	}
}

func TestUserIsAskedOncePerPage(t *testing.T) {
	t.Parallel()
	asked := 0
	p, err := web.New(web.Config{User: func(*http.Request) (web.User, bool) { asked++; return sally, true }})
	if err != nil {
		t.Fatal(err)
	}
	w := get(p, "/private")
	if asked != 1 {
		t.Errorf("asked %d times for a page, want once", asked)
	}
	for _, target := range assetsOf(t, parse(t, w)) {
		get(p, target)
	}
	p.Problem(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/auth/callback", nil), web.Problem{})
	if asked != 1 {
		t.Errorf("asked %d times after assets and a problem page, want once: the store may be unavailable", asked)
	}
}

func TestZeroConfig(t *testing.T) {
	t.Parallel()
	p, err := web.New(web.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if w := get(p, "/"); w.Code != 200 || strings.Contains(w.Body.String(), "Development mode") {
		t.Errorf("status %d; development notice without DevBanner", w.Code)
	}
}

func TestDevBanner(t *testing.T) {
	t.Parallel()
	p, err := web.New(web.Config{DevBanner: true})
	if err != nil {
		t.Fatal(err)
	}
	problem := httptest.NewRecorder()
	p.Problem(problem, httptest.NewRequest("GET", "/", nil), web.Problem{})
	for name, w := range map[string]*httptest.ResponseRecorder{"page": get(p, "/"), "problem": problem} {
		if !strings.Contains(text(find(parse(t, w), "header")[0]), "Development mode") {
			t.Errorf("%s: no development notice", name)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	p := newPages(t, &sally)
	asset := assetsOf(t, parse(t, get(p, "/")))[0]
	for _, target := range []string{"/", "/private", "/nowhere", asset} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"} {
			w := do(p, method, target)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, target, w.Code, w.Header().Get("Allow"))
			}
			if strings.Contains(w.Body.String(), "Sally") {
				t.Errorf("%s %s: shows the user", method, target)
			}
		}
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	// Over a connection, which reports a body and a wrong length.
	srv := httptest.NewServer(newPages(t, &sally))
	t.Cleanup(srv.Close)
	asset := assetsOf(t, parse(t, get(newPages(t, &sally), "/")))[0]
	for _, target := range []string{"/", "/private", "/nowhere", asset} {
		var lengths [2]int64
		var status [2]int
		for i, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "text/html")
			resp, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			lengths[i], status[i] = resp.ContentLength, resp.StatusCode
		}
		if status[0] != status[1] || lengths[0] != lengths[1] || lengths[0] <= 0 {
			t.Errorf("%s: GET %d with %d bytes, HEAD %d with %d", target, status[0], lengths[0], status[1], lengths[1])
		}
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	for _, tc := range []struct {
		name   string
		header []string
		page   bool
	}{
		{"old browser", nil, true},
		{"navigation", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true},
		{"frame", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false},
		{"fetch", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		{"image", []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		{"curl", []string{"Accept", "*/*"}, false},
		{"XMLHttpRequest", []string{"X-Requested-With", "XMLHttpRequest"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := get(p, "/nowhere", tc.header...)
			if w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, Cache-Control %q", w.Code, w.Header().Get("Cache-Control"))
			}
			if got := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"); got != tc.page {
				t.Errorf("answered with a page: %v, want %v", got, tc.page)
			}
			if !tc.page && w.Body.String() != "Not found.\n" {
				t.Errorf("body = %q", w.Body)
			}
		})
	}
}

// The bff protects paths by name. Other spellings of a path must not lead to its
// page (CVE-2026-41059, GHSA-7rh7).
func TestOnlyExactPathsLeadToPages(t *testing.T) {
	t.Parallel()
	p := newPages(t, &sally)
	for _, target := range []string{
		"http://localhost//private", "/./private", "/x/../private", "/PRIVATE", "/private%2f", "/private%2fx",
		"/private;x", "/private%00", "/private%20", "/private.html", "/private/x", "/%2fprivate", "/private%23",
		"/my/things/", "/my/things/{id}", "/my/things/NEW", "/my" + strings.ToUpper(thing), "/my" + thing + "x", "/my" + thing + "/x",
		"/my" + thing + "%0a", "/my//things/new", "/things/{id}", "/things/../private", "/things/aaaaaaaaaaaaaaaaaaaaaaaa%2fa",
	} {
		w := get(p, target)
		if w.Code == 200 || strings.Contains(w.Body.String(), "call-api") {
			t.Errorf("%s: status %d shows the private page", target, w.Code)
		}
	}
}

func TestTrailingSlash(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	for target, want := range map[string]string{
		"/public/":       "/public",
		"/public/?a=b&c": "/public?a=b&c",
		"/private/":      "/private",
	} {
		w := get(p, target)
		if w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != want {
			t.Errorf("%s: %d to %q, want 308 to %q", target, w.Code, w.Header().Get("Location"), want)
		}
	}
	for _, target := range []string{"/public//", "/nowhere/", "http://localhost//evil.example/"} {
		if w := get(p, target); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d to %q, want 404", target, w.Code, w.Header().Get("Location"))
		}
	}
}

// Without Config.Call no page offers to call the API.
func TestNothingToCall(t *testing.T) {
	t.Parallel()
	p, err := web.New(web.Config{User: func(*http.Request) (web.User, bool) { return sally, true }})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/public", "/private"} {
		if body := get(p, path).Body.String(); strings.Contains(body, "Call the API") || strings.Contains(body, "call-api") || strings.Contains(body, "call-confirmed") || strings.Contains(body, `scope="row"></th>`) {
			t.Errorf("%s offers a call without Config.Call", path)
		}
	}
}

// New returns an error that names the page or file.
func TestInvalidSections(t *testing.T) {
	t.Parallel()
	section := func(files fstest.MapFS, pages ...web.Page) web.Section {
		return web.Section{Files: files, Pages: pages}
	}
	content := &fstest.MapFile{Data: []byte(`{{define "content"}}{{end}}`)}
	for _, tc := range []struct {
		name    string
		section web.Section
		says    string
	}{
		{"a page of ours", section(fstest.MapFS{"templates/a.html": content}, web.Page{Path: "/public", Template: "a.html"}), "two pages at /public"},
		{"a page below /api", section(fstest.MapFS{"templates/a.html": content}, web.Page{Path: "/api/board", Template: "a.html"}), `page "/api/board" is not at a path of the front end`},
		{"a page without a slash", section(fstest.MapFS{"templates/a.html": content}, web.Page{Path: "board", Template: "a.html"}), `page "board" is not at a path of the front end`},
		{"a file of ours", section(fstest.MapFS{"assets/site.css": content}), "two sections have a file assets/site.css"},
		{"no template", section(fstest.MapFS{}, web.Page{Path: "/a", Template: "a.html"}), "template a.html"},
		{"no script", section(fstest.MapFS{"templates/a.html": content}, web.Page{Path: "/a", Template: "a.html", Script: "a.js"}), "page /a names the script a.js"},
		{"no identifiers", section(fstest.MapFS{"templates/a.html": content}, web.Page{Path: "/a/{id}", Template: "a.html"}), "/a/{id} has an {id}"},
	} {
		_, err := web.New(web.Config{Sections: []web.Section{tc.section}})
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want an error that says %q", tc.name, err, tc.says)
		}
	}
}
