package gatehouse

import (
	"cmp"
	"context"

	"github.com/gatehouse-dev/gatehouse/internal/listen"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
)

// process returns what the TLS of the parts in run is for.
func (p *program) process(run partSet) tlsconfig.Process {
	cfg := &p.cfg
	return tlsconfig.Process{
		BFF: run.BFF, Gateway: run.Gateway, Server: run.Server,
		ListenBFF: cfg.ListenBFF, ListenGateway: cfg.ListenGateway, ListenGRPC: cfg.ListenGRPC, ListenAdmin: cfg.ListenAdmin,
		BaseURL: cfg.BFF.BaseURL, Issuer: cfg.Provider.Issuer, InternalURL: cfg.Provider.InternalURL, Frontend: cfg.Frontend,
		Gateways: cfg.Gateways.Targets, Servers: cfg.Servers.Targets, Routes: cfg.tlsRoutes(),
		SessionStore: cfg.SessionStore, Database: cfg.DatabaseURL, Denylist: cfg.Denylist,
		Variable: func(field string) string { return cmp.Or(p.values.Variable(field), field) }, Name: p.values.Name,
		Changed: p.fileChanged, Logger: p.logger.With("part", "tls"),
	}
}

// warnInClear warns of bearer tokens that cross the network without TLS.
func (p *program) warnInClear(ctx context.Context, run partSet) {
	for _, w := range p.cfg.TLS.InClear(p.process(run)) {
		p.logger.WarnContext(ctx, "bearer tokens cross the network in the clear", "problem", w.Problem, "setting", p.values.Name(w.Setting),
			"remedy", w.Remedy+"; where the network encrypts by itself, set GATEHOUSE_INSECURE_TOKENS_IN_CLEAR")
	}
}

// setSocketMode sets the permissions of Unix sockets.
func (p *program) setSocketMode(octal string) (err error) {
	p.cfg.SocketMode, err = listen.Mode(octal)
	return err
}
