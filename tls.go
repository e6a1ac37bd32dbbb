package gatehouse

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
)

// tlsConfig names the files of certificates, keys and authorities.
type tlsConfig struct {
	// CertFile and KeyFile are those of every listener without its own.
	CertFile, KeyFile         string
	BFF, Gateway, GRPC, Admin listenerTLS
	// MinVersion is "1.2" or "1.3".
	MinVersion string
	// ClientCertFile and ClientKeyFile are shown to the gateway and the server.
	ClientCertFile, ClientKeyFile string
	// CallGRPC says that Servers are called with TLS, as it is with GRPCCAFile or a
	// client certificate in any case.
	CallGRPC bool
	// The authorities of the servers that are called, instead of the system's.
	OIDCCAFile, GatewayCAFile, GRPCCAFile, FrontendCAFile string
	StoreCAFile, DatabaseCAFile, DenylistCAFile           string
	// InsecureTokensInClear accepts that tokens cross networks without TLS.
	InsecureTokensInClear bool
}

// listenerTLS is the TLS of one listener.
type listenerTLS struct {
	// CertFile and KeyFile replace the common ones; "none" turns TLS off.
	CertFile, KeyFile string
	// ClientCAFile has the authorities of client certificates, which are then
	// required.
	ClientCAFile string
	// ClientNames are the names of which a client certificate must have one.
	ClientNames []string
}

// noTLS is the CertFile of a listener without TLS beside others with it.
const noTLS = "none"

// A listener is a port of a part as the settings describe it.
type listener struct {
	part, field, address string
	tls                  listenerTLS
	ownField, pairField  string // of tls, and of its CertFile and KeyFile
	protocols            []string
	bearer               bool // clients send bearer tokens to it
}

var (
	webProtocols  = []string{"h2", "http/1.1"}
	grpcProtocols = []string{"h2"}
)

// listeners returns the listeners of the parts that are to run.
func (p *program) listeners(run partSet) []listener {
	cfg := &p.cfg
	var all []listener
	add := func(wanted bool, l listener) {
		if !wanted {
			return
		}
		if l.tls.CertFile == "" && l.tls.KeyFile == "" {
			l.tls.CertFile, l.tls.KeyFile, l.pairField = cfg.TLS.CertFile, cfg.TLS.KeyFile, "TLS."
		}
		if l.tls.CertFile == noTLS {
			l.tls.CertFile, l.tls.KeyFile = "", ""
		}
		all = append(all, l)
	}
	add(run.BFF, listener{"bff", "ListenBFF", cfg.ListenBFF, cfg.TLS.BFF, "TLS.BFF.", "TLS.BFF.", webProtocols, false})
	add(run.Gateway, listener{"gateway", "ListenGateway", cfg.ListenGateway, cfg.TLS.Gateway, "TLS.Gateway.", "TLS.Gateway.", webProtocols, true})
	add(run.Server, listener{"server", "ListenGRPC", cfg.ListenGRPC, cfg.TLS.GRPC, "TLS.GRPC.", "TLS.GRPC.", grpcProtocols, true})
	add(cfg.ListenAdmin != "", listener{"admin", "ListenAdmin", cfg.ListenAdmin, cfg.TLS.Admin, "TLS.Admin.", "TLS.Admin.", webProtocols, false})
	return all
}

// A security is the TLS of a program that runs: its files, and the configurations
// made of them.
type security struct {
	files     *tlsfiles.Files
	listeners map[string]*tls.Config // by field of the address
	provider  *http.Client           // nil for the default
	// Of calls to other parts; nil for the system's authorities.
	gateway, grpc, frontend *tls.Config
}

// secure reads the files that the settings name. It returns an error for each that
// cannot be used.
func (p *program) secure(run partSet) (*security, error) {
	cfg := &p.cfg.TLS
	s := &security{listeners: map[string]*tls.Config{}, files: tlsfiles.New(tlsfiles.Config{
		Logger: p.logger.With("part", "tls"), Changed: p.fileChanged,
	})}
	var errs []error
	fail := func(field, file string, err error) {
		if err != nil {
			errs = append(errs, &invalid.Error{Field: field, Value: file, Problem: "is not usable: " + err.Error()})
		}
	}
	pair := func(role, field, certFile, keyFile string) *tlsfiles.Pair {
		if (certFile == "") != (keyFile == "") {
			missing, there := field+"CertFile", field+"KeyFile"
			if keyFile == "" {
				missing, there = there, missing
			}
			errs = append(errs, &invalid.Error{Field: there, Value: certFile + keyFile, Problem: "needs " + missing,
				Remedy: "give both; they may be the same file"})
			return nil
		}
		if certFile == "" {
			return nil
		}
		loaded, err := s.files.Pair(p.variable(field+"CertFile"), role, certFile, keyFile)
		fail(field+"CertFile", certFile, err)
		return loaded
	}
	authorities := func(field, file string) *tlsfiles.Authorities {
		if file == "" {
			return nil
		}
		loaded, err := s.files.Authorities(p.variable(field), file)
		fail(field, file, err)
		return loaded
	}
	for _, l := range p.listeners(run) {
		certificate := pair(l.part, l.pairField, l.tls.CertFile, l.tls.KeyFile)
		clients := authorities(l.ownField+"ClientCAFile", l.tls.ClientCAFile)
		switch {
		case certificate != nil:
			s.listeners[l.field] = tlsfiles.Server(tlsfiles.ServerConfig{
				Certificate: certificate, MinVersion: cfg.minVersion(), Clients: clients,
				ClientNames: l.tls.ClientNames, Protocols: l.protocols,
			})
		case l.tls.ClientCAFile != "" && l.tls.CertFile == "":
			errs = append(errs, invalid.Field(l.ownField+"ClientCAFile", l.tls.ClientCAFile,
				"asks for client certificates, and the listener has no TLS", "give it a certificate with CertFile"))
		}
		if len(l.tls.ClientNames) > 0 && l.tls.ClientCAFile == "" {
			errs = append(errs, invalid.Field(l.ownField+"ClientNames", strings.Join(l.tls.ClientNames, ","),
				"has no effect without ClientCAFile", "give the authorities of the client certificates, too"))
		}
	}
	client := pair("client", "TLS.Client", cfg.ClientCertFile, cfg.ClientKeyFile)
	call := func(field, file string, certificate *tlsfiles.Pair, hosts ...string) *tls.Config {
		trusted := authorities(field, file)
		if trusted == nil && certificate == nil && cfg.minVersion() == tls.VersionTLS12 {
			return nil
		}
		return tlsfiles.Client(tlsfiles.ClientConfig{
			Authorities: trusted, Certificate: certificate, MinVersion: cfg.minVersion(), Hosts: hosts,
		})
	}
	// Stores read these themselves, for each connection.
	if run.BFF || run.Server && p.sharesSessions() {
		authorities("TLS.StoreCAFile", cfg.StoreCAFile)
	}
	if run.Server {
		authorities("TLS.DatabaseCAFile", cfg.DatabaseCAFile)
	}
	if run.BFF || run.Server {
		authorities("TLS.DenylistCAFile", cfg.DenylistCAFile)
		if config := call("TLS.OIDCCAFile", cfg.OIDCCAFile, nil, hostsOf(p.cfg.Provider.Issuer, p.cfg.Provider.InternalURL)...); config != nil {
			s.provider = providerClient(config)
		}
	}
	if run.BFF {
		s.gateway = call("TLS.GatewayCAFile", cfg.GatewayCAFile, client, hostsOf(p.cfg.Gateways.Targets...)...)
		s.frontend = call("TLS.FrontendCAFile", cfg.FrontendCAFile, nil, hostsOf(p.cfg.Frontend)...)
	}
	if run.Gateway && !run.Server && cfg.callsGRPC() {
		s.grpc = cmp.Or(call("TLS.GRPCCAFile", cfg.GRPCCAFile, client, hostsOfTargets(strings.Join(p.cfg.Servers.Targets, ","))...), &tls.Config{MinVersion: tls.VersionTLS12})
	}
	return s, errors.Join(errs...)
}

func (cfg *tlsConfig) callsGRPC() bool {
	return cfg.CallGRPC || cfg.GRPCCAFile != "" || cfg.ClientCertFile != ""
}

func (cfg *tlsConfig) minVersion() uint16 {
	if cfg.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// hostsOf returns the hosts of URLs separated by commas.
func hostsOf(addresses ...string) []string {
	var hosts []string
	for address := range strings.SplitSeq(strings.Join(addresses, ","), ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.Host != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// hostsOfTargets returns the hosts of gRPC targets, such as dns:///server:9090.
func hostsOfTargets(targets string) []string {
	var hosts []string
	for target := range strings.SplitSeq(targets, ",") {
		address := strings.TrimSpace(target[strings.LastIndexByte(target, '/')+1:])
		for _, scheme := range []string{"dns:", "passthrough:", "ipv4:", "ipv6:"} {
			address = strings.TrimPrefix(address, scheme)
		}
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts = append(hosts, host)
		} else if address != "" {
			hosts = append(hosts, address)
		}
	}
	return hosts
}

// providerClient returns a client for the provider, whose callers bound the time of
// requests and the size of answers.
func providerClient(config *tls.Config) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	transport.TLSHandshakeTimeout = 3 * time.Second
	transport.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{Transport: transport}
}

// variable names the setting of a field in log lines.
func (p *program) variable(field string) string { return cmp.Or(p.values.Variable(field), field) }

// warnInClear warns of bearer tokens that leave this machine, or come from others,
// without TLS.
func (p *program) warnInClear(ctx context.Context, run partSet) {
	if p.cfg.TLS.InsecureTokensInClear {
		return
	}
	warn := func(setting, problem, remedy string) {
		p.logger.WarnContext(ctx, "bearer tokens cross the network in the clear", "problem", problem, "setting", p.values.Name(setting),
			"remedy", remedy+"; where the network encrypts by itself, set GATEHOUSE_INSECURE_TOKENS_IN_CLEAR")
	}
	for _, l := range p.listeners(run) {
		if l.bearer && l.tls.CertFile == "" && !isOnLoopback(l.address) {
			name := map[string]string{"gateway": "listen-gateway", "server": "listen-grpc"}[l.part]
			warn(name, "the "+l.part+" listens without TLS", "set GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE, or listen on 127.0.0.1 or a Unix socket")
		}
	}
	if run.BFF && !run.Gateway && sendsInClear(strings.Join(p.cfg.Gateways.Targets, ",")) {
		warn("gateway-url", "the gateway is called without TLS", "give an https address")
	}
	if run.Gateway && !run.Server && !p.cfg.TLS.callsGRPC() && !isLocalTarget(strings.Join(p.cfg.Servers.Targets, ",")) {
		warn("grpc-target", "the server is called without TLS", "set GATEHOUSE_GRPC_TLS, or GATEHOUSE_GRPC_CA_FILE for a private authority")
	}
}

// sendsInClear reports whether one of the URLs has http and leads off this machine.
func sendsInClear(addresses string) bool {
	for address := range strings.SplitSeq(addresses, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err == nil && u.Scheme == "http" && !loopback.Host(u.Hostname()) {
			return true
		}
	}
	return false
}

// isLocalTarget reports whether all gRPC targets are on this machine.
func isLocalTarget(targets string) bool {
	for target := range strings.SplitSeq(targets, ",") {
		if strings.HasPrefix(strings.TrimSpace(target), "unix:") {
			continue
		}
		for _, host := range hostsOfTargets(target) {
			if !loopback.Host(host) {
				return false
			}
		}
	}
	return true
}

// checkTLS returns an error for each file that cannot be used, and for authorities
// that would not be.
func (p *program) checkTLS(run partSet) error {
	_, err := p.secure(run)
	errs := []error{err}
	for _, s := range []struct {
		wanted               bool
		field, file, address string
		target               string
	}{
		{run.BFF || run.Server && p.sharesSessions(), "TLS.StoreCAFile", p.cfg.TLS.StoreCAFile, p.cfg.SessionStore, "SessionStore"},
		{run.Server, "TLS.DatabaseCAFile", p.cfg.TLS.DatabaseCAFile, p.cfg.DatabaseURL, "DatabaseURL"},
		{run.BFF || run.Server, "TLS.DenylistCAFile", p.cfg.TLS.DenylistCAFile, p.cfg.Denylist, "Denylist"},
	} {
		if !s.wanted || s.file == "" {
			continue
		}
		if problem, remedy := stores.CannotVerify(s.address); problem != "" {
			errs = append(errs, invalid.Field(s.field, s.file, "has no effect: "+s.target+" "+problem, remedy))
		}
	}
	if p.cfg.TLS.FrontendCAFile != "" && run.BFF && !strings.HasPrefix(p.cfg.Frontend, "https://") {
		errs = append(errs, invalid.Field("TLS.FrontendCAFile", p.cfg.TLS.FrontendCAFile,
			"has no effect: Frontend is no https address", "give an https address, or leave it out"))
	}
	if p.cfg.TLS.GatewayCAFile != "" && run.BFF && !run.Gateway && !strings.Contains(strings.Join(p.cfg.Gateways.Targets, ","), "https://") {
		errs = append(errs, invalid.Field("TLS.GatewayCAFile", p.cfg.TLS.GatewayCAFile,
			"has no effect: Gateways.Targets is no https address", "give an https address, or leave it out"))
	}
	return errors.Join(errs...)
}
