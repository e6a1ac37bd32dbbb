package settings

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// Values are what Read has found.
type Values struct {
	table Table
	found map[*Setting]found
	notes []string
	errs  []error
	bad   []*Setting // whose values have the wrong form
	paths map[string]*Setting

	variables  []layer // first one first
	incomplete bool    // a source could not be read
}

// A found value has its source and its text, "" for one from a file of its own.
type found struct {
	source source
	text   string
	items  int
	path   string   // of the file that has the value; "" for none
	secret []string // the values in that file

	elements *elements // of a structured setting
}

// Notes say which values were read in another way than they are written, and
// which variables have no effect.
func (v *Values) Notes() []string { return v.notes }

// Err returns everything that is wrong with the form of the sources, joined.
func (v *Values) Err() error { return errors.Join(v.errs...) }

// Complete reports whether all sources could be read. Where one could not, a
// setting may seem to be missing.
func (v *Values) Complete() bool { return !v.incomplete }

// Foreign returns the variables of the environment and of .env whose names begin with
// prefix, for a library that defines them. An empty value counts as none.
func (v *Values) Foreign(prefix string) map[string]string {
	variables := map[string]string{}
	for _, l := range slices.Backward(v.variables) {
		for name, value := range l.values {
			if strings.HasPrefix(name, prefix) && value != "" {
				variables[name] = value
			}
		}
	}
	return variables
}

// Note adds a note about a setting.
func (v *Values) Note(name, text string) { v.note("%s: %s", v.Name(name), text) }

// note adds a note, unless there is the same one.
func (v *Values) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(v.notes, note) {
		v.notes = append(v.notes, note)
	}
}

// fail adds an error about a value.
func (v *Values) fail(s *Setting, format string, args ...any) {
	v.bad = append(v.bad, s)
	v.failSource(format, args...)
}

// failSource adds an error about a part of a source.
func (v *Values) failSource(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

// Set gives a setting a value of the program's own. Errors still show the value
// of the source, if there is one.
func (v *Values) Set(name, value string) {
	s := v.table.Find(name)
	if _, ok := v.found[s]; !ok {
		v.found[s] = found{source: source{name: s.Variable(), place: "default"}, text: value, items: 1}
	}
	if err := s.assign([]string{value}); err != nil {
		panic("settings: set " + name + ": " + err.Error())
	}
}

// Describe returns an error about a setting as users see it: its Name, the
// problem, and the remedy.
func (v *Values) Describe(name, problem, remedy string) error {
	text := v.Name(name) + ": " + problem
	if remedy != "" {
		text += "; " + remedy
	}
	return errors.New(text)
}

// Bind tells v which fields of the struct behind config are targets of settings,
// so that Explain knows the setting of an invalid.Error.
func (v *Values) Bind(config any) {
	targets := map[any]*Setting{}
	for _, s := range v.table {
		for _, target := range s.Targets {
			if reflect.TypeOf(target).Kind() == reflect.Pointer {
				targets[target] = s
			}
		}
	}
	v.paths = map[string]*Setting{}
	var walk func(reflect.Value, string)
	walk = func(value reflect.Value, path string) {
		if s := targets[value.Addr().Interface()]; s != nil {
			v.paths[path] = s
			return
		}
		if value.Kind() == reflect.Pointer && !value.IsNil() {
			value = value.Elem()
		}
		if value.Kind() != reflect.Struct {
			return
		}
		for i := range value.NumField() {
			if field := value.Type().Field(i); field.IsExported() {
				walk(value.Field(i), strings.TrimPrefix(path+"."+field.Name, "."))
			}
		}
	}
	walk(reflect.ValueOf(config).Elem(), "")
}

// Explain returns the errors in err in terms of settings: an invalid.Error about
// a field that is bound names the source of the field's value, and settings
// instead of fields in its text. It leaves out errors about other fields, which
// the program sets itself, and about settings whose value has the wrong form.
// One error a setting is explained, unless they are about items of one list.
func (v *Values) Explain(err error) error {
	fields, errs := invalid.All(err)
	explained := map[*Setting]string{} // path of the first error
	elements := map[string]bool{}      // fields of elements
	for _, e := range fields {
		if s, at := v.structured(e.Field); s != nil {
			if !slices.Contains(v.bad, s) && !elements[e.Field] {
				elements[e.Field] = true
				errs = append(errs, v.explainElement(s, at, e))
			}
			continue
		}
		path := index.ReplaceAllString(e.Field, "")
		isItem := path != e.Field
		s := v.paths[path]
		if s == nil || slices.Contains(v.bad, s) {
			continue
		}
		if first, again := explained[s]; again && (first != path || !isItem) {
			continue
		}
		explained[s] = path
		problem, remedy := v.inSettings(path, strings.TrimPrefix(e.Problem, "is invalid: ")), v.inSettings(path, e.Remedy)
		switch {
		case isItem && s.Secret:
			if n := v.found[s].items; n > 1 {
				problem = fmt.Sprintf("entry %s of %d %s", itemNumber(e.Field), n, problem)
			}
		case isItem && e.Value != "" && v.found[s].items > 1:
			problem = strconv.Quote(e.Value) + " " + problem
		}
		if s.Secret && strings.HasPrefix(v.found[s].text, "/") {
			remedy = "give the path of a file in " + s.Variable() + "_FILE; otherwise " + remedy
		}
		errs = append(errs, v.Describe(s.Name, problem, remedy))
	}
	return errors.Join(errs...)
}

// itemNumber returns the number of the item that a field such as "Secrets[0]" is,
// counted from 1.
func itemNumber(field string) string {
	n, _ := strconv.Atoi(strings.Trim(index.FindString(field), "[]")) // digits, as matched
	return strconv.Itoa(n + 1)
}

var (
	index     = regexp.MustCompile(`\[\d+\]`)
	fieldName = regexp.MustCompile(`\b[A-Z][A-Za-z]+(\.[A-Z][A-Za-z]+)*\b`)
)

// inSettings replaces the names of fields in a text about the field at path by
// those of their settings.
func (v *Values) inSettings(path, text string) string {
	return fieldName.ReplaceAllStringFunc(text, func(name string) string {
		for at := path; at != "" && name != "ID"; { // "ID token" is no field
			at = at[:max(0, strings.LastIndexByte(at, '.'))]
			if s := v.paths[strings.TrimPrefix(at+"."+name, ".")]; s != nil {
				return s.Variable()
			}
		}
		return name
	})
}

// Track returns a function that returns the names of the settings that a source sets
// and whose targets have changed since. Targets that are functions do not count.
func (v *Values) Track() func() []string {
	current := func(s *Setting) any {
		target := reflect.ValueOf(s.Targets[0])
		if from, ok := v.found[s]; !ok || from.source.place == "default" || target.Kind() != reflect.Pointer {
			return nil
		}
		if target = target.Elem(); target.Kind() == reflect.Slice { // its items may be replaced
			target = reflect.AppendSlice(reflect.MakeSlice(target.Type(), 0, target.Len()), target)
		}
		return target.Interface()
	}
	before := map[*Setting]any{}
	for _, s := range v.table {
		before[s] = current(s)
	}
	return func() (names []string) {
		for _, s := range v.table {
			if before[s] != nil && !reflect.DeepEqual(before[s], current(s)) {
				names = append(names, s.Name)
			}
		}
		return names
	}
}

// Given returns the names of the settings that a source sets, and whose targets all
// have paths that begin with one of prefixes.
func (v *Values) Given(prefixes ...string) []string {
	outside := map[*Setting]bool{} // by setting with a path: whether another one is elsewhere
	for path, s := range v.paths {
		within := slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
		outside[s] = outside[s] || !within
	}
	var names []string
	for _, s := range v.table {
		elsewhere, bound := outside[s]
		if from, ok := v.found[s]; ok && from.source.place != "default" && bound && !elsewhere {
			names = append(names, s.Name)
		}
	}
	return names
}

// Variable returns the name of the variable that sets the field at path, or ""
// if none does.
func (v *Values) Variable(path string) string {
	if s := v.paths[path]; s != nil {
		return s.Variable()
	}
	return ""
}

// Name returns how errors name a setting: the source of its value and what may
// be shown of it.
func (v *Values) Name(name string) string {
	s := v.table.Find(name)
	if from, ok := v.found[s]; ok {
		return from.source.with(s.shown(from.text))
	}
	return s.Variable()
}
