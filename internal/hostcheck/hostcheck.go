// Package hostcheck owns the check of the Host header in development: the names
// that a server on loopback accepts. It leaves the response to other names, and
// the paths that are exempt, to the servers.
//
// A page of another site can make its own name resolve to 127.0.0.1 after it is
// loaded (DNS rebinding). It then has the same origin as the development server and
// can read its responses, unless the server checks the name.
package hostcheck

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// Hosts are the names that a server accepts. The nil *Hosts accepts every name.
type Hosts struct {
	allowed map[string]bool
}

// New returns the hosts of a server whose base URL has this host (without a port):
// loopback names and the allowed ones if baseHost is a loopback name, otherwise
// nil.
func New(baseHost string, allowed []string) (*Hosts, error) {
	h := &Hosts{allowed: map[string]bool{}}
	for _, name := range allowed {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		h.allowed[canonical(name)] = true
	}
	if !isLoopback(canonical(baseHost)) {
		return nil, nil
	}
	return h, nil
}

// CheckName returns what is wrong with an allowed name; nil if nothing is.
func CheckName(name string) error {
	host := canonical(name)
	if _, err := netip.ParseAddr(host); err == nil || isName(host) {
		return nil
	}
	return fmt.Errorf("host %q: not a host name or address; give one without scheme, port and wildcard, such as app.test", name)
}

// Allow reports whether a request with this Host, or :authority, is accepted.
func (h *Hosts) Allow(host string) bool {
	if h == nil {
		return true
	}
	name, ok := withoutPort(host)
	return ok && (isLoopback(name) || h.allowed[name])
}

// Remedy is the remedy for a refused Host, for the log.
const Remedy = "if this server is meant to be reached by that name, add it to AllowedHosts"

// withoutPort returns the canonical name of a Host; ok is false if it is invalid.
func withoutPort(host string) (name string, ok bool) {
	name = host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
		addr, err := netip.ParseAddr(name)
		return canonical(name), err == nil && addr.Is6() && addr.Zone() == ""
	}
	if strings.Contains(host, ":") {
		var port string
		var err error
		if name, port, err = net.SplitHostPort(host); err != nil {
			return "", false
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil && port != "" {
			return "", false
		}
		if addr, ok := parseAddr(name); ok {
			return canonical(name), addr.Zone() == "" && addr.Is6() == strings.HasPrefix(host, "[")
		}
	}
	name = canonical(name)
	if addr, ok := parseAddr(name); ok {
		return name, addr.Is4()
	}
	return name, isName(name)
}

// parseAddr parses an address. It avoids the cost of the error for a name.
func parseAddr(name string) (addr netip.Addr, ok bool) {
	if name == "" || name[0] > '9' && !strings.Contains(name, ":") {
		return addr, false
	}
	addr, err := netip.ParseAddr(name)
	return addr, err == nil
}

// canonical returns a name in lower case, without a trailing dot and without the
// brackets of an address.
func canonical(name string) string {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		return name[1 : len(name)-1]
	}
	return strings.TrimSuffix(name, ".")
}

// isLoopback reports whether a canonical name is a loopback name, such as those
// below localhost (RFC 6761 §6.3).
func isLoopback(name string) bool {
	return loopback.Host(name) || strings.HasSuffix(name, ".localhost") && isName(name)
}

// isName reports whether a name consists of labels of letters, digits, hyphens and
// underscores.
func isName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
