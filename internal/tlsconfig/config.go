package tlsconfig

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
)

// A Config names the files of certificates, keys and authorities. Fields in errors are
// those of a configuration that has it in its field TLS.
type Config struct {
	// CertFile and KeyFile are those of every listener without its own.
	CertFile, KeyFile         string
	BFF, Gateway, GRPC, Admin ListenerConfig
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

// A ListenerConfig is the TLS of one listener.
type ListenerConfig struct {
	// CertFile and KeyFile replace the common ones; "none" turns TLS off.
	CertFile, KeyFile string
	// ClientCAFile has the authorities of client certificates, which are then
	// required.
	ClientCAFile string
	// ClientNames are the names of which a client certificate must have one.
	ClientNames []string
}

// A Process is what the TLS of a program is for.
type Process struct {
	// BFF, Gateway and Server say which parts run.
	BFF, Gateway, Server bool
	// The addresses to listen on; ListenAdmin may be empty.
	ListenBFF, ListenGateway, ListenGRPC, ListenAdmin string
	// BaseURL is the origin of the bff as browsers see it.
	BaseURL string
	// The addresses that are called.
	Issuer, InternalURL, Frontend    string
	Gateways, Servers                []string
	Routes                           []Route
	SessionStore, Database, Denylist string
	// Variable returns the variable of a field, and Name the setting of a flag with its
	// value and source.
	Variable, Name func(string) string
	// Changed is called with the setting of a file that has changed; may be nil.
	Changed func(string)
	Logger  *slog.Logger
}

// A Route is what the TLS of a route of the bff is for. Its fields in errors are those of
// elements of a list named Routes.
type Route struct {
	Path    string
	Targets []string // none for the gateway
	CAFile  string   // the authorities of the targets
	Bearer  bool     // requests carry a token
}

// noTLS is the CertFile of a listener without TLS beside others with it.
const noTLS = "none"

// A listener is a port of a part as the settings describe it.
type listener struct {
	part, field, address string
	tls                  ListenerConfig
	ownField, pairField  string // of tls, and of its CertFile and KeyFile
	protocols            []string
	bearer               bool // clients send bearer tokens to it
}

var (
	webProtocols  = []string{"h2", "http/1.1"}
	grpcProtocols = []string{"h2"}
)

// listeners returns the listeners of the parts that are to p.
func (cfg *Config) listeners(p Process) []listener {
	var all []listener
	add := func(wanted bool, l listener) {
		if !wanted {
			return
		}
		if l.tls.CertFile == "" && l.tls.KeyFile == "" {
			l.tls.CertFile, l.tls.KeyFile, l.pairField = cfg.CertFile, cfg.KeyFile, "TLS."
		}
		if l.tls.CertFile == noTLS {
			l.tls.CertFile, l.tls.KeyFile = "", ""
		}
		all = append(all, l)
	}
	add(p.BFF, listener{"bff", "ListenBFF", p.ListenBFF, cfg.BFF, "TLS.BFF.", "TLS.BFF.", webProtocols, false})
	add(p.Gateway, listener{"gateway", "ListenGateway", p.ListenGateway, cfg.Gateway, "TLS.Gateway.", "TLS.Gateway.", webProtocols, true})
	add(p.Server, listener{"server", "ListenGRPC", p.ListenGRPC, cfg.GRPC, "TLS.GRPC.", "TLS.GRPC.", grpcProtocols, true})
	add(p.ListenAdmin != "", listener{"admin", "ListenAdmin", p.ListenAdmin, cfg.Admin, "TLS.Admin.", "TLS.Admin.", webProtocols, false})
	return all
}

// A Set is the TLS of a process: its files, and the configurations made of them.
type Set struct {
	Files     *tlsfiles.Files
	Listeners map[string]*tls.Config // by field of the address, such as "ListenBFF"
	Provider  *http.Client           // nil for the default
	// Of calls to other parts; nil for the system's authorities. GRPC is nil for calls
	// without TLS.
	Gateway, GRPC, Frontend *tls.Config
	Routes                  []*tls.Config // as in Process
}

// Load reads the files that a process needs. It returns an error for each that cannot be
// used.
func (cfg *Config) Load(p Process) (*Set, error) {
	s := &Set{Listeners: map[string]*tls.Config{}, Files: tlsfiles.New(tlsfiles.Config{Logger: p.Logger, Changed: p.Changed})}
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
		loaded, err := s.Files.Pair(p.Variable(field+"CertFile"), role, certFile, keyFile)
		fail(field+"CertFile", certFile, err)
		return loaded
	}
	authorities := func(field, file string) *tlsfiles.Authorities {
		if file == "" {
			return nil
		}
		loaded, err := s.Files.Authorities(p.Variable(field), file)
		fail(field, file, err)
		return loaded
	}
	for _, l := range cfg.listeners(p) {
		certificate := pair(l.part, l.pairField, l.tls.CertFile, l.tls.KeyFile)
		clients := authorities(l.ownField+"ClientCAFile", l.tls.ClientCAFile)
		switch {
		case certificate != nil:
			s.Listeners[l.field] = tlsfiles.Server(tlsfiles.ServerConfig{
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
	if p.BFF || p.Server && stores.Shared(p.SessionStore) {
		authorities("TLS.StoreCAFile", cfg.StoreCAFile)
	}
	if p.Server {
		authorities("TLS.DatabaseCAFile", cfg.DatabaseCAFile)
	}
	if p.BFF || p.Server {
		authorities("TLS.DenylistCAFile", cfg.DenylistCAFile)
		if config := call("TLS.OIDCCAFile", cfg.OIDCCAFile, nil, hostsOf(p.Issuer, p.InternalURL)...); config != nil {
			s.Provider = providerClient(config)
		}
	}
	if p.BFF {
		s.Gateway = call("TLS.GatewayCAFile", cfg.GatewayCAFile, client, hostsOf(p.Gateways...)...)
		s.Frontend = call("TLS.FrontendCAFile", cfg.FrontendCAFile, nil, hostsOf(p.Frontend)...)
		for i, r := range p.Routes {
			s.Routes = append(s.Routes, call(fmt.Sprintf("Routes[%d].CAFile", i), r.CAFile, nil, hostsOf(r.Targets...)...))
		}
	}
	if p.Gateway && !p.Server && cfg.callsGRPC() {
		s.GRPC = cmp.Or(call("TLS.GRPCCAFile", cfg.GRPCCAFile, client, hostsOfTargets(p.Servers)...), &tls.Config{MinVersion: tls.VersionTLS12})
	}
	return s, errors.Join(errs...)
}

func (cfg *Config) callsGRPC() bool {
	return cfg.CallGRPC || cfg.GRPCCAFile != "" || cfg.ClientCertFile != ""
}

func (cfg *Config) minVersion() uint16 {
	if cfg.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

func isHTTPS(address string) bool { return strings.HasPrefix(address, "https://") }

// hostsOf returns the hosts of URLs.
func hostsOf(addresses ...string) []string {
	var hosts []string
	for _, address := range addresses {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// hostsOfTargets returns the hosts of gRPC targets, such as dns:///server:9090.
func hostsOfTargets(targets []string) []string {
	var hosts []string
	for _, target := range targets {
		address := target[strings.LastIndexByte(target, '/')+1:]
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

// Validate returns an error for each file that cannot be used, and for authorities that
// would not be.
func (cfg *Config) Validate(p Process) error {
	_, err := cfg.Load(p)
	errs := []error{err}
	for _, s := range []struct {
		wanted               bool
		field, file, address string
		target               string
	}{
		{p.BFF || p.Server && stores.Shared(p.SessionStore), "TLS.StoreCAFile", cfg.StoreCAFile, p.SessionStore, "SessionStore"},
		{p.Server, "TLS.DatabaseCAFile", cfg.DatabaseCAFile, p.Database, "DatabaseURL"},
		{p.BFF || p.Server, "TLS.DenylistCAFile", cfg.DenylistCAFile, p.Denylist, "Denylist"},
	} {
		if !s.wanted || s.file == "" {
			continue
		}
		if problem, remedy := stores.CannotVerify(s.address); problem != "" {
			errs = append(errs, invalid.Field(s.field, s.file, "has no effect: "+s.target+" "+problem, remedy))
		}
	}
	for i, r := range p.Routes {
		if r.CAFile != "" && p.BFF && !slices.ContainsFunc(r.Targets, isHTTPS) {
			errs = append(errs, invalid.Field(fmt.Sprintf("Routes[%d].CAFile", i), r.CAFile,
				"has no effect: no target is an https address", "give an https address, or leave it out"))
		}
	}
	if cfg.FrontendCAFile != "" && p.BFF && !strings.HasPrefix(p.Frontend, "https://") {
		errs = append(errs, invalid.Field("TLS.FrontendCAFile", cfg.FrontendCAFile,
			"has no effect: Frontend is no https address", "give an https address, or leave it out"))
	}
	if cfg.GatewayCAFile != "" && p.BFF && !p.Gateway && !slices.ContainsFunc(p.Gateways, isHTTPS) {
		errs = append(errs, invalid.Field("TLS.GatewayCAFile", cfg.GatewayCAFile,
			"has no effect: Gateways.Targets is no https address", "give an https address, or leave it out"))
	}
	return errors.Join(errs...)
}
