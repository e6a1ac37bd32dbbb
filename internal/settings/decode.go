package settings

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// assign decodes a value, or the items of a list, into all targets. Its errors
// say what to write instead of the value.
func (s *Setting) assign(items []string) error {
	for _, item := range items {
		if len(s.Choices) > 0 && !slices.Contains(s.Choices, item) {
			return fmt.Errorf("is not a choice; give one of %s", strings.Join(s.Choices, ", "))
		}
	}
	for _, target := range s.Targets {
		if set, ok := target.(func(string) error); ok {
			if err := set(strings.Join(items, ",")); err != nil {
				return err
			}
			continue
		}
		v := reflect.ValueOf(target).Elem()
		if !s.isList() {
			if err := s.decode(v, strings.Join(items, ",")); err != nil {
				return err
			}
			continue
		}
		list := reflect.MakeSlice(v.Type(), len(items), len(items))
		for i, item := range items {
			if err := s.decode(list.Index(i), item); err != nil {
				return err
			}
		}
		v.Set(list)
	}
	return nil
}

// checkTargets returns an error if a target cannot get a value, or not the default.
func (s *Setting) checkTargets() error {
	if len(s.Targets) == 0 {
		return errors.New("there is no target; give a pointer to a variable")
	}
	if s.isStructured() {
		switch {
		case len(s.Targets) != 1 || reflect.TypeOf(s.Targets[0]).Kind() != reflect.Pointer:
			return errors.New("there are keys, so there must be one target, a pointer to a slice of structs")
		case s.Default != "" || s.Secret || len(s.Choices) > 0:
			return errors.New("a setting with keys has no default and no choices, and is not secret")
		}
		return checkKeys(s.targetType(), s.Keys)
	}
	scratch := Setting{Name: s.Name, Choices: s.Choices}
	for _, target := range s.Targets {
		if _, ok := target.(func(string) error); ok {
			continue
		}
		v := reflect.ValueOf(target)
		if v.Kind() != reflect.Pointer || v.IsNil() {
			return fmt.Errorf("the target %T is not a pointer to a variable; give one", target)
		}
		if !decodable(v.Type().Elem()) {
			return fmt.Errorf("the target %T cannot be decoded; give a pointer to one of the types of Setting.Target", target)
		}
		scratch.Targets = append(scratch.Targets, reflect.New(v.Type().Elem()).Interface())
	}
	if s.Default != "" && len(scratch.Targets) > 0 {
		if err := scratch.assign(scratch.items(s.Default)); err != nil {
			return fmt.Errorf("the default %q %w", s.Default, err)
		}
	}
	return nil
}

// decodable reports whether decode has a form for values of the type.
func decodable(t reflect.Type) bool {
	return isSingle(t) || t.Kind() == reflect.Slice && isSingle(t.Elem())
}

// items returns the items of a list, or the text.
func (s *Setting) items(text string) []string {
	if s.isList() {
		return splitList(text)
	}
	return []string{text}
}

func (s *Setting) decode(v reflect.Value, text string) error {
	switch target := v.Addr().Interface().(type) {
	case *time.Duration:
		return decodeDuration(target, text)
	case *netip.Prefix:
		return decodeNetwork(target, text)
	case encoding.TextUnmarshaler:
		return target.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		on, off := []string{"true", "1", "yes"}, []string{"false", "0", "no"}
		word := strings.ToLower(text)
		if !slices.Contains(slices.Concat(on, off), word) {
			return fmt.Errorf("is neither true nor false; give one of %s", strings.Join(slices.Concat(on, off), ", "))
		}
		v.SetBool(slices.Contains(on, word))
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 0, v.Type().Bits())
		if err != nil {
			return errors.New("is not a whole number; write digits alone, such as 120")
		}
		v.SetInt(n)
	default:
		return fmt.Errorf("cannot be decoded into %v", v.Type())
	}
	return nil
}

func decodeDuration(target *time.Duration, text string) (err error) {
	*target, err = time.ParseDuration(text)
	switch _, noUnit := strconv.ParseFloat(text, 64); {
	case err != nil && noUnit == nil:
		return fmt.Errorf("has no unit; write %ss, %sm or %sh", text, text, text)
	case err != nil:
		return errors.New("is not a duration; write it like 90s, 15m or 24h")
	}
	return nil
}

// Networks reads a list of networks, or addresses.
func Networks(text string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, item := range splitList(text) {
		var network netip.Prefix
		if err := decodeNetwork(&network, strings.TrimSpace(item)); err != nil {
			return nil, fmt.Errorf("%q %w", item, err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// decodeNetwork reads a network, or an address, which is a network of its own.
func decodeNetwork(target *netip.Prefix, text string) (err error) {
	if address, err := netip.ParseAddr(text); err == nil {
		*target = netip.PrefixFrom(address, address.BitLen())
		return nil
	}
	if *target, err = netip.ParsePrefix(text); err != nil {
		return errors.New("is no network; give one such as 10.0.0.0/8, or an address")
	}
	return nil
}

// splitList splits a list at commas, but for those behind a backslash. A byte
// that is not UTF-8 becomes U+FFFD.
func splitList(text string) []string {
	var items []string
	var item strings.Builder
	escaped := false
	for i, r := range text {
		switch {
		case escaped:
			if r != ',' {
				item.WriteByte('\\')
			}
			item.WriteRune(r)
			escaped = false
		case r == '\\' && i < len(text)-1:
			escaped = true
		case r == ',':
			items = append(items, item.String())
			item.Reset()
		default:
			item.WriteRune(r)
		}
	}
	if item.Len() > 0 {
		items = append(items, item.String())
	}
	return items
}
