package dial

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// defaultPort is gRPC's for targets without one.
const defaultPort = "443"

const exampleTarget = "give the server's address, such as dns:///server:9090"

// Parse reads the target of a gRPC client. Of gRPC's schemes it knows dns, which
// is the default, ipv4, ipv6, passthrough, unix and unix-abstract. The error names
// the field.
func Parse(field, target string) (peers.Target, error) {
	bad := func(problem, remedy string) (peers.Target, error) {
		return peers.Target{}, invalid.Field(field, shown(target), problem, remedy)
	}
	scheme, rest, ok := strings.Cut(target, ":")
	switch {
	case target == "":
		return peers.Target{}, invalid.Missing(field, exampleTarget)
	case ok && (scheme == "unix" || scheme == "unix-abstract"):
		path := rest
		if full, ok := strings.CutPrefix(rest, "//"); ok && scheme == "unix" {
			path = full
		}
		if path == "" {
			return bad("has no path", "give unix:/PATH")
		}
		if scheme == "unix-abstract" {
			path = "@" + path
		}
		return peers.Target{Path: path}, nil
	case ok && (scheme == "http" || scheme == "https") && strings.HasPrefix(rest, "//"):
		remedy := "did you mean dns:///" + strings.Trim(rest, "/") + "?"
		if strings.ContainsAny(rest, "@?#") { // may have a password or a token
			remedy = exampleTarget
		}
		return bad("is the address of an HTTP server", remedy)
	case ok && strings.HasPrefix(scheme, "xds"):
		return bad("needs xDS, which is not supported", "give the servers' addresses, or a name that has them all, such as dns:///server:9090")
	}
	t := peers.Target{}
	address := target
	switch {
	case ok && (scheme == "dns" || scheme == "passthrough" || scheme == "ipv4" || scheme == "ipv6"):
		if address = rest; strings.HasPrefix(rest, "//") {
			server, path, found := strings.Cut(rest[2:], "/")
			if !found {
				return bad("names a DNS server and no server", "did you mean dns:///"+server+"?")
			}
			t.DNS, address = server, path
			if server != "" {
				if _, _, err := net.SplitHostPort(server); err != nil {
					t.DNS = net.JoinHostPort(strings.Trim(server, "[]"), "53")
				}
			}
		}
	case ok && strings.HasPrefix(rest, "//"):
		return bad("has the scheme "+scheme+", which is not supported", exampleTarget)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		if host = strings.Trim(address, "[]"); strings.Contains(host, ":") {
			if _, err := netip.ParseAddr(host); err != nil {
				return bad("is not the target of a gRPC client", exampleTarget)
			}
		}
		port = defaultPort
	}
	if host == "" && err == nil { // gRPC's form of this machine
		host = "localhost"
	}
	if _, ipErr := netip.ParseAddr(host); (scheme == "ipv4" || scheme == "ipv6") && ok && address != target && ipErr != nil {
		return bad("has no IP address", "give dns:///"+address)
	}
	if host == "" || strings.ContainsAny(host+port, "/@?# ") || port == "" {
		return bad("is not the target of a gRPC client", exampleTarget)
	}
	t.Host, t.Port = host, port
	return t, nil
}

// shown returns a target without what may be a password.
func shown(target string) string {
	if u, err := url.Parse(target); err == nil && u.User != nil {
		return u.Redacted()
	}
	if strings.Contains(target, "@") {
		return ""
	}
	return target
}
