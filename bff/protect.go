package bff

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A pattern says which paths need a login, in the manner of a Next.js matcher:
// literal segments, ":name" for one segment, and at the end ":name?", ":name+"
// or ":name*" for at most one, at least one, or any number.
type pattern struct {
	segments []string // literal; "" stands for any
	min, max int      // how many more segments may follow; max -1: no bound
}

// CheckPattern reports what is wrong with one pattern of Config.Protect.
func CheckPattern(text string) error {
	_, err := parsePattern(text)
	return err
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
	if strings.ContainsAny(text, "?#%\\()[]{}|^$; ") && !strings.HasSuffix(text, "?") {
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
		case segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "?#%\\()[]{}|^$*+:; "):
			return pattern{}, fmt.Errorf("segment %q is not literal", segment)
		default:
			p.segments = append(p.segments, segment)
		}
	}
	return p, nil
}

// match reports whether the pattern covers a canonical path. Case is folded,
// and a slash at the end and parameters after a semicolon passed over, because
// a front end may do so too: the doubt is on the side of protection
// (CVE-2026-41059).
func (p pattern) match(path string) bool {
	return p.matchSegments(path) || strings.Contains(path, ";") && p.matchSegments(withoutParameters(path))
}

func (p pattern) matchSegments(path string) bool {
	var segments []string
	if path = strings.Trim(path, "/"); path != "" {
		segments = strings.Split(path, "/")
	}
	more := len(segments) - len(p.segments)
	if more < p.min || p.max >= 0 && more > p.max {
		return false
	}
	for i, want := range p.segments {
		if want != "" && !strings.EqualFold(want, segments[i]) {
			return false
		}
	}
	return true
}

// withoutParameters takes the parameters off each segment (RFC 3986 section
// 3.3), as some servers do before they look for a page.
func withoutParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}

// covers reports whether what is asked for needs a login: a page that is
// protected, or a picture that Next.js's optimizer would fetch from behind us.
func (b *BFF) covers(u *url.URL) bool {
	if b.protects(u.Path) {
		return true
	}
	if !strings.EqualFold(strings.TrimSuffix(u.Path, "/"), "/_next/image") {
		return false
	}
	for _, raw := range u.Query()["url"] {
		picture, err := url.Parse(raw)
		switch {
		case err != nil:
			return true
		case picture.Host != "" && !strings.EqualFold(picture.Host, b.base.Host): // not from us
		case !canonical(picture) || encodedSlash(picture) || b.protects(picture.Path):
			return true
		}
	}
	return false
}

func (b *BFF) protects(path string) bool {
	page := shownBy(path)
	for _, p := range b.protect {
		if p.match(path) || page != path && p.match(page) {
			return true
		}
	}
	return false
}

// representations end the paths of what a front end has of a page besides the
// page itself: in a static export it lies under this name, and its data beside
// it; Next.js gives the data under such names too, and its own middleware was
// passed by them (CVE-2026-44575, CVE-2026-45109).
var representations = []string{".html", ".htm", ".txt", ".json", ".rsc"}

// compressions end the names of what a build leaves beside a file.
var compressions = []string{".br", ".zst", ".gz"}

// shownBy returns the page whose content a front end may show under a path, in
// one form or another: that path for nearly all. The doubt is on the side of
// protection.
func shownBy(path string) string {
	const data, segments, index = "/_next/data/", ".segments/", "/index"
	page := strings.TrimSuffix(path, "/")
	if strings.Contains(page, ";") {
		page = withoutParameters(page)
	}
	page = cutSuffix(page, compressions...)
	page = cutSuffix(page, representations...)
	if i := indexFold(page, segments); i >= 0 {
		page = page[:i] // /private.segments/_tree.segment.rsc
	}
	if len(page) > len(data) && strings.EqualFold(page[:len(data)], data) { // /_next/data/<build>/private.json
		if _, rest, ok := strings.Cut(page[len(data):], "/"); ok {
			page = "/" + rest
		}
	}
	if i := indexFold(page, "/__next."); i >= 0 {
		page = page[:i] // /private/__next._full.txt
	}
	return cutSuffix(page, index)
}

// cutSuffix cuts the first of the suffixes that a text ends with, in any case,
// as the patterns are.
func cutSuffix(s string, suffixes ...string) string {
	for _, suffix := range suffixes {
		if n := len(s) - len(suffix); n >= 0 && strings.EqualFold(s[n:], suffix) {
			return s[:n]
		}
	}
	return s
}

// indexFold is where an ASCII text first stands in another, in any case.
func indexFold(s, text string) int {
	for i := 0; i+len(text) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(text)], text) {
			return i
		}
	}
	return -1
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
