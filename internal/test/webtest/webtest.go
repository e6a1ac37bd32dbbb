// Package webtest owns checks that every page of the front end must pass, for
// the tests of whoever adds pages. It leaves what is on a page to them.
package webtest

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

// Parse reads the page that was answered.
func Parse(t *testing.T, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Find lists the elements below n that have one of the names, in document order.
func Find(n *html.Node, names ...string) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && slices.Contains(names, d.Data) {
			found = append(found, d)
		}
	}
	return found
}

// Attr is the value of an attribute, or "".
func Attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// Text is what a reader hears of n: no content that is hidden from them.
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

// NothingInline holds a page to the Content-Security-Policy, which forbids
// anything inline. Markup that needed it would be broken, and markup that came
// from a claim would be an injection: either fails here.
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

// Structure holds a page to what somebody who hears it needs: one heading of
// the first level, no gaps in the levels below it, labels that exist.
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
				// Home's h1 comes first; a gap confuses who navigates by headings.
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
