package web

import (
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
)

//go:embed templates/*.html assets
var files embed.FS

// page is one address of the front end. To add one, add a line to [pages] and
// a template that defines "content".
type page struct {
	path     string // exact; empty for the page of unknown paths
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
}

type navItem struct {
	Link
	Current bool
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
		"utc":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).Option("missingkey=error").ParseFS(files, paths...)
	if err != nil {
		return nil, fmt.Errorf("web: templates %v: %w", names, err)
	}
	return t, nil
}
