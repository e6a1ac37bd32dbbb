package web_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/bff/web"
)

// marked returns a catalog in which every text is in ⟦⟧.
func marked(t *testing.T) *catalog.Catalog {
	t.Helper()
	var yaml strings.Builder
	yaml.WriteString("name: ⟦Kontor⟧\ntexts:\n")
	group := ""
	for _, key := range catalog.English().Keys() {
		g, name, _ := strings.Cut(key, ".")
		if g != group {
			fmt.Fprintf(&yaml, "  %s:\n", g)
			group = g
		}
		fmt.Fprintf(&yaml, "    %s: %q\n", name, "⟦"+catalog.English().Text(key)+"⟧")
	}
	c, err := catalog.Parse("marked.yaml", []byte(yaml.String()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// branded returns the pages of a catalog. The pages of the application have no texts.
func branded(t *testing.T, c *catalog.Catalog, u *web.User) *web.Pages {
	t.Helper()
	p, err := web.New(web.Config{
		Catalog: c, Call: called, CallConfirmed: called, DevBanner: true,
		User: func(*http.Request) (web.User, bool) {
			if u == nil {
				return web.User{}, false
			}
			return *u, true
		},
		Unknown: func(r *http.Request) bool { return r.URL.Query().Has("unknown") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shown returns the texts of a page that people see or hear.
func shown(doc *html.Node) (texts []string) {
	for n := range doc.Descendants() {
		switch {
		case n.Type == html.TextNode && !slices.Contains([]string{"code", "script", "style", "span.verb", "span.portrait"}, element(n.Parent)):
			texts = append(texts, n.Data)
		case n.Type == html.ElementNode:
			for _, name := range []string{"aria-label", "alt", "title", "placeholder"} {
				texts = append(texts, attr(n, name))
			}
			if attr(n, "name") == "description" {
				texts = append(texts, attr(n, "content"))
			}
		}
	}
	return texts
}

// element returns the name of an element and its first class, if that sets it apart.
func element(n *html.Node) string {
	class, _, _ := strings.Cut(attr(n, "class"), " ")
	if n.Data == "span" && class != "" && class != "k" && class != "s" {
		return n.Data + "." + class
	}
	if n.Data == "span" && n.Parent.Data == "code" {
		return "code"
	}
	return n.Data
}

// TestEveryTextIsInTheCatalog: no page has a text of its own.
func TestEveryTextIsInTheCatalog(t *testing.T) {
	t.Parallel()
	c := marked(t)
	// A text with code in it is several. Scripts are on, so that noscript has text only.
	inside := regexp.MustCompile(`⟦[^⟦⟧]*(⟧|$)|^[^⟦⟧]*⟧`)
	tags := regexp.MustCompile(`<[^>]*>`)
	data := strings.NewReplacer(sally.Name, "", sally.Email, "", sally.Subject, "", called, "", "UTC", "", "2026-11-30", "", "2026-11-24", "")
	path := regexp.MustCompile(`^/[a-z]*$`)
	for who, u := range map[string]*web.User{"signed out": nil, "signed in": &sally, "nameless": {}, "no claims": {Name: sally.Name}} {
		p := branded(t, c, u)
		for _, target := range []string{"/", "/public", "/public?unknown", "/private", "/profile", "/sessions", "/nowhere", "problem"} {
			w := httptest.NewRecorder()
			if target == "problem" {
				p.Problem(w, httptest.NewRequest("GET", "/", nil), web.Problem{})
			} else {
				w = get(p, target)
			}
			for _, text := range shown(parse(t, w)) {
				rest := data.Replace(tags.ReplaceAllString(text, ""))
				for inside.MatchString(rest) { // the name is within another text
					rest = inside.ReplaceAllString(rest, "")
				}
				if rest = strings.Trim(rest, "· 0123456789:\n"); rest != "" && !path.MatchString(rest) && rest != "/api/auth/sessions" {
					t.Errorf("%s %s: %q is not in the catalog", who, target, rest)
				}
			}
		}
	}
}

// use finds the keys in templates, in the code of the bff and in scripts.
var use = regexp.MustCompile(`\[\[t "([a-z.-]+)"\]\]|\b[tT]ext\("([a-z]+[a-z-]*\.[a-z-]+)"`)

// literal finds texts in scripts, and in fields of a web.Problem.
var literal = regexp.MustCompile(`(?m)^[^/\n]*?(["` + "`" + `][A-Z][a-z]+ [a-z][^"\n]*["` + "`" + `])|(?:Title|Message|Label|Detail)(?: =|:) +("[^"\n]+ [^"\n]+")`)

// TestTextsAreUsed: each key is used, each used key exists, and neither code nor scripts
// have texts of their own.
func TestTextsAreUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	var sources []string
	for _, pattern := range []string{"templates/*.html", "assets/*.js", "*.go", "../internal/*/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		sources = append(sources, names...)
	}
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range use.FindAllStringSubmatch(string(source), -1) {
			key := m[1] + m[2]
			if used[key] = true; !catalog.English().Has(key) {
				t.Errorf("%s uses %s, which the catalog lacks", name, key)
			}
		}
		for _, m := range literal.FindAllStringSubmatch(string(source), -1) {
			if m[2] != "" || filepath.Ext(name) == ".js" {
				t.Errorf("%s has the text %s; move it to the catalog", name, m[1]+m[2])
			}
		}
	}
	for _, key := range catalog.English().Keys() {
		if !used[key] {
			t.Errorf("no page uses %s; remove it from the catalog", key)
		}
	}
}

// TestScriptsGetTheirTexts: the module of texts has every text that a script uses.
func TestScriptsGetTheirTexts(t *testing.T) {
	t.Parallel()
	p := branded(t, catalog.English(), &sally)
	dir := filepath.Dir(assetsOf(t, parse(t, get(p, "/")))[0])
	module := get(p, dir+"/texts.js")
	if module.Code != 200 || !strings.HasPrefix(module.Header().Get("Content-Type"), "text/javascript") {
		t.Fatalf("texts.js: %d, %s", module.Code, module.Header().Get("Content-Type"))
	}
	names, err := filepath.Glob("assets/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range use.FindAllStringSubmatch(string(source), -1) {
			if !strings.Contains(module.Body.String(), fmt.Sprintf("%q:", m[2])) {
				t.Errorf("%s uses %s, which is not in the module", name, m[2])
			}
		}
	}
}

// TestBrand: name, language, direction, logo, links and colors are on every page, and
// nothing in them is markup or a template.
func TestBrand(t *testing.T) {
	t.Parallel()
	c, err := catalog.Parse("mine.yaml", []byte(`
name: "<b>Kontor</b> & Söhne"
language: de
direction: rtl
logo: '<svg xmlns="http://www.w3.org/2000/svg"/>'
links: [{text: "<i>Impressum</i>", url: "https://kontor.example/?a=1&b='2'"}, {text: AGB, url: /agb}]
colors: {light: {accent: "#0a6b4b", surface: "#fefefe"}}
texts:
  action: {sign-in: "<em>Anmelden</em>"}
  not-found: {title: "\"><script>alert(1)</script>"}
`))
	if err != nil {
		t.Fatal(err)
	}
	p := branded(t, c, nil)
	problem := httptest.NewRecorder()
	p.Problem(problem, httptest.NewRequest("GET", "/", nil), web.Problem{Title: "No"})
	for target, w := range map[string]*httptest.ResponseRecorder{"/": get(p, "/"), "/nowhere": get(p, "/nowhere"), "problem": problem} {
		doc := parse(t, w)
		root := find(doc, "html")[0]
		if attr(root, "lang") != "de" || attr(root, "dir") != "rtl" {
			t.Errorf("%s: lang %q, dir %q", target, attr(root, "lang"), attr(root, "dir"))
		}
		if got := text(find(doc, "title")[0]); !strings.HasSuffix(got, "· <b>Kontor</b> & Söhne") {
			t.Errorf("%s: title %q", target, got)
		}
		if len(find(doc, "b", "i", "em")) != 0 || strings.Contains(w.Body.String(), "alert(1)</script>") {
			t.Errorf("%s: the catalog's text is markup", target)
		}
		brand := find(doc, "header")[0]
		logo := find(brand, "img")
		if len(logo) != 1 || !strings.HasSuffix(attr(logo[0], "src"), "/logo.svg") || get(p, attr(logo[0], "src")).Code != 200 {
			t.Errorf("%s: no logo", target)
		}
		links := find(find(doc, "footer")[0], "a")
		if len(links) != 2 || text(links[0]) != "<i>Impressum</i>" || attr(links[0], "href") != "https://kontor.example/?a=1&b='2'" {
			t.Errorf("%s: legal links %v", target, links)
		}
		for _, u := range assetsOf(t, doc) {
			if body := get(p, u).Body.String(); strings.HasSuffix(u, ".css") && (!strings.Contains(body, "--accent: #0a6b4b;") || !strings.Contains(body, "--surface: #fefefe;")) {
				t.Errorf("%s: %s lacks the colors", target, u)
			}
		}
	}
	if !strings.Contains(get(p, "/").Body.String(), `content="#fefefe" media="(prefers-color-scheme: light)"`) {
		t.Error("theme-color is not the surface")
	}
	if got := text(find(parse(t, get(p, "/nowhere")), "h1")[0]); got != `"><script>alert(1)</script>` {
		t.Errorf("h1 = %q", got)
	}
}

// TestPagesCostTheSame: a catalog costs a page nothing when it is shown.
func TestPagesCostTheSame(t *testing.T) {
	cost := func(c *catalog.Catalog) float64 {
		p := branded(t, c, &sally)
		least := math.Inf(1) // because a garbage collection empties pools
		for range 5 {
			least = min(least, testing.AllocsPerRun(20, func() { get(p, "/private") }))
		}
		return least
	}
	// Longer texts make a buffer grow more often.
	if own, english := cost(marked(t)), cost(catalog.English()); own > english+5 {
		t.Errorf("%.0f allocations with a catalog, %.0f without", own, english)
	}
}

// TestGermanExample: the example has every text, and no page shows English with it.
func TestGermanExample(t *testing.T) {
	t.Parallel()
	c, err := catalog.Load("../../examples/branding/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if left := c.Untranslated(); len(left) > 0 {
		t.Errorf("examples/branding/catalog.yaml lacks %v", left)
	}
	english := map[string]string{}
	for _, key := range catalog.English().Keys() {
		if text := catalog.English().Text(key); c.Text(key) != text {
			english[text] = key
		}
	}
	for _, u := range []*web.User{nil, &sally} {
		p := branded(t, c, u)
		for _, target := range []string{"/", "/public", "/private", "/profile", "/sessions", "/nowhere"} {
			doc := parse(t, get(p, target))
			if got := attr(find(doc, "html")[0], "lang"); got != "de" {
				t.Errorf("%s: lang %q", target, got)
			}
			for _, text := range shown(doc) {
				if key := english[strings.TrimSpace(text)]; key != "" {
					t.Errorf("%s shows the English text of %s: %q", target, key, text)
				}
			}
		}
	}
}
