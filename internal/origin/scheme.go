package origin

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// WithScheme adds https to a host without a scheme, as the tutorial's variables
// allow. It adds nothing to other text, such as a port or a mistyped address,
// nor on loopback, where https is rarely meant.
func WithScheme(raw string) string {
	if strings.Contains(raw, "://") {
		return raw
	}
	u, err := url.Parse("http://" + raw)
	if err != nil || u.User != nil || strings.HasSuffix(u.Host, ":") || loopback.Host(u.Hostname()) {
		return raw
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !hostName.MatchString(u.Hostname()) {
		return raw
	}
	return "https://" + raw
}

// hostName matches a name whose last label is no number.
var hostName = regexp.MustCompile(`^(.+\.)?\pL[\pL\pN-]*\.?$`)
