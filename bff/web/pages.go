package web

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
)

//go:embed templates/*.html assets
var files embed.FS

// A Section is a part of an application's front end: pages and their files.
type Section struct {
	// Files has templates/*.html and assets/* (.css, .js and .svg). A template
	// can use the definitions of its own file, of the section's
	// templates/partials.html, and the definition "signin" of this package: the
	// invitation to sign in. The assets of all sections are served from one
	// directory, so that scripts can import each other, and must have different
	// names.
	Files fs.FS
	// Pages are the section's addresses, in the order of the navigation bar.
	Pages []Page
	// ID matches the whole of what can stand for {id} in a path. Paths with
	// anything else in its place are not found. It is required if a path has
	// an {id}.
	ID *regexp.Regexp
}

// A Page is one address of the front end. Its template defines "content".
type Page struct {
	// Path is the exact path. Its last segment may be "{id}".
	Path string
	// Template is the name of a file under templates/.
	Template string
	// Title is the title of the browser's tab.
	Title string
	// Nav is the label in the navigation bar; "" leaves the page out there.
	Nav string
	// About describes the page on the home page; "" leaves it out there.
	About string
	// Script is the name of a JavaScript module under assets/, in addition to
	// the one of all pages; "" for none.
	Script string
	// Personal pages show something to signed-in users only. To others they
	// offer the login, with status 401.
	Personal bool
	// NavOnly pages are in the navigation bar for signed-in users only.
	NavOnly bool
}

// A page is a Page with its parsed template.
type page struct {
	Page
	ids    *regexp.Regexp
	parsed *template.Template
}

// sections returns all sections in the order of the navigation bar: the home
// page, the application's, and the other pages of this package.
func sections(c *catalog.Catalog, others []Section) []Section {
	first := Section{Files: files, Pages: []Page{
		{Path: "/", Template: "home.html", Title: c.Text("home.title"), Nav: c.Text("home.title")},
	}}
	last := Section{Files: files, Pages: []Page{
		{Path: "/public", Template: "public.html", Title: c.Text("public.title"), Nav: c.Text("public.title"),
			About: c.Text("public.about")},
		{Path: "/private", Template: "private.html", Title: c.Text("private.title"), Nav: c.Text("private.title"),
			Script: "private.js", Personal: true, About: c.Text("private.about")},
		{Path: "/profile", Template: "profile.html", Title: c.Text("profile.title"), Nav: c.Text("profile.title"),
			Script: "profile.js", Personal: true, NavOnly: true, About: c.Text("profile.about")},
		{Path: "/sessions", Template: "sessions.html", Title: c.Text("sessions.title"),
			Script: "sessions.js", Personal: true, About: c.Text("sessions.about")},
	}}
	return slices.Concat([]Section{first}, others, []Section{last})
}

// A view is the data of layout.html and the page templates.
type view struct {
	Title    string
	Script   string
	Nav      []navItem
	SignedIn bool
	Unknown  bool // the session store did not answer
	Personal bool // the page is Personal
	User     User
	Dev      bool
	LoginURL string // of a login that returns to this page
	ID       string // the value of {id} in the path
	Call     string // Config.Call
	Confirm  string // Config.CallConfirmed
	Pages    []Page // without those that have an {id}
}

type navItem struct {
	Link
	Current bool
}

// find returns the page at a path and the value of its {id}.
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

// dict returns pairs of names and values as the data of another template.
func dict(pairs ...string) (map[string]string, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: name without a value")
	}
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m, nil
}

// nav returns the page links of the navigation bar.
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

// loginURL returns the address of a login that returns to u.
func loginURL(u *url.URL) string {
	back := u.RequestURI()
	// The bff checks returnTo too. This keeps the targets of crafted links to
	// our pages out of the markup, and endpoints that are not pages.
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.HasPrefix(back, "/api/") {
		back = "/"
	}
	return "/api/auth/login?returnTo=" + url.QueryEscape(back)
}

// replaced returns the file systems of the pages that fsys may replace.
func replaced(fsys fs.FS) (notFound, problem fs.FS, err error) {
	notFound, problem = files, files
	names, err := fs.Glob(fsys, "templates/*.html")
	for _, name := range names {
		switch name {
		case "templates/notfound.html":
			notFound = fsys
		case "templates/problem.html":
			problem = fsys
		case "templates/partials.html":
		default:
			return nil, nil, fmt.Errorf("web: %s replaces no page; only templates/problem.html and templates/notfound.html can be replaced", name)
		}
	}
	if err == nil && notFound == files && problem == files {
		err = errors.New("web: ErrorPages has neither templates/problem.html nor templates/notfound.html")
	}
	return notFound, problem, err
}

// parse reads the templates of a page: ours, which is executed, and own, which
// are names in fsys.
func (p *Pages) parse(ours string, fsys fs.FS, own ...string) (*template.Template, error) {
	t := template.New("").Funcs(template.FuncMap{
		"asset":   p.assets.url,
		"dict":    dict,
		"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).Option("missingkey=error")
	read := func(fsys fs.FS, names ...string) error {
		for _, name := range names {
			source, err := fs.ReadFile(fsys, "templates/"+name)
			text := string(source)
			if err == nil && fsys == fs.FS(files) {
				text, err = p.brand.apply(name, text)
			}
			if err == nil {
				_, err = t.New(name).Parse(text)
			}
			if err != nil {
				return fmt.Errorf("web: template %s: %w", name, err)
			}
		}
		return nil
	}
	if err := read(files, "partials.html", ours); err != nil {
		return t.Lookup(ours), err
	}
	if _, err := fs.Stat(fsys, "templates/partials.html"); err == nil {
		own = append([]string{"partials.html"}, own...)
	}
	err := read(fsys, own...)
	return t.Lookup(ours), err
}
