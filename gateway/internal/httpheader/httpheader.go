// Package httpheader owns the syntax of HTTP header fields (RFC 9110): media
// ranges, content codings, entity tags and quoted strings. It leaves what
// follows from them to its callers.
package httpheader

import (
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/headers"
)

// IsPrintable reports whether s consists of printable ASCII characters, so that
// a header field can hold it.
func IsPrintable(s string) bool { return headers.Printable(s) }

// Printable returns s without the characters that a header field cannot hold.
func Printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, s)
}

// Digits returns s if it consists of decimal digits, "" otherwise.
func Digits(s string) string {
	if strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
		return ""
	}
	return s
}

// Quote returns s as a quoted-string, RFC 9110 §5.6.4.
func Quote(s string) string { return `"` + quoted.Replace(s) + `"` }

// quoted is of the package, because the first Replace of a Replacer builds tables of 8 KB.
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// IsEntityTag reports whether s is one strong entity tag, RFC 9110 §8.8.3.
func IsEntityTag(s string) bool {
	return len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' &&
		!strings.ContainsFunc(s[1:len(s)-1], func(c rune) bool { return c <= ' ' || c == '"' || c > '~' })
}

// NoneMatch reports whether If-None-Match, a list of entity tags, contains tag
// by weak comparison, RFC 9110 §13.1.2.
func NoneMatch(list, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for element := range strings.SplitSeq(list, ",") { // a tag with a comma never matches, which is safe
		element = strings.TrimSpace(element)
		if element == "*" || strings.TrimPrefix(element, "W/") == tag {
			return true
		}
	}
	return false
}

// AcceptsGzip reports whether Accept-Encoding allows gzip, RFC 9110 §12.5.3.
func AcceptsGzip(values []string) bool {
	others := false
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			coding, parameter, weighted := strings.Cut(element, ";")
			accepted := true
			if weighted {
				name, q, _ := strings.Cut(strings.TrimSpace(parameter), "=")
				weight, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
				accepted = strings.EqualFold(name, "q") && err == nil && weight > 0
			}
			switch coding = strings.ToLower(strings.TrimSpace(coding)); coding {
			case "gzip", "x-gzip":
				return accepted
			case "*":
				others = accepted
			}
		}
	}
	return others
}
