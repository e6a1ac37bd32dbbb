package origins

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddress returns the address of the browser: the nearest one that is not
// a trusted proxy's. It is "" if the connection has no IP address.
func (o *Origins) ClientAddress(r *http.Request) string {
	address := Peer(r)
	if !address.IsValid() {
		return ""
	}
	if !o.trusts(address) {
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
	return address.String()
}

// Peer returns the address at the other end of the connection. It is invalid if
// the connection has no IP address.
func Peer(r *http.Request) netip.Addr {
	connection, _ := netip.ParseAddrPort(r.RemoteAddr) // zero with an error
	return connection.Addr().Unmap()
}

func (o *Origins) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(o.cfg.TrustedProxies, func(network netip.Prefix) bool { return network.Contains(address) })
}
