package bff

import (
	"errors"
	"fmt"
	"strings"
)

// A pattern says which paths need a login, in the manner of a Next.js matcher:
// literal segments, ":name" for one segment, and at the end ":name?", ":name+"
// or ":name*" for at most one, at least one, or any number.
type pattern struct {
	segments []string // literal, in lower case; "" stands for any
	min, max int      // how many more segments may follow; max -1: no bound
}

func parsePatterns(texts []string) ([]pattern, error) {
	var patterns []pattern
	var errs []error
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("protected pages: pattern %q: %w", text, err))
		}
		patterns = append(patterns, p)
	}
	return patterns, errors.Join(errs...)
}

func parsePattern(text string) (pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return pattern{}, errors.New("must begin with a slash")
	}
	if strings.ContainsAny(text, "?#%\\()[]{}|^$ ") && !strings.HasSuffix(text, "?") {
		return pattern{}, errors.New(`only literal segments, ":name" and a last ":name?", ":name+" or ":name*" are understood; a query or a regular expression cannot protect a page`)
	}
	var p pattern
	if text == "/" {
		return p, nil
	}
	segments := strings.Split(text[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		name, isParam := strings.CutPrefix(segment, ":")
		modifier := ""
		if isParam && name != "" {
			if c := name[len(name)-1:]; strings.Contains("?+*", c) {
				name, modifier = name[:len(name)-1], c
			}
		}
		switch {
		case isParam && !identifier(name):
			return pattern{}, fmt.Errorf("parameter %q has no name of letters, digits and underscores", segment)
		case modifier != "" && !last:
			return pattern{}, fmt.Errorf("%q may only be the last segment", segment)
		case modifier == "?":
			p.max = 1
		case modifier == "+":
			p.min, p.max = 1, -1
		case modifier == "*":
			p.max = -1
		case isParam:
			p.segments = append(p.segments, "")
		case segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "?#%\\()[]{}|^$*+: "):
			return pattern{}, fmt.Errorf("segment %q is not literal", segment)
		default:
			p.segments = append(p.segments, strings.ToLower(segment))
		}
	}
	return p, nil
}

// match reports whether the pattern covers a canonical path. Case is folded,
// and a slash at the end passed over, because a front end may do so too: the
// doubt is on the side of protection (CVE-2026-41059).
func (p pattern) match(path string) bool {
	path = strings.Trim(strings.ToLower(path), "/")
	var segments []string
	if path != "" {
		segments = strings.Split(path, "/")
	}
	more := len(segments) - len(p.segments)
	if more < p.min || p.max >= 0 && more > p.max {
		return false
	}
	for i, want := range p.segments {
		if want != "" && want != segments[i] {
			return false
		}
	}
	return true
}

func (b *BFF) protects(path string) bool {
	for _, p := range b.protect {
		if p.match(path) {
			return true
		}
	}
	return false
}

func identifier(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		default:
			return false
		}
	}
	return s != ""
}
