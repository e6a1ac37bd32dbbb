package settings

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// A Shown is a setting as operators may see it.
type Shown struct {
	Name string `json:"name"`
	// Variable is the environment variable that sets it.
	Variable string `json:"variable"`
	// Value is the value in effect, without what may be secret; "" for none.
	Value string `json:"value"`
	// Source is the flag, variable, or file and line that the value comes from;
	// "default" if there is none.
	Source string `json:"source"`
}

// hidden stands for a value that is not shown.
const hidden = "(not shown)"

// Shown returns all settings, in the order of the table.
func (v *Values) Shown() []Shown {
	all := make([]Shown, len(v.table))
	for i, s := range v.table {
		from, given := v.found[s]
		source := "default"
		if given && from.source.place != "default" {
			source = from.source.with(from.path)
		}
		all[i] = Shown{Name: s.Name, Variable: s.Variable(), Value: s.masked(from), Source: source}
	}
	return all
}

// masked returns the value in effect as it may be shown.
func (s *Setting) masked(from found) string {
	text, items := s.text(from)
	switch {
	case text == "" && items == 0:
		return ""
	case s.Show != nil:
		text = s.Show(text)
	case s.Secret && items > 1:
		return fmt.Sprintf("%s, %d entries", hidden, items)
	case s.Secret:
		return hidden
	case s.isStructured():
		return text // each value in it is redacted
	}
	return withoutPasswords(text)
}

// text returns the text of the value in effect and the number of its items.
func (s *Setting) text(from found) (text string, items int) {
	if reflect.TypeOf(s.Targets[0]).Kind() != reflect.Pointer { // the function has the value
		text = from.text
		if text == "" && from.items == 0 {
			text = s.Default
		}
		if text == "" {
			return "", from.items
		}
		return text, 1
	}
	if s.isStructured() {
		if from.elements == nil {
			return "", 0
		}
		return from.elements.shown, 1
	}
	value := reflect.ValueOf(s.Targets[0]).Elem()
	if !s.isList() {
		if value.IsZero() && !s.isBool() && from.items == 0 {
			return "", 0
		}
		text = fmt.Sprint(value.Interface())
		if _, ok := reflect.TypeAssert[time.Duration](value); ok { // 24h, not 24h0m0s
			text = strings.Replace(strings.Replace(text, "m0s", "m", 1), "h0m", "h", 1)
		}
		if text == "" {
			return "", 0
		}
		return text, 1
	}
	if value.Len() == 0 {
		if value.IsNil() {
			return "", 0
		}
		return "none", 1
	}
	list := make([]string, value.Len())
	for i := range list {
		list[i] = strings.ReplaceAll(fmt.Sprint(value.Index(i).Interface()), ",", `\,`)
	}
	return strings.Join(list, ","), len(list)
}

// withoutPasswords hides the passwords of URLs in a value that is not secret as
// such: those of an application may be URLs.
func withoutPasswords(text string) string {
	if strings.Contains(strings.ToLower(text), "password") {
		return hidden
	}
	if !strings.Contains(text, "@") || !strings.Contains(text, ":") {
		return text
	}
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return hidden
}
