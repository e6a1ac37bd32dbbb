package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/test/webtest"
)

// Functions of webtest under short names.
var (
	parse = webtest.Parse
	find  = webtest.Find
	attr  = webtest.Attr
	text  = webtest.Text
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// assetsOf returns the addresses of the styles, scripts and images of a page.
func assetsOf(t *testing.T, doc *html.Node) []string {
	t.Helper()
	var urls []string
	for _, n := range find(doc, "link", "script", "img", "source", "use") {
		for _, key := range []string{"href", "src"} {
			if v := attr(n, key); v != "" {
				urls = append(urls, v)
			}
		}
	}
	if len(urls) < 2 {
		t.Fatalf("page loads %v, want a style and an icon at least", urls)
	}
	return urls
}

// everyOutput renders every page signed out, for a user, and for a user with
// markup in every field.
func everyOutput(t *testing.T) map[string]*httptest.ResponseRecorder {
	t.Helper()
	out := make(map[string]*httptest.ResponseRecorder)
	for who, u := range map[string]*web.User{"signed out": nil, "sally": &sally, "hostile": &hostile} {
		p := newPages(t, u)
		for _, path := range []string{"/", "/thing", thing, "/my" + thing, "/public", "/private", "/profile", "/sessions", "/nowhere?q=%22%3E%3Cscript%3E"} {
			out[who+" "+path] = get(p, path)
		}
	}
	w := httptest.NewRecorder()
	newPages(t, nil).Problem(w, httptest.NewRequest("GET", "/api/auth/callback", nil), web.Problem{
		Status: 400, Title: attack, Message: attack, Detail: attack,
		Action: web.Link{Label: attack, Href: "javascript:alert(1)"}, Secondary: &web.Link{Label: attack, Href: `/"onclick="x`},
	})
	out["problem"] = w
	return out
}

const attack = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}</title></textarea>`

var hostile = web.User{
	Name: attack, Email: attack, Subject: attack,
	Claims: []web.Claim{{Name: attack, Value: attack}, {Name: "website", Value: "javascript:alert(1)"}},
}

// The Content-Security-Policy forbids inline scripts and styles: pages that
// needed them would not work, and those of a claim would be an injection.
func TestNothingInline(t *testing.T) {
	t.Parallel()
	for name, w := range everyOutput(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			webtest.NothingInline(t, w)
		})
	}
}

func TestClaimsAreEscaped(t *testing.T) {
	t.Parallel()
	p := newPages(t, &hostile)
	doc := parse(t, get(p, "/profile"))
	if got := text(find(doc, "h1")[0]); got != attack {
		t.Errorf("h1 = %q, want the name unchanged", got)
	}
	if got := attr(find(doc, "html")[0], "data-subject"); got != attack {
		t.Errorf("data-subject = %q, want the subject unchanged: session.js compares it", got)
	}
	cells := find(find(doc, "tbody")[0], "th", "td")
	if text(cells[0]) != attack || text(cells[1]) != attack {
		t.Errorf("claim shown as %q = %q", text(cells[0]), text(cells[1]))
	}
}

func TestStructure(t *testing.T) {
	t.Parallel()
	for name, w := range everyOutput(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			webtest.Structure(t, w)
		})
	}
}

func TestSkipLinkComesFirst(t *testing.T) {
	t.Parallel()
	doc := parse(t, get(newPages(t, nil), "/"))
	first := find(doc, "a")[0]
	if attr(first, "href") != "#main" || attr(find(doc, "main")[0], "id") != "main" {
		t.Errorf("first link leads to %q, want #main", attr(first, "href"))
	}
}

// Every link of the pages leads to a page or to an endpoint of the bff.
func TestLinks(t *testing.T) {
	t.Parallel()
	endpoints := []string{"/api/auth/login", "/api/auth/logout", called}
	for _, u := range []*web.User{nil, &sally} {
		p := newPages(t, u)
		for _, path := range []string{"/", "/thing", thing, "/my" + thing, "/public", "/private", "/profile", "/sessions", "/nowhere"} {
			doc := parse(t, get(p, path))
			for _, n := range find(doc, "a", "form") {
				href := attr(n, "href") + attr(n, "action")
				target := mustURL(t, href)
				if strings.HasPrefix(href, "#") || slices.Contains(endpoints, target.Path) {
					continue
				}
				w := get(p, href)
				signIn := u == nil && w.Code == http.StatusUnauthorized // the bff redirects to the login
				if target.Host != "" || w.Code != http.StatusOK && !signIn {
					t.Errorf("%s links to %q: %d", path, href, w.Code)
				}
			}
		}
	}
}

// By these attributes session.js knows whose page it is, without a request.
func TestPageNamesItsUser(t *testing.T) {
	t.Parallel()
	for want, u := range map[string]*web.User{"out ": nil, "in seller-1": &sally} {
		root := find(parse(t, get(newPages(t, u), "/")), "html")[0]
		if got := attr(root, "data-session") + " " + attr(root, "data-subject"); got != want {
			t.Errorf("attributes are %q, want %q", got, want)
		}
	}
}

func TestPrivatePageMarkup(t *testing.T) {
	t.Parallel()
	doc := parse(t, get(newPages(t, &sally), "/private"))
	for n := range doc.Descendants() {
		switch attr(n, "id") {
		case "api-result":
			if attr(n, "role") != "status" || attr(n, "aria-live") != "polite" {
				t.Errorf("result: role %q, aria-live %q", attr(n, "role"), attr(n, "aria-live"))
			}
		case "call-form":
			if attr(n, "action") != called || attr(n, "method") != "get" {
				t.Errorf("the form calls %s %q", attr(n, "method"), attr(n, "action"))
			}
		case "call-api":
			if n.Data != "button" || attr(n, "type") != "submit" || text(n) != "Call API" {
				t.Errorf("<%s type=%q>%s", n.Data, attr(n, "type"), text(n))
			}
		}
	}
}
