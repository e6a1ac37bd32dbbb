package origins

import (
	"net/http"
	"net/netip"
	"strings"
)

// ClientAddress returns the address of the browser: the nearest one that is not
// a trusted proxy's. It is "" if the connection has no IP address.
func (o *Origins) ClientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	address := peer.Addr().Unmap()
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

// PeerAddress returns the address at the other end of the connection, "" if it
// has no IP address.
func PeerAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return peer.Addr().Unmap().String()
}

func (o *Origins) trusts(address netip.Addr) bool {
	for _, network := range o.cfg.TrustedProxies {
		if network.Contains(address) {
			return true
		}
	}
	return false
}
