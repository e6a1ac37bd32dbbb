// Package prefixes owns which route of the bff a path belongs to: the one with the
// longest prefix of whole segments, if every server reads the path so. It leaves
// the routes themselves to package bff.
package prefixes

import (
	"cmp"
	"errors"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
)

// form is that of a prefix: segments of characters that no server decodes, folds or
// cuts.
var form = regexp.MustCompile(`^(/[A-Za-z0-9_~@-][A-Za-z0-9._~@-]*)+$`)

// Check returns what is wrong with a prefix, nil if nothing is.
func Check(prefix string) error {
	switch {
	case prefix == "/":
		return errors.New("covers everything")
	case strings.HasSuffix(prefix, "/"):
		return errors.New("ends with a slash")
	case strings.ContainsAny(prefix, ":*"):
		return errors.New("has a pattern")
	case !form.MatchString(prefix) || strings.Contains(prefix+"/", "./"):
		return errors.New("is not a path of plain segments")
	}
	return nil
}

// A Table has the prefixes of routes. It is safe for concurrent use.
type Table struct {
	all []prefix // longest first
}

type prefix struct {
	index int
	text  string
}

// New returns the table of prefixes that pass [Check].
func New(list []string) *Table {
	t := &Table{}
	for i, text := range list {
		t.all = append(t.all, prefix{i, text})
	}
	slices.SortStableFunc(t.all, func(a, b prefix) int { return cmp.Compare(len(b.text), len(a.text)) })
	return t
}

// Find returns the index of the longest prefix that covers the path of a URL, -1 for
// none. It is not ok if a server could read the path as one of another prefix: then no
// part may serve it, since its route has other rules than the reader's.
func (t *Table) Find(u *url.URL) (index int, ok bool) {
	if u.RawPath == "" && plain(u.Path) {
		index = t.exact(u.Path)
		return index, t.folded(u.Path, index >= 0) == index
	}
	if !protect.Canonical(u) {
		return -1, false
	}
	index = t.exact(u.Path)
	if index >= 0 && !utf8.ValidString(u.Path) || t.exact(segmentwise(u)) != index {
		return index, false
	}
	text := u.Path
	for range maxDecoded {
		if t.loose(text, index >= 0, true) != index || t.loose(text, index >= 0, false) != index {
			return index, false
		}
		next := decode(text)
		if next == text {
			return index, true
		}
		text = next
	}
	return index, false
}

// maxDecoded is how often a path is decoded. One that is encoded more often belongs to no
// route.
const maxDecoded = 5

// plain reports whether servers read a path alike, apart from case and an extension.
func plain(path string) bool {
	last := byte(0)
	for i := range len(path) {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '/' && last != '/' && last != '.':
		case c == '.' && last != '/' && last != '.':
		default:
			return false
		}
		last = c
	}
	return path != "" && path[0] == '/' && last != '.'
}

// exact returns the index of the longest prefix of a path.
func (t *Table) exact(path string) int {
	for _, p := range t.all {
		if len(path) >= len(p.text) && path[:len(p.text)] == p.text && ends(path[len(p.text):], false) {
			return p.index
		}
	}
	return -1
}

// folded is exact without regard to the case of ASCII letters, and to an extension if that
// is wanted.
func (t *Table) folded(path string, extension bool) int {
	for _, p := range t.all {
		n := len(p.text) // as many bytes as letters
		if len(path) >= n && strings.EqualFold(path[:n], p.text) && ends(path[n:], extension) {
			return p.index
		}
	}
	return -1
}

// ends reports whether a segment ends before the rest of a path.
func ends(rest string, extension bool) bool {
	return rest == "" || rest[0] == '/' || extension && rest[0] == '.'
}

// loose returns the index of the longest prefix of a path as a lenient server reads it:
// without regard to case and width of letters, parameters, dots and spaces at the end of
// segments, and what follows a question mark; with backslashes as slashes; and with or
// without resolving dot segments. Between routes, servers such as Rails cut an extension.
func (t *Table) loose(text string, extension, resolve bool) int {
	text = likeNode.Replace(fold(text))
	if i := strings.IndexAny(text, "?#\x00"); i >= 0 {
		text = text[:i]
	}
	var kept []string
	for segment := range strings.SplitSeq(text, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		segment = strings.TrimRight(segment, " ")
		if segment != ".." {
			segment = strings.TrimRight(segment, " .")
		}
		if segment != "" {
			kept = append(kept, segment)
		}
	}
	read := "/" + strings.Join(kept, "/")
	if resolve {
		read = path.Clean(read)
	}
	return t.folded(read, extension)
}

// likeNode removes and replaces the characters of a URL that Node.js and browsers do
// (WHATWG URL, section 4.4).
var likeNode = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/")

// fold returns text without differences of case and width: ſ is s, and ／ is a slash.
func fold(text string) string { return strings.ToLower(norm.NFKC.String(strings.ToUpper(text))) }

// segmentwise returns the path of a server that splits before it decodes: an encoded
// slash is no separator.
func segmentwise(u *url.URL) string {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, segment := range segments {
		segments[i] = strings.ReplaceAll(decode(segment), "/", "\x00")
	}
	return strings.Join(segments, "/")
}

// decode decodes the escapes of a text once, and leaves what is none.
func decode(text string) string {
	return escape.ReplaceAllStringFunc(text, func(e string) string {
		b, _ := strconv.ParseUint(e[1:], 16, 8) // of the form of escape
		return string([]byte{byte(b)})
	})
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
