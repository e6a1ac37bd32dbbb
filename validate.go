package gatehouse

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/frontends"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/listen"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// validate returns everything that is missing, unsafe or contradictory for the
// parts that are to run, in terms of settings. It contacts nothing.
func (p *program) validate(run partSet) error {
	cfg := &p.cfg
	var errs []error
	if run.BFF || run.Server {
		errs = append(errs, invalid.In("Provider", cfg.Provider.Validate()))
	}
	if run.Server {
		errs = append(errs, p.checkIntrospection(), p.validateServer())
	} else if run.BFF && cfg.BFF.Login.Audience == "" && !slices.ContainsFunc(cfg.Issuers, p.isPrimary) {
		errs = append(errs, invalid.Missing("BFF.Login.Audience",
			"register the API with the provider and give its identifier; without one, "+
				"many providers issue opaque access tokens, which are verified only with introspection"))
	}
	if run.BFF {
		errs = append(errs, ofRoutes(invalid.In("BFF", cfg.BFF.Validate())))
	}
	if run.Gateway {
		errs = append(errs, invalid.In("Gateway", cfg.Gateway.Validate()))
	}
	errs = append(errs, invalid.In("Admin", cfg.Admin.Validate()))
	errs = append(errs, p.checkLimits()...)
	errs = append(errs, checkAuditLog(cfg.AuditLog))
	errs = append(errs, listen.Validate(p.addresses(run)))
	errs = append(errs, cfg.TLS.Validate(p.process(run)))
	if run.BFF || run.Server {
		errs = append(errs, stores.ValidateDenylist("Denylist", cfg.Denylist, run.BFF && run.Server))
	}
	if run.Server {
		errs = append(errs, stores.ValidateDatabase("DatabaseURL", cfg.DatabaseURL), stores.ValidateFiles("FilesURL", cfg.FilesURL))
	}
	if run.BFF || run.Gateway {
		errs = append(errs, p.readCatalog())
	}
	if run.BFF {
		errs = append(errs, stores.ValidateSessions("SessionStore", cfg.SessionStore), p.checkReplicas(), frontends.Validate(cfg.Frontend, cfg.FrontendCSP))
		if !run.Gateway {
			errs = append(errs, invalid.In("Gateways", cfg.Gateways.Validate()))
		}
	}
	if run.Gateway && !run.Server {
		errs = append(errs, invalid.In("Servers", cfg.Servers.Validate()))
	}
	return p.values.Explain(errors.Join(errs...))
}

// readCatalog reads the catalog of the pages: the file that is set, or else that of
// the application. Each of its errors names the line.
func (p *program) readCatalog() (err error) {
	switch {
	case p.cfg.Catalog != "":
		if _, err := textfile.Read(p.cfg.Catalog); err != nil {
			return invalid.Field("Catalog", p.cfg.Catalog, "cannot be read: "+err.Error(), "")
		}
		p.pages, err = catalog.Load(p.cfg.Catalog)
	case p.app.Catalog != nil:
		p.pages, err = catalog.Parse("App.Catalog", p.app.Catalog)
	default:
		p.pages = catalog.English()
	}
	return err
}

// The range of the limits on messages. gRPC's own maximum is 2 GiB.
const (
	minMessageBytes = 1 << 10
	maxMessageBytes = 1 << 30
)

// checkLimits returns errors about sizes and times that no part refuses.
func (p *program) checkLimits() []error {
	limits := p.cfg.Gateway.Limits
	errs := []error{invalid.NotNegative("MaxConnections", p.cfg.MaxConnections, "a number of connections", lifecycle.DefaultMaxConnections)}
	for _, limit := range []struct {
		field string
		bytes int64
	}{{"MaxBodyBytes", limits.MaxBodyBytes}, {"MaxResponseBytes", int64(limits.MaxResponseBytes)}} {
		if limit.bytes != 0 && (limit.bytes < minMessageBytes || limit.bytes > maxMessageBytes) {
			errs = append(errs, invalid.Field("Gateway.Limits."+limit.field, limit.bytes,
				"is too small or too large a limit on messages",
				fmt.Sprintf("give a number of bytes from %d to %d", minMessageBytes, maxMessageBytes)))
		}
	}
	for field, timeout := range map[string]time.Duration{
		"Gateway.Limits.Heartbeat": limits.Heartbeat, "LameDuck": p.cfg.LameDuck, "ShutdownTimeout": p.cfg.ShutdownTimeout,
	} {
		if timeout != 0 && timeout < time.Second {
			errs = append(errs, invalid.Field(field, timeout,
				"is shorter than a second", "give a duration such as 90s or 24h"))
		}
	}
	return errs
}

// addresses returns the addresses to listen on.
func (p *program) addresses(run partSet) (all []listen.Address) {
	for _, l := range []struct {
		wanted bool
		listen.Address
	}{
		{run.BFF, listen.Address{Field: "ListenBFF", Value: p.cfg.ListenBFF}},
		{run.Gateway, listen.Address{Field: "ListenGateway", Value: p.cfg.ListenGateway}},
		{run.Server, listen.Address{Field: "ListenGRPC", Value: p.cfg.ListenGRPC}},
		{p.cfg.ListenAdmin != "", listen.Address{Field: "ListenAdmin", Value: p.cfg.ListenAdmin}},
	} {
		if l.wanted {
			all = append(all, l.Address)
		}
	}
	return all
}

// checkReplicas returns an error if several bffs are to share what belongs to one
// process.
func (p *program) checkReplicas() error {
	n := p.cfg.BFF.Sessions.Nodes
	kind := stores.Kind(p.cfg.SessionStore)
	switch {
	case n <= 1: // a negative number is refused by the bff
		return nil
	case kind == "memory" || kind == "sqlite":
		return invalid.Field("BFF.Sessions.Nodes", n, "needs a session store that is shared, which "+kind+": is not",
			"run one bff, or give them postgres://… or redis://… as SessionStore")
	case p.cfg.Denylist == stores.Memory:
		return invalid.Field("BFF.Sessions.Nodes", n,
			"needs a denylist that is shared, which memory: is not", "give redis://HOST:PORT as Denylist")
	}
	return nil
}
