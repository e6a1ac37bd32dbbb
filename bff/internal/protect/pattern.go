package protect

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A pattern names paths in the manner of a Next.js matcher: literal segments,
// ":name" for one segment, and at the end ":name?", ":name+" or ":name*" for at
// most one, at least one, or any number.
type pattern struct {
	segments []string // literal; "" for any
	min, max int      // number of further segments; max -1 for any
}

func parsePatterns(setting string, texts []string) ([]pattern, error) {
	var patterns []pattern
	var errs []error
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: pattern %q: %w", setting, text, err))
		}
		patterns = append(patterns, p)
	}
	return patterns, errors.Join(errs...)
}

func parsePattern(text string) (pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return pattern{}, errors.New("must begin with a slash")
	}
	if strings.ContainsAny(text, "?#%\\()[]{}|^$; ") && !strings.HasSuffix(text, "?") {
		return pattern{}, errors.New(`only literal segments, ":name" and a last ":name?", ":name+" or ":name*" are understood; a query or a regular expression cannot name a page`)
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
			if c := name[len(name)-1:]; strings.ContainsAny(c, "?+*") {
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
		case segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "?#%\\()[]{}|^$*+:; "):
			return pattern{}, fmt.Errorf("segment %q is not literal", segment)
		default:
			p.segments = append(p.segments, segment)
		}
	}
	return p, nil
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

// guards reports whether a path belongs to a page that the pattern protects: the
// page itself, in upper or lower case, with an extension or parameters, and all
// paths below it. Only the front end knows which of these it answers.
func (p pattern) guards(segments []string) bool {
	if len(p.segments) == 0 && p.min == 0 && p.max == 0 {
		return ofRoot(segments)
	}
	if len(segments) < len(p.segments)+p.min {
		return false
	}
	for i, want := range p.segments {
		if want != "" && !begins(segments[i], want) {
			return false
		}
	}
	return true
}

// ofRoot reports whether a path belongs to the page "/": the page, its index file
// in any form ("/index.html", "/index.segments/…"), and the files that frameworks
// have for it, which begin with an underscore ("/_root.data", "/__data.json",
// "/_payload.json").
func ofRoot(segments []string) bool {
	if len(segments) == 0 || begins(segments[0], "index") {
		return true
	}
	return len(segments) == 1 && segments[0][0] == '_' && strings.Contains(segments[0], ".")
}

// begins reports whether a segment is the wanted one, in upper or lower case,
// alone or followed by a character that is not part of a name: "private.data",
// "private;v=1", but not "privateer" and not "private-policy".
func begins(segment, want string) bool {
	for i, r := range segment {
		if !nameRune(r) && strings.EqualFold(segment[:i], want) {
			return true
		}
	}
	return strings.EqualFold(segment, want)
}

func nameRune(r rune) bool {
	return r != utf8.RuneError && (r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

// admits reports whether the pattern makes a path public. The case counts and
// nothing is cut, so that other spellings of a public path need a login.
func (p pattern) admits(segments []string) bool {
	more := len(segments) - len(p.segments)
	if more < p.min || p.max >= 0 && more > p.max {
		return false
	}
	for i, want := range p.segments {
		switch {
		case want == segments[i]:
		case want != "", i == 0 && internalName(segments[0]):
			return false
		}
	}
	// "/blog/:slug" makes the posts public, and not /blog/__data.json, the data
	// of the page /blog.
	parameterLast := more == 0 && len(p.segments) > 0 && p.segments[len(p.segments)-1] == "" || more == 1 && p.min == 1
	return !parameterLast || !ofParent(segments[len(segments)-1])
}

// ofParent reports whether a file of this name belongs to the page of its
// folder.
func ofParent(name string) bool {
	return name[0] == '_' || begins(name, "index")
}

// internalName reports whether paths that begin with this segment are addresses
// of a framework or server, not pages.
func internalName(segment string) bool {
	return strings.ContainsAny(segment[:1], "_.@") || segment == "cdn-cgi"
}
