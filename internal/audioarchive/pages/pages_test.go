package pages_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/pages"
	"github.com/gatehouse-dev/gatehouse/internal/test/webtest"
)

const product = "/products/aaaaaaaaaaaaaaaaaaaaaaaaaa"

// show returns the response to a navigation, signed in or signed out.
func show(t *testing.T, path string, signedIn bool) *httptest.ResponseRecorder {
	t.Helper()
	p, err := web.New(web.Config{
		Sections: []web.Section{pages.Section},
		User: func(*http.Request) (web.User, bool) {
			return web.User{Name: "Sally Seller", Subject: "seller-1"}, signedIn
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path string
		signedIn   bool
		status     int
		cache      string
		title      string
		contains   []string
		lacks      []string
	}{
		{name: "products", path: "/products", status: 200, cache: "private, no-cache", title: "Products · Gatehouse",
			contains: []string{`data-api="/api/products"`, `id="search"`, "<noscript>"}, lacks: []string{"/my/products"}},
		{name: "products signed in", path: "/products?q=x", signedIn: true, status: 200, cache: "no-store", title: "Products · Gatehouse",
			contains: []string{`href="/my/products"`}},
		{name: "a product", path: product, status: 200, cache: "private, no-cache", title: "Product · Gatehouse",
			contains: []string{`data-id="aaaaaaaaaaaaaaaaaaaaaaaaaa"`, `id="own" hidden`}},
		{name: "my products", path: "/my/products", signedIn: true, status: 200, cache: "no-store", title: "My products · Gatehouse",
			contains: []string{`data-api="/api/my/products"`, `href="/my/products/new"`}},
		{name: "my products signed out", path: "/my/products", status: 401, cache: "no-store", title: "My products · Gatehouse",
			contains: []string{"You are signed out"}, lacks: []string{"data-api"}},
		{name: "offer", path: "/my/products/new", signedIn: true, status: 200, cache: "no-store", title: "Offer a product · Gatehouse",
			contains: []string{`id="title-error"`, `data-id=""`, "Offer it"}, lacks: []string{`id="delete"`}},
		{name: "change", path: "/my" + product, signedIn: true, status: 200, cache: "no-store", title: "Change a product · Gatehouse",
			contains: []string{`id="delete"`, "Save changes", `data-id="aaaaaaaaaaaaaaaaaaaaaaaaaa"`}},
		{name: "change signed out", path: "/my" + product, status: 401, cache: "no-store", title: "Change a product · Gatehouse",
			contains: []string{"You are signed out"}, lacks: []string{"product-form"}},
		{name: "no such identifier", path: "/products/AAAAAAAAAAAAAAAAAAAAAAAAAA", status: 404, cache: "no-store", title: "Page not found · Gatehouse"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := show(t, tc.path, tc.signedIn)
			if w.Code != tc.status || w.Header().Get("Cache-Control") != tc.cache {
				t.Errorf("status %d, Cache-Control %q; want %d, %q", w.Code, w.Header().Get("Cache-Control"), tc.status, tc.cache)
			}
			doc := webtest.Parse(t, w)
			if got := webtest.Text(webtest.Find(doc, "title")[0]); got != tc.title {
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
			webtest.NothingInline(t, w)
			webtest.Structure(t, w)
		})
	}
}

// TestPagesAreListed: the pages are in the navigation bar, on the home page, and in the list of
// public and protected pages.
func TestPagesAreListed(t *testing.T) {
	t.Parallel()
	home := show(t, "/", false)
	var items []string
	for _, li := range webtest.Find(webtest.Find(webtest.Parse(t, home), "nav")[0], "li") {
		items = append(items, webtest.Text(li))
	}
	if got := strings.Join(items, "|"); got != "Home|Products|Public|Private" {
		t.Errorf("items = %q", got)
	}
	if !strings.Contains(home.Body.String(), "Audio Archive") {
		t.Error("the home page does not tell of the sample application")
	}
	if body := show(t, "/public", false).Body.String(); !strings.Contains(body, ">/my/products<") || !strings.Contains(body, ">/products<") {
		t.Error("the public page does not tell who can open the products")
	}
}

// TestLinksAndFiles: every link leads to a page or an endpoint, and every file that a page loads
// exists.
func TestLinksAndFiles(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/products", product, "/my/products", "/my/products/new", "/my" + product} {
		doc := webtest.Parse(t, show(t, path, true))
		loads := 0
		for _, n := range webtest.Find(doc, "a", "form", "script", "link") {
			target, _, _ := strings.Cut(webtest.Attr(n, "href")+webtest.Attr(n, "action")+webtest.Attr(n, "src"), "?")
			if strings.HasPrefix(target, web.AssetPrefix) {
				loads++
			} else if strings.HasPrefix(target, "#") || strings.HasPrefix(target, "/api/") {
				continue
			}
			if w := show(t, target, true); w.Code != 200 {
				t.Errorf("%s leads to %q: %d", path, target, w.Code)
			}
		}
		if loads < 4 { // style, icon, and two modules
			t.Errorf("%s loads %d files of ours", path, loads)
		}
	}
}
