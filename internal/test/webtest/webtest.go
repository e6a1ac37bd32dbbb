// Package webtest owns checks that every page of the front end must pass, and functions to read
// pages. It leaves the content of a page to its tests.
package webtest

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

// Parse parses the body of a response as HTML.
func Parse(t *testing.T, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Find returns the elements below n with one of the names, in document order.
func Find(n *html.Node, names ...string) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && slices.Contains(names, d.Data) {
			found = append(found, d)
		}
	}
	return found
}

// Attr returns the value of an attribute, or "".
func Attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// Text returns the text of n without hidden elements, as a screen reader reads it.
func Text(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if Attr(n, "aria-hidden") == "true" {
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

// NothingInline fails the test if a page has inline scripts or styles. The Content-Security-Policy
// forbids them, so markup that needs them would not work, and markup from a claim would be an
// injection.
func NothingInline(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	doc := Parse(t, w)
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "style", "base", "iframe", "object", "embed", "img":
			t.Errorf("<%s> in the page", n.Data)
		case "script":
			if !strings.HasPrefix(Attr(n, "src"), web.AssetPrefix) || n.FirstChild != nil || Attr(n, "type") != "module" {
				t.Errorf("script %v is not a module of ours", n.Attr)
			}
		case "meta":
			if Attr(n, "http-equiv") != "" {
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
}

// Structure fails the test unless the page has one heading of the first level, no gaps in the
// heading levels, and labels that exist.
func Structure(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	doc := Parse(t, w)
	for _, tag := range []string{"h1", "main", "header", "title"} {
		if n := Find(doc, tag); len(n) != 1 || Text(n[0]) == "" {
			t.Errorf("%d <%s>, want one that is not empty", len(n), tag)
		}
	}
	if Attr(Find(doc, "html")[0], "lang") != "en" {
		t.Error("no language")
	}
	metas := make(map[string]string)
	for _, m := range Find(doc, "meta") {
		metas[Attr(m, "name")] = Attr(m, "content")
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
		if id := Attr(n, "id"); id != "" {
			if ids[id] {
				t.Errorf("id %q twice", id)
			}
			ids[id] = true
		}
		if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
			if next := int(n.Data[1] - '0'); next > level+1 {
				// The h1 comes first; gaps confuse readers who navigate by headings.
				t.Errorf("heading %q skips from level %d to %d", Text(n), level, next)
			} else {
				level = next
			}
		}
	}
	for n := range doc.Descendants() {
		if ref := Attr(n, "aria-labelledby"); ref != "" && !ids[ref] {
			t.Errorf("aria-labelledby %q names nothing", ref)
		}
	}
}
