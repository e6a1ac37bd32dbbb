package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// checkTimeout bounds everything that a check asks of others.
const checkTimeout = 30 * time.Second

// What a check has found, and told in its report.
var (
	errCheck    = errors.New("the configuration does not work")
	errUnproved = errors.New("nothing is wrong, but not everything could be proved")
)

// runCheck validates the configuration of gatehouse serve, proves what can be
// proved of it at the provider, the session store, the denylist and the
// database, and writes to cfg.Output what holds, what is wrong and how to mend
// it, what could not be proved, what is to be registered, and who may call what;
// as JSON if asJSON is set. It opens no port, and what it makes elsewhere is gone
// when it returns. The error is errCheck, errUnproved, or of cfg.Output.
func runCheck(ctx context.Context, cfg config, asJSON bool) error {
	cfg.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	report := examine(ctx, cfg)
	if asJSON {
		if err := report.JSON(cfg.Output); err != nil {
			return err
		}
	} else {
		report.Text(cfg.Output)
	}
	switch {
	case report.Wrong():
		return errCheck
	case report.Unproved():
		return errUnproved
	}
	return nil
}

func examine(ctx context.Context, cfg config) *check.Report {
	report := &check.Report{}
	if err := cfg.Validate(allParts); err != nil {
		report.AddErrors("settings", err)
		return report // the rest would only say the same in other words
	}
	report.Add(ok("settings", "every setting is there and makes sense"))
	report.Add(checkSessions(ctx, cfg))
	report.Add(checkDatabase(ctx, cfg)...)
	report.Add(atRoot("session store", storeSetting, cfg.SessionStore)...)
	report.Add(atRoot("database", "GATEHOUSE_DATABASE_URL", cfg.DatabaseURL)...)
	if cfg.Denylist != "" && cfg.Denylist != "memory:" {
		report.Add(checkDenylist(ctx, cfg))
	}
	// The parts are made without what has been looked at already, and none runs.
	parts := cfg
	parts.SessionStore, parts.DatabaseURL, parts.Denylist = "memory:", "memory:", ""
	p, err := assemble(ctx, parts, allParts, false)
	if err != nil {
		report.AddErrors("settings", err)
		return report
	}
	defer p.close(nil)
	report.Add(p.bff.Check(ctx, p.verifier(cfg))...)
	for _, finding := range cfg.blurred() {
		report.Add(check.Result{Status: check.Warn, Proof: "token profiles", What: finding})
	}
	report.Register = p.bff.Registrations()
	report.Methods = p.methods()
	return report
}

func ok(proof, what string) check.Result {
	return check.Result{Status: check.OK, Proof: proof, What: what}
}

func result(proof, what string, err error) check.Result {
	if err != nil {
		return check.Result{Status: check.Wrong, Proof: proof, What: strings.Join(strings.Fields(err.Error()), " ")}
	}
	return ok(proof, what)
}

// atRoot warns of a file at the root of the file system that was written as if
// its name were the host of a URL: sqlite://shop.db.
func atRoot(proof, setting, value string) []check.Result {
	path, ok := strings.CutPrefix(value, "sqlite://")
	if !ok || strings.HasPrefix(path, "/") {
		return nil
	}
	return []check.Result{{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s=%s is the file /%s", setting, value, path),
		Remedy: "write sqlite:" + path + " for one in the working directory"}}
}

func checkSessions(ctx context.Context, cfg config) check.Result {
	switch storeKind(cfg.SessionStore) {
	case "memory":
		return check.Result{Status: check.Warn, Proof: "session store", What: "sessions are kept in memory and end with the process"}
	case "sqlite":
		return result("session store", "the session store can be written: "+place(cfg.SessionStore), probeStore(ctx, cfg))
	}
	return result("session store", "the session store answers, and its user has the rights that sessions need: "+place(cfg.SessionStore), probeStore(ctx, cfg))
}

// checkDatabase says nothing where no service keeps anything.
func checkDatabase(ctx context.Context, cfg config) []check.Result {
	asked, err := probeDatabase(ctx, cfg.app.Services, newEnvironment(cfg, false))
	if !asked {
		return nil
	}
	proved := "the database answers, and its user has the rights that the services need: "
	switch scheme, _, _ := strings.Cut(cfg.DatabaseURL, ":"); scheme {
	case "memory":
		return []check.Result{{Status: check.Warn, Proof: "database", What: "the services' data is kept in memory and ends with the process"}}
	case "sqlite":
		proved = "the database can be written: "
	}
	return []check.Result{result("database", proved+place(cfg.DatabaseURL), err)}
}

func checkDenylist(ctx context.Context, cfg config) check.Result {
	err := redis.Probe(ctx, redis.Config{URL: cfg.Denylist, Logger: cfg.Logger.With("part", "denylist")})
	if err != nil {
		err = fmt.Errorf("GATEHOUSE_DENYLIST=%s: %w", place(cfg.Denylist), err)
	}
	return result("denylist", "the denylist answers, and its user has the rights that denials need: "+place(cfg.Denylist), err)
}

// verifier judges access tokens as the server does.
func (p *parts) verifier(cfg config) func(context.Context, string) error {
	v, err := token.NewAccessVerifier(token.AccessConfig[struct{}]{
		Provider: p.provider, Audience: cfg.Audience, RequireATJWT: cfg.RequireATJWT,
		IDTokenClients: cfg.IDTokenClients, InsecureIDTokenShape: cfg.InsecureIDTokenShape,
		Principal: func(*token.Claims) (struct{}, error) { return struct{}{}, nil },
		CacheSize: -1,
	})
	if err != nil {
		return nil // the validation has found what could be wrong
	}
	return func(ctx context.Context, raw string) error {
		_, _, err := v.Verify(ctx, raw)
		return err
	}
}

// methods are who may call what.
func (p *parts) methods() []check.Method {
	routes := map[string][]string{}
	for _, route := range p.gateway.Routes() {
		routes[route.RPC] = append(routes[route.RPC], route.Method+" "+route.Pattern)
	}
	rules := p.server.Rules()
	methods := make([]check.Method, len(rules))
	for i, rule := range rules {
		methods[i] = check.Method{Name: rule.Method, Routes: routes[rule.Method], Policy: rule.String()}
	}
	return methods
}
