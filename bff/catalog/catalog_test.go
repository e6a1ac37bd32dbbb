package catalog_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
)

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><rect width="1" height="1" fill="#0a5"/></svg>`

func pngOf(t *testing.T, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEnglish(t *testing.T) {
	t.Parallel()
	c := catalog.English()
	if c.Name != "Gatehouse" || c.Language != "en" || c.Direction != "ltr" || c.Logo != nil || c.Links != nil {
		t.Errorf("got %q, %q, %q, %v, %v", c.Name, c.Language, c.Direction, c.Logo, c.Links)
	}
	if got := c.Text("frame.served"); got != "Served by Gatehouse." {
		t.Errorf("frame.served = %q", got)
	}
	if got := c.Text("call.wait", "seconds", "3"); got != "Try again in 3 s." {
		t.Errorf("call.wait = %q", got)
	}
	if got := c.Text("home.nothing"); got != "home.nothing" {
		t.Errorf("an unknown key gives %q", got)
	}
	if left := c.Untranslated(); left != nil {
		t.Errorf("Untranslated() = %v, want none in English", left)
	}
	if len(c.Light) < 10 || len(c.Light) != len(c.Dark) {
		t.Errorf("%d light and %d dark colors", len(c.Light), len(c.Dark))
	}
	for name := range c.Light {
		if c.Dark[name] == "" {
			t.Errorf("%s: no dark value", name)
		}
	}
}

// TestSourceIsACatalog: an application can start from the built-in catalog.
func TestSourceIsACatalog(t *testing.T) {
	t.Parallel()
	c, err := catalog.Parse("mine.yaml", catalog.Source())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range catalog.English().Keys() {
		if c.Text(key) != catalog.English().Text(key) {
			t.Errorf("%s = %q", key, c.Text(key))
		}
	}
}

// TestParse: a catalog has what differs, and the rest is built in.
func TestParse(t *testing.T) {
	t.Parallel()
	c, err := catalog.Parse("mine.yaml", []byte(`
name: Kontor
language: de-AT
direction: rtl
logo: '`+svg+`'
links:
  - {text: Impressum, url: https://kontor.example/impressum}
  - {text: Datenschutz, url: "/datenschutz?a=b#c"}
colors:
  light: {accent: "#0A6B4B"}
texts:
  action:
    sign-in: Anmelden
    continue: No
  public:
    signed-in: >-
      Angemeldet als {user}
      bei {name}: <b>&amp;</b>
`))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"action.sign-in": "Anmelden", "action.sign-out": "Sign out", "frame.served": "Served by Kontor.", "action.continue": "No",
		"public.signed-in": "Angemeldet als {user} bei Kontor: <b>&amp;</b>",
	} {
		if got := c.Text(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if c.Name != "Kontor" || c.Language != "de-AT" || c.Direction != "rtl" {
		t.Errorf("got %q, %q, %q", c.Name, c.Language, c.Direction)
	}
	if c.Logo == nil || c.Logo.Type != "image/svg+xml" || string(c.Logo.Data) != svg {
		t.Errorf("logo %v", c.Logo)
	}
	if len(c.Links) != 2 || c.Links[1] != (catalog.Link{Text: "Datenschutz", URL: "/datenschutz?a=b#c"}) {
		t.Errorf("links %v", c.Links)
	}
	if c.Light["accent"] != "#0a6b4b" || c.Light["accent-soft"] == catalog.English().Light["accent-soft"] ||
		c.Dark["accent-soft"] != catalog.English().Dark["accent-soft"] {
		t.Errorf("light %v, dark %v: the colors of the accent follow it in its own scheme", c.Light, c.Dark)
	}
	left := strings.Join(c.Untranslated(), " ")
	if !strings.Contains(left, "action.sign-out") || strings.Contains(left, "action.sign-in ") {
		t.Errorf("Untranslated() = %s", left)
	}
	if got := catalog.English().Text("action.sign-in"); got != "Sign in" {
		t.Errorf("the built-in catalog was changed: %q", got)
	}
	if empty, err := catalog.Parse("empty.yaml", []byte("# nothing\n")); err != nil || empty.Name != "Gatehouse" {
		t.Errorf("an empty catalog: %v, %v", empty, err)
	}
}

// TestErrors: each error has its file, its line and the remedy, and all are reported.
func TestErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		yaml string
		want []string // one for each line of the error
	}{
		"unknown keys": {"nome: A\nfrobnicate: 1\ntexts:\n  acton: {}\n  action:\n    signin: Los\n    zzzzzzzzzzzzzzzzzzzz: x\n", []string{
			`:1: unknown key "nome"; did you mean name?`, `:2: unknown key "frobnicate"; the keys are name, language`,
			`:4: unknown group of texts "acton"; did you mean action?`, `:6: unknown text "action.signin"; did you mean action.sign-in?`,
			`:7: unknown text "action.zzzzzzzzzzzzzzzzzzzz"; the command catalog prints all keys`}},
		"twice": {"name: A\nname: B\n", []string{`:2: "name" is there twice, first in line 1`}},
		"placeholders": {"texts:\n  public:\n    signed-in: Hallo\n    signed-out: Hallo {user}\n  call:\n    wait: \"{second} s\"\n    request: \"{id} {id} {\"\n    later: a } b\n", []string{
			`:3: texts.public.signed-in lacks the placeholder {user}`, `:4: texts.public.signed-out has an unknown placeholder {user}; this text can have {name}`,
			`:6: texts.call.wait lacks the placeholder {seconds}`, `:6: texts.call.wait has an unknown placeholder {second}; did you mean {seconds}?`,
			`:7: texts.call.request has a brace that is no placeholder; this text can have {id} and {name}`, `:8: texts.call.later has a brace`}},
		"values": {"name:\nlanguage: English, please\ndirection: up\nlinks: {}\ntexts: []\ncolors:\n  bright: {}\n", []string{
			`:1: name is empty`, `:2: language "English, please" is not a language tag`, `:3: direction "up" is neither ltr nor rtl`,
			`:4: links is not a list`, `:5: texts is not a map`, `:7: unknown key of colors "bright"`}},
		"texts": {"texts:\n  home:\n    title: [a]\n    lead: \"\"\n    call: \"a\\0b\"\n    private: " + strings.Repeat("x", 2001) + "\n", []string{
			`:3: texts.home.title is not a text`, `:4: texts.home.lead is empty`, `:5: texts.home.call has a control character`, `:6: texts.home.private has 2001 characters; give at most 2000`}},
		"name":  {"name: \"{user}\"\n", []string{`:1: name "{user}" has a brace`}},
		"alias": {"name: &a A\ntexts:\n  home:\n    title: *a\n", []string{`:4: "title" is an alias`}},
		"links": {"links:\n  - {text: A, url: \"javascript:alert(1)\"}\n  - {text: A, url: http://a.example}\n  - {text: A, url: //a.example}\n  - {text: A, url: /\\a.example}\n" +
			"  - {text: A, url: https://u:p@a.example}\n  - {text: A, url: a/b}\n  - {text: A}\n  - {text: A, href: /a}\n  - A\n  - {text: A, url: \"ja\\nvascript:x\"}\n  - {text: A, url: \"https:\"}\n", []string{
			`:2: links has 11 entries; give at most 10`, `:2: the url "javascript:alert(1)" of a link is neither an https address nor a path`, `:3: the url`, `:4: the url`, `:5: the url`, `:6: the url`, `:7: the url`,
			`:8: a link lacks its text or its url`, `:9: unknown key of a link "href"`, `:10: a link is not a map`, `:11: the url`, `:12: the url`}},
		"colors": {"colors:\n  light:\n    accent: indigo\n    acent: \"#000000\"\n    text: #fff\n  dark:\n    muted: \"#fff\"\n", []string{
			`:3: colors.light.accent "indigo" is no color; give it in the form "#4f46e5", in quotes`, `:4: unknown color "acent"; did you mean accent?`,
			`:5: colors.light.text is empty; give it in the form "#4f46e5", in quotes, because # begins a comment`, `:7: colors.dark.muted "#fff" is no color`}},
		"contrast": {"colors:\n  light:\n    accent: \"#ffcc00\"\n    on-accent: \"#ffffff\"\n  dark:\n    background: \"#808080\"\n", []string{
			`:3: colors.light.accent "#ffcc00" on accent-soft`, `:3: colors.light.accent-strong`, `:4: colors.light.on-accent "#ffffff" on accent "#ffcc00" has a contrast of 1.`,
			`:6: colors.dark.text "#ececf4" on background "#808080" has a contrast of 3.3:1, and text needs 7.0:1 (WCAG 2.2); make them differ more`,
			`:6: colors.dark.muted`, `:6: colors.dark.accent `, `:6: colors.dark.accent-strong `}},
		"not YAML": {"name: [\n", []string{`:1: not YAML; correct`}},
		"a list":   {"- name\n", []string{`:1: the catalog is not a map`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := catalog.Parse("mine.yaml", []byte(tc.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			for i, line := range strings.Split(err.Error(), "\n") {
				if i >= len(tc.want) {
					t.Errorf("unexpected: %s", line)
				} else if !strings.HasPrefix(line, "mine.yaml"+tc.want[i]) {
					t.Errorf("got  %s\nwant mine.yaml%s…", line, tc.want[i])
				}
			}
			if n := strings.Count(err.Error(), "\n") + 1; n < len(tc.want) {
				t.Errorf("%d errors, want %d", n, len(tc.want))
			}
		})
	}
}

// TestSuggestedColor: the color that an error suggests is accepted.
func TestSuggestedColor(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"light", "dark"} {
		for _, accent := range []string{"#ffcc00", "#00ff00", "#777777", "#000000", "#ffffff", "#123456"} {
			for try := 0; ; try++ {
				_, err := catalog.Parse("m", []byte("colors:\n  "+scheme+":\n    accent: \""+accent+"\"\n"))
				if err == nil {
					break
				}
				_, rest, ok := strings.Cut(err.Error(), "(WCAG 2.2); \"")
				if !ok || try == 3 {
					t.Errorf("%s %s: %v", scheme, accent, err)
					break
				}
				accent, _, _ = strings.Cut(rest, `"`)
			}
		}
	}
}

func TestLogo(t *testing.T) {
	t.Parallel()
	data := func(kind string, body []byte) string {
		return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(body)
	}
	element := func(inner string) string { return strings.Replace(svg, "<rect", inner+"<rect", 1) }
	for name, tc := range map[string]struct{ logo, want string }{
		"SVG":                 {svg, ""},
		"SVG as data":         {data("image/svg+xml", []byte(svg)), ""},
		"PNG":                 {data("image/png", pngOf(t, 64, 64)), ""},
		"with a declaration":  {`<?xml version="1.0"?><!-- a logo -->` + svg, ""},
		"with a reference":    {element(`<use href="#a"/>`), ""},
		"a script":            {element("<script>alert(1)</script>"), "has an element script"},
		"HTML":                {element("<foreignObject><p/></foreignObject>"), "has an element foreignObject"},
		"an event":            {strings.Replace(svg, "<rect", `<rect onload="alert(1)"`, 1), "has a script in the attribute onload"},
		"another file":        {element(`<image href="https://a.example/x.png"/>`), "refers to another file"},
		"a script in a link":  {element(`<a xmlns:x="http://www.w3.org/1999/xlink" x:href="javascript:alert(1)"><rect/></a>`), "refers to another file"},
		"a DOCTYPE":           {`<!DOCTYPE svg [<!ENTITY a "b">]>` + svg, "has a DOCTYPE"},
		"no SVG":              {"<html xmlns=\"http://www.w3.org/1999/xhtml\"/>", "is not an SVG image; its root"},
		"not closed":          {strings.TrimSuffix(svg, "</svg>"), "is not an SVG image; it must be well-formed"},
		"no PNG":              {data("image/png", []byte(svg)), "is not a PNG image"},
		"a large PNG":         {data("image/png", pngOf(t, 1025, 1)), "has 1025 × 1 pixels; give at most 1024 × 1024"},
		"too long":            {element("<!--" + strings.Repeat("x", 64<<10) + "-->"), "give at most 65536"},
		"another type":        {"data:text/html;base64,AAAA", "has an unknown type"},
		"not base64":          {"data:image/png;base64,?", "is not base64"},
		"a path, in a binary": {"logo.svg", "is a path, and an embedded catalog has no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := catalog.Parse("mine.yaml", []byte("logo: '"+tc.logo+"'\n"))
			switch {
			case tc.want == "" && (err != nil || c.Logo == nil):
				t.Errorf("%v", err)
			case tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "mine.yaml:1: the logo ") || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("logo.svg", svg)
	write("logo.png", string(pngOf(t, 32, 32)))
	for _, logo := range []string{"logo.svg", "./logo.png"} {
		c, err := catalog.Load(write("good.yaml", "\ufeffname: Kontor\nlogo: "+logo+"\n"))
		if err != nil || c.Logo == nil || c.Name != "Kontor" {
			t.Errorf("%s: %v", logo, err)
		}
	}
	for text, want := range map[string]string{
		"logo: none.svg\n": `:1: the logo "none.svg" does not exist; the path begins at the directory of the catalog`,
		"logo: a.gif\n":    `:1: the logo "a.gif" is neither an .svg nor a .png file`,
		"nome: A\n":        `:1: unknown key "nome"`,
	} {
		path := write("bad.yaml", text)
		if _, err := catalog.Load(path); err == nil || !strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := catalog.Load(filepath.Join(dir, "none.yaml")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("name: A\ntexts: {action: {sign-in: B}}\n"))
	f.Add([]byte("logo: '" + svg + "'\ncolors: {light: {accent: '#0a6b4b'}}\nlinks: [{text: a, url: /b}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := catalog.Parse("f", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
	})
}
