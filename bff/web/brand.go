package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
)

// A brand is a catalog in the forms that pages, styles and scripts need.
type brand struct {
	catalog *catalog.Catalog
	data    brandData
	files   map[string][]byte // assets by name
}

// brandData is what templates of this package see of the catalog, as HTML.
type brandData struct {
	Name, Language, Direction string
	LogoFile, LogoType        string
	OwnLogo                   bool
	Links                     []catalog.Link
	Light, Dark               map[string]string
}

// scriptGroups are the groups of texts that scripts use.
var scriptGroups = []string{"action", "call", "ended", "sessions"}

// values are the placeholders in the texts of templates, as templates.
var values = map[string]string{
	"user": "{{$.User.Display}}",
	"api":  "<code>/api</code>",
}

// iconColor is the color of the icon's ground, which follows the accent.
const iconColor = "#4f46e5"

func newBrand(c *catalog.Catalog) (*brand, error) {
	b := &brand{catalog: c, data: brandData{
		Name: escape(c.Name), Language: escape(c.Language), Direction: escape(c.Direction),
		LogoFile: "icon.svg", LogoType: "image/svg+xml", Light: c.Light, Dark: c.Dark,
	}}
	for _, link := range c.Links {
		b.data.Links = append(b.data.Links, catalog.Link{Text: escape(link.Text), URL: escape(link.URL)})
	}
	styles, err := files.ReadFile("assets/site.css")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	icon, err := files.ReadFile("assets/icon.svg")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	b.files = map[string][]byte{
		"site.css": append([]byte(b.colors()), styles...),
		"icon.svg": bytes.ReplaceAll(icon, []byte(iconColor), []byte(c.Light["accent"])),
		"texts.js": b.script(),
	}
	if logo := c.Logo; logo != nil {
		b.data.OwnLogo, b.data.LogoType, b.data.LogoFile = true, logo.Type, "logo.svg"
		if logo.Type == "image/png" {
			b.data.LogoFile = "logo.png"
		}
		b.files[b.data.LogoFile] = logo.Data
	}
	return b, nil
}

// colors returns the style sheet's custom properties for both schemes.
func (b *brand) colors() string {
	block := func(colors map[string]string) string {
		var css strings.Builder
		css.WriteString(":root {\n")
		for _, name := range slices.Sorted(maps.Keys(colors)) {
			fmt.Fprintf(&css, "  --%s: %s;\n", name, colors[name])
		}
		return css.String() + "}\n"
	}
	return block(b.catalog.Light) + "@media (prefers-color-scheme: dark) {\n" + block(b.catalog.Dark) + "}\n"
}

// script returns the module with the texts of scripts.
func (b *brand) script() []byte {
	texts := map[string]string{}
	for _, key := range b.catalog.Keys() {
		if group, _, _ := strings.Cut(key, "."); slices.Contains(scriptGroups, group) {
			texts[key] = b.catalog.Text(key)
		}
	}
	encoded, _ := json.Marshal(texts) // a map of strings
	return fmt.Appendf(nil, `// The texts of the catalog that scripts show.
const texts = %s;

// text returns a text with values in place of its placeholders.
export function text(key, values = {}) {
  return (texts[key] ?? key).replace(/\{([a-z]+)\}/g, (brace, name) => values[name] ?? brace);
}

// language is the one of the browser's languages that is nearest to that of the
// texts, for numbers and dates.
const [base] = document.documentElement.lang.toLowerCase().split("-");
export const language = navigator.languages.find((l) => l.toLowerCase().split("-")[0] === base) ?? document.documentElement.lang;
`, encoded)
}

// apply puts the catalog into a template of this package. The actions of this step
// are in [[ ]], and it is done once, so that a page costs no more for it.
func (b *brand) apply(name, source string) (string, error) {
	t, err := template.New(name).Delims("[[", "]]").Option("missingkey=error").Funcs(template.FuncMap{"t": b.text}).Parse(source)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	if err := t.Execute(&out, b.data); err != nil {
		return "", err
	}
	return out.String(), nil
}

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

// text returns a text as part of a template. Markup in it is shown as text.
func (b *brand) text(key string) (string, error) {
	if !b.catalog.Has(key) {
		return "", fmt.Errorf("the catalog has no text %s", key)
	}
	text := b.catalog.Text(key)
	var out strings.Builder
	end := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		value, ok := values[text[m[2]:m[3]]]
		if !ok {
			continue // of the application's name, say: the catalog knows its placeholders
		}
		out.WriteString(escape(text[end:m[0]]) + value)
		end = m[1]
	}
	return out.String() + escape(text[end:]), nil
}

// escape returns text as HTML that is no template.
func escape(text string) string {
	return strings.ReplaceAll(html.EscapeString(text), "{", "&#123;")
}
