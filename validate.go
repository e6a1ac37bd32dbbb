package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/spa"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
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
		errs = append(errs, invalid.In("Server", cfg.Server.Validate()))
	} else if run.BFF && cfg.BFF.Login.Audience == "" {
		errs = append(errs, invalid.Missing("BFF.Login.Audience",
			"register the API with the provider and give its identifier; without one, "+
				"many providers issue opaque access tokens, which cannot be verified"))
	}
	if run.BFF {
		errs = append(errs, invalid.In("BFF", cfg.BFF.Validate()))
	}
	if run.Gateway {
		errs = append(errs, invalid.In("Gateway", cfg.Gateway.Validate()))
	}
	errs = append(errs, invalid.In("Admin", cfg.Admin.Validate()))
	errs = append(errs, p.checkLimits()...)
	errs = append(errs, checkAuditLog(cfg.AuditLog))
	errs = append(errs, p.checkAddresses(run)...)
	errs = append(errs, cfg.TLS.Validate(p.process(run)))
	if run.BFF || run.Server {
		errs = append(errs, stores.ValidateDenylist("Denylist", cfg.Denylist, run.BFF && run.Server))
	}
	if run.Server {
		errs = append(errs, stores.ValidateDatabase("DatabaseURL", cfg.DatabaseURL))
	}
	if run.BFF {
		errs = append(errs, stores.ValidateSessions("SessionStore", cfg.SessionStore), p.checkReplicas(), p.checkFrontend())
		if !run.Gateway {
			errs = append(errs, invalid.In("Gateways", cfg.Gateways.Validate()))
		}
	}
	if run.Gateway && !run.Server {
		errs = append(errs, invalid.In("Servers", cfg.Servers.Validate()))
	}
	return p.values.Explain(errors.Join(errs...))
}

// The range of the limits on messages. gRPC's own maximum is 2 GiB.
const (
	minMessageBytes = 1 << 10
	maxMessageBytes = 1 << 30
)

// checkLimits returns errors about sizes and times that no part refuses.
func (p *program) checkLimits() []error {
	limits := p.cfg.Gateway.Limits
	var errs []error
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

// checkAddresses returns errors about addresses of the wrong form, and about two
// parts at one address.
func (p *program) checkAddresses(run partSet) []error {
	var errs []error
	taken := map[string]string{}
	for _, l := range []struct {
		wanted         bool
		field, address string
	}{
		{run.BFF, "ListenBFF", p.cfg.ListenBFF},
		{run.Gateway, "ListenGateway", p.cfg.ListenGateway},
		{run.Server, "ListenGRPC", p.cfg.ListenGRPC},
		{p.cfg.ListenAdmin != "", "ListenAdmin", p.cfg.ListenAdmin},
	} {
		if !l.wanted {
			continue
		}
		bad := func(problem, remedy string) {
			errs = append(errs, invalid.Field(l.field, l.address, problem, remedy))
		}
		if _, isSocket := loopback.Socket(l.address); isSocket {
			if taken[l.address] != "" {
				bad("is also "+taken[l.address], "give each part an address of its own")
			}
			taken[l.address] = l.field
			continue
		}
		_, port, err := net.SplitHostPort(l.address)
		_, numberErr := strconv.ParseUint(l.address, 10, 16)
		switch {
		case err != nil && numberErr == nil:
			bad("is not an address with a port", "did you mean :"+l.address+"?")
		case err != nil:
			bad("is not an address with a port",
				"give HOST:PORT of this machine, such as 127.0.0.1:3000, :3000 for all its addresses, or unix:PATH")
		case !isPort(port):
			bad(fmt.Sprintf("has the port %q, which is neither a number up to 65535 nor the name of a service", port), "correct the port")
		case taken[l.address] != "" && port != "0":
			bad("is also "+taken[l.address], "give each part an address of its own")
		}
		taken[l.address] = l.field
	}
	return errs
}

// isPort reports whether a port, by number or by name, can be listened on.
func isPort(port string) bool {
	_, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // reads a file, at most
	return err == nil
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

// checkFrontend reads the directory, so that a build that is missing is found before
// anything listens. It returns what is wrong with the front end or its policy.
func (p *program) checkFrontend() error {
	value, csp := p.cfg.Frontend, p.cfg.FrontendCSP
	dir, isDir := strings.CutPrefix(value, "dir:")
	switch {
	case csp != "" && !isDir:
		return invalid.Field("FrontendCSP", csp,
			"is for a front end from a directory only: a front-end server, and the embedded pages, send their own", "remove it")
	case value == embeddedFrontend:
		return nil
	case isDir:
		return invalid.Renamed(spa.Config{Dir: dir, ContentSecurityPolicy: csp}.Validate(),
			map[string]string{"Dir": "Frontend", "ContentSecurityPolicy": "FrontendCSP"})
	}
	_, err := origin.Upstream(value)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*origin.Error](err); ok && strings.HasPrefix(e.Remedy, "did you mean") && strings.Contains(value, ":") {
		return origin.Invalid("Frontend", value, err)
	}
	if info, err := os.Stat(value); err == nil && info.IsDir() {
		return invalid.Field("Frontend", value, "is a directory", "did you mean dir:"+value+"?")
	}
	return invalid.Field("Frontend", value, "is no kind of front end that is known",
		"give embedded:, dir:PATH or the http:// address of a front-end server")
}
