package bff

import (
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
)

// maxReturnTo bounds a path that is carried through a login, in bytes, so that
// it fits the attempt's cookie.
const maxReturnTo = 2048

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
	return protect.Canonical(u) && !protect.EncodedSlash(u) && !under(u.Path, "/api/auth")
}

// under reports whether path is root or lies below it, in any case.
func under(path, root string) bool {
	path = strings.ToLower(path)
	return path == root || strings.HasPrefix(path, root+"/")
}
