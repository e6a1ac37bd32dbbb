package gatehouse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// The development provider's idea of this application.
const (
	devClientID = "gatehouse-dev"
	devAudience = "https://api.gatehouse.localhost"
	// devMachine is a program that gets tokens of its own, for a newcomer's
	// curl. Its secret is no secret: at this provider each caller chooses who to be.
	devMachine       = "demo-machine"
	devMachineSecret = "demo-machine"
)

// runDev runs everything together with a provider for development: nothing
// has to be configured, and unless a store is, nothing outlives the process.
// It listens on loopback only, as each caller chooses who to be.
func runDev(ctx context.Context, cfg config) error {
	for address, fallback := range map[*string]string{
		&cfg.ListenBFF: defaultListenBFF, &cfg.ListenGateway: defaultListenGateway, &cfg.ListenGRPC: defaultListenGRPC,
	} {
		if *address == "" {
			*address = "127.0.0.1" + fallback
		}
	}
	if cfg.ListenDevIDP == "" {
		cfg.ListenDevIDP = defaultListenDevIDP
	}
	if err := cfg.onLoopback(); err != nil {
		return err
	}
	if cfg.SessionStore == "" {
		cfg.SessionStore = "memory:"
	}
	if cfg.DatabaseURL == "" {
		cfg.DatabaseURL = "memory:"
	}
	cfg.withDefaults()
	l, err := listen(cfg, allParts, true)
	if err != nil {
		return err
	}
	if cfg.Issuer != "" {
		fmt.Fprintf(cfg.Output, "Note: dev brings a provider of its own, GATEHOUSE_OIDC_ISSUER=%s is not used. With your provider: gatehouse serve\n", cfg.Issuer)
	}
	// Another site than the application's, as in production: the browser
	// keeps their cookies apart.
	cfg.Issuer = "http://" + l.devidp.Addr().String()
	cfg.BaseURL = "http://localhost:" + port(l.bff)
	cfg.ListenGateway = l.gateway.Addr().String()
	cfg.Scope, cfg.ClientAuth, cfg.ClientKey, cfg.InternalURL = "", "", "", ""
	cfg.ClientID, cfg.ClientSecret = devClientID, rand.Text()
	cfg.Secrets = []string{rand.Text() + rand.Text()}
	if cfg.Audience == "" {
		cfg.Audience = devAudience
	}
	if err := cfg.Validate(allParts); err != nil {
		l.close()
		return err
	}
	provider, err := devidp.New(devidp.Config{
		Issuer: cfg.Issuer,
		Clients: []devidp.Client{{
			ID:                     cfg.ClientID,
			Secret:                 cfg.ClientSecret,
			RedirectURIs:           []string{cfg.BaseURL + "/api/auth/callback"},
			PostLogoutRedirectURIs: []string{cfg.BaseURL},
			BackchannelLogoutURI:   cfg.BaseURL + "/api/auth/backchannel-logout",
		}},
		Machines: []devidp.Machine{{ID: devMachine, Secret: devMachineSecret, Permissions: cfg.app.DevPermissions}},
		Audience: cfg.Audience,
		Logger:   cfg.Logger.With("part", "provider"),
	})
	if err != nil {
		l.close()
		return err
	}
	p, err := assemble(ctx, cfg, allParts, true)
	if err != nil {
		l.close()
		return err
	}
	if cfg.DatabaseURL != "memory:" {
		fmt.Fprintf(cfg.Output, "Note: data is kept in GATEHOUSE_DATABASE_URL=%s, and every program on this machine can change it\n", place(cfg.DatabaseURL))
	}
	// The provider's last back-channel calls end before the process does.
	p.closers = append(p.closers, func() error {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
		defer cancel()
		return provider.Shutdown(bounded)
	})
	reference := cfg.BaseURL + "/api/docs"
	if cfg.APIDocs == apiDocsOff {
		reference = "off"
	}
	fmt.Fprintf(cfg.Output, `
  Gatehouse runs. Open %[1]s in a browser and press Login:
  the provider asks which demo user to be, and needs no password.

    pages      %[1]s
    REST       http://localhost:%[2]s/api   with a bearer token
    reference  %[7]s
    gRPC       localhost:%[3]s              with a bearer token; reflection is on
    provider   %[4]s

  A token:     curl -s -u %[5]s:%[6]s -d grant_type=client_credentials %[4]s/oauth/token

  Stop with Ctrl-C. With your own provider: gatehouse serve

`, cfg.BaseURL, port(l.gateway), port(l.grpc), cfg.Issuer, devMachine, devMachineSecret, reference)
	return p.run(ctx, cfg, l, knownHosts(provider, cfg.Logger))
}

// knownHosts answers requests for names of this machine only. The development
// provider asks for no password: a page of another site must not reach it by a name
// of its own (DNS rebinding).
func knownHosts(next http.Handler, logger *slog.Logger) http.Handler {
	hosts, _ := hostcheck.New("localhost", nil) // no name that could be wrong
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts.Allow(r.Host) {
			logger.WarnContext(r.Context(), "request for an unknown host refused", "part", "provider", "host", r.Host)
			http.Error(w, "the development provider answers to names of this machine only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func port(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String()) // every listener is TCP
	return port
}

// onLoopback keeps the listeners of dev on loopback: an address without a
// host gets one, any other host is refused.
func (cfg *config) onLoopback() error {
	var errs []error
	for setting, address := range map[string]*string{
		"GATEHOUSE_LISTEN_BFF": &cfg.ListenBFF, "GATEHOUSE_LISTEN_GATEWAY": &cfg.ListenGateway, "GATEHOUSE_LISTEN_GRPC": &cfg.ListenGRPC,
		"GATEHOUSE_LISTEN_DEVIDP": &cfg.ListenDevIDP, "GATEHOUSE_LISTEN_ADMIN": &cfg.ListenAdmin,
	} {
		host, port, err := net.SplitHostPort(*address)
		switch {
		case *address == "" || err != nil: // listening says what is wrong
		case host == "":
			*address = net.JoinHostPort("127.0.0.1", port)
		case !loopback.Host(host):
			errs = append(errs, settingError(setting, *address, "dev asks for no password, and so listens on loopback only", "give 127.0.0.1:"+port))
		}
	}
	return errors.Join(errs...)
}
