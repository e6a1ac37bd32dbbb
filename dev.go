package gatehouse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// The clients of the development provider.
const (
	devClientID = "gatehouse-dev"
	devAudience = "https://api.gatehouse.localhost"
	// devMachine is a client that gets access tokens without a user, for curl. Its
	// secret is public, because this provider asks for no password either.
	devMachine       = "demo-machine"
	devMachineSecret = "demo-machine"
)

// demoUsers are the users of the development provider.
var demoUsers = []devidp.User{
	{
		Key: "seller", Name: "Sofia Marchetti", Email: "sofia@example.com",
		Role: "Seller", About: "Sells projects, and changes only her own.",
		Permissions: []string{"products:write"},
	},
	{
		Key: "buyer", Name: "Ben Okafor", Email: "ben@example.com",
		Role: "Buyer", About: "Looks around, and may change nothing.",
	},
	{
		Key: "admin", Name: "Ada Lindholm", Email: "ada@example.com",
		Role: "Administrator", About: "Like a buyer, and may see and end the sessions of all users.",
		Permissions: []string{"sessions:admin"},
	},
}

// runDev runs all parts with a provider for development: nothing has to be
// configured, and unless a store is, nothing outlives the process. It listens on
// loopback only, as the provider asks for no password.
func (p *program) runDev(ctx context.Context) error {
	if p.hooks == nil {
		defer lifecycle.HoldHangups()()
	}
	cfg := &p.cfg
	p.development = true
	p.setDefault("listen-bff", cfg.ListenBFF, "127.0.0.1"+defaultListenBFF)
	p.setDefault("listen-gateway", cfg.ListenGateway, "127.0.0.1"+defaultListenGateway)
	p.setDefault("listen-grpc", cfg.ListenGRPC, "127.0.0.1"+defaultListenGRPC)
	p.setDefault("listen-devidp", cfg.ListenDevIDP, defaultListenDevIDP)
	p.setDefault("session-store", cfg.SessionStore, stores.Memory)
	p.setDefault("database-url", cfg.DatabaseURL, stores.Memory)
	p.setDefaults()
	if err := p.stayOnLoopback(); err != nil {
		return err
	}
	// Its pages are at http://localhost, and its provider is its own.
	cfg.TLS = tlsconfig.Config{DatabaseCAFile: cfg.TLS.DatabaseCAFile, StoreCAFile: cfg.TLS.StoreCAFile, DenylistCAFile: cfg.TLS.DenylistCAFile}
	which := p.partsOf("dev")
	ports, err := p.listen(which)
	if err != nil {
		return err
	}
	defer ports.CloseListeners() // those that no part has taken over
	if cfg.Provider.Issuer != "" {
		fmt.Fprintf(p.out, "Note: dev has a provider of its own, %s is not used. With your provider: %s serve\n",
			p.values.Name("oidc-issuer"), p.app.name())
	}
	// Another site than the application's, as in production: the browser
	// keeps their cookies apart.
	issuer := "http://" + ports.devidp.Listener.Addr().String()
	base := "http://localhost:" + port(ports.bff)
	for name, value := range map[string]string{
		"oidc-issuer": issuer, "oidc-internal-url": "",
		"oidc-client-id": devClientID, "oidc-client-secret": rand.Text(), "oidc-client-key": "", "oidc-client-auth": "",
		"oidc-scope": "", "base-url": base, "listen-gateway": ports.gateway.Listener.Addr().String(),
	} {
		p.values.Set(name, value)
	}
	cfg.BFF.Sessions.Secrets = []string{rand.Text() + rand.Text()}
	p.setDefault("audience", cfg.Server.Authn.Audience, devAudience)
	if err := p.validate(which); err != nil {
		return err
	}
	provider, err := devidp.New(devidp.Config{
		Issuer: issuer,
		Clients: []devidp.Client{{
			ID:                     devClientID,
			Secret:                 cfg.BFF.Client.Secret,
			RedirectURIs:           []string{base + "/api/auth/callback"},
			PostLogoutRedirectURIs: []string{base},
			BackchannelLogoutURI:   base + "/api/auth/backchannel-logout",
		}},
		Machines: []devidp.Machine{{ID: devMachine, Secret: devMachineSecret, Permissions: p.app.DevPermissions}},
		Users:    demoUsers,
		Audience: cfg.Server.Authn.Audience,
		Now:      p.now, NewKey: p.newKey(),
		Logger: p.logger.With("part", "provider"),
	})
	if err != nil {
		return err
	}
	telemetry, err := p.startTelemetry(ctx, which)
	if err != nil {
		return err
	}
	defer telemetry.Close()
	parts, err := p.assemble(ctx, which)
	if err != nil {
		return err
	}
	if which.Server && cfg.DatabaseURL != stores.Memory {
		fmt.Fprintf(p.out, "Note: data is kept in %s, and every program on this machine can change it\n",
			p.values.Name("database-url"))
	}
	// The provider's last back-channel calls end before the process does.
	parts.closers = append(parts.closers, func() error {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
		defer cancel()
		return provider.Shutdown(bounded)
	})
	p.welcome(ports)
	parts.tell(ports, provider)
	return parts.serve(ctx, ports, knownHosts(provider, p.logger))
}

// welcome writes the addresses of everything that runs.
func (p *program) welcome(ports *ports) {
	reference := p.cfg.BFF.BaseURL + "/api/docs"
	if p.cfg.Gateway.Document.Off {
		reference = "off"
	}
	server := settings.RedactedList(strings.Join(p.cfg.Servers.Targets, ","))
	if ports.grpc != nil {
		server = "localhost:" + port(ports.grpc) + "              with a bearer token; reflection is on"
	}
	fmt.Fprintf(p.out, `
  Gatehouse runs. Open %[1]s in a browser and press Sign in:
  the provider asks which demo user to be, and needs no password.

    pages      %[1]s
    REST       http://localhost:%[2]s/api   with a bearer token
    reference  %[7]s
    gRPC       %[3]s
    provider   %[4]s

  A token:     curl -s -u %[5]s:%[6]s -d grant_type=client_credentials %[4]s/oauth/token

  Stop with Ctrl-C. With your own provider: %[8]s serve

`, p.cfg.BFF.BaseURL, port(ports.gateway), server, p.cfg.Provider.Issuer,
		devMachine, devMachineSecret, reference, p.app.name())
}

// knownHosts refuses requests for names of other machines. The development
// provider asks for no password, so a page of another site must not reach it
// through a name of its own (DNS rebinding).
func knownHosts(next http.Handler, logger *slog.Logger) http.Handler {
	hosts, _ := hostcheck.New("localhost", nil) // the name is valid
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts.Allow(r.Host) {
			logger.WarnContext(r.Context(), "request for an unknown host refused", "part", "provider", "host", r.Host)
			http.Error(w, "the development provider answers to names of this machine only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// port returns the port of an open part.
func port(p *lifecycle.Part) string {
	_, port, _ := net.SplitHostPort(p.Listener.Addr().String()) // every listener is TCP
	return port
}

// stayOnLoopback gives addresses without a host one on loopback, and returns an
// error about every other host.
func (p *program) stayOnLoopback() error {
	cfg := &p.cfg
	var errs []error
	for field, address := range map[string]*string{
		"ListenBFF": &cfg.ListenBFF, "ListenGateway": &cfg.ListenGateway, "ListenGRPC": &cfg.ListenGRPC,
		"ListenDevIDP": &cfg.ListenDevIDP, "ListenAdmin": &cfg.ListenAdmin,
	} {
		host, port, err := net.SplitHostPort(*address)
		switch {
		case *address == "" || err != nil: // listen returns the error
		case host == "":
			*address = net.JoinHostPort("127.0.0.1", port)
		case !loopback.Host(host):
			errs = append(errs, invalid.Field(field, *address,
				"is not on loopback, and dev asks for no password", "give 127.0.0.1:"+port))
		}
	}
	return p.values.Explain(errors.Join(errs...))
}
