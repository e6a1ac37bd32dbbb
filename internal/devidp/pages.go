package devidp

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

var (
	//go:embed templates/*.html
	templateFiles embed.FS
	//go:embed assets
	assetFiles embed.FS
)

// templates holds a template per page, with the layout.
var templates = func() map[string]*template.Template {
	all := make(map[string]*template.Template)
	for _, name := range []string{"login", "unmet", "logout", "form_post", "message", "home"} {
		all[name] = template.Must(template.ParseFS(templateFiles, "templates/layout.html", "templates/controls.html", "templates/"+name+".html"))
	}
	return all
}()

// pages writes the pages of the provider.
type pages struct {
	clients clients
	log     *slog.Logger
	faults  func() []Fault // for the banner
}

// A layout is the data of a page with that of what surrounds it.
type layout struct {
	Page   any
	Faults []Fault
}

type loginPage struct {
	Request string
	Host    string // of the application
	StepUp  string // the acr that the session lacks
	Current *directory.User
	Hinted  *directory.User
	Users   []loginChoice
	Guest   *guestForm
}

// An unmetPage says that a user does not reach the authentication context asked for.
type unmetPage struct {
	Request string
	Host    string // of the application
	User    *directory.User
	Asked   []string
	Again   string // the sign-in page
}

type loginChoice struct {
	*directory.User
	Hinted  bool
	Current bool
}

// Initial returns the letter in place of a portrait.
func (c loginChoice) Initial() string {
	r, _ := utf8.DecodeRuneInString(c.Name)
	return string(unicode.ToUpper(r))
}

// portraits is the number of colours in the style sheet.
const portraits = 8

// Portrait returns the class of the portrait's colour, which is always the same for a
// key.
func (c loginChoice) Portrait() string {
	sum := 0
	for _, b := range []byte(c.Key) {
		sum = (sum*31 + int(b)) % 4093
	}
	return fmt.Sprintf("hue-%d", sum%portraits)
}

type logoutPage struct {
	User                  *directory.User
	ClientID              string
	PostLogoutRedirectURI string
	State                 string
}

type formPostPage struct {
	Action string
	Host   string
	Fields map[string][]string
}

type homePage struct {
	Issuer    string
	Discovery string
	// Algorithms are those of access tokens and of ID tokens.
	Algorithms string
	Current    *directory.User
	Users      []*directory.User
	Controls   *controlsPanel
	Links      []link
}

// A message is a page with text only.
type message struct {
	Title string
	Text  []string
	Links []link
}

type link struct{ URL, Text string }

// write writes a page. Its forms may be submitted to the provider and to
// formTargets: Chromium applies form-action to redirects after a submission, which
// lead to the client.
func (p *pages) write(w http.ResponseWriter, r *http.Request, status int, name string, formTargets []string, data any) {
	var buf bytes.Buffer
	if err := templates[name].ExecuteTemplate(&buf, "layout", &layout{data, p.faults()}); err != nil {
		p.log.ErrorContext(r.Context(), "page not rendered", "page", name, "err", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	actions := []string{"'self'"}
	for _, target := range formTargets {
		if target != "" {
			actions = append(actions, origin(target))
		}
	}
	csp := "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action " + strings.Join(actions, " ")
	if name == "form_post" {
		csp += "; script-src 'self'"
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", csp)
	h.Set("Cache-Control", "no-store")
	// With no-referrer the forms' Origin would be "null", which the cross-origin
	// protection refuses in older browsers.
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = buf.WriteTo(w)
}

// message writes a page with text and links to the applications.
func (p *pages) message(w http.ResponseWriter, r *http.Request, status int, title string, text ...string) {
	p.write(w, r, status, "message", nil, &message{Title: title, Text: text, Links: p.homes()})
}

// fail shows why a request is refused, if the client cannot be told.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, reason string) {
	p.log.WarnContext(r.Context(), "request refused", "path", r.URL.Path, "reason", reason)
	p.message(w, r, http.StatusBadRequest, "This request cannot go on", reason,
		"Correct the application or its configuration.")
}

// expired is the page for an unknown sign-in: finished, expired, or from before a
// restart.
func (p *pages) expired(w http.ResponseWriter, r *http.Request) {
	p.message(w, r, http.StatusBadRequest, "This sign-in has expired",
		"It was finished already, or left open for more than 30 minutes, or begun before the provider was restarted.",
		"Go back to the application and sign in again.")
}

func (p *pages) denyCrossOrigin(w http.ResponseWriter, r *http.Request) {
	p.message(w, r, http.StatusForbidden, "Refused",
		"This form was sent by another site. Only the provider’s own pages may send it.")
}

func (p *pages) notFound(w http.ResponseWriter, r *http.Request) {
	p.message(w, r, http.StatusNotFound, "There is no such page",
		"This is the development provider of Gatehouse; the application is elsewhere.")
}

func (rl *realm) home(w http.ResponseWriter, r *http.Request) {
	data := &homePage{
		Issuer: rl.issuer, Discovery: rl.base + oidc.DiscoveryEndpoint,
		Algorithms: rl.signing.names(),
		Users:      rl.users.Configured(), Controls: rl.panel(), Links: rl.pages.homes(),
	}
	if ses := rl.session(r); ses != nil {
		data.Current = ses.user
	}
	rl.pages.write(w, r, http.StatusOK, "home", nil, data)
}

// homes returns links to the applications.
func (p *pages) homes() []link {
	var links []link
	for _, c := range p.clients {
		if c.machine == nil {
			links = append(links, link{URL: c.Home(), Text: "Go to " + hostOf(c.Home())})
		}
	}
	return links
}

func hostOf(raw string) string {
	_, host, _ := strings.Cut(origin(raw), "://")
	return host
}

// serveAsset serves the style sheet, the icon and the script.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	name := strings.TrimPrefix(r.URL.Path, "/")
	data, err := assetFiles.ReadFile(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}
