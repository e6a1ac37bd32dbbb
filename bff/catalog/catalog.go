// Package catalog owns the name, the logo, the colors, the legal links and the
// texts of the pages that a bff shows: the built-in catalog, which is English,
// and the reading of an application's own. It leaves the pages to package web,
// and when a text is shown to the handlers.
package catalog

import (
	_ "embed"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

//go:embed en.yaml
var source []byte

// Source returns a copy of the built-in catalog with its comments, to start one's
// own from.
func Source() []byte { return slices.Clone(source) }

// A Catalog is what an application's pages are called, look like and say. It is
// not changed after it was read, so that it is safe for concurrent use.
type Catalog struct {
	// Name is the application's name in the header and in titles.
	Name string
	// Language is the language of the texts, a tag of BCP 47.
	Language string
	// Direction is "ltr" or "rtl".
	Direction string
	// Logo is the logo, nil for that of Gatehouse.
	Logo *Logo
	// Links are the legal links.
	Links []Link
	// Light and Dark are the colors by name, each as #rrggbb.
	Light, Dark map[string]string

	texts map[string]string // by "group.name"
	own   map[string]bool   // the texts that the application's catalog has
}

// A Link is a link at the foot of every page. URL is an https address or a path.
type Link struct {
	Text, URL string
}

// A Logo is an image.
type Logo struct {
	Data []byte
	// Type is "image/svg+xml" or "image/png".
	Type string
}

// English returns the built-in catalog.
func English() *Catalog { return builtIn().withName() }

// builtIn has the built-in catalog, with {name} in its texts.
var builtIn = sync.OnceValue(func() *Catalog {
	c, err := read("en.yaml", source, nil, nil)
	if err != nil {
		panic("catalog: " + err.Error()) // a test reads it
	}
	return c
})

// Load reads an application's catalog from a file, which has the keys that differ
// from the built-in catalog. The path of a logo begins at the directory of the
// file. An error names everything that is wrong, each with its line and the remedy.
func Load(path string) (*Catalog, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; give the path of a catalog, which is a YAML file", path, textfile.WithoutPath(err))
	}
	c, err := read(path, []byte(text), builtIn(), func(name string) ([]byte, error) {
		return textfile.Regular(filepath.Join(filepath.Dir(path), filepath.FromSlash(name)))
	})
	if err != nil {
		return nil, err
	}
	return c.withName(), nil
}

// Parse is [Load] for a catalog in memory, which errors call name. It has no
// directory, so that its logo is the text of an SVG or a data: URL.
func Parse(name string, data []byte) (*Catalog, error) {
	c, err := read(name, data, builtIn(), nil)
	if err != nil {
		return nil, err
	}
	return c.withName(), nil
}

// withName returns c with its name in place of {name}.
func (c *Catalog) withName() *Catalog {
	named := *c
	named.texts = make(map[string]string, len(c.texts))
	for key, text := range c.texts {
		named.texts[key] = strings.ReplaceAll(text, "{name}", c.Name)
	}
	return &named
}

// Text returns the text of a key such as "home.title". pairs are the names of its
// placeholders, each with the value. An unknown key, which is a defect of the
// caller, is returned as it is.
func (c *Catalog) Text(key string, pairs ...string) string {
	text, ok := c.texts[key]
	if !ok {
		return key
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, "{"+pairs[i]+"}", pairs[i+1])
	}
	return text
}

// Has reports whether there is a text of this key.
func (c *Catalog) Has(key string) bool { _, ok := c.texts[key]; return ok }

// Keys returns the keys of all texts in order.
func (c *Catalog) Keys() []string { return slices.Sorted(maps.Keys(c.texts)) }

// Untranslated returns the keys of the texts that an application's catalog in
// another language leaves in English, in order.
func (c *Catalog) Untranslated() []string {
	if language, _, _ := strings.Cut(c.Language, "-"); strings.EqualFold(language, "en") {
		return nil
	}
	return slices.DeleteFunc(c.Keys(), func(key string) bool { return c.own[key] })
}
