package origins

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddress returns the address of the browser: the nearest one that is not
// a trusted proxy's. It is "" if the connection is a Unix socket, unless that is
// trusted and the header has an address.
func (o *Origins) ClientAddress(r *http.Request) string {
	address := Peer(r)
	if !o.trusts(address) && address.IsValid() { // most requests, without an allocation more
		return address.String()
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0 && o.trusts(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
	}
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// Peer returns the address at the other end of the connection. It is invalid if
// the connection is a Unix socket.
func Peer(r *http.Request) netip.Addr {
	connection, _ := netip.ParseAddrPort(r.RemoteAddr) // zero with an error
	return connection.Addr().Unmap()
}

func (o *Origins) trusts(address netip.Addr) bool {
	if !address.IsValid() {
		return o.cfg.TrustUnixSocket
	}
	return slices.ContainsFunc(o.cfg.TrustedProxies, func(network netip.Prefix) bool { return network.Contains(address) })
}
