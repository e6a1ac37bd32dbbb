package gatehouse

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"

	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/frontends"
	"github.com/gatehouse-dev/gatehouse/internal/neighbours"
	"github.com/gatehouse-dev/gatehouse/internal/providercheck"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// checkTimeout bounds all questions of a check to provider, stores and services.
const checkTimeout = 30 * time.Second

// The results of a check, which its report explains.
var (
	errCheck    = errors.New("the configuration does not work")
	errUnproved = errors.New("nothing is wrong, but not everything could be proved")
)

// check validates the configuration of the parts in run, proves what can be proved of
// it at the provider, the stores, the database and other parts, and writes a report:
// what holds, what is wrong and how to correct it, what could not be proved, what is
// to be registered, and the policy of each method; as JSON if asJSON is set. It opens
// no port, and what it makes elsewhere is gone when it returns. The error is errCheck,
// errUnproved, or that of writing.
func (p *program) check(ctx context.Context, run partSet, asJSON bool) error {
	p.setDefaults()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	report := p.examine(ctx, run)
	if asJSON {
		if err := report.JSON(p.out); err != nil {
			return err
		}
	} else {
		report.Text(p.out)
	}
	switch {
	case report.Wrong():
		return errCheck
	case report.Unproved():
		return errUnproved
	}
	return nil
}

// examine returns the report. It stops at invalid settings.
func (p *program) examine(ctx context.Context, run partSet) *check.Report {
	report := &check.Report{}
	if err := p.validate(run); err != nil {
		report.AddErrors("settings", err)
		return report // further proofs would repeat this
	}
	report.Add(check.Good("settings", "every setting is there and makes sense"))
	p.examineStores(ctx, run, report)
	// The parts are made without what has been proved already, and none runs.
	alone := *p
	alone.cfg.SessionStore, alone.cfg.DatabaseURL, alone.cfg.Denylist = stores.Memory, stores.Memory, ""
	alone.logger = slog.New(slog.DiscardHandler) // the report says it
	parts, err := alone.assemble(ctx, run)
	if err != nil {
		report.AddErrors("settings", err)
		return report
	}
	defer func() { _ = parts.close(nil) }()
	report.Add(p.cfg.TLS.Check(p.process(run))...)
	names := neighbours.Names{Setting: p.values.Name, Variable: p.values.Variable}
	switch {
	case run.BFF:
		for _, r := range parts.bff.Check(ctx, parts.verifier()) {
			report.Add(check.Result{Status: check.Status(r.Status), Proof: r.Proof, What: r.What, Remedy: r.Remedy, Optional: r.Optional})
		}
		report.Add(names.BaseURL(ctx, p.cfg.BFF.BaseURL))
		if frontends.IsServer(p.cfg.Frontend) {
			report.Add(names.Frontend(ctx, p.cfg.Frontend, parts.security.Frontend))
		}
		parts.checkRoutes(ctx, names, report)
	case run.Server:
		report.Add(parts.checkProvider(ctx)...)
	}
	if run.Server {
		checker := providercheck.Checker{Provider: parts.provider, Setting: parts.settingName}
		report.Add(checker.Algorithms("access token", p.cfg.Server.Authn.Algorithms, "Server.Authn.Algorithms")...)
	}
	report.Add(parts.checkIssuers(ctx)...)
	if run.BFF && !run.Gateway {
		report.Add(names.Gateways(ctx, p.cfg.Gateways.Targets, parts.security.Gateway)...)
	}
	if run.Gateway && !run.Server {
		dial := p.cfg.Servers
		dial.TLS = parts.security.GRPC
		report.Add(names.Servers(ctx, dial, parts.exposedNames())...)
	}
	if run.Server {
		report.Add(parts.checkIntrospection(ctx)...)
		for _, finding := range p.blurred() {
			report.Add(warn("token profiles", finding))
		}
	}
	if run.BFF {
		for _, r := range parts.bff.Registrations() {
			report.Register = append(report.Register, check.Registration(r))
		}
	}
	if run.Server {
		for _, finding := range unmatchedCallers(parts.server.Rules(), parts.issuers) {
			report.Add(warn("callers", finding))
		}
	}
	report.Methods = parts.methods()
	return report
}

// examineStores adds the results about the session store, the database and the
// denylist of the parts in run.
func (p *program) examineStores(ctx context.Context, run partSet, report *check.Report) {
	if run.BFF || run.Server && p.sharesSessions() {
		if stores.Kind(p.cfg.SessionStore) == "memory" {
			report.Add(warn("session store", "sessions are kept in memory and end with the process"))
		} else {
			report.Add(stores.Result("session store", p.cfg.SessionStore, "sessions", stores.ProbeSessions(ctx, p.storeConfig())))
		}
		report.Add(stores.AtRoot("session store", p.values.Name("session-store"), p.cfg.SessionStore)...)
	}
	if run.Server {
		probed, err := probeDatabase(ctx, p.app.Services, p.environment())
		switch {
		case !probed: // no service keeps data
		case p.cfg.DatabaseURL == stores.Memory:
			report.Add(warn("database", "the services' data is kept in memory and ends with the process"))
		default:
			report.Add(stores.Result("database", p.cfg.DatabaseURL, "the services", err))
		}
		report.Add(stores.AtRoot("database", p.values.Name("database-url"), p.cfg.DatabaseURL)...)
	}
	if run.Server {
		if probed, err := probeFiles(ctx, p.app.Services, p.environment()); probed {
			report.Add(stores.FilesResult(p.cfg.FilesURL, err)...)
		}
	}
	if (run.BFF || run.Server) && p.cfg.Denylist != "" && p.cfg.Denylist != stores.Memory {
		report.Add(stores.Result("denylist", p.cfg.Denylist, "denials", stores.ProbeDenylist(ctx, p.denylistConfig())))
	}
}

// warn returns the result for what works with a caveat.
func warn(proof, what string) check.Result {
	return check.Result{Status: check.Warn, Proof: proof, What: what}
}

// blurred returns what blurs the difference between access tokens and other
// tokens.
func (p *program) blurred() []string {
	auth := p.cfg.Server.Authn
	profiles := token.ProfileSettings{
		ClientID: auth.Profile.ClientID, Scope: p.cfg.BFF.Login.Scope, Audience: auth.Audience,
		RequireATJWT:   auth.Profile.RequireATJWT,
		IDTokenClients: auth.Profile.IDTokenClients, InsecureIDTokenShape: auth.Profile.InsecureIDTokenShape,
	}
	var lines []string
	for _, f := range profiles.Findings() {
		setting := cmp.Or(p.values.Variable("Server.Authn.Profile."+f.Field),
			p.values.Variable("BFF.Login."+f.Field), f.Field)
		lines = append(lines, setting+": "+f.What+"; "+f.Remedy)
	}
	return lines
}

// checkProvider checks the provider for a server without a bff, which is no client
// there.
func (p *parts) checkProvider(ctx context.Context) []check.Result {
	checker := providercheck.Checker{Provider: p.provider, Setting: p.settingName}
	md, result := checker.Metadata(ctx)
	if md == nil {
		return []check.Result{result}
	}
	results := []check.Result{result, checker.Keys(ctx, md)}
	results = append(results, providercheck.Clock(p.provider.ClockSkew()))
	tokens := check.NotKnown("access token", "check the bff, which has a client, or make a first call: the log then says what does not fit",
		"the audience and the kind of access tokens, and whether the key set has the key that signs them: a server is no client of the provider and gets none")
	tokens.Optional = true
	return append(results, tokens)
}

// verifier verifies access tokens as the server does.
func (p *parts) verifier() func(context.Context, string) error {
	auth := p.cfg.Server.Authn
	v, err := token.NewAccessVerifier(token.AccessConfig[struct{}]{
		Provider: p.provider, Audience: auth.Audience,
		Algorithms: auth.Algorithms, AlgorithmsSetting: p.settingName("Server.Authn.Algorithms"), RequireATJWT: auth.Profile.RequireATJWT,
		IDTokenClients: auth.Profile.IDTokenClients, InsecureIDTokenShape: auth.Profile.InsecureIDTokenShape,
		Principal: noPrincipal, Issuers: p.primaryRules(), CacheSize: -1,
	})
	if err != nil {
		return nil // the validation has found it
	}
	opaque := p.opaqueVerifier()
	return func(ctx context.Context, raw string) error {
		if opaque != nil && !token.HasJWTForm(raw) {
			return opaque(ctx, raw)
		}
		_, _, err := v.Verify(ctx, raw)
		return err
	}
}

// methods returns the policy of each method, nil without a server.
func (p *parts) methods() []check.Method {
	routes := map[string][]string{}
	if p.gateway != nil {
		for _, route := range p.gateway.Routes() {
			routes[route.RPC] = append(routes[route.RPC], route.Method+" "+route.Pattern)
		}
	}
	if p.server == nil { // whose policies they are
		return nil
	}
	rules := p.server.Rules()
	methods := make([]check.Method, len(rules))
	for i, rule := range rules {
		methods[i] = check.Method{Name: rule.Method, Routes: routes[rule.Method], Policy: rule.String()}
	}
	return methods
}

// exposedNames are the services that a gateway exposes.
func (p *parts) exposedNames() []string {
	names := []string{sessionadminv1.SessionAdminService_ServiceDesc.ServiceName}
	for _, s := range p.app.Services {
		if len(s.exposed) > 0 {
			names = append(names, s.desc.ServiceName)
		}
	}
	return names
}
