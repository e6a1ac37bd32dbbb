package gatehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/neighbours"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
)

// A routeConfig is an element of the setting routes.
type routeConfig struct {
	bff.Route
	// CAFile has the authorities of the servers, instead of the system's.
	CAFile string
}

// toGateway in the place of addresses stands for the gateway.
const toGateway = "gateway"

// routeKeys are the keys of a routeConfig.
var routeKeys = []settings.Key{
	{Name: "path", Field: "Path", Required: true,
		Help: "The prefix of the requests, in whole segments: /orders covers /orders/5 and not /orders2. The longest prefix " +
			"counts. It may be /api or below it, except /api/auth."},
	{Name: "to", Field: "Upstream.Targets", Required: true,
		Help: "The addresses of servers with the same content, such as http://orders:3000 or unix:PATH, or gateway. A path " +
			"in an address is put before that of requests."},
	{Name: "strip-prefix", Field: "StripPrefix",
		Help: "Remove path from requests; the servers learn it in X-Forwarded-Prefix."},
	{Name: "public", Field: "Public",
		Help: "Let requests without a session pass. Others get 401, or are redirected to the login if they open a page. " +
			"Default: false."},
	{Name: "token", Field: "Token.Kind", Choices: []string{string(bff.TokenUser), string(bff.TokenClient), string(bff.TokenNone)},
		Help: "The access token of requests: user for that of the signed-in user, if there is one; client for one of the " +
			"bff's own client (client credentials); none. Default: user."},
	{Name: "audience", Field: "Token.Audience",
		Help: "What the token is for, if it is another audience than GATEHOUSE_AUDIENCE (docs/route-tokens.md). A token " +
			"that does not name it is not used."},
	{Name: "scope", Field: "Token.Scope",
		Help: "The scope of that token, separated by spaces. Default: the provider's."},
	{Name: "grant", Field: "Token.Grant", Choices: []string{string(bff.GrantRefresh), string(bff.GrantExchange)},
		Help: "How a user's token for another audience is obtained: refresh, by the refresh token, or exchange, by token " +
			"exchange (RFC 8693). Default: refresh."},
	{Name: "request-headers", Field: "RequestHeaders",
		Help: "Header fields that reach the servers besides those of HTTP, such as X-Tenant. Default: none."},
	{Name: "max-body-bytes", Field: "MaxBodyBytes",
		Help: "The longest body of a request, in bytes; a longer one gets 413. Default: the servers limit it."},
	{Name: "timeout", Field: "Upstream.Timeout",
		Help: "How long a server may take to the header of its answer; then the answer is 504. Default: 1m."},
	{Name: "probe", Field: "Upstream.Probe",
		Help: "How it is seen that a server is ready: a path that answers below 500, tcp for a connection, or none. Default: tcp."},
	{Name: "ca-file", Field: "CAFile",
		Help: "A PEM file of the authorities of https servers, instead of the system's. It is read again when it changes."},
}

// bffRoutes returns the routes of the bff.
func (cfg *config) bffRoutes() []bff.Route {
	var routes []bff.Route
	for _, r := range cfg.Routes {
		if slices.Equal(r.Upstream.Targets, []string{toGateway}) {
			r.Upstream.Targets = nil
		}
		routes = append(routes, r.Route)
	}
	return routes
}

// tlsRoutes returns what the TLS of routes is about.
func (cfg *config) tlsRoutes() []tlsconfig.Route {
	var routes []tlsconfig.Route
	for _, r := range cfg.bffRoutes() {
		routes = append(routes, tlsconfig.Route{
			Path: r.Path, Targets: r.Upstream.Targets, CAFile: cfg.Routes[len(routes)].CAFile, Bearer: r.Token.Kind != bff.TokenNone,
		})
	}
	return routes
}

// ofRoutes renames the fields of errors about bff.Config.Routes to those of the setting.
func ofRoutes(err error) error {
	fields, errs := invalid.All(err)
	for _, e := range fields {
		if rest, ok := strings.CutPrefix(e.Field, "BFF.Routes["); ok {
			named := *e
			named.Field = "Routes[" + rest
			e = &named
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// checkRoutes adds the results about the servers of routes, and the routes themselves, to a
// report.
func (p *parts) checkRoutes(ctx context.Context, names neighbours.Names, report *check.Report) {
	for i, r := range p.cfg.BFF.Routes {
		token := string(cmp.Or(r.Token.Kind, bff.TokenUser))
		if r.Token.Audience != "" {
			token += " for " + r.Token.Audience
		}
		to := toGateway
		if len(r.Upstream.Targets) > 0 {
			to = settings.RedactedList(strings.Join(r.Upstream.Targets, ","))
		}
		report.Routes = append(report.Routes, check.Route{Path: r.Path, To: to, Token: token, Public: r.Public})
		for _, address := range r.Upstream.Targets {
			name := fmt.Sprintf("%s: routes[%d] %s: %s", p.values.Name("routes"), i, r.Path, settings.Redacted(address))
			path := ""
			if strings.HasPrefix(r.Upstream.Probe, "/") {
				path = r.Upstream.Probe
			}
			report.Add(names.Backend(ctx, name, address, path, p.security.Routes[i]))
		}
	}
}
