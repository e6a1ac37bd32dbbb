package catalog

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/suggest"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// The limits of a catalog, which keep pages small.
const (
	maxName  = 60    // characters
	maxText  = 2_000 // characters
	maxLinks = 10
)

// A reader reads one catalog, and tells fail what is wrong.
type reader struct {
	base  *Catalog // what the catalog changes; nil for the built-in one
	open  func(name string) ([]byte, error)
	c     *Catalog
	lines map[string]int // of the colors, by "light.accent"
	fail  func(line int, format string, args ...any)
}

// read reads a catalog. base is what it changes, nil for the built-in catalog.
// open reads a file beside it; nil if it has no directory.
func read(file string, data []byte, base *Catalog, open func(name string) ([]byte, error)) (*Catalog, error) {
	top, wrong := textfile.ParseYAML(file, string(data))
	r := &reader{
		base: base, open: open, fail: wrong.Add, lines: map[string]int{},
		c: &Catalog{Light: map[string]string{}, Dark: map[string]string{}, texts: map[string]string{}},
	}
	if base != nil {
		copied := *base
		r.c = &copied
		r.c.Light, r.c.Dark, r.c.texts = maps.Clone(base.Light), maps.Clone(base.Dark), maps.Clone(base.texts)
	}
	r.c.own = map[string]bool{}
	if top != nil {
		r.document(top)
	}
	r.deriveColors()
	r.checkContrast()
	return r.c, wrong.Err()
}

// names are the keys of a catalog.
var names = []string{"name", "language", "direction", "logo", "links", "colors", "texts"}

// languageTag is the form of the tags of BCP 47.
var languageTag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$`)

func (r *reader) document(node *yaml.Node) {
	r.mapping(node, "the catalog", func(key, value *yaml.Node) {
		switch key.Value {
		case "name":
			if text, ok := r.text(value, "name", maxName); ok && strings.ContainsAny(text, "{}") {
				r.fail(value.Line, "name %q has a brace; remove it", text)
			} else if ok {
				r.c.Name = text
			}
		case "language":
			if text, ok := r.scalar(value, "language"); ok && languageTag.MatchString(text) {
				r.c.Language = text
			} else if ok {
				r.fail(value.Line, "language %q is not a language tag; give one such as de or pt-BR", text)
			}
		case "direction":
			if text, ok := r.scalar(value, "direction"); ok && (text == "ltr" || text == "rtl") {
				r.c.Direction = text
			} else if ok {
				r.fail(value.Line, "direction %q is neither ltr nor rtl", text)
			}
		case "logo":
			if text, ok := r.scalar(value, "logo"); ok {
				r.logo(value.Line, text)
			}
		case "links":
			r.links(value)
		case "colors":
			r.colors(value)
		case "texts":
			r.texts(value)
		default:
			r.unknown(key, "key", names)
		}
	})
}

// unknown is about a key that does not exist.
func (r *reader) unknown(key *yaml.Node, what string, known []string) {
	remedy := "the keys are " + strings.Join(known, ", ")
	if name := suggest.Name(key.Value, known); name != "" {
		remedy = "did you mean " + name + "?"
	} else if len(known) > len(names)+10 {
		remedy = "the command catalog prints all keys"
	}
	r.fail(key.Line, "unknown %s %q; %s", what, key.Value, remedy)
}

// mapping calls each with the keys and values of a map.
func (r *reader) mapping(node *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		r.fail(node.Line, "%s is not a map; write its keys in lines of their own, as in the built-in catalog", what)
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if line, twice := first[key.Value]; twice {
			r.fail(key.Line, "%q is there twice, first in line %d; remove one", key.Value, line)
			continue
		}
		first[key.Value] = key.Line
		if value.Kind == yaml.AliasNode || value.Kind == 0 {
			r.fail(value.Line, "%q is an alias, which a catalog cannot have; write the value", key.Value)
			continue
		}
		each(key, value)
	}
}

// scalar returns a value that is not a map, a list or empty. Texts such as No and
// 2026 need no quotes.
func (r *reader) scalar(node *yaml.Node, what string) (string, bool) {
	text := strings.TrimSpace(node.Value)
	switch {
	case node.Kind != yaml.ScalarNode:
		r.fail(node.Line, "%s is not a text; write it in one line, or in quotes", what)
	case text == "" || node.Tag == "!!null":
		r.fail(node.Line, "%s is empty; give a text, or remove the key for the built-in one", what)
	default:
		return text, true
	}
	return "", false
}

// text returns a value that people read.
func (r *reader) text(node *yaml.Node, what string, most int) (string, bool) {
	text, ok := r.scalar(node, what)
	if !ok {
		return "", false
	}
	text = strings.Join(strings.Fields(text), " ")
	if n := len([]rune(text)); n > most {
		r.fail(node.Line, "%s has %d characters; give at most %d", what, n, most)
		return "", false
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		r.fail(node.Line, "%s has a control character; remove it", what)
		return "", false
	}
	return text, true
}

// texts reads the groups of texts.
func (r *reader) texts(node *yaml.Node) {
	r.mapping(node, "texts", func(group, texts *yaml.Node) {
		if r.base != nil && !r.hasGroup(group.Value) {
			r.unknown(group, "group of texts", r.groups())
			return
		}
		r.mapping(texts, "texts."+group.Value, func(key, value *yaml.Node) {
			name := group.Value + "." + key.Value
			if r.base != nil && !r.base.Has(name) {
				r.unknown(&yaml.Node{Value: name, Line: key.Line}, "text", r.base.Keys())
				return
			}
			text, ok := r.text(value, "texts."+name, maxText)
			if ok && r.base != nil {
				ok = r.placeholders(value.Line, name, text)
			}
			if ok {
				r.c.texts[name] = text
				r.c.own[name] = r.base != nil
			}
		})
	})
}

func (r *reader) groups() (groups []string) {
	for _, key := range r.base.Keys() {
		if group, _, _ := strings.Cut(key, "."); !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

func (r *reader) hasGroup(name string) bool { return slices.Contains(r.groups(), name) }

// placeholder is the form of a placeholder, and finds braces of other forms.
var placeholder = regexp.MustCompile(`\{([a-z]*)\}?|\}`)

// placeholders returns the names of the placeholders of a text in order, each once,
// without {name}. A brace of another form is an empty name.
func placeholders(text string) (list []string) {
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if !strings.HasSuffix(m[0], "}") || !strings.HasPrefix(m[0], "{") {
			name = ""
		}
		if name != "name" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// placeholders reports whether a text has those of the built-in text. It fails if
// not.
func (r *reader) placeholders(line int, key, text string) bool {
	want, got := placeholders(r.base.texts[key]), placeholders(text)
	good := true
	for _, name := range want {
		if !slices.Contains(got, name) {
			r.fail(line, "texts.%s lacks the placeholder {%s}; it is replaced by a value when the text is shown", key, name)
			good = false
		}
	}
	for _, name := range got {
		if slices.Contains(want, name) {
			continue
		}
		good = false
		allowed := "{" + strings.Join(append(slices.Clone(want), "name"), "} and {") + "}"
		switch known := suggest.Name(name, append(slices.Clone(want), "name")); {
		case name == "":
			r.fail(line, "texts.%s has a brace that is no placeholder; this text can have %s", key, allowed)
		case known != "":
			r.fail(line, "texts.%s has an unknown placeholder {%s}; did you mean {%s}?", key, name, known)
		default:
			r.fail(line, "texts.%s has an unknown placeholder {%s}; this text can have %s", key, name, allowed)
		}
	}
	return good
}

// links reads the legal links.
func (r *reader) links(node *yaml.Node) {
	if node.Kind != yaml.SequenceNode {
		r.fail(node.Line, "links is not a list; write an entry such as - {text: Imprint, url: /imprint}")
		return
	}
	if len(node.Content) > maxLinks {
		r.fail(node.Line, "links has %d entries; give at most %d", len(node.Content), maxLinks)
	}
	r.c.Links = nil
	for _, item := range node.Content {
		var link Link
		r.mapping(item, "a link", func(key, value *yaml.Node) {
			switch key.Value {
			case "text":
				link.Text, _ = r.text(value, "the text of a link", maxName)
			case "url":
				if address, ok := r.scalar(value, "the url of a link"); ok && isTarget(address) {
					link.URL = address
				} else if ok {
					r.fail(value.Line, "the url %q of a link is neither an https address nor a path; give one such as https://shop.example/imprint or /imprint", address)
				}
			default:
				r.unknown(key, "key of a link", []string{"text", "url"})
			}
		})
		if item.Kind == yaml.MappingNode && len(item.Content) < 4 {
			r.fail(item.Line, "a link lacks its text or its url; write - {text: Imprint, url: /imprint}")
		}
		r.c.Links = append(r.c.Links, link)
	}
}

// isTarget reports whether a link may lead to an address: https, or a path that a
// browser reads as one of this origin.
func isTarget(address string) bool {
	if strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c == '\\' || unicode.IsControl(c) }) {
		return false
	}
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return false
	}
	if u.Scheme == "" {
		return u.Host == "" && strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//")
	}
	return u.Scheme == "https" && u.Host != ""
}
