// Package web owns the pages of Gatehouse: templates, styles and scripts that
// are embedded in the binary, and the pages that an application adds. It leaves
// the session, the rules about pages that need one, and all addresses under
// /api/ except its assets to the bff.
package web

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
)

// A User is what pages show of the signed-in user. Every field may be empty. The
// texts come from the provider, and are escaped where they are shown.
type User struct {
	Name, Email string
	// Subject is the claim "sub". A page that comes back from the browser's
	// cache compares it with the current user's.
	Subject string
	// Claims are shown on the profile page in this order.
	Claims []Claim
	// ExpiresAt is when the session ends at the latest, IdleExpiresAt when it
	// ends without use; zero if unknown.
	ExpiresAt, IdleExpiresAt time.Time
}

// A Claim is one claim of the provider about a user, as text.
type Claim struct {
	Name, Value string
}

// Display returns the name of the user, or else the e-mail address, or else the
// subject. On pages it is never empty: a user without any of them has a name that
// says so.
func (u User) Display() string {
	for _, s := range []string{u.Name, u.Email, u.Subject} {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	return ""
}

// Initial returns the first letter of [User.Display], for the portrait. The
// provider's picture is not used: fetching it would tell a third party of the
// visit, and the Content-Security-Policy forbids it.
func (u User) Initial() string {
	for _, r := range u.Display() {
		return strings.ToUpper(string(r))
	}
	return ""
}

// Config configures the Pages. Its zero value shows every page to signed-out
// users.
type Config struct {
	// User returns the user of a request, false for none. It is called once for
	// each page, and never for assets and problem pages. The default is no user.
	User func(*http.Request) (User, bool)

	// Unknown reports whether the user of a request is unknown at the moment,
	// as during an outage of the session store. The default is never.
	Unknown func(*http.Request) bool

	// Sections are an application's own pages. In the navigation bar they come
	// after Home.
	Sections []Section

	// ErrorPages has templates/problem.html, templates/notfound.html, or both, in
	// the place of those of this package, and assets for them, as in [Section].Files.
	// notfound.html defines "content", as the template of a page does. problem.html is
	// the whole page for a [Problem]: it can use the definitions "head", "brand", "legal" and
	// "devnotice" of this package, and it must not need the front end, which may be
	// unavailable. nil replaces nothing.
	ErrorPages fs.FS

	// Catalog has name, logo, colors and texts of the pages. The default is the
	// built-in one, in English.
	Catalog *catalog.Catalog

	// Call is a path of the API, such as "/api/private-route", that the page
	// /private calls. The default is no call.
	Call string

	// CallConfirmed is another such path, for which the user may have to sign
	// in again (RFC 9470). The default is no call.
	CallConfirmed string

	// Logger gets errors of rendering. The default discards them.
	Logger *slog.Logger

	// DevBanner shows a notice of development mode above the navigation bar.
	DevBanner bool
}

// Pages is an http.Handler for the embedded front end. It is safe for concurrent
// use.
type Pages struct {
	cfg     Config
	brand   *brand
	assets  *assets
	list    []*page // in the order of the navigation bar
	byPath  map[string]*page
	missing *page
	problem *template.Template
}

// New returns Pages. An error names the page or file: sections with equal paths
// or file names, a missing script, a template that cannot be parsed.
func New(cfg Config) (*Pages, error) {
	if cfg.User == nil {
		cfg.User = func(*http.Request) (User, bool) { return User{}, false }
	}
	if cfg.Unknown == nil {
		cfg.Unknown = func(*http.Request) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Catalog == nil {
		cfg.Catalog = catalog.English()
	}
	p := &Pages{cfg: cfg, byPath: make(map[string]*page)}
	var err error
	if p.brand, err = newBrand(cfg.Catalog); err != nil {
		return nil, err
	}
	all := []fs.FS{files}
	for _, section := range cfg.Sections {
		all = append(all, section.Files)
	}
	notFound, problem := fs.FS(files), fs.FS(files)
	if cfg.ErrorPages != nil {
		all = append(all, cfg.ErrorPages)
		if notFound, problem, err = replaced(cfg.ErrorPages); err != nil {
			return nil, err
		}
	}
	if p.assets, err = loadAssets(p.brand, all...); err != nil {
		return nil, err
	}
	for _, section := range sections(cfg.Catalog, cfg.Sections) {
		for _, pg := range section.Pages {
			if err := p.add(page{Page: pg, ids: section.ID}, section.Files); err != nil {
				return nil, err
			}
		}
	}
	p.missing = &page{Page: Page{Template: "notfound.html", Title: cfg.Catalog.Text("not-found.title")}}
	if p.missing.parsed, err = p.parse("layout.html", notFound, p.missing.Template); err != nil {
		return nil, err
	}
	if p.problem, err = p.parse("problem.html", problem, "problem.html"); err != nil {
		return nil, err
	}
	if cfg.ErrorPages != nil {
		return p, p.tryErrorPages()
	}
	return p, nil
}

// tryErrorPages renders the pages that an application may replace: an error of its
// template would otherwise show when there is a problem already.
func (p *Pages) tryErrorPages() error {
	example := Problem{Code: "example", Status: http.StatusForbidden, Title: "Title", Message: "Message", Detail: "Detail"}
	for _, user := range []User{{}, {Name: "Name"}} {
		v := view{Title: p.missing.Title, SignedIn: user.Name != "", User: user, Nav: p.nav(p.missing, false)}
		if err := p.missing.parsed.Execute(io.Discard, v); err != nil {
			return fmt.Errorf("web: %w", err)
		}
	}
	for _, secondary := range []*Link{nil, {}} {
		example.Secondary = secondary
		if err := p.problem.Execute(io.Discard, problemView{example, p.cfg.DevBanner}); err != nil {
			return fmt.Errorf("web: %w", err)
		}
	}
	return nil
}

// add parses the template of a page and adds the page to the list.
func (p *Pages) add(pg page, files fs.FS) (err error) {
	if pg.parsed, err = p.parse("layout.html", files, pg.Template); err != nil {
		return err
	}
	if pg.Script != "" && !p.assets.has(pg.Script) {
		return fmt.Errorf("web: page %s names the script %s, which is not among the assets", pg.Path, pg.Script)
	}
	if !strings.HasPrefix(pg.Path, "/") || strings.HasPrefix(pg.Path+"/", "/api/") {
		return fmt.Errorf("web: page %q is not at a path of the front end; give it a path that begins with / and is not below /api", pg.Path)
	}
	if _, taken := p.byPath[pg.Path]; taken {
		return fmt.Errorf("web: two pages at %s; give one of them another path", pg.Path)
	}
	if strings.HasSuffix(pg.Path, "{id}") && pg.ids == nil {
		return fmt.Errorf("web: page %s has an {id}, and its section has no ID", pg.Path)
	}
	p.list = append(p.list, &pg)
	p.byPath[pg.Path] = &pg
	return nil
}

// listed returns the pages without an {id}.
func (p *Pages) listed() []Page {
	var pages []Page
	for _, pg := range p.list {
		if !strings.Contains(pg.Path, "{") {
			pages = append(pages, pg.Page)
		}
	}
	return pages
}

// ServeHTTP answers GET and HEAD for the pages and their assets. For other paths
// it answers 404: with a page for navigations, otherwise with a short text.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, AssetPrefix) {
		p.assets.ServeHTTP(w, r)
		return
	}
	if !readOnly(w, r) {
		return
	}
	// Paths are compared exactly. A router that cleans them would show at
	// //private or /./private what a rule of the bff protects at /private
	// (GHSA-7rh7, CVE-2026-41059).
	if pg, id, ok := p.find(r.URL.Path); ok {
		p.show(w, r, pg, id, http.StatusOK)
		return
	}
	if trimmed, ok := strings.CutSuffix(r.URL.Path, "/"); ok {
		if pg, id, ok := p.find(trimmed); ok {
			target := strings.Replace(pg.Path, "{id}", id, 1) // from the list of pages, so that it is a local path
			if r.URL.RawQuery != "" {
				target += "?" + r.URL.RawQuery
			}
			setHeaders(w.Header())
			http.Redirect(w, r, target, http.StatusPermanentRedirect)
			return
		}
	}
	if !origins.WantsPage(r) {
		plain(w, http.StatusNotFound, "Not found.")
		return
	}
	p.show(w, r, p.missing, "", http.StatusNotFound)
}

// Assets returns a handler for the paths below [AssetPrefix]. The bff serves it
// with any front end, because the problem pages need it.
func (p *Pages) Assets() http.Handler { return p.assets }

// show answers with a page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, pg *page, id string, status int) {
	user, signedIn := p.cfg.User(r)
	unknown := !signedIn && p.cfg.Unknown(r)
	h := w.Header()
	h.Add("Vary", "Cookie")
	switch {
	case signedIn, unknown, pg.Personal, status != http.StatusOK:
		h.Set("Cache-Control", "no-store")
	default:
		// Stored by this browser only, and revalidated before each use.
		h.Set("Cache-Control", "private, no-cache")
	}
	v := view{
		Title:    pg.Title,
		Script:   pg.Script,
		Nav:      p.nav(pg, signedIn),
		SignedIn: signedIn,
		Unknown:  unknown,
		Personal: pg.Personal,
		Dev:      p.cfg.DevBanner,
		LoginURL: loginURL(r.URL),
		ID:       id,
		Call:     p.cfg.Call,
		Confirm:  p.cfg.CallConfirmed,
		Pages:    p.listed(),
	}
	if signedIn {
		if v.User = user; user.Display() == "" {
			v.User.Name = p.cfg.Catalog.Text("frame.nameless")
		}
	} else if pg.Personal {
		// The bff redirects navigations to the login. If its rules leave this
		// page out, the page offers the login, and the status tells scripts
		// that it is not the real one.
		status = http.StatusUnauthorized
		v.Script = "" // there is no content for it
	}
	p.write(w, r, pg.parsed, status, v)
}

// write renders into memory first: an error of a template must not leave half a
// page with status 200.
func (p *Pages) write(w http.ResponseWriter, r *http.Request, t *template.Template, status int, v any) {
	var body bytes.Buffer
	if err := t.Execute(&body, v); err != nil {
		p.cfg.Logger.ErrorContext(r.Context(), "page not rendered", "page", t.Name(), "err", err)
		plain(w, http.StatusInternalServerError, "This page could not be shown.")
		return
	}
	h := w.Header()
	setHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body.Bytes()) // an error means that the browser closed the connection
}
