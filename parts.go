package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/spa"
	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// readyTimeout bounds what /readyz asks of others.
const readyTimeout = 2 * time.Second

// streamWindow and connWindow bound what is read ahead of a remote server's
// answers. grpc-go's default grows to 16 MiB a stream, and has the connection
// measured with pings, which costs two system calls a call at either end.
const (
	streamWindow = 256 << 10
	connWindow   = 4 << 20
)

// parts are those that run in this process; the others are nil.
type parts struct {
	provider *oidc.Provider
	denylist denier
	upstream func() error // says why the remote server behind a gateway cannot be reached
	leaving  atomic.Bool  // the process is about to end
	server   *server.Server
	gateway  *gateway.Gateway
	bff      *bff.BFF
	services implementations // of the server
	store    sessionStore    // of the bff, and of a server that may look after sessions
	closers  []func() error
}

// assemble makes the parts, each with the next one behind it: in process
// where that runs here, over the network where not.
func assemble(ctx context.Context, cfg config, which partSet, development bool) (*parts, error) {
	p := &parts{}
	var err error
	if which.BFF || which.Server {
		// One for all in this process: one key set, one discovery.
		p.provider, err = oidc.NewProvider(oidc.Config{
			Issuer: cfg.Issuer, InternalURL: cfg.InternalURL, InsecureInternalHTTP: cfg.InsecureInternalHTTP,
			Logger: cfg.Logger.With("part", "provider"),
		})
		if err != nil {
			return nil, err
		}
	}
	if which.BFF || which.Server {
		if p.denylist, err = openDenylist(ctx, cfg); err != nil {
			return nil, err
		}
		if p.denylist != nil {
			p.closers = append(p.closers, func() error { p.denylist.Close(); return nil })
		}
	}
	if which.BFF || which.Server && cfg.sharesSessions() {
		if p.store, err = openStore(ctx, cfg); err != nil {
			return nil, p.close(err)
		}
		p.closers = append(p.closers, p.store.Close)
	}
	if which.Server {
		if p.services, err = openServices(ctx, cfg.app.Services, newEnvironment(cfg, development)); err != nil {
			return nil, p.close(err)
		}
		p.closers = append(p.closers, p.services.close)
		if err = p.addServer(cfg, development); err != nil {
			return nil, p.close(err)
		}
	}
	if which.Gateway {
		if err = p.addGateway(cfg, which); err != nil {
			return nil, p.close(err)
		}
	}
	if which.BFF {
		if err = p.addBFF(cfg, development); err != nil {
			return nil, p.close(err)
		}
	}
	return p, nil
}

func (p *parts) addServer(cfg config, development bool) error {
	auth := authn.Config{
		Audience: cfg.Audience,
		Profile: authn.ProfileConfig{
			RequireATJWT: cfg.RequireATJWT, IDTokenClients: cfg.IDTokenClients,
			InsecureIDTokenShape: cfg.InsecureIDTokenShape, ClientID: cfg.ClientID,
		},
		PermissionsClaim: cfg.PermissionsClaim,
		Provider:         p.provider,
	}
	if p.denylist != nil {
		auth.Revoked, auth.RevokedChanged = p.denylist.Revoked, p.denylist.Changed
	}
	var err error
	p.server, err = server.New(server.Config{
		Authn: auth,
		Register: func(r grpc.ServiceRegistrar) {
			p.services.register(r)
			p.registerAdmin(cfg, r)
		},
		Policies:   cfg.app.Policies,
		Reflection: development,
		Limits:     server.LimitsConfig{MaxRequestBytes: cfg.MaxRequestBytes + server.RequestRoom, MaxResponseBytes: cfg.MaxResponseBytes},
		Logger:     cfg.Logger.With("part", "server"),
	})
	return err
}

func (p *parts) addGateway(cfg config, which partSet) error {
	var conn grpc.ClientConnInterface
	ready := func() error { return nil }
	if p.server != nil {
		conn, ready = p.server.Conn(), p.server.Ready
	} else {
		remote, err := grpc.NewClient(cfg.GRPCTarget, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow))
		if err != nil {
			return settingError("GATEHOUSE_GRPC_TARGET", cfg.GRPCTarget, err.Error(), "give the server's address, such as dns:///server:9090")
		}
		p.closers = append(p.closers, remote.Close)
		p.upstream = func() error { return connected(remote) }
		conn, ready = remote, func() error {
			if err := p.upstream(); err != nil {
				return &unreachable{err}
			}
			return nil
		}
	}
	var err error
	p.gateway, err = gateway.New(gateway.Config{
		Conn:     conn,
		Services: append(exposedServices(cfg.app.Services), exposedAdmin),
		Access: gateway.AccessConfig{
			BaseURL:      cfg.BaseURL,
			AllowedHosts: cfg.AllowedHosts,
			// A bff in another process calls it by a name of their network.
			AnyHost: !which.BFF && !onLoopback(cfg.ListenGateway) && len(cfg.AllowedHosts) == 0,
		},
		Resource: gateway.ResourceConfig{Audience: cfg.Audience, Issuer: cfg.Issuer},
		Document: gateway.DocumentConfig{Off: cfg.APIDocs == apiDocsOff, Title: cfg.app.Title, Version: cfg.app.Version, Comments: cfg.app.Comments},
		Ready: func() error {
			if p.leaving.Load() {
				return errLeaving
			}
			return ready()
		},
		Limits: gateway.LimitsConfig{
			MaxBodyBytes:     int64(cfg.MaxRequestBytes),
			MaxResponseBytes: cfg.MaxResponseBytes,
			Heartbeat:        cfg.StreamHeartbeat,
		},
		Logger: cfg.Logger.With("part", "gateway"),
	})
	return err
}

func (p *parts) addBFF(cfg config, development bool) error {
	logger := cfg.Logger.With("part", "bff")
	var api http.Handler = p.gateway
	if p.gateway == nil {
		target, err := url.Parse(cfg.GatewayURL)
		if err != nil {
			return err
		}
		api = bff.NewProxy(target, logger)
	}
	var frontend http.Handler
	var err error
	if dir, ok := strings.CutPrefix(cfg.Frontend, "dir:"); ok {
		frontend, err = spa.New(spa.Config{Dir: dir, ContentSecurityPolicy: cfg.FrontendCSP, Logger: logger})
		if err != nil {
			return err
		}
	} else if cfg.Frontend != defaultFrontend {
		target, err := url.Parse(cfg.Frontend)
		if err != nil {
			return err
		}
		frontend = bff.NewProxy(target, logger)
	}
	var revokes func(context.Context, bff.Revocation) error
	if p.denylist != nil {
		revokes = bff.DenyIn(p.denylist)
	}
	p.bff, err = bff.New(bff.Config{
		BaseURL:  cfg.BaseURL,
		Provider: p.provider,
		Client: bff.ClientConfig{
			ID: cfg.ClientID, Secret: cfg.ClientSecret, Key: cfg.ClientKey, Auth: bff.AuthMethod(cfg.ClientAuth),
			AssertionAudience: bff.AssertionAudience(cfg.AssertionAudience),
		},
		Login: bff.LoginConfig{
			Scope: cfg.Scope, Audience: cfg.Audience, OmitAudience: cfg.OmitAudience, OmitResource: cfg.OmitResource,
			OfflineConsent: bff.OfflineConsent(cfg.OfflineConsent), ResponseMode: bff.ResponseMode(cfg.ResponseMode),
			OmitPAR: cfg.OmitPAR, Rate: cfg.LoginRate,
		},
		Sessions: bff.SessionConfig{
			Store: p.store, Secrets: cfg.Secrets, SecretsCompromised: cfg.SecretsCompromised, Nodes: cfg.Replicas,
			IdleTimeout: cfg.IdleTimeout, AbsoluteTimeout: cfg.AbsoluteTimeout, CookieName: cfg.CookieName,
			RefreshTimeout: cfg.RefreshTimeout,
		},
		Pages:        bff.PagesConfig{Sections: cfg.app.Pages, Call: cfg.app.Call, CallConfirmed: cfg.app.CallConfirmed, Development: development},
		Access:       bff.AccessConfig{Protect: cfg.Protect, Public: cfg.Public, AllowedHosts: cfg.AllowedHosts, TrustedProxies: cfg.TrustedProxies},
		Revoke:       revokes,
		API:          api,
		TokenAddress: p.tokenAddress(cfg),
		Frontend:     frontend,
		SettingName:  settingName,
		Logger:       logger,
	})
	return err
}

// settingName returns the setting behind a field of bff.Config that its log
// lines name.
func settingName(field string) string {
	return map[string]string{
		"Access.TrustedProxies":    "GATEHOUSE_TRUSTED_PROXIES",
		"BaseURL":                  "GATEHOUSE_BASE_URL",
		"Client.AssertionAudience": "GATEHOUSE_OIDC_ASSERTION_AUDIENCE",
		"Client.Auth":              "GATEHOUSE_OIDC_CLIENT_AUTH",
		"Client.ID":                "GATEHOUSE_OIDC_CLIENT_ID",
		"Client.Key":               "GATEHOUSE_OIDC_CLIENT_KEY",
		"Client.Secret":            "GATEHOUSE_OIDC_CLIENT_SECRET",
		"Login.Audience":           "GATEHOUSE_AUDIENCE",
		"Login.OmitPAR":            "GATEHOUSE_OIDC_OMIT_PAR",
		"Login.OmitResource":       "GATEHOUSE_OIDC_OMIT_RESOURCE",
		"Login.ResponseMode":       "GATEHOUSE_OIDC_RESPONSE_MODE",
		"Login.Scope":              "GATEHOUSE_OIDC_SCOPE",
		"Provider.InternalURL":     "GATEHOUSE_OIDC_INTERNAL_URL",
		"Provider.Issuer":          "GATEHOUSE_OIDC_ISSUER",
	}[field]
}

// tokenAddress is where clients with bearer tokens reach the gateway, as far as
// that is known: on a developer's machine.
func (p *parts) tokenAddress(cfg config) string {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || p.gateway == nil || !loopback.Host(base.Hostname()) {
		return ""
	}
	_, port, err := net.SplitHostPort(cfg.ListenGateway)
	if err != nil || port == "0" {
		return ""
	}
	return "http://" + net.JoinHostPort(base.Hostname(), port)
}

// connected asks for a connection if there is none, and reports whether one
// is up.
func connected(conn *grpc.ClientConn) error {
	conn.Connect()
	if state := conn.GetState(); state.String() != "READY" && state.String() != "IDLE" {
		return fmt.Errorf("no connection to the server at %s (GATEHOUSE_GRPC_TARGET): %s", conn.Target(), strings.ToLower(state.String()))
	}
	return nil
}

// unreachable is what /readyz of a public port says; the log has the cause, and
// the admin port tells it.
type unreachable struct{ cause error }

func (e *unreachable) Error() string { return "the server does not answer" }
func (e *unreachable) Unwrap() error { return e.cause }

var errLeaving = errors.New("the process is about to end")

// ready says why this process cannot do its work at the moment.
func (p *parts) ready(ctx context.Context) error {
	if p.leaving.Load() {
		return errLeaving
	}
	if p.provider != nil {
		if err := p.provider.Ready(); err != nil {
			return err
		}
	}
	if p.denylist != nil {
		if err := p.denylist.Ready(); err != nil {
			return err
		}
	}
	if p.upstream != nil {
		if err := p.upstream(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := storeReady(ctx, p.store); err != nil {
		return err
	}
	return p.services.ready(ctx)
}

func (p *parts) close(cause error) error {
	for _, closer := range p.closers {
		_ = closer() // the cause is worth more
	}
	return cause
}

// httpServer is a server for what stands beside the parts: limits on a
// header's size and time, and on idle connections, which net/http leaves open.
func httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		MaxHeaderBytes:    64 << 10, // a few login attempts' cookies, and a long address
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
}
