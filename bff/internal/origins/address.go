package origins

import (
	"net/http"

	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
)

// ClientAddress returns the address of the browser: the nearest one that is not
// a trusted proxy's. It is "" if the connection is a Unix socket, unless that is
// trusted and the header has an address.
func (o *Origins) ClientAddress(r *http.Request) string {
	return clientaddr.Of(r, clientaddr.Trust{Proxies: o.cfg.TrustedProxies, UnixSocket: o.cfg.TrustUnixSocket})
}
