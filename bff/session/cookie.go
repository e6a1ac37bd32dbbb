package session

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// CookieName is the name of the cookie over http, which is allowed on loopback only.
	CookieName = "gatehouse"
	// SecureCookieName is the name of the cookie over https. Because of the prefix, browsers accept
	// it only from this host, over https and for the whole host (RFC 6265bis §4.1.3.2): a sibling
	// subdomain cannot set it.
	SecureCookieName = hostPrefix + CookieName
)

// cookieValue is the value of the cookie. It opens a session, so it has no String and leaves this
// package only in a cookie.
type cookieValue [32]byte

// encodedLength is the length of 32 bytes in unpadded base64url.
const encodedLength = 43

// strict rejects non-zero trailing bits, so that each value has one encoding. The decoder skips
// line breaks, which the checks of both lengths reject.
var strict = base64.RawURLEncoding.Strict()

func newCookieValue(random io.Reader) (v cookieValue, err error) {
	_, err = io.ReadFull(random, v[:])
	return v, err
}

// parseCookieValue accepts exactly the results of encode.
func parseCookieValue(s string) (v cookieValue, ok bool) {
	if len(s) != encodedLength {
		return cookieValue{}, false
	}
	var b [encodedLength]byte
	n, err := strict.Decode(b[:], []byte(s))
	if err != nil || n != len(v) {
		return cookieValue{}, false
	}
	return cookieValue(b[:n]), true
}

func (v *cookieValue) encode() string { return strict.EncodeToString(v[:]) }

func (v *cookieValue) id() ID { return sha256.Sum256(v[:]) }

// jar sets and reads the cookie.
type jar struct {
	secure bool
	name   string
}

// CookieName returns the name of the cookie: [SecureCookieName] or [CookieName], or that of
// [ManagerConfig.CookieName].
func (j jar) CookieName() string { return j.name }

const hostPrefix = "__Host-"

// CheckCookieName returns what is wrong with a [ManagerConfig.CookieName], nil if it is valid.
func CheckCookieName(name string) error {
	switch lower := strings.ToLower(name); {
	case len(name) > 64:
		return errors.New("longer than 64 characters")
	case !httpguts.ValidHeaderFieldName(name): // the same "token" (RFC 6265 §4.1.1)
		return errors.New("is empty or has a character that is not allowed in a cookie name")
	case strings.HasPrefix(lower, "__"):
		return errors.New("has a prefix; __Host- is added where the base URL is https")
	case strings.Contains(lower, "-login") || strings.Contains(lower, "-answer") || strings.Contains(lower, "-trail"):
		return errors.New("contains -login, -answer or -trail, by which the cookies of logins are named")
	}
	return nil
}

func (j jar) set(v *cookieValue, lifetime time.Duration) *http.Cookie {
	c := j.ClearCookie()
	c.Value = v.encode()
	c.MaxAge = max(int(lifetime/time.Second), 1)
	return c
}

// ClearCookie returns the cookie that removes the session cookie from the browser.
func (j jar) ClearCookie() *http.Cookie {
	return &http.Cookie{
		Name:     j.name,
		Path:     "/",
		MaxAge:   -1,
		Secure:   j.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// find returns the value of the cookie. A request with two different values carries one that
// another origin has set, such as a sibling subdomain over http, and does not say which: to use
// either could sign the browser in as the attacker (cookie tossing), so neither is used. The same
// value twice is harmless. It reads as [http.Request.CookiesNamed] does, and allocates nothing.
func (j jar) find(r *http.Request) (v cookieValue, ok, ambiguous bool) {
	first, found := "", false
	for _, line := range r.Header["Cookie"] {
		for more := true; more; {
			var pair string
			pair, line, more = strings.Cut(line, ";")
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch {
			case strings.TrimRight(name, " \t") != j.name || !readable(value):
			case found && value != first:
				return cookieValue{}, false, true
			default:
				first, found = value, true
			}
		}
	}
	v, ok = parseCookieValue(first) // not one in quotes
	return v, ok, false
}

// readable reports whether net/http returns a cookie with this value, which may be in quotes.
func readable(value string) bool {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	for i := range len(value) {
		if b := value[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}
