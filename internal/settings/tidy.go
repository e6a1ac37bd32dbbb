package settings

import (
	"slices"
	"strings"
	"unicode"

	"github.com/gatehouse-dev/gatehouse/internal/seal"
)

// tidied returns a value without what surrounds it by accident, and notes what
// that was; "" after an error. An opaque secret keeps its quotes, which may
// belong to it, and a list of secrets keeps everything: see WithTidied.
func (v *Values) tidied(s *Setting, from source, value string) string {
	clean, what := tidy(value)
	switch {
	case what == "":
	case s.Secret && s.isList():
		v.note("%s: has %s around it, which are part of it; leave them out at the next rotation", from.with(""), what)
		return value
	case s.Opaque && strings.Contains(what, quotes):
		v.note("%s: is in quotes, which are part of it; if they are not meant, leave them out (docker --env-file and systemd keep some that a shell removes)", from.with(""))
		return strings.TrimFunc(value, blank)
	default:
		v.note("%s: %s around the value left out", from.with(""), what)
	}
	if s.Opaque || s.Secret && s.isList() {
		return clean
	}
	for at, c := range clean {
		switch {
		case unicode.IsControl(c) && c != '\t' && c != '\n' && c != '\r':
			v.fail(s, "%s: has the control character %U at position %d; write the value again", from.with(""), c, at)
			return ""
		case blank(c) && c > unicode.MaxASCII, unicode.Is(unicode.Cf, c):
			v.note("%s: has %U, which cannot be seen or looks like a space, at position %d; if it came with pasting, write the value again", from.with(""), c, at)
		}
	}
	return clean
}

const quotes = "quotes"

// tidy removes whitespace and quotes around a value, and says what it removed.
// A newline at the end, with which YAML's blocks end, goes without saying.
func tidy(value string) (clean, what string) {
	var removed []string
	clean = strings.TrimFunc(value, blank)
	if clean != strings.TrimSuffix(value, "\n") {
		removed = append(removed, "whitespace")
	}
	for _, pair := range []string{`""`, `''`, "“”", "‘’", "„“"} {
		marks := []rune(pair)
		if inner, ok := strings.CutPrefix(clean, string(marks[0])); ok {
			if inner, ok := strings.CutSuffix(inner, string(marks[1])); ok {
				clean = strings.TrimFunc(inner, blank)
				removed = append(removed, quotes)
				break
			}
		}
	}
	return clean, strings.Join(removed, " and ")
}

// blank reports whitespace, with the kinds that come with pasting.
func blank(r rune) bool {
	return unicode.IsSpace(r) || r == '\u200b' || r == '\u2060' || r == '\ufeff'
}

// WithTidied adds to the secrets, behind all of them, those that another
// process may use: without the whitespace or the quotes around them. The first
// one stays, so that "new, old" opens what "old" has sealed.
func WithTidied(secrets []string) []string {
	all := slices.Clone(secrets)
	for _, secret := range secrets {
		if clean, _ := tidy(secret); clean != "" && !slices.Contains(all, clean) && seal.Weakness(clean) == "" {
			all = append(all, clean)
		}
	}
	return all
}

// secretList makes the secrets of a file's bytes, whose text is given as well:
// one a line, or separated by commas. Behind them stand the secrets that earlier
// versions made of the same file, with line breaks or a byte order mark in them,
// so that what those sealed still opens.
//
// A line that is too weak may be the rest of a secret that a tool has broken
// over lines. The earlier reading then comes first, and the note says so.
func secretList(raw []byte, text string) (list []string, note string) {
	weak := func(secret string) bool { return seal.Weakness(secret) != "" }
	for line := range strings.Lines(text) {
		for _, secret := range splitList(line) {
			if clean := strings.TrimFunc(secret, blank); clean != "" {
				list = append(list, clean)
			}
		}
	}
	earlier := slices.DeleteFunc(splitList(strings.TrimSpace(string(raw))), weak)
	if strings.Contains(strings.TrimSpace(text), "\n") && len(earlier) > 0 && slices.ContainsFunc(list, weak) {
		note = "a line is too weak to be a secret of its own, so all lines together are one secret, as before; write each secret on one line"
		list = slices.Concat(earlier, slices.DeleteFunc(list, weak))
	} else {
		list = append(list, earlier...)
	}
	var once []string
	for _, secret := range list {
		if !slices.Contains(once, secret) {
			once = append(once, secret)
		}
	}
	return once, note
}
