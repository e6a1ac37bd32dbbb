package settings

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/suggest"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// A Key is a key of the elements of a structured setting: one whose only target
// is a pointer to a slice of structs. In the configuration file such a setting is
// a list of maps. A flag or a variable has the same list as text, in YAML or
// JSON, and NAME_FILE names a file of it.
//
// Secrets do not belong into such a list: give them a setting of their own, or a
// key with the path of a file.
type Key struct {
	// Name is the key, such as "max-body-bytes".
	Name string
	// Field is the path of the field in the struct, such as "Limits.MaxBodyBytes".
	// Its type is one of Setting.Targets, a map from string to string or to a list
	// of strings, or a slice of structs with Keys.
	Field string
	// Required keys must be present.
	Required bool
	// Choices are the only values, if there are any.
	Choices []string
	// Help describes the key in a few sentences.
	Help string
	// Keys are those of the elements, if the field is a slice of structs.
	Keys []Key
}

// isStructured reports whether the setting is a list of elements with keys.
func (s *Setting) isStructured() bool { return len(s.Keys) > 0 }

// hasFile reports whether the value can be in a file of its own.
func (s *Setting) hasFile() bool { return s.Secret || s.isStructured() }

// elements are what is known of the list of a structured setting.
type elements struct {
	at    map[string]int // lines, by path of the field in the list, as in "[1].To"
	shown string         // the list as operators may see it
}

// A position is where a value stands in a list.
type position struct {
	key  string // as in "routes[1].to"
	line int
}

// assignText decodes the text of a list. file is the path of the file that it comes
// from; "" for a flag or a variable.
func (v *Values) assignText(s *Setting, from source, file, text string) {
	v.noteOldName(s, from)
	var document yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	err := decoder.Decode(&document)
	if err == nil {
		if again := decoder.Decode(new(yaml.Node)); !errors.Is(again, io.EOF) {
			err = errors.New("more than one document")
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return // comments alone
	case err != nil:
		v.found[s] = found{source: from, path: file}
		line := textfile.YAMLLine(text, err)
		v.fail(s, "%s: not a list in YAML or JSON; correct quotes, brackets and indentation there or in a line before", from.line(file, line))
		return
	}
	v.assignNode(s, from, file, document.Content[0])
}

// assignNode decodes a list into the target, if nothing in it is wrong.
func (v *Values) assignNode(s *Setting, from source, file string, node *yaml.Node) {
	d := elementDecoder{at: map[string]int{}}
	if problem := misplaced(s, from, node); problem != "" {
		v.found[s] = found{source: from, path: file}
		v.fail(s, "%s: %s: %s", from.line(file, node.Line), s.Name, problem)
		return
	}
	target := reflect.ValueOf(s.Targets[0]).Elem()
	list := reflect.New(target.Type()).Elem()
	d.list(list, s.Keys, node, "", s.Name)
	for _, p := range d.problems {
		v.fail(s, "%s: %s", from.line(file, p.line), p.text)
	}
	v.found[s] = found{source: from, items: list.Len(), path: file, elements: &elements{d.at, shownNode(node)}}
	if len(d.problems) == 0 {
		target.Set(list)
	}
}

// misplaced returns what is wrong with a list that would be right elsewhere: with its
// setting's name above it, as in the file of settings, or as the path of a file; "" for
// others.
func misplaced(s *Setting, from source, node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode && len(node.Content) == 2 && node.Content[0].Value == s.Name:
		return "has the name of the setting above its list; remove that line, which belongs into the file of --config only"
	case node.Kind == yaml.ScalarNode && !from.key && strings.HasSuffix(node.Value, ".yaml"):
		return "is not a list; if it is the path of a file with one, set " + s.Variable() + "_FILE to it"
	}
	return ""
}

// line returns the place of a line of a value, for messages.
func (s source) line(file string, line int) string {
	switch {
	case file != "":
		return file + ":" + strconv.Itoa(line)
	case s.key:
		return s.place[:strings.LastIndexByte(s.place, ':')+1] + strconv.Itoa(line)
	}
	return s.with("")
}

// An elementDecoder decodes a list and keeps where its values stand.
type elementDecoder struct {
	at       map[string]int
	problems []elementProblem
}

type elementProblem struct {
	text string
	line int
}

func (d *elementDecoder) fail(node *yaml.Node, format string, args ...any) {
	d.problems = append(d.problems, elementProblem{fmt.Sprintf(format, args...), node.Line})
}

// list decodes a list of structs. path is that of the field, name that of the key.
func (d *elementDecoder) list(v reflect.Value, keys []Key, node *yaml.Node, path, name string) {
	node = resolved(node)
	if node.Kind != yaml.SequenceNode {
		d.fail(node, "%s: is not a list; write each element behind a hyphen, as in - %s: …", name, keys[0].Name)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		index := "[" + strconv.Itoa(i) + "]"
		d.at[path+index] = item.Line
		d.element(v.Index(i), keys, resolved(item), path+index, name+index)
	}
}

// element decodes the keys of one element.
func (d *elementDecoder) element(v reflect.Value, keys []Key, node *yaml.Node, path, name string) {
	if node.Kind != yaml.MappingNode {
		d.fail(node, "%s: is not a map; write its keys, as in %s: …", name, keys[0].Name)
		return
	}
	var seen []string
	for i := 0; i+1 < len(node.Content); i += 2 {
		written, value := node.Content[i], resolved(node.Content[i+1])
		key := strings.ReplaceAll(written.Value, "_", "-")
		at := slices.IndexFunc(keys, func(k Key) bool { return k.Name == key })
		switch {
		case at < 0:
			names := make([]string, len(keys))
			for i, k := range keys {
				names[i] = k.Name
			}
			d.fail(written, "%s: unknown key %q%s", name, Unassigned(written.Value), meant(suggest.Name(strings.ToLower(key), names)))
			continue
		case slices.Contains(seen, key):
			d.fail(written, "%s.%s: is set twice; drop one", name, key)
			continue
		}
		seen = append(seen, key)
		k := keys[at]
		field := path + "." + k.Field
		d.at[field] = written.Line
		d.value(fieldAt(v, k.Field), k, value, field, name+"."+key)
	}
	for _, k := range keys {
		if k.Required && !slices.Contains(seen, k.Name) {
			d.fail(node, "%s: %s is missing; add it", name, k.Name)
		}
	}
}

// meant asks whether a key was meant. It is quoted, because a key may be a word such as to.
func meant(key string) string {
	if key == "" {
		return ""
	}
	return did(strconv.Quote(key))
}

// value decodes the value of a key.
func (d *elementDecoder) value(v reflect.Value, k Key, node *yaml.Node, path, name string) {
	switch {
	case isEmpty(node):
		d.fail(node, "%s: is empty; give a value, or remove the key", name)
	case len(k.Keys) > 0:
		d.list(v, k.Keys, node, path, name)
	case v.Kind() == reflect.Map:
		d.mapping(v, node, name)
	case isListOf(v.Type()) && node.Kind == yaml.SequenceNode:
		v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
		for i, item := range node.Content {
			index := "[" + strconv.Itoa(i) + "]"
			d.at[path+index] = item.Line
			d.scalar(v.Index(i), k, resolved(item), name+index)
		}
	case isListOf(v.Type()) && node.Kind == yaml.ScalarNode:
		for _, text := range splitList(node.Value) {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			item := *node
			item.Value = strings.TrimSpace(text)
			d.scalar(v.Index(v.Len()-1), k, &item, name)
		}
	default:
		d.scalar(v, k, node, name)
	}
}

// mapping decodes a map from names to values, or to lists of them.
func (d *elementDecoder) mapping(v reflect.Value, node *yaml.Node, name string) {
	if node.Kind != yaml.MappingNode {
		d.fail(node, "%s: is not a map; write lines such as NAME: VALUE below it", name)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolved(node.Content[i+1])
		one := reflect.New(v.Type().Elem()).Elem()
		if v.MapIndex(reflect.ValueOf(key.Value)).IsValid() {
			d.fail(key, "%s.%s: is set twice; drop one", name, key.Value)
		}
		if one.Kind() == reflect.Slice && value.Kind == yaml.ScalarNode && !isEmpty(value) { // a claim's value may have commas
			value = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{value}, Line: value.Line}
		}
		d.value(one, Key{}, value, "", name+"."+key.Value)
		v.SetMapIndex(reflect.ValueOf(key.Value), one)
	}
}

// scalar decodes a single value.
func (d *elementDecoder) scalar(v reflect.Value, k Key, node *yaml.Node, name string) {
	text := strings.TrimSpace(node.Value)
	switch {
	case node.Kind != yaml.ScalarNode:
		d.fail(node, "%s: is not a single value; give one", name)
		return
	case isEmpty(node) || text == "":
		d.fail(node, "%s: is empty; give a value, or remove it", name)
		return
	}
	s := Setting{Choices: k.Choices, Targets: []any{v.Addr().Interface()}}
	if err := s.assign([]string{text}); err != nil {
		d.fail(node, "%s=%s: %v", name, withoutPasswords(text), err)
	}
}

// isEmpty reports a value that was left out, perhaps by a template.
func isEmpty(node *yaml.Node) bool {
	return node.Tag == "!!null" || node.Kind == yaml.ScalarNode && node.Value == "" ||
		node.Kind == yaml.SequenceNode && len(node.Content) == 0
}

// resolved returns the node that an alias stands for.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// fieldAt returns the field at a path such as "Limits.MaxBodyBytes".
func fieldAt(v reflect.Value, path string) reflect.Value {
	for name := range strings.SplitSeq(path, ".") {
		v = v.FieldByName(name)
	}
	return v
}

// isListOf reports whether values of the type are lists of single values.
func isListOf(t reflect.Type) bool { return t.Kind() == reflect.Slice && !isSingle(t) }

// isSingle reports whether decode has a form for single values of the type.
func isSingle(t reflect.Type) bool {
	return slices.Contains([]reflect.Kind{reflect.String, reflect.Bool, reflect.Int, reflect.Int64}, t.Kind()) ||
		t == reflect.TypeFor[netip.Prefix]() || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// checkKeys returns an error if a key has no field, or one that cannot be decoded.
func checkKeys(list reflect.Type, keys []Key) error {
	if list.Kind() != reflect.Slice || list.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("there are keys, but %v is not a slice of structs", list)
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if err := CheckName(k.Name); err != nil || seen[k.Name] {
			return fmt.Errorf("key %q is no name, or there are two of it", k.Name)
		}
		seen[k.Name] = true
		t := list.Elem()
		for name := range strings.SplitSeq(k.Field, ".") {
			field, ok := t.FieldByName(name)
			if !ok || !field.IsExported() {
				return fmt.Errorf("key %s: there is no field %s", k.Name, k.Field)
			}
			t = field.Type
		}
		isMap := t == reflect.TypeFor[map[string]string]() || t == reflect.TypeFor[map[string][]string]()
		if len(k.Keys) > 0 {
			if err := checkKeys(t, k.Keys); err != nil {
				return fmt.Errorf("key %s: %w", k.Name, err)
			}
		} else if !isMap && !decodable(t) {
			return fmt.Errorf("key %s: %v cannot be decoded", k.Name, t)
		}
	}
	return nil
}

// shownNode returns a list as operators may see it, in one line.
func shownNode(node *yaml.Node) string {
	var parts []string
	switch node.Kind {
	case yaml.SequenceNode:
		for _, item := range node.Content {
			parts = append(parts, shownNode(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			parts = append(parts, Unassigned(node.Content[i].Value)+": "+shownNode(node.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.AliasNode: // what it stands for may contain it
		return "*" + node.Value
	}
	return withoutPasswords(node.Value)
}

// firstIndex splits the path of a field in an element of a list, such as
// "BFF.Routes[1].To[0]", before its first index.
var firstIndex = regexp.MustCompile(`^([A-Za-z.]+)(\[\d+\].*)$`)

// structured returns the structured setting that a field belongs to, and where the
// value of the field, or else of what contains it, stands.
func (v *Values) structured(field string) (s *Setting, at position) {
	m := firstIndex.FindStringSubmatch(field)
	if m == nil {
		return nil, position{}
	}
	if s = v.paths[m[1]]; s == nil || !s.isStructured() {
		return nil, position{}
	}
	from := v.found[s]
	if from.elements == nil {
		return s, position{key: s.Name}
	}
	at = position{key: s.Name + keyPath(s.Keys, m[2])}
	for path := m[2]; path != "" && at.line == 0; {
		at.line = from.elements.at[path]
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return s, at
}

// keyPath returns the path of a field in a list, such as "[1].To[0]", in terms of keys.
func keyPath(keys []Key, path string) string {
	end := strings.IndexByte(path, ']') + 1
	index, rest := path[:end], path[end:]
	for _, k := range keys {
		after, ok := strings.CutPrefix(rest, "."+k.Field)
		if ok && strings.HasPrefix(after, ".") && len(k.Keys) == 0 { // a name in a map
			return index + "." + k.Name + after
		}
		if ok && (after == "" || after[0] == '[') {
			return index + "." + k.Name + keyPath(k.Keys, after)
		}
	}
	return index
}

// explainElement returns an error about a field of an element in terms of its keys.
func (v *Values) explainElement(s *Setting, at position, e *invalid.Error) error {
	from := v.found[s]
	text := from.source.line(from.path, at.line) + ": " + at.key
	problem := v.inKeys(s, strings.TrimPrefix(e.Problem, "is invalid: "))
	if e.Value != "" {
		text += "=" + withoutPasswords(e.Value)
	}
	text += ": " + problem
	if e.Remedy != "" {
		text += "; " + v.inKeys(s, e.Remedy)
	}
	return errors.New(text)
}

// inKeys replaces the names of fields in a text about an element by those of keys, and
// of settings.
func (v *Values) inKeys(s *Setting, text string) string {
	names := map[string]string{}
	var add func(keys []Key)
	add = func(keys []Key) {
		for _, k := range keys {
			names[k.Field] = k.Name
			if last := k.Field[strings.LastIndexByte(k.Field, '.')+1:]; names[last] == "" {
				names[last] = k.Name
			}
			add(k.Keys)
		}
	}
	add(s.Keys)
	for path, other := range v.paths {
		if other == s { // the list itself
			names[path[strings.LastIndexByte(path, '.')+1:]] = s.Name
		}
	}
	text = fieldName.ReplaceAllStringFunc(text, func(name string) string {
		if key := names[name]; key != "" {
			return key
		}
		return name
	})
	for path, other := range v.paths {
		if other == s {
			return v.inSettings(path, text)
		}
	}
	return text
}

// keyReference returns the description of the keys in Markdown.
func keyReference(keys []Key, indent string) string {
	var out strings.Builder
	for _, k := range keys {
		required := ""
		if k.Required {
			required = " (required)"
		}
		fmt.Fprintf(&out, "%s- `%s`%s: %s\n", indent, k.Name, required, k.Help)
		out.WriteString(keyReference(k.Keys, indent+"  "))
	}
	return out.String()
}
