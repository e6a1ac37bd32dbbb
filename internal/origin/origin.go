// Package origin owns the text of web origins: it parses origins of operators and
// browsers and returns them as in an Origin header. It leaves what an origin may do
// to its callers.
package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// An Error is what is wrong with an address, and the remedy. It does not contain
// the address, which may have a password.
type Error struct {
	Problem string
	Remedy  string
}

func (e *Error) Error() string { return e.Problem + "; " + e.Remedy }

const (
	example         = "give the origin that browsers see, such as https://shop.example"
	exampleUpstream = "give an address such as http://gateway:5000"
)

// Parse reads an origin that browsers are to use: https, or http on loopback,
// without path, query, fragment or user. The result has scheme and host only,
// in the form of the URL Standard: host in lower case and in ASCII (IDNA), IPv4
// and IPv6 addresses in their canonical form, no default port. Every error is
// an [*Error].
func Parse(raw string) (*url.URL, error) {
	u, err := parse(raw, example)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.Contains(u.Host, "*"):
		return nil, &Error{"has a wildcard, so it is more than one origin", example}
	case u.User != nil:
		return nil, &Error{"has a user name or password in it, so it is more than an origin", "leave it out"}
	case u.Path != "" && u.Path != "/":
		return nil, &Error{"has a path, so it is more than an origin", "give scheme, host and port only"}
	case strings.ContainsAny(raw, "?#"):
		return nil, &Error{"has a query or a fragment, so it is more than an origin", "give scheme, host and port only"}
	}
	host, err := canonicalHost(u)
	if err != nil {
		return nil, err
	}
	o := &url.URL{Scheme: u.Scheme, Host: host}
	if o.Scheme == "http" && !loopback.Host(o.Hostname()) {
		return nil, &Error{"http is for loopback only: session cookies and codes would travel in the clear", "use https://"}
	}
	return o, nil
}

// Upstream reads the address of an HTTP server that this process calls: http or
// https, with a host. What else it has is left as it is. Every error is an
// [*Error].
func Upstream(raw string) (*url.URL, error) { return parse(raw, exampleUpstream) }

// Issuer returns what is wrong with an issuer identifier; nil if nothing is. An
// issuer is compared byte for byte, so it has no canonical form.
func Issuer(raw string) error {
	const (
		remedy    = "give the provider's issuer, such as https://tenant.eu.auth0.com/"
		wellKnown = "/.well-known/openid-configuration"
	)
	u, err := parse(raw, remedy)
	switch {
	case err != nil:
		return err
	case u.User != nil:
		return &Error{"has a user name or password in it", "leave it out"}
	case strings.ContainsAny(raw, "?#"):
		return &Error{"has a query or a fragment", remedy}
	case strings.HasSuffix(u.Path, wellKnown):
		return &Error{"is the address of the provider's metadata", "leave out " + wellKnown + ", which is added"}
	case u.Scheme == "http" && !loopback.Host(u.Hostname()):
		return &Error{"http is for loopback only: codes and secrets would travel in the clear", "use https://"}
	}
	return nil
}

// Of returns the origin of a URL, or of an Origin header, as browsers write it.
// It is "" for what has none, such as "null".
func Of(raw string) string {
	u, err := parse(raw, "")
	if err != nil {
		return ""
	}
	host, err := canonicalHost(u)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + host
}

// parse reads an absolute http or https URL with a host.
func parse(raw, remedy string) (*url.URL, error) {
	if raw == "" {
		return nil, &Error{"missing", remedy}
	}
	if !strings.Contains(raw, "://") {
		return nil, withoutScheme(raw, remedy)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return nil, &Error{"not a URL", remedy}
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, &Error{"neither https nor http", remedy}
	}
	return u, nil
}

// withoutScheme suggests the scheme that is missing, if the rest is a host: http
// on loopback, where certificates are rare.
func withoutScheme(raw, remedy string) error {
	u, err := url.Parse("http://" + raw)
	if err != nil || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || u.User != nil || strings.ContainsAny(raw, " ?#") {
		return &Error{"not a URL", remedy}
	}
	if _, err := strconv.ParseUint(raw, 10, 64); err == nil { // a port, though browsers take it for an IPv4 address
		return &Error{"not a URL", remedy}
	}
	host, err := canonicalHost(u)
	if err != nil {
		return &Error{"not a URL", remedy}
	}
	scheme := "https"
	if loopback.Host((&url.URL{Host: host}).Hostname()) || remedy == exampleUpstream {
		scheme = "http"
	}
	return &Error{"the scheme is missing", fmt.Sprintf("did you mean %s://%s?", scheme, raw)}
}

// hostNames maps names as browsers do: UTS #46, not transitional, not limited to
// the letters, digits and hyphens of DNS.
var hostNames = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
	idna.CheckHyphens(false), idna.CheckJoiners(true), idna.StrictDomainName(false), idna.VerifyDNSLength(false))

// canonicalHost returns host and port as the URL Standard serializes them.
func canonicalHost(u *url.URL) (string, error) {
	host, err := canonicalName(u.Hostname(), strings.HasPrefix(u.Host, "["))
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", &Error{"the port " + strconv.Quote(port) + " is not a number up to 65535", "correct the port"}
	}
	if u.Scheme == "https" && n == 443 || u.Scheme == "http" && n == 80 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}

func canonicalName(name string, bracketed bool) (string, error) {
	if bracketed {
		addr, err := netip.ParseAddr(name)
		switch {
		case err != nil || !addr.Is6():
			return "", &Error{"the host is not an IPv6 address", "correct it"}
		case addr.Zone() != "":
			return "", &Error{"the IPv6 address has a zone, which browsers do not accept", "leave out the zone"}
		case addr.Is4In6(): // netip writes the last 32 bits with dots, browsers do not
			b := addr.As16()
			return fmt.Sprintf("[::ffff:%x:%x]", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15])), nil
		}
		return "[" + addr.String() + "]", nil
	}
	ascii, err := hostNames.ToASCII(name)
	if err == nil { // the package encodes some of what it then refuses to decode
		ascii, err = hostNames.ToASCII(strings.ToLower(ascii))
	}
	if err != nil || ascii == "" || strings.ContainsFunc(ascii, forbidden) {
		return "", &Error{"the host is not a name that browsers accept", "correct it"}
	}
	if !endsInNumber(ascii) {
		return ascii, nil
	}
	addr, err := parseIPv4(ascii)
	if err != nil {
		return "", &Error{"the host ends in a number and is not an IPv4 address", "correct it"}
	}
	return addr.String(), nil
}

// forbidden reports the forbidden domain code points of the URL Standard.
func forbidden(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`#/:<>?@[\]^|%`, r)
}

// endsInNumber is the check of the same name in the URL Standard: such a host is
// an IPv4 address or an error, never a name.
func endsInNumber(host string) bool {
	labels := strings.Split(host, ".")
	if last := len(labels) - 1; labels[last] == "" && last > 0 {
		labels = labels[:last]
	}
	last := labels[len(labels)-1]
	if last != "" && strings.Trim(last, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(last, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

var errNotIPv4 = errors.New("not an IPv4 address")

// parseIPv4 reads an IPv4 address as browsers do: one to four parts, each
// decimal, octal or hexadecimal, the last filling what the others leave.
func parseIPv4(host string) (netip.Addr, error) {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, errNotIPv4
	}
	var address uint64
	for i, part := range parts {
		n, err := parseIPv4Number(part)
		if err != nil {
			return netip.Addr{}, err
		}
		if i < len(parts)-1 {
			if n > 255 {
				return netip.Addr{}, errNotIPv4
			}
			address |= n << (8 * (3 - i))
			continue
		}
		if n >= 1<<(8*(5-len(parts))) {
			return netip.Addr{}, errNotIPv4
		}
		address |= n
	}
	return netip.AddrFrom4([4]byte{byte(address >> 24), byte(address >> 16), byte(address >> 8), byte(address)}), nil
}

func parseIPv4Number(s string) (uint64, error) {
	if s == "" {
		return 0, errNotIPv4
	}
	base := 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		s, base = hex, 16
	} else if len(s) > 1 && s[0] == '0' {
		s, base = s[1:], 8
	}
	if s == "" {
		return 0, nil
	}
	if strings.ContainsAny(s, "+-_") {
		return 0, errNotIPv4
	}
	return strconv.ParseUint(s, base, 64)
}
