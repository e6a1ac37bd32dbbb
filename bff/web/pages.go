package web

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"time"
)

//go:embed templates/*.html assets
var files embed.FS

// A Section is a part of the front end: pages with one navigation, and the
// files that they are made of.
type Section struct {
	// Files holds templates/*.html and assets/*. What a template calls besides
	// its own definitions lies in templates/partials.html, or is one of this
	// package's: "layout.html", "signin". Assets of all sections lie in one
	// directory, so that modules may import each other's, and none may have the
	// name of another's.
	Files fs.FS
	// Pages are its addresses, in the order of the navigation bar.
	Pages []Page
	// ID matches what may stand for {id} in a path. A path with anything else
	// in its place is no page. nil for no such path.
	ID *regexp.Regexp
}

// A Page is one address of the front end. Its template defines "content".
type Page struct {
	Path     string // exact but for one last segment "{id}"
	Template string // file under templates/
	Title    string // of the browser's tab
	Nav      string // label in the navigation bar; empty leaves it out
	About    string // what the home page says of it; empty leaves it out there
	Script   string // module under assets/ that the page needs besides the common one
	Personal bool   // shows something only to a signed-in person
	NavOnly  bool   // in the bar only for a signed-in person
}

// page is a Page that is ready to be shown.
type page struct {
	Page
	ids    *regexp.Regexp
	parsed *template.Template
}

// sections are the front end, in the order of its navigation bar: home, what
// others have written, and the rest of ours.
func sections(others []Section) []Section {
	first := Section{Files: files, Pages: []Page{
		{Path: "/", Template: "home.html", Title: "Home", Nav: "Home"},
	}}
	last := Section{Files: files, Pages: []Page{
		{Path: "/public", Template: "public.html", Title: "Public", Nav: "Public",
			About: "Open to everyone. It knows you if you are signed in and does not mind if you are not."},
		{Path: "/private", Template: "private.html", Title: "Private", Nav: "Private", Script: "private.js", Personal: true,
			About: "Asks you to sign in, brings you back, and calls the API in your name."},
		{Path: "/profile", Template: "profile.html", Title: "Profile", Nav: "Profile", Script: "profile.js", Personal: true, NavOnly: true,
			About: "What your provider said about you, and when your session ends."},
		{Path: "/sessions", Template: "sessions.html", Title: "Your sessions", Script: "sessions.js", Personal: true,
			About: "Every browser in which you are signed in, and how to end that."},
	}}
	return append(append([]Section{first}, others...), last)
}

func notFound() page {
	return page{Page: Page{Template: "notfound.html", Title: "Page not found"}}
}

// view is what layout.html and the page templates see.
type view struct {
	Title    string
	Script   string
	Nav      []navItem
	SignedIn bool
	Unknown  bool // whether there is a session cannot be told at the moment
	Personal bool // shows something only to a signed-in person
	User     User
	Dev      bool
	LoginURL string // sign in and come back to this page
	ID       string // what stands for {id} in the path
	Call     string // the API's path that the private page calls; empty for none
	Confirm  string // another, which wants a stronger sign-in
	Pages    []Page // those with an address that can be written down
}

type navItem struct {
	Link
	Current bool
}

// find returns the page at a path, and the identifier in it.
func (p *Pages) find(path string) (pg *page, id string, ok bool) {
	if pg, ok := p.byPath[path]; ok && !strings.Contains(pg.Path, "{") {
		return pg, "", true
	}
	dir, id := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
	if pg, ok = p.byPath[dir+"{id}"]; !ok || pg.ids == nil || pg.ids.FindString(id) != id || id == "" {
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
		if pg.Nav == "" || pg.NavOnly && !signedIn {
			continue
		}
		items = append(items, navItem{Link{pg.Nav, pg.Path}, pg.Path == current.Path})
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

// parse reads templates that belong together. Those of this package come
// first; own are names in fsys, which may be nil. The first of all names is the
// one to execute.
func parse(a *assets, ours []string, fsys fs.FS, own ...string) (*template.Template, error) {
	t := template.New(ours[0]).Funcs(template.FuncMap{
		"asset":   a.url,
		"dict":    dict,
		"utc":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).Option("missingkey=error")
	read := func(fsys fs.FS, names []string) error {
		for _, name := range names {
			if _, err := t.ParseFS(fsys, "templates/"+name); err != nil {
				return fmt.Errorf("web: template %s: %w", name, err)
			}
		}
		return nil
	}
	if err := read(files, append([]string{"partials.html"}, ours...)); err != nil {
		return nil, err
	}
	if fsys == nil {
		return t, nil
	}
	if _, err := fs.Stat(fsys, "templates/partials.html"); err == nil {
		own = append([]string{"partials.html"}, own...)
	}
	if err := read(fsys, own); err != nil {
		return nil, err
	}
	return t, nil
}
