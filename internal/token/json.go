package token

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A parser of our own, because the answers that matter here are the ones encoding/json gives differently: it keeps the last
// of two members of one name, so that two readers of one token can disagree on what it says (RFC 8725 §2.4); it matches
// names without regard to case; it mends broken UTF-8. Here all of these are errors, at every depth.

const (
	maxDepth    = 32 // no claim is nested deeper, and recursion must end
	fewMembers  = 16 // up to here a linear look for duplicates beats a map
	maxNumberIn = 64 // bytes; more digits mean nothing to anyone
)

var (
	errSyntax    = errors.New("not valid JSON")
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("a member occurs twice")
	errDepth     = errors.New("JSON nested too deeply")
	errUTF8      = errors.New("JSON with invalid Unicode")
)

// member is one member of an object: its name, unescaped, and its value as it was sent, without surrounding space.
type member struct {
	name string
	raw  string
}

// parseObject checks that data is one JSON object, strictly, and returns its members in order.
func parseObject(data string) ([]member, error) {
	s := scanner{data: data}
	s.space()
	if s.peek() != '{' {
		return nil, errNotObject
	}
	members := make([]member, 0, 20)
	err := s.object(0, func(name string) error {
		start := s.pos
		if _, err := s.value(1, false); err != nil {
			return err
		}
		members = append(members, member{name, s.data[start:s.pos]})
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.space()
	if s.pos != len(data) {
		return nil, errSyntax
	}
	return members, nil
}

// decodeValue returns what a member's raw value means: string, bool, json.Number, []any, map[string]any or nil.
func decodeValue(raw string) (any, error) {
	s := scanner{data: raw}
	return s.value(1, true)
}

// decodeString is decodeValue for strings alone. The result shares no memory with raw, so that what is kept of a token does
// not keep the token.
func decodeString(raw string) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if inner := raw[1 : len(raw)-1]; strings.IndexByte(inner, '\\') < 0 {
		return strings.Clone(inner), true // raw was scanned before: a quote inside would have a backslash
	}
	s := scanner{data: raw}
	text, err := s.text(true)
	return text, err == nil
}

type scanner struct {
	data string
	pos  int
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0 // not valid outside of strings, so it needs no telling apart from a NUL
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value passes over one value, which it returns when build is set.
func (s *scanner) value(depth int, build bool) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch c := s.peek(); {
	case c == '"':
		text, err := s.text(build)
		if err != nil || !build {
			return nil, err
		}
		return text, nil
	case c == '{':
		var m map[string]any
		if build {
			m = make(map[string]any)
		}
		err := s.object(depth, func(name string) error {
			v, err := s.value(depth+1, build)
			if build {
				m[strings.Clone(name)] = v
			}
			return err
		})
		if err != nil || !build {
			return nil, err
		}
		return m, nil
	case c == '[':
		return s.array(depth, build)
	case c == '-' || '0' <= c && c <= '9':
		start := s.pos
		if err := s.number(); err != nil || !build {
			return nil, err
		}
		return json.Number(strings.Clone(s.data[start:s.pos])), nil
	case s.literal("true"):
		return true, nil
	case s.literal("false"):
		return false, nil
	case s.literal("null"):
		return nil, nil
	}
	return nil, errSyntax
}

func (s *scanner) literal(word string) bool {
	if strings.HasPrefix(s.data[s.pos:], word) {
		s.pos += len(word)
		return true
	}
	return false
}

// object passes over an object, calling value at the start of each member's value.
func (s *scanner) object(depth int, value func(name string) error) error {
	s.pos++
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	var (
		few  [fewMembers]string
		n    int
		many map[string]struct{}
	)
	for {
		if s.peek() != '"' {
			return errSyntax
		}
		name, err := s.text(true)
		if err != nil {
			return err
		}
		switch {
		case n < fewMembers:
			for _, earlier := range few[:n] {
				if earlier == name {
					return errDuplicate
				}
			}
			few[n] = name
			n++
		default:
			if many == nil {
				many = make(map[string]struct{}, 4*fewMembers)
				for _, earlier := range few {
					many[earlier] = struct{}{}
				}
			}
			if _, ok := many[name]; ok {
				return errDuplicate
			}
			many[name] = struct{}{}
		}
		s.space()
		if s.peek() != ':' {
			return errSyntax
		}
		s.pos++
		s.space()
		if err := value(name); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			return nil
		default:
			return errSyntax
		}
	}
}

func (s *scanner) array(depth int, build bool) (any, error) {
	s.pos++
	var list []any
	if build {
		list = []any{}
	}
	s.space()
	if s.peek() == ']' {
		s.pos++
		return list, nil
	}
	for {
		v, err := s.value(depth+1, build)
		if err != nil {
			return nil, err
		}
		if build {
			list = append(list, v)
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return list, nil
		default:
			return nil, errSyntax
		}
	}
}

// number passes over a number in the grammar of RFC 8259 §6.
func (s *scanner) number() error {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	switch {
	case s.peek() == '0':
		s.pos++
	case !s.digits():
		return errSyntax
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return errSyntax
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return errSyntax
		}
	}
	if s.pos-start > maxNumberIn {
		return errSyntax
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// text passes over a string. When build is set it returns it unescaped; without escapes that is a part of data, not a copy.
func (s *scanner) text(build bool) (string, error) {
	s.pos++
	start := s.pos
	var b []byte // nil until the first escape
	escaped := false
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			text := s.data[start:s.pos]
			s.pos++
			if escaped && build {
				return string(append(b, text...)), nil
			}
			return text, nil
		case c == '\\':
			if build {
				b = append(b, s.data[start:s.pos]...)
			}
			escaped = true
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			if build {
				b = utf8.AppendRune(b, r)
			}
			start = s.pos
		case c < ' ':
			return "", errSyntax
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRuneInString(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return "", errUTF8
			}
			s.pos += size
		}
	}
	return "", errSyntax
}

// escape passes over what follows a backslash; a surrogate must come with its other half.
func (s *scanner) escape() (rune, error) {
	s.pos++
	c := s.peek()
	s.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, ok := s.hex4()
		if !ok {
			return 0, errSyntax
		}
		if !utf16.IsSurrogate(r) {
			return r, nil
		}
		if !s.literal(`\u`) {
			return 0, errUTF8
		}
		low, ok := s.hex4()
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return 0, errUTF8
		}
		return r, nil
	}
	return 0, errSyntax
}

func (s *scanner) hex4() (rune, bool) {
	if s.pos+4 > len(s.data) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s.data[s.pos : s.pos+4]) {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	s.pos += 4
	return r, true
}
