package tlsconfig

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// A Warning is about bearer tokens that cross the network without TLS.
type Warning struct {
	Setting         string // the name of its flag
	Problem, Remedy string
}

// InClear returns where bearer tokens leave this machine, or come from others, without
// TLS.
func (cfg *Config) InClear(p Process) (warnings []Warning) {
	if cfg.InsecureTokensInClear {
		return nil
	}
	warn := func(setting, problem, remedy string) {
		warnings = append(warnings, Warning{setting, problem, remedy})
	}
	for _, l := range cfg.listeners(p) {
		if l.bearer && l.tls.CertFile == "" && !loopback.Listens(l.address) {
			name := map[string]string{"gateway": "listen-gateway", "server": "listen-grpc"}[l.part]
			warn(name, "the "+l.part+" listens without TLS", "set GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE, or listen on 127.0.0.1 or a Unix socket")
		}
	}
	if p.BFF && !p.Gateway && slices.ContainsFunc(p.Gateways, sendsInClear) {
		warn("gateway-url", "the gateway is called without TLS", "give an https address")
	}
	for i, r := range p.Routes {
		if p.BFF && r.Bearer && slices.ContainsFunc(r.Targets, sendsInClear) {
			warn("routes", fmt.Sprintf("a server of routes[%d] %s is called without TLS", i, r.Path), "give an https address")
		}
	}
	if p.Gateway && !p.Server && !cfg.callsGRPC() && slices.ContainsFunc(p.Servers, isRemoteTarget) {
		warn("grpc-target", "the server is called without TLS", "set GATEHOUSE_GRPC_TLS, or GATEHOUSE_GRPC_CA_FILE for a private authority")
	}
	return warnings
}

// sendsInClear reports whether a URL has http and leads off this machine.
func sendsInClear(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "http" && !loopback.Host(u.Hostname())
}

// isRemoteTarget reports whether a gRPC target is off this machine.
func isRemoteTarget(target string) bool {
	return !strings.HasPrefix(target, "unix:") &&
		slices.ContainsFunc(hostsOfTargets([]string{target}), func(host string) bool { return !loopback.Host(host) })
}
