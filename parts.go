package gatehouse

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/gateway/reference"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/frontends"
	"github.com/gatehouse-dev/gatehouse/internal/hook"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/services"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/sessionadmin"
)

// readyTimeout bounds the questions of /readyz to stores and services.
const readyTimeout = 2 * time.Second

// parts are those that run in this process; the others are nil.
type parts struct {
	*program
	provider *oidc.Provider
	issuers  []authn.IssuerConfig // of the server
	denylist denylist.Denylist
	leaving  atomic.Bool // the process is about to end
	server   *server.Server
	gateway  *gateway.Gateway
	bff      *bff.BFF
	services services.All    // of the server
	store    stores.Sessions // of the bff, and of a server that shares it

	security  *tlsconfig.Set    // certificates and authorities
	client    bff.ClientConfig  // with the credential in use
	readiness *admin.Readiness  // what this process depends on
	upkeep    []*lifecycle.Part // work without a port
	closers   []func() error
	reloads   []func(context.Context) error // read files again
	awaited   []func() error                // say what the server has not had since the start
}

// assemble makes the parts, each with the next one behind it: in process if that
// runs here, over the network if not.
func (p *program) assemble(ctx context.Context, run partSet) (*parts, error) {
	all := &parts{program: p, readiness: admin.NewReadiness(readyTimeout)}
	all.readiness.Add("process", func(context.Context) error { return all.staying() })
	all.readiness.Add("log", func(context.Context) error {
		err, waiting := p.log.Err()
		if err != nil && !waiting {
			err = &admin.Warning{Err: err}
		}
		return err
	})
	var err error
	if all.security, err = p.cfg.TLS.Load(p.process(run)); err != nil {
		return nil, p.values.Explain(err)
	}
	if err := all.startAudit(); err != nil {
		return nil, all.close(p.values.Explain(err))
	}
	all.upkeep = append(all.upkeep, &lifecycle.Part{Name: "tls", Run: all.security.Files.Run})
	all.reloads = append(all.reloads, func(ctx context.Context) error { all.security.Files.Check(ctx); return nil })
	if err := all.add(ctx, run); err != nil {
		return nil, all.close(err)
	}
	return all, nil
}

// add adds the parts in the order in which they need each other: stores, server,
// gateway, bff.
func (p *parts) add(ctx context.Context, run partSet) (err error) {
	if run.BFF || run.Server {
		// One for both: one set of metadata and keys.
		cfg := p.cfg.Provider
		cfg.HTTPClient, cfg.Logger = p.security.Provider, p.logger.With("part", "provider")
		if p.provider, err = oidc.NewProvider(cfg); err != nil {
			return err
		}
		// The keys are used for a day after the provider was reached.
		p.readiness.AddShared("provider", func(context.Context) error { return p.providerReady(run) })
		if err = p.addDenylist(ctx); err != nil {
			return err
		}
	}
	if run.BFF || run.Server && p.sharesSessions() {
		if err = p.addStore(ctx, run); err != nil {
			return err
		}
		ready := func(ctx context.Context) error { return stores.Ready(ctx, p.store) }
		if run.BFF {
			p.readiness.AddShared("session store", ready)
		} else { // for the operator's lists of sessions only
			p.readiness.Add("session store", func(ctx context.Context) error {
				if err := ready(ctx); err != nil {
					return &admin.Warning{Err: err}
				}
				return nil
			})
		}
		p.closers = append(p.closers, p.store.Close)
	}
	if run.Server {
		if err = p.addIssuers(); err != nil {
			return err
		}
		if p.services, err = openServices(ctx, p.app.Services, p.environment()); err != nil {
			return err
		}
		p.upkeep = append(p.upkeep, p.services.Upkeep()...)
		p.awaited = append(p.awaited, p.services.Opened)
		p.readiness.AddShared("services", p.services.Ready)
		p.closers = append(p.closers, p.services.Close)
		if err = p.addServer(); err != nil {
			return err
		}
	}
	if run.Gateway {
		if err = p.addGateway(run); err != nil {
			return err
		}
	}
	if run.BFF {
		return p.addBFF()
	}
	return nil
}

// providerReady returns why tokens of the provider cannot be verified at the moment, nil
// if they can.
func (p *parts) providerReady(run partSet) error {
	var err error
	if run.Server {
		err = token.KeysFit(p.provider, p.cfg.Server.Authn.Algorithms, p.settingName("Server.Authn.Algorithms"))
	}
	if err == nil && run.BFF {
		err = token.KeysFit(p.provider, p.cfg.BFF.Login.IDTokenAlgorithms, p.settingName("Login.IDTokenAlgorithms"))
	}
	return cmp.Or(err, p.provider.Ready())
}

// addDenylist opens the denylist, whose form is valid. A list in memory needs no
// upkeep.
func (p *parts) addDenylist(ctx context.Context) (err error) {
	switch p.cfg.Denylist {
	case "":
		return nil
	case stores.Memory:
		p.denylist, err = denylist.New(denylist.Config{Now: p.now})
		return err
	}
	cfg := p.denylistConfig()
	cfg.Monitor = outage.New(outage.Config{Name: "denylist", Logger: cfg.Logger})
	list, opened, err := stores.OpenDenylist(ctx, cfg)
	if err != nil {
		return err
	}
	p.denylist = list
	p.awaited = append(p.awaited, opened)
	p.readiness.AddShared("denylist", func(context.Context) error { return list.Ready() })
	p.upkeep = append(p.upkeep, &lifecycle.Part{Name: "denylist", Run: list.Run})
	p.closers = append(p.closers, func() error { list.Close(); return nil })
	return nil
}

// addServer adds the server with the services of the application and the
// operator's.
func (p *parts) addServer() (err error) {
	cfg := p.cfg.Server
	cfg.Authn.Provider, cfg.Authn.Issuers = p.provider, p.issuers
	cfg.Authn.Denylist = p.denylist
	if own := cfg.Authn.Introspection; own != nil {
		own.HTTPClient = p.security.Provider
	}
	cfg.Authn.SettingName = func(field string) string {
		if strings.HasPrefix(field, "Issuers[") {
			return strings.ToLower(field)
		}
		return cmp.Or(p.values.Variable("Server.Authn."+field), p.settingName(field))
	}
	cfg.Register = func(r grpc.ServiceRegistrar) {
		p.services.Register(r)
		p.registerAdmin(r)
	}
	cfg.Policies = p.app.Policies
	cfg.UnaryInterceptors, cfg.StreamInterceptors = p.app.UnaryInterceptors, p.app.StreamInterceptors
	cfg.Ready = p.opened
	cfg.Reflection = p.development
	cfg.Logger = p.logger.With("part", "server")
	if p.server, err = server.New(cfg); err == nil {
		p.addIntrospection()
	}
	return err
}

// opened returns why the server lacks something that it has not had since the start.
func (p *parts) opened() error {
	for _, opened := range p.awaited {
		if err := opened(); err != nil {
			return err
		}
	}
	return nil
}

// registerAdmin registers the operator's service, which is of Gatehouse itself
// and so stands in no list.
func (p *parts) registerAdmin(r grpc.ServiceRegistrar) {
	sessionadminv1.RegisterSessionAdminServiceServer(r, sessionadmin.New(sessionadmin.Config{
		Issuer: p.cfg.Provider.Issuer, Store: p.store, Denylist: p.denylist, Logger: p.logger.With("part", "server"),
		Now: p.now, Audit: p.cfg.Server.Audit, Ended: p.sessionEnded(), MeterProvider: p.cfg.Server.MeterProvider,
	}))
}

// sessionEnded returns the application's hook for the sessions that an operator ends, nil
// without one.
func (p *parts) sessionEnded() func(context.Context, audit.Event) {
	hooks := p.app.Hooks
	if hooks.SessionEnded == nil {
		return nil
	}
	return hook.NewEnded(hook.EndedConfig{
		Call: hooks.SessionEnded, Timeout: cmp.Or(hooks.Timeout, bff.DefaultHookTimeout), Logger: p.logger.With("part", "server"),
	}).Observe
}

// exposedAdmin is the operator's service for the gateway.
var exposedAdmin = gateway.Expose(sessionadminv1.NewSessionAdminServiceClient,
	sessionadminv1.RegisterSessionAdminServiceHandlerClient, "gatehouse.sessionadmin.v1.SessionAdminService")

// addGateway adds the gateway in front of the server, in this process or at
// grpc-target.
func (p *parts) addGateway(run partSet) (err error) {
	cfg := p.cfg.Gateway
	if p.server != nil {
		cfg.Conn, cfg.Ready = p.server.Conn(), p.server.Ready
	} else {
		servers := p.cfg.Servers
		servers.TLS, servers.Logger = p.security.GRPC, p.logger.With("part", "gateway")
		remote, err := gateway.Dial(servers)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, remote.Close)
		p.readiness.Add("server", remote.Ready)
		cfg.Conn, cfg.Ready = remote, func() error { return remote.Ready(context.Background()) }
	}
	ready := cfg.Ready
	cfg.Ready = func() error {
		return errors.Join(p.staying(), ready())
	}
	cfg.RequestHeaders, cfg.MuxOptions = p.app.RequestHeaders, p.app.MuxOptions
	cfg.Services = append(exposedServices(p.app.Services), exposedAdmin)
	// A bff in another process calls it by a name of their network.
	cfg.Access.AnyHost = !run.BFF && !loopback.Listens(p.cfg.ListenGateway) && len(cfg.Access.AllowedHosts) == 0
	cfg.Document.Title, cfg.Document.Version, cfg.Document.Comments = p.app.Title, p.app.Version, p.app.Comments
	cfg.Logger = p.logger.With("part", "gateway")
	if own := p.pages; own != nil {
		cfg.Document.Brand = reference.Brand{Name: own.Name, Accent: own.Light["accent"], DarkAccent: own.Dark["accent"]}
		if own.Logo != nil {
			cfg.Document.Brand.Logo, cfg.Document.Brand.LogoType = own.Logo.Data, own.Logo.Type
		}
	}
	p.gateway, err = gateway.New(cfg)
	return err
}

// addBFF adds the bff in front of the gateway, in this process or at gateway-url.
func (p *parts) addBFF() (err error) {
	cfg := p.cfg.BFF
	cfg.Logger = p.logger.With("part", "bff")
	cfg.Routes = p.cfg.bffRoutes()
	for i := range cfg.Routes {
		if len(cfg.Routes[i].Upstream.Targets) > 0 {
			cfg.Routes[i].Upstream.TLS = p.security.Routes[i]
		}
	}
	cfg.API = p.gateway
	if p.gateway == nil {
		gateways := p.cfg.Gateways
		gateways.TLS, gateways.Logger = p.security.Gateway, cfg.Logger
		upstream, err := bff.NewUpstream(gateways)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, upstream.Close)
		p.readiness.AddShared("gateway", upstream.Ready)
		cfg.API = upstream
	}
	cfg.Frontend, err = frontends.Open(p.cfg.Frontend, p.cfg.FrontendCSP, p.security.Frontend, cfg.Logger)
	if err != nil {
		return err
	}
	if p.denylist != nil {
		cfg.Revoke = bff.DenyIn(p.denylist)
	}
	cfg.Hooks, cfg.RequestHeaders = p.app.Hooks, p.app.RequestHeaders
	cfg.Provider, cfg.HTTPClient = p.provider, p.security.Provider
	cfg.Sessions.Store = p.store
	cfg.Pages = bff.PagesConfig{
		Sections: p.app.Pages, ErrorPages: p.app.ErrorPages, ErrorPath: cfg.Pages.ErrorPath, Call: p.app.Call, CallConfirmed: p.app.CallConfirmed,
		Catalog: p.pages, Development: p.development,
	}
	if left := p.pages.Untranslated(); len(left) > 0 {
		cfg.Logger.Warn("the catalog lacks texts, which are shown in English", "problem", "no text for "+strings.Join(left, ", "))
	}
	cfg.Ready = p.staying
	if upstream, ok := cfg.API.(*bff.Upstream); ok {
		cfg.Ready = p.reached(upstream)
	}
	cfg.TokenAddress = p.tokenAddress()
	cfg.SettingName = p.settingName
	if p.bff, err = bff.New(cfg); err != nil {
		return err
	}
	p.readiness.Add("client at the provider", func(context.Context) error {
		if err := p.bff.ClientRefused(); err != nil {
			return &admin.Warning{Err: err}
		}
		return nil
	})
	return nil
}

// settingName returns the variable that sets a field of bff.Config, or of the
// provider that it has.
func (p *program) settingName(field string) string {
	if index, ok := strings.CutPrefix(field, "Routes["); ok {
		return "routes[" + index
	}
	return cmp.Or(p.values.Variable("BFF."+field), p.values.Variable("Server.Authn."+field), p.values.Variable(field), field)
}

// tokenAddress returns where clients with bearer tokens reach the gateway, as far
// as that is known: on a developer's machine.
func (p *parts) tokenAddress() string {
	base, err := url.Parse(p.cfg.BFF.BaseURL)
	if err != nil || p.gateway == nil || !loopback.Host(base.Hostname()) {
		return ""
	}
	_, port, err := net.SplitHostPort(p.cfg.ListenGateway)
	if err != nil || port == "0" {
		return ""
	}
	scheme := "http"
	if p.security.Listeners["ListenGateway"] != nil {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(base.Hostname(), port)
}

// staying returns errLeaving once the process is about to end.
func (p *parts) staying() error {
	if p.leaving.Load() {
		return errLeaving
	}
	return nil
}

// reached returns the readiness of a bff: it gets no requests before it has seen a
// gateway that is ready. Later, when there is none, pages are still served.
func (p *parts) reached(gateways *bff.Upstream) func() error {
	var seen atomic.Bool
	return func() error {
		if !seen.Load() {
			if err := gateways.Ready(context.Background()); err != nil {
				return err
			}
			seen.Store(true)
		}
		return p.staying()
	}
}

// errLeaving is the readiness of a process that is stopping.
var errLeaving = errors.New("the process is about to end")

// close closes parts that do not serve, and returns cause.
func (p *parts) close(cause error) error {
	for _, closer := range p.closers {
		_ = closer() // cause is the error to report
	}
	return cause
}

// httpServer returns a server for the ports that belong to no part. It limits the
// size and time of headers, and the time of idle connections.
func httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		MaxHeaderBytes:    64 << 10, // a few login attempts' cookies, and a long address
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
}
