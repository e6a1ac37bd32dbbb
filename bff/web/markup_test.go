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
)

func parse(t *testing.T, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// find lists the elements below n that have one of the names, in document order.
func find(n *html.Node, names ...string) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && slices.Contains(names, d.Data) {
			found = append(found, d)
		}
	}
	return found
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// text is what a reader hears of n: no content that is hidden from them.
func text(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if attr(n, "aria-hidden") == "true" {
			return
		}
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
	}
	walk(n)
	return strings.Join(strings.Fields(b.String()), " ")
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// assetsOf lists what a page loads by itself.
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

// everyOutput renders all there is, for a visitor, for a person, and for a
// person whose every field is an attack.
func everyOutput(t *testing.T) map[string]*httptest.ResponseRecorder {
	t.Helper()
	out := make(map[string]*httptest.ResponseRecorder)
	for who, u := range map[string]*web.User{"visitor": nil, "sally": &sally, "hostile": &hostile} {
		p := newPages(t, u)
		for _, path := range []string{"/", "/products", product, "/my/products", "/my/products/new", "/my" + product, "/public", "/private", "/profile", "/nowhere?q=%22%3E%3Cscript%3E"} {
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

// The policy forbids anything inline. Markup that needed it would be broken,
// and markup that came from a claim would be an injection: either fails here.
func TestNothingInline(t *testing.T) {
	t.Parallel()
	for name, w := range everyOutput(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc := parse(t, w)
			for n := range doc.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				switch n.Data {
				case "style", "base", "iframe", "object", "embed", "img":
					t.Errorf("<%s> in the page", n.Data)
				case "script":
					if !strings.HasPrefix(attr(n, "src"), web.AssetPrefix) || n.FirstChild != nil || attr(n, "type") != "module" {
						t.Errorf("script %v is not a module of ours", n.Attr)
					}
				case "meta":
					if attr(n, "http-equiv") != "" {
						t.Errorf("meta http-equiv: headers are the place for that")
					}
				}
				for _, a := range n.Attr {
					if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
						t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
					}
					if strings.Contains(a.Val, "javascript:") {
						t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
					}
				}
			}
		})
	}
}

func TestHostileTextIsShownAsText(t *testing.T) {
	t.Parallel()
	p := newPages(t, &hostile)
	doc := parse(t, get(p, "/profile"))
	if got := text(find(doc, "h1")[0]); got != attack {
		t.Errorf("h1 = %q, want the name as it is", got)
	}
	if got := attr(find(doc, "html")[0], "data-subject"); got != attack {
		t.Errorf("data-subject = %q, want the subject as it is: session.js compares it", got)
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
			doc := parse(t, w)
			for _, tag := range []string{"h1", "main", "header", "title"} {
				if n := find(doc, tag); len(n) != 1 || text(n[0]) == "" {
					t.Errorf("%d <%s>, want one that is not empty", len(n), tag)
				}
			}
			if attr(find(doc, "html")[0], "lang") != "en" {
				t.Error("no language")
			}
			metas := make(map[string]string)
			for _, m := range find(doc, "meta") {
				metas[attr(m, "name")] = attr(m, "content")
			}
			if metas["color-scheme"] != "light dark" || !strings.Contains(metas["viewport"], "width=device-width") {
				t.Errorf("meta = %v", metas)
			}
			if strings.Contains(metas["viewport"], "maximum-scale") || strings.Contains(metas["viewport"], "user-scalable") {
				t.Error("the viewport forbids zooming")
			}

			ids := make(map[string]bool)
			level := 0
			for n := range doc.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				if id := attr(n, "id"); id != "" {
					if ids[id] {
						t.Errorf("id %q twice", id)
					}
					ids[id] = true
				}
				if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
					if next := int(n.Data[1] - '0'); next > level+1 {
						// Home's h1 comes first; a gap confuses who navigates by headings.
						t.Errorf("heading %q skips from level %d to %d", text(n), level, next)
					} else {
						level = next
					}
				}
			}
			for n := range doc.Descendants() {
				if ref := attr(n, "aria-labelledby"); ref != "" && !ids[ref] {
					t.Errorf("aria-labelledby %q names nothing", ref)
				}
			}
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

// Every link of ours leads to a page of ours or to an endpoint that the bff
// promises.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	endpoints := []string{"/api/auth/login", "/api/auth/logout", "/api/private-route", "/api/products"}
	for _, u := range []*web.User{nil, &sally} {
		p := newPages(t, u)
		for _, path := range []string{"/", "/products", product, "/my/products", "/my/products/new", "/my" + product, "/public", "/private", "/profile", "/nowhere"} {
			doc := parse(t, get(p, path))
			for _, n := range find(doc, "a", "form") {
				href := attr(n, "href") + attr(n, "action")
				target := mustURL(t, href)
				if strings.HasPrefix(href, "#") || slices.Contains(endpoints, target.Path) {
					continue
				}
				w := get(p, href)
				signIn := u == nil && w.Code == http.StatusUnauthorized // the bff's login comes between
				if target.Host != "" || w.Code != http.StatusOK && !signIn {
					t.Errorf("%s links to %q: %d", path, href, w.Code)
				}
			}
		}
	}
}

// session.js decides by these attributes whether a page that comes back from
// the browser's memory still shows the truth.
func TestPageSaysWhomItShows(t *testing.T) {
	t.Parallel()
	for want, u := range map[string]*web.User{"out ": nil, "in seller-1": &sally} {
		root := find(parse(t, get(newPages(t, u), "/")), "html")[0]
		if got := attr(root, "data-session") + " " + attr(root, "data-subject"); got != want {
			t.Errorf("page says %q, want %q", got, want)
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
			if got := attr(n, "data-login"); got != "/api/auth/login?returnTo=%2Fprivate" {
				t.Errorf("result: login at %q", got)
			}
		case "call-form":
			if attr(n, "action") != "/api/private-route" || attr(n, "method") != "get" {
				t.Errorf("without scripts the button calls %s %q", attr(n, "method"), attr(n, "action"))
			}
		case "call-api":
			if n.Data != "button" || attr(n, "type") != "submit" || text(n) != "Call API" {
				t.Errorf("<%s type=%q>%s", n.Data, attr(n, "type"), text(n))
			}
		}
	}
}
