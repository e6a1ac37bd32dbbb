// Package clientaddr owns the rule by which the address of a request's client is found.
package clientaddr

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Trust says whose X-Forwarded-For is believed.
type Trust struct {
	// Proxies are the networks of proxies.
	Proxies []netip.Prefix
	// UnixSocket trusts connections that have no IP address.
	UnixSocket bool
}

// Of returns the address of the client: the nearest one that is not trusted. It is "" if
// the connection has no IP address, unless that is trusted and the header has an address.
func Of(r *http.Request, trust Trust) string {
	address := Peer(r)
	if !trust.Covers(address) {
		return peerText(r, address)
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0 && trust.Covers(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap().WithZone("") // which may be any text, of any length
	}
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// Peer returns the address at the other end of the connection. It is invalid if the
// connection has no IP address.
func Peer(r *http.Request) netip.Addr {
	connection, _ := netip.ParseAddrPort(r.RemoteAddr) // zero with an error
	return connection.Addr().Unmap()
}

// peerText returns the address at the other end as text, usually without an allocation.
func peerText(r *http.Request, address netip.Addr) string {
	switch {
	case !address.IsValid():
		return ""
	case r.RemoteAddr[0] == '[':
		return address.String()
	}
	return r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')]
}

// Covers reports whether an address is trusted; an invalid one is that of a connection
// without an IP address.
func (t Trust) Covers(address netip.Addr) bool {
	if !address.IsValid() {
		return t.UnixSocket
	}
	return slices.ContainsFunc(t.Proxies, func(network netip.Prefix) bool { return network.Contains(address) })
}
