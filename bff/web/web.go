// Package web owns the pages that Gatehouse shows a person: templates, styles and scripts, embedded in the binary.
// It leaves who is signed in, which page needs that, and every address under /api/ except its own assets to the bff.
package web

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
)

// User is what a page shows of the signed-in person. Every field may be empty;
// all of them are text from the provider and are escaped where they are shown.
type User struct {
	Name    string
	Email   string
	Subject string // the sub claim: which person this is, compared when a page comes back from the browser's cache

	Claims    []Claim   // shown on the profile page in this order
	ExpiresAt time.Time // when the session ends at the latest; zero if unknown

	IdleExpiresAt time.Time // when it ends if it is not used; zero if unknown
}

// Claim is one statement of the provider about a person, as text.
type Claim struct {
	Name, Value string
}

// Display is the shortest fitting way to call the person: name, else e-mail,
// else subject.
func (u User) Display() string {
	for _, s := range []string{u.Name, u.Email, u.Subject} {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	return "Signed in"
}

// Initial is the first letter of [User.Display], for the drawn portrait. The
// provider's picture is not used: fetching it would tell a third party who
// visits, and the Content-Security-Policy forbids it.
func (u User) Initial() string {
	for _, r := range u.Display() {
		return strings.ToUpper(string(r))
	}
	return ""
}

// Config says what the pages depend on. Its zero value shows every page as a
// signed-out visitor sees it.
type Config struct {
	// User tells who is signed in. It is asked once for each page, never for
	// assets or problem pages. Nil means nobody ever is.
	User func(*http.Request) (User, bool)

	// Unknown reports whether it cannot be told at the moment if the request
	// has a user. A page then says neither. Nil means never.
	Unknown func(*http.Request) bool

	// Sections are pages besides those of this package. They come after Home in
	// the navigation bar.
	Sections []Section

	// Call is the path below /api that the page /private calls in the person's
	// name when they press its button. Empty leaves the button out.
	Call string

	// CallConfirmed is another such path, which wants a stronger sign-in than
	// the person may have (RFC 9470): the page shows the way there and back.
	CallConfirmed string

	// Logger receives failures to render. Nil discards them.
	Logger *slog.Logger

	// DevBanner shows a slim notice of development mode above the navigation bar.
	DevBanner bool
}

// Pages serves the embedded front end. It is safe for concurrent use.
type Pages struct {
	user    func(*http.Request) (User, bool)
	unknown func(*http.Request) bool
	log     *slog.Logger
	dev     bool
	call    string
	confirm string
	assets  *assets
	list    []*page // in the order of the navigation bar
	byPath  map[string]*page
	missing *page
	problem *template.Template
}

// New parses the templates. It fails only if embedded files contradict a list
// of pages, or each other, which is a defect of the build.
func New(cfg Config) (*Pages, error) {
	p := &Pages{user: cfg.User, unknown: cfg.Unknown, log: cfg.Logger, dev: cfg.DevBanner, call: cfg.Call, confirm: cfg.CallConfirmed, byPath: make(map[string]*page)}
	if p.user == nil {
		p.user = func(*http.Request) (User, bool) { return User{}, false }
	}
	if p.unknown == nil {
		p.unknown = func(*http.Request) bool { return false }
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	all := []fs.FS{files}
	for _, section := range cfg.Sections {
		all = append(all, section.Files)
	}
	var err error
	if p.assets, err = loadAssets(all...); err != nil {
		return nil, err
	}
	for _, section := range sections(cfg.Sections) {
		for _, pg := range section.Pages {
			if err := p.add(page{Page: pg, ids: section.ID}, section.Files); err != nil {
				return nil, err
			}
		}
	}
	missing := notFound()
	if missing.parsed, err = parse(p.assets, []string{"layout.html"}, files, missing.Template); err != nil {
		return nil, err
	}
	p.missing = &missing
	if p.problem, err = parse(p.assets, []string{"problem.html"}, nil); err != nil {
		return nil, err
	}
	return p, nil
}

// add makes a page ready, and puts it into the list.
func (p *Pages) add(pg page, files fs.FS) (err error) {
	if pg.parsed, err = parse(p.assets, []string{"layout.html"}, files, pg.Template); err != nil {
		return err
	}
	if pg.Script != "" && !p.assets.has(pg.Script) {
		return fmt.Errorf("web: page %s names the script %s, which is not embedded", pg.Path, pg.Script)
	}
	if _, taken := p.byPath[pg.Path]; taken {
		return fmt.Errorf("web: two pages at %s; give one of them another path", pg.Path)
	}
	if strings.HasSuffix(pg.Path, "{id}") && pg.ids == nil {
		return fmt.Errorf("web: page %s has an {id}, and its section does not say what one looks like", pg.Path)
	}
	p.list = append(p.list, &pg)
	p.byPath[pg.Path] = &pg
	return nil
}

// listed are the pages with an address that can be written down.
func (p *Pages) listed() []Page {
	var pages []Page
	for _, pg := range p.list {
		if !strings.Contains(pg.Path, "{") {
			pages = append(pages, pg.Page)
		}
	}
	return pages
}

// ServeHTTP answers GET and HEAD for the pages and their assets. A path that is
// no page gets a 404: a page when a person navigated there, short text otherwise.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, AssetPrefix) {
		p.assets.ServeHTTP(w, r)
		return
	}
	if !readOnly(w, r) {
		return
	}
	// The look-up is exact. A router that cleans paths would show at //private
	// or /./private what a rule of the bff protects at /private alone
	// (as in GHSA-7rh7, CVE-2026-41059).
	if pg, id, ok := p.find(r.URL.Path); ok {
		p.show(w, r, pg, id, http.StatusOK)
		return
	}
	if trimmed, ok := strings.CutSuffix(r.URL.Path, "/"); ok {
		if pg, id, ok := p.find(trimmed); ok {
			target := strings.Replace(pg.Path, "{id}", id, 1) // from our own list, so that it cannot lead elsewhere
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

// Assets serves the files under [AssetPrefix]; request paths keep that prefix.
// The bff mounts it in front of any other front end, because problem pages
// take their style from there.
func (p *Pages) Assets() http.Handler { return p.assets }

// show renders one page of the list for whoever asks.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, pg *page, id string, status int) {
	user, signedIn := p.user(r)
	unknown := !signedIn && p.unknown(r)
	h := w.Header()
	h.Add("Vary", "Cookie")
	switch {
	case signedIn, unknown, pg.Personal, status != http.StatusOK:
		h.Set("Cache-Control", "no-store")
	default:
		// Kept by this browser alone, and asked about before every use.
		h.Set("Cache-Control", "private, no-cache")
	}
	v := view{
		Title:    pg.Title,
		Script:   pg.Script,
		Nav:      p.nav(pg, signedIn),
		SignedIn: signedIn,
		Unknown:  unknown,
		Personal: pg.Personal,
		Dev:      p.dev,
		LoginURL: loginURL(r.URL),
		ID:       id,
		Call:     p.call,
		Confirm:  p.confirm,
		Pages:    p.listed(),
	}
	if signedIn {
		v.User = user
	} else if pg.Personal {
		// The bff sends navigations to the provider before they come here. If
		// its rules leave this page out, the page shows the way instead, and
		// the status keeps scripts from taking it for the real one.
		status = http.StatusUnauthorized
		v.Script = "" // there is nothing for it to work on
	}
	p.write(w, r, pg.parsed, status, v)
}

// write renders into memory first: a template that fails must not leave half a
// page with status 200.
func (p *Pages) write(w http.ResponseWriter, r *http.Request, t *template.Template, status int, v any) {
	var body bytes.Buffer
	if err := t.Execute(&body, v); err != nil {
		p.log.ErrorContext(r.Context(), "page not rendered", "template", t.Name(), "error", err)
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
	// The only failure left is a browser that went away.
	_, _ = w.Write(body.Bytes())
}
