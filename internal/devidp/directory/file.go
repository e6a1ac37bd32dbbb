package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/suggest"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// A File has the users and machines of a file in YAML:
//
//	users:
//	  seller:
//	    name: Sofia Marchetti
//	    permissions: [products:write]
//	  buyer:
//	machines:
//	  importer:
//	    permissions: [products:write]
type File struct {
	// Users and Machines are nil if the file does not have them.
	Users    []User
	Machines []Machine

	name  string
	lines map[string]int // of keys and fields
}

// ParseFile reads the text of a file with a name. Its error has a line for each
// problem, in the order of the file: FILE:LINE, what is wrong, and the remedy.
func ParseFile(name, text string) (*File, error) {
	top, wrong := textfile.ParseYAML(name, text)
	r := &fileReader{file: &File{name: name, lines: map[string]int{}}, fail: wrong.Add}
	if top != nil {
		r.read(top)
	}
	// Problems of the form come first: what is read of a broken user is incomplete.
	if wrong.Err() == nil {
		_, problems := completeUsers(r.file.Users)
		for _, p := range append(problems, machineProblems(r.file.Machines)...) {
			r.fail(r.file.line(p), "%v", p)
		}
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	return r.file, nil
}

// Unnamed returns a line of text for each permission, scope and acr value of the file
// that no policy names: most are misspelt.
func (f *File) Unnamed(policies PolicyValues) []string {
	var all []string
	check := func(kind, key, field string, values, known []string) {
		for _, value := range values {
			if slices.Contains(known, value) || slices.Contains(StandardScopes, value) {
				continue
			}
			text := fmt.Sprintf("%s:%d: %s %q: %s has %q, which no policy names", f.name, f.lines[place(kind, key, field)], kind, key, field, value)
			if name := suggest.Name(value, known); name != "" {
				text += "; did you mean " + name + "?"
			}
			all = append(all, text)
		}
	}
	// A permission is also the scope of its name.
	permissions := slices.Concat(policies.Permissions, policies.Scopes)
	for _, u := range f.Users {
		check("user", u.Key, "permissions", u.Permissions, permissions)
		check("user", u.Key, "scopes", u.Scopes, policies.Scopes)
		if len(u.ACR) > 1 { // the first one is that of an ordinary sign-in, which no policy has to name
			check("user", u.Key, "acr", u.ACR[1:], policies.ACRValues)
		}
	}
	for _, m := range f.Machines {
		check("machine", m.ID, "permissions", m.Permissions, permissions)
		check("machine", m.ID, "scopes", m.Scopes, policies.Scopes)
	}
	return all
}

func place(kind, key, field string) string { return kind + "\x00" + key + "\x00" + field }

// line returns the line that a problem is about.
func (f *File) line(p *Problem) int {
	return cmp.Or(f.lines[place(p.Kind, p.Key, p.Field)], f.lines[place(p.Kind, p.Key, "")])
}

// A fileReader reads a file, and tells fail what is wrong with it.
type fileReader struct {
	file *File
	fail func(line int, format string, args ...any)
}

func (r *fileReader) read(top *yaml.Node) {
	sections := []string{"users", "machines"}
	r.mapping(top, "the file", "users: and below it a line such as \"  seller:\"", func(section, node *yaml.Node) {
		switch section.Value {
		case "users":
			r.file.Users = []User{}
			r.entries(node, "user", new(User).Fields(), func(key string) []Field {
				r.file.Users = append(r.file.Users, User{Key: key})
				return r.file.Users[len(r.file.Users)-1].Fields()
			})
		case "machines":
			r.file.Machines = []Machine{}
			r.entries(node, "machine", new(Machine).Fields(), func(id string) []Field {
				r.file.Machines = append(r.file.Machines, Machine{ID: id, Secret: id})
				return r.file.Machines[len(r.file.Machines)-1].Fields()
			})
		default:
			r.unknown(section, "", sections)
		}
	})
}

// entries reads the users or machines in a section. add returns the fields of a new one.
func (r *fileReader) entries(node *yaml.Node, kind string, fields []Field, add func(key string) []Field) {
	if isNull(node) {
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	example := fmt.Sprintf("the key of each %s, and below it what it has, such as permissions: [%s]", kind, "notes:write")
	r.mapping(node, kind+"s", example, func(key, entry *yaml.Node) {
		r.file.lines[place(kind, key.Value, "")] = key.Line
		fields := add(key.Value)
		if isNull(entry) {
			return
		}
		who := fmt.Sprintf("%s %q", kind, key.Value)
		r.mapping(entry, who, names[0]+": and "+strings.Join(names[1:], ", "), func(field, value *yaml.Node) {
			r.file.lines[place(kind, key.Value, field.Value)] = field.Line
			switch i := slices.Index(names, field.Value); {
			case i < 0:
				r.unknown(field, who+": ", names)
			case !isNull(value):
				r.field(who, field, value, fields[i].Value)
			}
		})
	})
}

// field decodes the value of a field. A list of one value may be written as a text.
func (r *fileReader) field(who string, field, value *yaml.Node, target any) {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	items := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		items = value.Content
	}
	plain := !slices.ContainsFunc(items, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode || isNull(n) })
	switch target := target.(type) {
	case *string:
		if value.Kind != yaml.ScalarNode {
			r.fail(field.Line, "%s: %s is not a text; write it behind the colon", who, field.Value)
			return
		}
		*target = value.Value
	case *[]string:
		if !plain {
			r.fail(field.Line, "%s: %s is not a list of texts; write one such as [notes:read, notes:write]", who, field.Value)
			return
		}
		for _, item := range items {
			*target = append(*target, item.Value)
		}
	case *map[string]any:
		if value.Kind != yaml.MappingNode {
			r.fail(field.Line, "%s: %s is not a map; write each claim in a line of its own below it, such as locale: sv", who, field.Value)
			return
		}
		if err := decodeClaims(value, target); err != nil {
			r.fail(field.Line, "%s: %s cannot be read: %v", who, field.Value, err)
		}
	}
}

// decodeClaims decodes claims as the library does. A panic of the library, on input
// that it does not expect, is an error.
func decodeClaims(node *yaml.Node, target *map[string]any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the value has an unexpected form")
		}
	}()
	if node.Decode(target) != nil { // which may quote all of it
		return errors.New("a value has the wrong form; write texts in quotes")
	}
	return nil
}

// mapping calls each with the keys and values of a map.
func (r *fileReader) mapping(node *yaml.Node, what, remedy string, each func(key, value *yaml.Node)) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		r.fail(node.Line, "%s is not a map; write %s", what, remedy)
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch line, twice := first[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			r.fail(key.Line, "%s has a key that is not a text; write one", what)
		case twice:
			r.fail(key.Line, "%s has %.80q twice, first in line %d; remove one", what, key.Value, line)
		default:
			first[key.Value] = key.Line
			each(key, value)
		}
	}
}

// unknown is about a key that does not exist. what names where it is.
func (r *fileReader) unknown(key *yaml.Node, what string, known []string) {
	remedy := "the keys are " + strings.Join(known, ", ")
	if name := suggest.Name(strings.ReplaceAll(key.Value, "-", "_"), known); name != "" {
		remedy = "did you mean " + name + "?"
	}
	r.fail(key.Line, "%sunknown key %.80q; %s", what, key.Value, remedy)
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }
