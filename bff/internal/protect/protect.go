// Package protect owns the decision which requests for the front end need a
// login: by a list of pages that do, or by a list of paths that do not. It
// leaves the session, and the answer to a request without one, to
// bff/internal/frontend.
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
	// Protect lists the pages that need a login. The path of a page with an
	// extension, and all paths below it, belong to the page.
	Protect []string
	// Public, if it is not nil, lists the paths that need no login. All others
	// do. Protect must then be nil.
	Public []string
	// Host is the host of the base URL. Addresses with it are the front end's.
	Host string
}

// Rules are the patterns of a Config. They are safe for concurrent use.
type Rules struct {
	protect, public []pattern
	closed          bool // all paths but public ones need a login
	host            string
}

// New returns the Rules of a Config. Its error names each invalid pattern.
func New(cfg Config) (*Rules, error) {
	if cfg.Protect != nil && cfg.Public != nil {
		return nil, errors.New("protected pages and public paths are both listed: with public paths all other paths need a login already; drop one of the two lists")
	}
	r := &Rules{closed: cfg.Public != nil, host: cfg.Host}
	var errs [2]error
	r.protect, errs[0] = parsePatterns("protected pages", cfg.Protect)
	r.public, errs[1] = parsePatterns("public paths", cfg.Public)
	return r, errors.Join(errs[:]...)
}

// CheckPattern returns what is wrong with one pattern, nil if nothing is.
func CheckPattern(text string) error {
	_, err := parsePattern(text)
	return err
}

// NeedsLogin reports whether a request for a URL needs a login. The path must be
// [Canonical] and have no [EncodedSlash]: the front end may interpret others
// differently.
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
// protected page. That of an image optimizer does, which fetches the picture
// from the front end directly. A query that cannot be parsed may name anything:
// Go drops a pair with a semicolon, and Node.js keeps it.
func (r *Rules) queryGuarded(u *url.URL) bool {
	if strings.HasSuffix(u.Path, manifest) {
		return false
	}
	texts, clean := query(u)
	return !clean || slices.ContainsFunc(texts, r.mentions)
}

// mentions reports whether a text can be interpreted as the address of a
// protected page: decoded any number of times, from any slash on, unless it is
// the address of another host.
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

// maxDecoded is how often a text is decoded. A text that is encoded more often
// counts as the address of a protected page.
const maxDecoded = 5

// likeNode removes and replaces the characters of a URL that Node.js and browsers
// do (WHATWG URL, section 4.4).
var likeNode = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/")

// named returns the segments of a path without empty ones and dots.
func named(path string) []string {
	return slices.DeleteFunc(split(path), func(s string) bool { return s == "" || s == "." })
}

// withoutParameters removes the parameters of each segment (RFC 3986 §3.3), as
// some servers do before they look for a page.
func withoutParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}

// admitted reports whether a path is listed as public. A path that some servers
// would cut, at a parameter, a query or a fragment, is not.
func (r *Rules) admitted(path string) bool {
	if strings.ContainsAny(path, ";?#") {
		return false
	}
	segments := split(path)
	return slices.ContainsFunc(r.public, func(p pattern) bool { return p.admits(segments) })
}

// harmless reports whether an internal address that is public gives access to
// public paths only: those in its query, and in the path of Nuxt's image
// optimizer, must be public too.
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
	// The data of a page has the page's query, which may have any text.
	ofPage := path.Ext(u.Path) != ""
	return clean && !slices.ContainsFunc(texts, func(text string) bool {
		return !token.MatchString(text) && !(ofPage && !absolute(text)) && !r.elsewhere(text) && !r.isPublicAddress(text)
	})
}

// isPublicAddress reports whether a text in the query of an internal address is
// the address of a public page or file under every interpretation.
func (r *Rules) isPublicAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && r.isPublic(u)
}

func (r *Rules) isPublic(u *url.URL) bool {
	return Canonical(u) && !EncodedSlash(u) && r.admitted(u.Path) && !internal(u.Path)
}

// absolute reports whether a text, decoded any number of times, is an absolute
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

// internal reports whether a path is an address at which a framework's scripts
// call its server. It excludes the folders of build files.
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

// manifest is the address of React Router's list of the scripts of pages. It has
// paths of pages in its query, and returns names of scripts only.
const manifest = "/__manifest"

// token matches values of a query that are not addresses, such as numbers.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// query returns all keys and values of a query, and whether every parser agrees
// with Go's.
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

// elsewhere reports whether a text is the address of another host under every
// interpretation.
func (r *Rules) elsewhere(text string) bool {
	m := otherOrigin.FindStringSubmatch(text)
	if m == nil || strings.EqualFold(m[1], r.host) {
		return false
	}
	host, _, _ := strings.Cut(m[1], ":")
	base, _, _ := strings.Cut(r.host, ":")
	if _, err := netip.ParseAddr(host); err == nil {
		return false // may be the front end's
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

// Canonical reports whether all servers interpret a path alike: it has no empty,
// "." or ".." segments, also not before parameters ("/public/..;/private", which
// servlet containers cut and then clean), no backslash and no control character,
// also not encoded. Parts that interpret a path differently disagree about what
// is protected.
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

// EncodedSlash reports whether a path has an encoded slash or backslash, or an
// encoded percent sign.
func EncodedSlash(u *url.URL) bool {
	path := strings.ToLower(u.EscapedPath())
	return strings.Contains(path, "%2f") || strings.Contains(path, "%5c") || strings.Contains(path, "%25")
}
