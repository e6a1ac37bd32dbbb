package web

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strings"
	"time"
)

//go:embed templates/*.html assets
var files embed.FS

// page is one address of the front end. To add one, add a line to [pages] and
// a template that defines "content".
type page struct {
	path     string // exact but for one segment "{id}", a product's; empty for the page of unknown paths
	template string // file under templates/
	title    string // of the browser's tab
	nav      string // label in the navigation bar; empty leaves it out
	script   string // module under assets/ that the page needs besides the common one
	personal bool   // shows something only to a signed-in person
	navOnly  bool   // in the bar only for a signed-in person

	parsed *template.Template
}

// pages lists the front end in the order of its navigation bar.
func pages() []page {
	return []page{
		{path: "/", template: "home.html", title: "Home", nav: "Home"},
		{path: "/products", template: "products.html", title: "Products", nav: "Products", script: "products.js"},
		{path: "/products/{id}", template: "product.html", title: "Product", script: "product.js"},
		{path: "/my/products", template: "myproducts.html", title: "My products", script: "products.js", personal: true},
		{path: "/my/products/new", template: "productform.html", title: "Offer a product", script: "product-form.js", personal: true},
		{path: "/my/products/{id}", template: "productform.html", title: "Change a product", script: "product-form.js", personal: true},
		{path: "/public", template: "public.html", title: "Public", nav: "Public"},
		{path: "/private", template: "private.html", title: "Private", nav: "Private", script: "private.js", personal: true},
		{path: "/profile", template: "profile.html", title: "Profile", nav: "Profile", script: "profile.js", personal: true, navOnly: true},
	}
}

func notFound() page {
	return page{template: "notfound.html", title: "Page not found"}
}

// view is what layout.html and the page templates see.
type view struct {
	Title    string
	Script   string
	Nav      []navItem
	SignedIn bool
	User     User
	Dev      bool
	LoginURL string // sign in and come back to this page
	ID       string // of the product that the path names
}

type navItem struct {
	Link
	Current bool
}

// productID is how the server writes the identifier of a product. A path with
// anything else in its place is no page.
var productID = regexp.MustCompile("^[a-z2-7]{26}$")

// find returns the page at a path, and the identifier in it.
func (p *Pages) find(path string) (pg *page, id string, ok bool) {
	if pg, ok := p.byPath[path]; ok && !strings.Contains(pg.path, "{") {
		return pg, "", true
	}
	dir, id := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
	if pg, ok = p.byPath[dir+"{id}"]; !ok || !productID.MatchString(id) {
		return nil, "", false
	}
	return pg, id, true
}

// dict makes what a template hands to another of pairs of names and values.
func dict(pairs ...string) (map[string]string, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a name without a value")
	}
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m, nil
}

// nav builds the page links of the bar. Login or Logout, its last item, is
// written in the layout, so that no page can forget it.
func (p *Pages) nav(current *page, signedIn bool) []navItem {
	var items []navItem
	for _, pg := range p.list {
		if pg.nav == "" || pg.navOnly && !signedIn {
			continue
		}
		items = append(items, navItem{Link{pg.nav, pg.path}, pg.path == current.path})
	}
	return items
}

// loginURL leads to the bff's login and from there back to u.
func loginURL(u *url.URL) string {
	back := u.RequestURI()
	// The bff checks what it is given. This keeps a crafted link to a page of
	// ours from putting something odd into our own markup to begin with, and a
	// login from coming back to an endpoint that is no page.
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.HasPrefix(back, "/api/") {
		back = "/"
	}
	return "/api/auth/login?returnTo=" + url.QueryEscape(back)
}

// parse reads templates that belong together; the first is the one to execute.
func parse(a *assets, names ...string) (*template.Template, error) {
	paths := []string{"templates/partials.html"}
	for _, n := range names {
		paths = append(paths, "templates/"+n)
	}
	t, err := template.New(names[0]).Funcs(template.FuncMap{
		"asset":   a.url,
		"dict":    dict,
		"utc":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).Option("missingkey=error").ParseFS(files, paths...)
	if err != nil {
		return nil, fmt.Errorf("web: templates %v: %w", names, err)
	}
	return t, nil
}
