// Package protect owns the question which requests for the front end need a
// login: by a list of pages that do, or by a list of paths that do not. It
// leaves the session, and the answer to a request without one, to the bff.
package protect

import (
	"errors"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// Config holds one of two lists of patterns; see [CheckPattern].
type Config struct {
	// Protect lists the pages that need a login. An extension of such a page
	// and everything below it belong to the page.
	Protect []string
	// Public, if it is not nil, lists the paths that need no login. All others
	// do. Protect must then be nil.
	Public []string
	// Host is that of the base URL: an address with it is one of the front end.
	Host string
}

// Rules are the patterns of a Config. They are safe for concurrent use.
type Rules struct {
	protect, public []pattern
	closed          bool // all but public needs a login
	host            string
}

// New parses the patterns. Its error names each that is not understood.
func New(cfg Config) (*Rules, error) {
	if cfg.Protect != nil && cfg.Public != nil {
		return nil, errors.New("protected pages and public paths are both listed: with public paths everything else needs a login already; drop one of the two lists")
	}
	r := &Rules{closed: cfg.Public != nil, host: cfg.Host}
	var errs [2]error
	r.protect, errs[0] = parsePatterns("protected pages", cfg.Protect)
	r.public, errs[1] = parsePatterns("public paths", cfg.Public)
	return r, errors.Join(errs[:]...)
}

// CheckPattern reports what is wrong with one pattern.
func CheckPattern(text string) error {
	_, err := parsePattern(text)
	return err
}

// NeedsLogin reports whether a request for a URL needs a login. The path must
// be [Canonical] and without an [EncodedSlash]: others have more than one
// reading.
func (r *Rules) NeedsLogin(u *url.URL) bool {
	if r.closed {
		return !r.admitted(u.Path) || internal(u.Path) && !r.harmless(u)
	}
	segments := split(u.Path)
	return r.guarded(segments) || internal(u.Path) && (r.guardedWithin(segments) || r.queryGuarded(u))
}

// guarded reports whether a path belongs to a protected page.
func (r *Rules) guarded(segments []string) bool {
	return slices.ContainsFunc(r.protect, func(p pattern) bool { return p.guards(segments) })
}

// guardedWithin reports whether an internal address ends with the path of a
// protected page, as /_next/data/BUILD/private.json does, and
// /_ipx/w_64/private/photo.png.
func (r *Rules) guardedWithin(segments []string) bool {
	for i := range segments {
		if r.guarded(segments[i:]) {
			return true
		}
	}
	return false
}

// queryGuarded reports whether the query of an internal address names a
// protected page, as that of an image optimizer does, which fetches the picture
// from the front end past us. A query that does not parse cleanly may name
// anything: Go drops a pair with a semicolon, and Node.js keeps it.
func (r *Rules) queryGuarded(u *url.URL) bool {
	if strings.HasSuffix(u.Path, manifest) {
		return false
	}
	texts, clean := query(u)
	return !clean || slices.ContainsFunc(texts, r.mentions)
}

// mentions reports whether a text can be read as the address of a protected
// page: decoded as often as it can be, from any slash on, unless it is an
// address of another host.
func (r *Rules) mentions(text string) bool {
	for range maxDecoded {
		if r.elsewhere(text) {
			return false
		}
		if plain := likeNode.Replace(text); plain != "" {
			if strings.Trim(plain, "/") == "" && r.guarded(nil) || r.guardedWithin(named(plain)) {
				return true
			}
			if cleaned := path.Clean("/" + withoutParameters(plain)); r.guardedWithin(named(cleaned)) {
				return true
			}
		}
		next, err := url.PathUnescape(text)
		switch {
		case err != nil:
			return true
		case next == text:
			return false
		}
		text = next
	}
	return true
}

// maxDecoded is how often a text may be encoded before it counts as hiding
// something.
const maxDecoded = 5

// likeNode drops and turns what Node.js and browsers do in a URL (WHATWG URL,
// section 4.4).
var likeNode = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/")

// named are the segments of a path that name something.
func named(path string) []string {
	return slices.DeleteFunc(split(path), func(s string) bool { return s == "" || s == "." })
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

// admitted reports whether a path is listed as public. One that a sloppy reader
// would cut, at a parameter, a query or a fragment, is not.
func (r *Rules) admitted(path string) bool {
	if strings.ContainsAny(path, ";?#") {
		return false
	}
	segments := split(path)
	return slices.ContainsFunc(r.public, func(p pattern) bool { return p.admits(segments) })
}

// harmless reports whether an internal address that is public leads to nothing
// that is not: what its query names, and what the path of Nuxt's image optimizer
// names, must be public too.
func (r *Rules) harmless(u *url.URL) bool {
	if strings.HasSuffix(u.Path, manifest) {
		return true
	}
	if _, picture, ok := strings.Cut(u.Path, "/_ipx/"); ok {
		_, picture, _ = strings.Cut(picture, "/")
		if !r.isPublic(&url.URL{Path: "/" + picture}) {
			return false
		}
	}
	texts, clean := query(u)
	// A page's data has the page's own query, with any text in it.
	ofPage := path.Ext(u.Path) != ""
	return clean && !slices.ContainsFunc(texts, func(text string) bool {
		return !token.MatchString(text) && !(ofPage && !absolute(text)) && !r.elsewhere(text) && !r.isPublicAddress(text)
	})
}

// isPublicAddress reports whether a text in the query of an internal address
// can be read as that of a public page or file, and in no other way.
func (r *Rules) isPublicAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && r.isPublic(u)
}

func (r *Rules) isPublic(u *url.URL) bool {
	return Canonical(u) && !EncodedSlash(u) && r.admitted(u.Path) && !internal(u.Path)
}

// absolute reports whether a text, decoded as often as it can be, is an absolute
// path or URL.
func absolute(text string) bool {
	for range maxDecoded {
		if plain := strings.TrimSpace(likeNode.Replace(text)); strings.HasPrefix(plain, "/") || scheme.MatchString(plain) {
			return true
		}
		next, err := url.PathUnescape(text)
		if err != nil || next == text {
			return false
		}
		text = next
	}
	return true
}

var scheme = regexp.MustCompile(`^(?i)https?:`)

// internal reports whether a path is an address by which a framework's own
// script speaks to its server. Beside the folders in which a build puts its
// files, which are known, anything may be answered there.
func internal(path string) bool {
	segments := split(path)
	i := slices.IndexFunc(segments, internalName) // a base path may come first
	if i < 0 {
		return false
	}
	rest := strings.Join(segments[i:], "/")
	return !slices.ContainsFunc(buildFolders, func(folder string) bool { return strings.HasPrefix(rest, folder) })
}

var buildFolders = []string{"_next/static/", "_nuxt/", "_app/immutable/", "_astro/"}

// manifest is where React Router asks which script belongs to which page. It
// names pages in its query and answers with names of scripts alone.
const manifest = "/__manifest"

// token is what a query may hold that is no address: a number, a build's id.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// query returns all keys and values of a query, and whether every parser reads
// it as Go does.
func query(u *url.URL) (texts []string, clean bool) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, false
	}
	for key, list := range values {
		texts = append(append(texts, key), list...)
	}
	return texts, !slices.ContainsFunc(texts, func(text string) bool {
		return strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\ufffd' })
	})
}

// elsewhere reports whether a text is, under every reading, the address of
// another host.
func (r *Rules) elsewhere(text string) bool {
	m := otherOrigin.FindStringSubmatch(text)
	if m == nil || strings.EqualFold(m[1], r.host) {
		return false
	}
	host, _, _ := strings.Cut(m[1], ":")
	base, _, _ := strings.Cut(r.host, ":")
	if _, err := netip.ParseAddr(host); err == nil {
		return false // perhaps the front end's own
	}
	return strings.Contains(host, ".") && !loopback.Host(host) && !strings.EqualFold(strings.TrimSuffix(host, "."), base)
}

var otherOrigin = regexp.MustCompile(`^https?://([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?(?::[0-9]+)?)(?:/[^\\\t\r\n]*)?$`)

func split(path string) []string {
	if path = strings.Trim(path, "/"); path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// Canonical reports whether a path has one reading only: no empty, "." or
// ".." segments, also where parameters hide them ("/public/..;/private", which
// servlet containers cut and then clean), no backslash and no control
// character, also after decoding. Two parts that read a path differently
// disagree about what is protected.
func Canonical(u *url.URL) bool {
	path := u.Path
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		name, _, cut := strings.Cut(segment, ";")
		if name == "." || name == ".." || name == "" && (cut || more) {
			return false
		}
	}
	return true
}

// EncodedSlash reports whether the path hides a separator from one of its
// readers, once or twice encoded.
func EncodedSlash(u *url.URL) bool {
	path := strings.ToLower(u.EscapedPath())
	return strings.Contains(path, "%2f") || strings.Contains(path, "%5c") || strings.Contains(path, "%25")
}
