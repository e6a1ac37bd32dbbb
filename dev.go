package gatehouse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/heap"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// The clients of the development provider.
const (
	devClientID = "gatehouse-dev"
	devAudience = "https://api.gatehouse.localhost"
)

// runDev runs all parts with a provider for development: nothing has to be
// configured, and unless a store is, nothing outlives the process. It listens on
// loopback only, as the provider asks for no password.
func (p *program) runDev(ctx context.Context) error {
	if p.hooks == nil {
		defer lifecycle.HoldHangups()()
		defer runtime.KeepAlive(heap.Reserve())
	}
	cfg := &p.cfg
	p.development = true
	p.setDefault("listen-bff", cfg.ListenBFF, "127.0.0.1"+defaultListenBFF)
	p.setDefault("listen-gateway", cfg.ListenGateway, "127.0.0.1"+defaultListenGateway)
	p.setDefault("listen-grpc", cfg.ListenGRPC, "127.0.0.1"+defaultListenGRPC)
	p.setDefault("listen-devidp", cfg.ListenDevIDP, defaultListenDevIDP)
	p.setDefault("session-store", cfg.SessionStore, stores.Memory)
	p.setDefault("database-url", cfg.DatabaseURL, stores.Memory)
	if cfg.DatabaseURL == stores.Memory { // otherwise files must last as long as what is known about them
		p.setDefault("files-url", cfg.FilesURL, stores.Memory)
	}
	p.setDefaults()
	if err := p.stayOnLoopback(); err != nil {
		return err
	}
	which := p.partsOf("dev")
	ports, err := p.listen(which)
	if err != nil {
		return err
	}
	defer ports.CloseListeners() // those that no part has taken over
	people, err := p.devPeople()
	if err != nil {
		return err
	}
	// Another site than the application's, as in production: the browser
	// keeps their cookies apart.
	issuer := "http://" + ports.devidp.Listener.Addr().String()
	base := "http://localhost:" + port(ports.bff)
	p.noteUnused(p.replaceProvider(issuer, base, people))
	p.values.Set("listen-gateway", ports.gateway.Listener.Addr().String())
	p.setDefault("audience", cfg.Server.Authn.Audience, devAudience)
	p.admitMachines(issuer, people)
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
		Users:    people.users,
		Machines: people.machines,
		Policies: people.policies,
		Audience: cfg.Server.Authn.Audience, Audiences: routeAudiences(cfg),
		// With the settings of production, so that they can be tried.
		AccessAlgorithm: signsWith(cfg.Server.Authn.Algorithms), IDAlgorithm: signsWith(cfg.BFF.Login.IDTokenAlgorithms),
		Now: p.now, NewKey: p.newKey(),
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
	parts.followDevUsers(ctx, people, provider)
	p.welcome(ports, people)
	parts.tell(ports, provider)
	return parts.serve(ctx, ports, knownHosts(provider, p.logger))
}

// replaceProvider makes the program use the development provider, with secrets of
// its own, and serve its pages at base. It returns the names of the settings whose
// values are thereby unused.
func (p *program) replaceProvider(issuer, base string, people *devPeople) (unused []string) {
	cfg := &p.cfg
	changed := p.values.Track()
	scope := people.scopes(bff.DefaultScope)
	for name, value := range map[string]string{
		"oidc-issuer": issuer, "oidc-internal-url": "", "oidc-client-id": devClientID, "oidc-scope": scope,
		"base-url": base, "permissions-claim": directory.PermissionsClaim,
	} {
		p.values.Set(name, value)
	}
	cfg.Provider.InsecureInternalHTTP = false
	cfg.BFF.Client = bff.ClientConfig{ID: devClientID, Secret: rand.Text()}
	cfg.BFF.Sessions.Secrets, cfg.BFF.Sessions.SecretsCompromised = []string{rand.Text() + rand.Text()}, false
	cfg.TLS = tlsconfig.Config{DatabaseCAFile: cfg.TLS.DatabaseCAFile, StoreCAFile: cfg.TLS.StoreCAFile, DenylistCAFile: cfg.TLS.DenylistCAFile}
	return changed()
}

// noteUnused writes which settings dev does not use.
func (p *program) noteUnused(names []string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintln(p.out, "Note: dev has a provider, secrets and addresses of its own, and does not use")
	for _, name := range names {
		fmt.Fprintf(p.out, "        %s\n", p.values.Name(name))
	}
	fmt.Fprintf(p.out, "      With these settings: %s serve\n", p.app.name())
}

// welcome writes the addresses of everything that runs.
func (p *program) welcome(ports *ports, people *devPeople) {
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
  the provider asks which user to be, and needs no password.

    pages      %[1]s
    REST       http://localhost:%[2]s/api   with a bearer token
    reference  %[5]s
    gRPC       %[3]s
    provider   %[4]s   with switches for token lifetimes and failures
    sign in    %[1]s/api/auth/login?login_hint=as:KEY   without a page
    users      %[6]s (%[7]s)
`, p.cfg.BFF.BaseURL, port(ports.gateway), server, p.cfg.Provider.Issuer, reference, people.keys(), people.origin)
	if len(people.machines) > 0 {
		m := people.machines[0]
		credentials := m.ID
		if m.Secret == m.ID { // otherwise curl asks for it
			credentials += ":" + m.Secret
		}
		fmt.Fprintf(p.out, "\n  A token:     curl -s -u %s -d grant_type=client_credentials %s/oauth/token\n", credentials, p.cfg.Provider.Issuer)
	}
	fmt.Fprintf(p.out, "\n  Stop with Ctrl-C. With your own provider: %s serve\n\n", p.app.name())
}

// signsWith returns the algorithm of the development provider for a setting with those
// that are accepted, "" for the default.
func signsWith(accepted []string) string {
	if len(accepted) == 0 {
		return ""
	}
	return jwk.Canonical(accepted[0])
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

// routeAudiences returns what the routes of the bff need tokens for besides the API's.
func routeAudiences(cfg *config) []string {
	var list []string
	for _, r := range cfg.BFF.Routes {
		switch {
		case r.Token.Audience != "":
			list = append(list, r.Token.Audience)
		case r.Token.Kind == bff.TokenClient:
			list = append(list, cfg.Server.Authn.Audience)
		}
	}
	return list
}
