// Package settings owns how a program gets its settings: their names, the
// sources that they come from, the forms of values, errors that name the
// source, and the reference. It leaves what a setting means, and which values
// are valid, to the program.
package settings

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// A Setting is one row of a Table.
type Setting struct {
	// Name is the name of the flag and of the key in the file, such as
	// "oidc-issuer".
	Name string
	// OldNames are names that it had before a release renamed it. Flag, variable and
	// key by an old name still work, with a note.
	OldNames []string
	// Prefix is that of the variable: GATEHOUSE makes GATEHOUSE_OIDC_ISSUER.
	Prefix string
	// Aliases are other variables that set it.
	Aliases []string
	// Group is the heading under which help and reference list it.
	Group string
	// Placeholder stands for a value in the help.
	Placeholder string
	// Default is the value if no source has one; "" leaves the targets alone.
	Default string
	// Help describes the setting in a few sentences.
	Help string
	// Choices are the only values, if there are any.
	Choices []string
	// Secret values are not shown in errors and can be given as a file.
	Secret bool
	// Show returns what may be shown of a secret value; nil for nothing.
	Show func(value string) string
	// Opaque secrets keep quotes around them, which may be part of the secret.
	Opaque bool
	// Multiline values from a file have several lines.
	Multiline bool
	// Targets are pointers to the variables that get the value: to a string, bool,
	// int, int64, time.Duration, a slice of these, netip.Prefix, or an
	// encoding.TextUnmarshaler; or functions func(string) error. With Keys there is
	// one: a pointer to a slice of structs.
	Targets []any
	// Keys are those of the elements of a structured setting.
	Keys []Key
}

// Variable returns the name of the environment variable.
func (s *Setting) Variable() string { return s.variable(s.Name) }

func (s *Setting) variable(name string) string {
	return s.Prefix + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func (s *Setting) names() []string { return append([]string{s.Name}, s.OldNames...) }

func (s *Setting) variables() []string {
	var variables []string
	for _, name := range s.names() {
		variables = append(variables, s.variable(name))
	}
	return append(variables, s.Aliases...)
}

func (s *Setting) targetType() reflect.Type {
	if t := reflect.TypeOf(s.Targets[0]); t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return reflect.TypeFor[string]()
}

func (s *Setting) isList() bool { return s.targetType().Kind() == reflect.Slice && !s.isStructured() }
func (s *Setting) isBool() bool { return s.targetType().Kind() == reflect.Bool }

// shown returns what errors may show of a value.
func (s *Setting) shown(value string) string {
	switch {
	case s.Show != nil:
		return s.Show(value)
	case s.Secret, s.isStructured():
		return ""
	}
	return value
}

// A Table has all settings of a program, in the order of its reference.
type Table []*Setting

// FileSetting is the name of the setting that names the configuration file.
const FileSetting = "config"

// nameForm is the form of the names of settings and programs.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// CheckName returns an error for a name that makes no flag and no variable.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return errors.New("is not a name; write it in lower case with hyphens, such as page-size")
	}
	return nil
}

// Check returns an error for a table in which two settings have one name, or a
// setting has a name, target or default of the wrong form.
func (t Table) Check() error {
	seen := map[string]bool{"help": true, "json": true, "version": true} // flags of commands
	for _, s := range t {
		if err := CheckName(s.Name); err != nil {
			return fmt.Errorf("setting %q %w", s.Name, err)
		}
		for _, name := range append(s.variables(), s.names()...) {
			if seen[name] {
				return fmt.Errorf("two settings are named %s; rename one of them", name)
			}
			seen[name] = true
		}
		if err := s.checkTargets(); err != nil {
			return fmt.Errorf("setting %s: %w", s.Name, err)
		}
	}
	return nil
}

// Find returns the setting with a name, or nil.
func (t Table) Find(name string) *Setting {
	for _, s := range t {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Groups returns the headings, in the order of the first setting of each.
func (t Table) Groups() []string {
	var groups []string
	for _, s := range t {
		if !slices.Contains(groups, s.Group) {
			groups = append(groups, s.Group)
		}
	}
	return groups
}

// group returns the settings under a heading.
func (t Table) group(heading string) Table {
	return slices.DeleteFunc(slices.Clone(t), func(s *Setting) bool { return s.Group != heading })
}

// Flags are the values that were given as flags, by name.
type Flags map[string][]string

// AddFlags defines a flag for each setting. Parsing the set fills the returned
// Flags with text; Read gives it a meaning.
func (t Table) AddFlags(set *pflag.FlagSet) Flags {
	flags := Flags{}
	for _, s := range t {
		help := s.Help
		if s.isStructured() {
			help += " A list of elements in YAML or JSON; docs/configuration.md has their keys."
		}
		if s.Default != "" && !s.isBool() {
			help += " Default: " + s.Default + "."
		}
		for _, name := range s.names() {
			f := set.VarPF(&flag{s, name, flags}, name, "", help)
			f.Hidden = name != s.Name
			if s.isBool() {
				f.NoOptDefVal = "true"
			}
		}
	}
	return flags
}

// A flag collects the values of one flag. It implements pflag.Value.
type flag struct {
	setting *Setting
	name    string
	flags   Flags
}

func (f *flag) Set(value string) error {
	if !f.setting.isList() {
		f.flags[f.name] = nil // the last one counts
	}
	f.flags[f.name] = append(f.flags[f.name], value)
	return nil
}

func (f *flag) String() string { return "" }

// Type is what the help shows as the value.
func (f *flag) Type() string {
	if f.setting.isBool() {
		return "bool"
	}
	return f.setting.Placeholder
}

// Usage returns the help of all flags in lines of at most columns, by group.
func (t Table) Usage(columns int) string {
	var out strings.Builder
	for _, heading := range t.Groups() {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.SortFlags = false
		t.group(heading).AddFlags(set)
		fmt.Fprintf(&out, "\n%s\n%s", heading, set.FlagUsagesWrapped(columns))
	}
	return out.String()
}

// Reference returns the description of all settings in Markdown, by group.
func (t Table) Reference() string {
	var out strings.Builder
	for _, heading := range t.Groups() {
		fmt.Fprintf(&out, "\n## %s\n", heading)
		for _, s := range t.group(heading) {
			fmt.Fprintf(&out, "\n### `%s`\n\n%s\n\n- flag: `--%s`\n", s.Variable(), s.Help, s.Name)
			for _, alias := range s.Aliases {
				fmt.Fprintf(&out, "- also read from `%s`\n", alias)
			}
			if s.hasFile() {
				fmt.Fprintf(&out, "- as a file: `%s_FILE`, or `%s-file` in the YAML file\n", s.Variable(), s.Name)
			}
			if s.isStructured() {
				fmt.Fprintf(&out, "- form: a list in the YAML file; elsewhere the same list as YAML or JSON\n\n"+
					"The keys of an element:\n\n%s", keyReference(s.Keys, ""))
			}
			if s.Default != "" {
				fmt.Fprintf(&out, "- default: `%s`\n", s.Default)
			}
		}
	}
	return out.String()
}
