package route

import (
	"net/url"

	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
)

// MaxReturnTo is the largest length of a path that is carried through a login,
// in bytes, so that it fits into the attempt's cookie.
const MaxReturnTo = 2048

// ReturnTo returns raw if it is a local path, and "/" otherwise.
func ReturnTo(raw string) string {
	if Local(raw) {
		return raw
	}
	return "/"
}

// Local reports whether a browser that is sent to raw stays on this origin,
// under every known interpretation: raw must be a plain absolute path. Refused
// are what led to open redirects elsewhere, namely "//host" and "/\host"
// (GHSA-qqxw), tabs and newlines that browsers drop (GHSA-j7px), encoded
// slashes that a proxy decodes (CVE-2022-23527) and dot segments that leave
// "//host" behind; and the addresses below /api/auth, which would loop.
func Local(raw string) bool {
	if raw == "" || raw[0] != '/' || len(raw) > MaxReturnTo {
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
	return protect.Canonical(u) && !protect.EncodedSlash(u) && !Under(u.Path, "/api/auth")
}
