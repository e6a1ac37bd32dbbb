package bff

import (
	"net/url"
	"strings"
)

// maxReturnTo bounds a path that is carried through a login, in bytes, so
// that the attempt's cookie stays below 1 KB.
const maxReturnTo = 512

// returnTo returns the path that a login or logout leads back to: the one
// asked for if it surely stays here, "/" otherwise.
func returnTo(raw string) string {
	if localPath(raw) {
		return raw
	}
	return "/"
}

// localPath reports whether a browser that is sent to raw stays on this
// origin, under every reading known: it must be a plain absolute path. What
// has led away elsewhere is refused: "//host" and "/\host" (GHSA-qqxw), tabs
// and newlines that browsers drop (GHSA-j7px), encoded slashes that a proxy
// decodes (CVE-2022-23527), dot segments that leave "//host" behind, and our
// own login routes, which would loop.
func localPath(raw string) bool {
	if raw == "" || raw[0] != '/' || len(raw) > maxReturnTo {
		return false
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	return canonical(u) && !encodedSlash(u) && !under(u.Path, "/api/auth")
}

// canonical reports whether a path has one reading only: no empty, "." or
// ".." segments, also where parameters hide them ("/public/..;/private", which
// servlet containers cut and then clean), no backslash and no control
// character, also after decoding. Two parts that read a path differently
// disagree about what is protected.
func canonical(u *url.URL) bool {
	path := u.Path
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		name, _, cut := strings.Cut(segment, ";")
		if name == "." || name == ".." || name == "" && (cut || i < len(segments)-1) {
			return false
		}
	}
	return true
}

// encodedSlash reports whether the path hides a separator from one of its
// readers, once or twice encoded.
func encodedSlash(u *url.URL) bool {
	path := strings.ToLower(u.EscapedPath())
	return strings.Contains(path, "%2f") || strings.Contains(path, "%5c") || strings.Contains(path, "%25")
}

// under reports whether path is root or lies below it, in any case.
func under(path, root string) bool {
	path = strings.ToLower(path)
	return path == root || strings.HasPrefix(path, root+"/")
}
