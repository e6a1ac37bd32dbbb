package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/suggest"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// Sources are where settings come from.
type Sources struct {
	// Flags come first.
	Flags Flags
	// Environ has the form of os.Environ.
	Environ []string
	// Dotenv is the path of a .env file; it need not exist.
	Dotenv string
}

// A source is where a value comes from, for messages.
type source struct {
	name  string // of the flag, variable or key
	place string // of a value in a file, FILE:LINE; or "environment"
	key   bool   // in the configuration file
}

// with returns the source with what may be shown of its value.
func (s source) with(value string) string {
	text := s.name
	if value != "" {
		text += "=" + value
	}
	switch {
	case s.place == "":
		return text
	case s.key:
		return s.place + ": " + text
	}
	return text + " (" + s.place + ")"
}

// A layer is one of the sources behind the flags.
type layer struct {
	values map[string]string
	source func(name string) source
	names  func(*Setting) []string // by which the layer may have a setting, first one first
	suffix string                  // of a name whose value is the path of a file
	lists  map[string]*yaml.Node   // values of structured settings
}

// Read decodes the value of each setting into its targets, from the first source
// that has one: flags, environment, .env, and the file that FileSetting names.
// An empty value counts as none.
//
// The Values have all problems. Where a source cannot be read at all, they are
// those of that source alone.
func (t Table) Read(from Sources) *Values {
	v := &Values{table: t, found: map[*Setting]found{}}
	environment := layer{values: map[string]string{}, names: (*Setting).variables, suffix: "_FILE",
		source: func(name string) source { return source{name: name, place: "environment"} }}
	for _, pair := range from.Environ {
		name, value, _ := strings.Cut(pair, "=")
		environment.values[name] = value
	}
	layers := []layer{environment, v.readDotenv(from.Dotenv)}
	v.variables = layers
	if v.incomplete {
		return v
	}
	v.noteUnknown(layers)
	if file := t.Find(FileSetting); file != nil {
		v.find(file, from.Flags, layers)
		if path := v.found[file].text; path != "" {
			layers = append(layers, v.readFile(path))
		}
	}
	for _, s := range t {
		v.find(s, from.Flags, layers)
	}
	return v
}

// find looks for a setting in all sources and assigns its value.
func (v *Values) find(s *Setting, flags Flags, layers []layer) {
	if _, done := v.found[s]; done {
		return
	}
	for _, name := range s.names() {
		if given := flags[name]; len(given) > 0 {
			v.assign(s, source{name: "--" + name}, strings.Join(given, ","))
			return
		}
	}
	for _, l := range layers {
		for _, name := range l.names(s) {
			value, path := l.values[name], ""
			if s.hasFile() {
				path = l.values[name+l.suffix]
			}
			list := l.lists[name]
			switch {
			case (value != "" || list != nil) && path != "":
				v.fail(s, "%s and %s are both set; drop one", name, name+l.suffix)
				return
			case list != nil:
				v.noteOldName(s, l.source(name))
				v.assignNode(s, l.source(name), "", list)
				return
			case path != "":
				v.assignFile(s, l.source(name+l.suffix), path)
				return
			case value != "":
				if value = v.tidied(s, l.source(name), value); value != "" {
					v.assign(s, l.source(name), value)
					return
				}
			}
		}
	}
	if s.Default != "" {
		if err := s.assign(s.items(s.Default)); err != nil {
			v.fail(s, "%s: %w", s.Variable(), err)
		}
	}
}

// assign decodes the text of a value.
func (v *Values) assign(s *Setting, from source, text string) {
	if s.isStructured() {
		v.assignText(s, from, "", text)
		return
	}
	items := []string{text}
	if s.isList() {
		items = splitList(text)
	}
	v.assignItems(s, from, text, items)
}

func (v *Values) assignItems(s *Setting, from source, text string, items []string) {
	v.noteOldName(s, from)
	v.found[s] = found{source: from, text: text, items: len(items), path: v.found[s].path, secret: v.found[s].secret}
	if err := s.assign(items); err != nil {
		if s.Secret && quotesAny(err.Error(), items) {
			err = errors.New("has the wrong form")
		}
		v.fail(s, "%s: %w", from.with(s.shown(text)), err)
	}
}

// quotesAny reports whether a text has one of the values in it, as it is or as %q
// writes it.
func quotesAny(text string, values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		quoted := strings.Trim(strconv.Quote(value), `"`)
		return value != "" && (strings.Contains(text, value) || strings.Contains(text, quoted))
	})
}

// noteOldName notes a value that its source has under an old name of the setting.
func (v *Values) noteOldName(s *Setting, from source) {
	name := strings.TrimSuffix(strings.TrimSuffix(from.name, "_FILE"), "-file")
	for _, old := range s.OldNames {
		if slices.Contains([]string{"--" + old, s.variable(old), old}, name) {
			v.note("%s: this is an old name; the setting is now named %s", from.with(""), s.Name)
		}
	}
}

// assignFile decodes a secret, or a list with keys, from the file that a setting names.
func (v *Values) assignFile(s *Setting, from source, path string) {
	if _, err := os.Stat(path); err != nil {
		if clean, what := tidy(path); what != "" {
			v.note("%s: %s around the path left out", from.with(""), what)
			path = clean
		}
	}
	raw, err := textfile.Bytes(path)
	var content string
	if err == nil {
		content, err = decodeSecret(raw)
	}
	if err != nil {
		v.found[s] = found{source: from}
		if _, missing := os.Stat(path); missing != nil && !looksLikePath(path) {
			v.fail(s, "%s: no such file; correct the path, which is not shown since it may be the secret", from.with(""))
			return
		}
		v.fail(s, "%s: %w", from.with(path), err)
		return
	}
	if !utf8.ValidString(content) {
		v.note("%s: not UTF-8; if a secret in it has letters beyond ASCII, it is another one than on the screen", from.with(path))
	}
	if s.isStructured() {
		v.assignText(s, from, path, content)
		return
	}
	items, note := s.secretItems(raw, content)
	if note != "" {
		v.note("%s: %s", from.with(path), note)
	}
	v.found[s] = found{path: path, secret: items}
	v.assignItems(s, from, "", items)
}

// decodeSecret returns the text of a file with a secret.
func decodeSecret(raw []byte) (string, error) {
	content, err := textfile.Decode(raw)
	if err == nil && strings.TrimSpace(content) == "" {
		err = errors.New("the file is empty")
	}
	return content, err
}

// secretItems returns the values in a file, whose text is given as well.
func (s *Setting) secretItems(raw []byte, content string) (items []string, note string) {
	if s.isList() {
		return secretList(raw, content)
	}
	value := strings.TrimSpace(content)
	if strings.Contains(value, "\n") && !s.Multiline {
		note = "has more than one line, all of which are the value; is it the right file?"
	}
	return []string{value}, note
}

// A SecretFile is the file of a secret.
type SecretFile struct {
	// Name and Variable are those of the setting.
	Name, Variable, Path string
	// Items are the values that Read has found: one, or those of a list.
	Items []string

	setting *Setting
}

// SecretFiles returns the files that Read has read secrets from, in the order of the
// table.
func (v *Values) SecretFiles() []SecretFile {
	var all []SecretFile
	for _, s := range v.table {
		if from := v.found[s]; from.secret != nil {
			all = append(all, SecretFile{s.Name, s.Variable(), from.path, from.secret, s})
		}
	}
	return all
}

// Decode returns the values in another content of the file, as Read does.
func (f SecretFile) Decode(raw []byte) ([]string, error) {
	content, err := decodeSecret(raw)
	if err != nil {
		return nil, err
	}
	items, _ := f.setting.secretItems(raw, content)
	return items, nil
}

// looksLikePath reports whether the name of a file that does not exist may be
// shown. Other text may be the secret itself, given in the place of its file.
func looksLikePath(path string) bool {
	const shortest = 16 // bytes of a secret
	return filepath.IsAbs(path) || strings.HasPrefix(path, ".") || len(path) < shortest ||
		filepath.Ext(path) != "" && !strings.ContainsAny(path, "\n{")
}

// Unassigned returns the part of an argument or a key before "=" or ":". What
// follows may be a secret.
func Unassigned(text string) string {
	if i := strings.IndexAny(text, "=:"); i >= 0 {
		return text[:i]
	}
	return text
}

// readDotenv reads a .env file, if there is one.
func (v *Values) readDotenv(path string) layer {
	l := layer{names: (*Setting).variables, suffix: "_FILE"}
	text, err := textfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l
	}
	var env *dotenv
	if err != nil {
		v.unread("%s: %w", path, err)
	} else if env, err = parseDotenv(text); err != nil {
		v.unread("%s:%w", path, err)
	}
	if err != nil {
		return l
	}
	for _, line := range env.skipped {
		v.note("%s:%d: skipped, as it is not NAME=value", path, line)
	}
	l.values = env.values
	l.source = func(name string) source {
		return source{name: name, place: path + ":" + strconv.Itoa(env.lines[name])}
	}
	return l
}

// readFile reads a configuration file: a map in YAML from the names of settings to
// their values, flat but for structured settings. Scalars keep their text, so that an id like 0123
// and a version like 1.10 are not read as numbers.
func (v *Values) readFile(path string) layer {
	lines := map[string]int{}
	l := layer{values: map[string]string{}, suffix: "-file", lists: map[string]*yaml.Node{},
		names:  (*Setting).names,
		source: func(name string) source { return source{name, path + ":" + strconv.Itoa(lines[name]), true} }}
	text, err := textfile.Read(path)
	if err != nil {
		v.unread("%s: %w", v.found[v.table.Find(FileSetting)].source.with(path), err)
		return l
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		v.unread("%s:%d: not YAML; correct quotes, brackets and indentation there or in a line before", path, textfile.YAMLLine(text, err))
		return l
	}
	if document.Kind == 0 || document.Content[0].Tag == "!!null" {
		return l
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		v.unread("%s:%d: not a YAML map from setting to value; write lines such as oidc-issuer: https://…", path, top.Line)
		return l
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, node := top.Content[i], top.Content[i+1]
		name := strings.ReplaceAll(key.Value, "_", "-")
		at := fmt.Sprintf("%s:%d", path, key.Line)
		if first, twice := lines[name]; twice {
			v.failSource("%s: %s is set twice, first in line %d", at, Unassigned(name), first)
			continue
		}
		lines[name] = key.Line
		if v.table.isStructured(name) {
			if node.Tag != "!!null" {
				l.lists[name] = node
			}
			continue
		}
		value, problem := scalar(node)
		switch {
		case problem != "":
			v.failSource("%s: %s %s", at, Unassigned(key.Value), problem)
		case !v.table.hasKey(name):
			v.failSource("%s: unknown setting %q%s", at, Unassigned(key.Value), v.table.suggestKey(name))
		default:
			l.values[name] = value
		}
	}
	return l
}

// scalar returns a value of the configuration file as text, a list with commas.
func scalar(node *yaml.Node) (value, problem string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.MappingNode:
		return "", "has settings below it; write each by the name of its flag, such as oidc-issuer"
	case yaml.SequenceNode:
		items := make([]string, len(node.Content))
		for i, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return "", "has more than plain values in its list"
			}
			items[i] = item.Value
		}
		return strings.Join(items, ","), ""
	}
	if node.Tag == "!!null" {
		return "", ""
	}
	return node.Value, ""
}

// isStructured reports whether a key of the configuration file names a structured setting.
func (t Table) isStructured(key string) bool {
	return slices.ContainsFunc(t, func(s *Setting) bool { return s.isStructured() && slices.Contains(s.names(), key) })
}

// hasKey reports whether a key of the configuration file names a setting.
func (t Table) hasKey(key string) bool {
	if key == FileSetting {
		return false // the file cannot name another
	}
	return slices.ContainsFunc(t, func(s *Setting) bool {
		secret, isFile := strings.CutSuffix(key, "-file")
		return slices.Contains(s.names(), key) || s.hasFile() && isFile && slices.Contains(s.names(), secret)
	})
}

// suggestKey returns the key that was most likely meant, as part of a message.
func (t Table) suggestKey(key string) string {
	key = strings.ToLower(key)
	var names []string
	for _, s := range t {
		key = strings.TrimPrefix(key, strings.ToLower(s.Prefix)+"-")
		if s.Name != FileSetting {
			names = append(names, s.Name)
		}
		for _, alias := range s.Aliases { // such as AUTH0_DOMAIN
			if key == strings.ToLower(strings.ReplaceAll(alias, "_", "-")) {
				return did(s.Name)
			}
		}
	}
	return did(suggest.Name(key, names))
}

// did asks whether a name was meant.
func did(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// noteUnknown notes variables that look like settings and are none. Kubernetes
// makes variables of the names of its services, which are left out.
func (v *Values) noteUnknown(layers []layer) {
	var known, prefixes []string
	for _, s := range v.table {
		for _, name := range s.variables() {
			known = append(known, name)
			if s.hasFile() {
				known = append(known, name+"_FILE")
			}
		}
		prefixes = append(prefixes, s.Prefix+"_")
	}
	for _, l := range layers {
		for _, name := range slices.Sorted(maps.Keys(l.values)) {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) &&
				!slices.Contains(known, name) && !kubernetes.MatchString(name) {
				v.note("%s is the name of no setting and has no effect%s", l.source(name).with(""), did(suggest.Name(name, known)))
			}
		}
	}
}

var kubernetes = regexp.MustCompile(`_SERVICE_(HOST|PORT)|_PORT(_|$)`)

// unread adds an error about a source that cannot be read.
func (v *Values) unread(format string, args ...any) {
	v.incomplete = true
	v.failSource(format, args...)
}
