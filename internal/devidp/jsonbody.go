package devidp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// maxErrors is how many errors a response has at most.
const maxErrors = 20

// members are the members of a JSON object that a request may have: the names, and
// pointers to where the values go.
type members map[string]any

// membersOf returns the fields of a user.
func membersOf(u *directory.User) members {
	m := members{"key": &u.Key}
	for _, f := range u.Fields() {
		m[f.Name] = f.Value
	}
	return m
}

// values returns the values that are not zero, as read reads them.
func (m members) values() map[string]any {
	all := map[string]any{}
	for name, from := range m {
		switch value := reflect.ValueOf(from).Elem(); {
		case value.IsZero():
		case (value.Kind() == reflect.Slice || value.Kind() == reflect.Map) && value.Len() == 0:
		case value.Type() == reflect.TypeFor[time.Duration]():
			all[name] = brief(time.Duration(value.Int()))
		default:
			all[name] = value.Interface()
		}
	}
	return all
}

// read reads a JSON object. It returns an error for each member that is unknown,
// repeated or of another type. An empty body is an empty object.
func (m members) read(body io.Reader) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		return &invalid.Error{Field: "body", Problem: "cannot be read", Remedy: fmt.Sprintf("send at most %d bytes", maxForm)}
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if first, _ := dec.Token(); first != json.Delim('{') || !utf8.Valid(raw) || !json.Valid(raw) {
		return invalid.Field("body", clip(raw), "is no JSON object", `send one such as {"user": "seller"}`)
	}
	var errs []error
	seen := map[string]bool{}
	for dec.More() && len(errs) < maxErrors {
		token, _ := dec.Token() // the JSON is valid
		name := token.(string)
		var value json.RawMessage
		_ = dec.Decode(&value)
		into, known := m[name]
		switch {
		case !known:
			errs = append(errs, m.unknown(name, value))
		case seen[name]:
			errs = append(errs, invalid.Field(name, clip(value), "is given twice", "leave one out"))
		default:
			if remedy := set(into, value); remedy != "" {
				errs = append(errs, invalid.Field(name, clip(value), "is not what belongs here", remedy))
			}
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}

// readForm reads the members from a form. It ignores other fields, and empty ones.
func (m members) readForm(form url.Values) error {
	var errs []error
	for name, into := range m {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			continue
		}
		value := []byte(text)
		switch into.(type) {
		case *string, *time.Duration:
			value, _ = json.Marshal(text)
		}
		if remedy := set(into, value); remedy != "" {
			errs = append(errs, invalid.Field(name, clip([]byte(text)), "is not what belongs here", remedy))
		}
	}
	return errors.Join(errs...)
}

// unknown returns the error about a member that is not one of m.
func (m members) unknown(name string, value []byte) error {
	names := slices.Sorted(maps.Keys(m))
	err := unknown(clip([]byte(name)), name, names)
	if e, ok := errors.AsType[*invalid.Error](err); ok {
		e.Value = clip(value)
		if len(names) == 0 {
			e.Remedy = "leave it out: this request has no members"
		}
	}
	return err
}

// set stores a value. If it has another type it returns what to give instead.
func set(into any, value json.RawMessage) (remedy string) {
	switch into := into.(type) {
	case *time.Duration:
		remedy = `give a duration as text, such as "30s" or "5m", or leave it out`
		var text string
		if json.Unmarshal(value, &text) != nil {
			return remedy
		}
		d, err := time.ParseDuration(text)
		if err != nil || d == 0 {
			return remedy
		}
		*into = d
		return ""
	case *string:
		// An empty text is more often a mistake of a script than meant.
		if string(value) == `""` {
			return "give a text that is not empty, or leave it out"
		}
		remedy = "give a text in quotes"
	case *int:
		remedy = "give a whole number"
	case *bool:
		remedy = "give true or false"
	case *[]string:
		remedy = `give a list of texts, such as ["products:write"]`
		var items []*string // an item null would be ""
		if json.Unmarshal(value, &items) != nil || slices.Contains(items, nil) {
			return remedy
		}
	case *map[string]any:
		remedy = `give an object, such as {"tenant": 7}`
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if isNull := string(value) == "null"; isNull || dec.Decode(into) != nil {
		return remedy
	}
	return ""
}

// clip shortens a value for a message.
func clip(raw []byte) string {
	text := string(bytes.ToValidUTF8(raw, []byte("\uFFFD")))
	if len(text) > maxListed {
		text = string(bytes.ToValidUTF8([]byte(text[:maxListed]), nil)) + "…"
	}
	return text
}
