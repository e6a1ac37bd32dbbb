package gatehouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/gateway"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/providercheck"
)

// neighbourTimeout bounds each question to another part.
const neighbourTimeout = 5 * time.Second

// notKnown returns the result for what could not be proved.
func notKnown(proof, remedy, format string, args ...any) check.Result {
	return check.Result{Status: check.Unknown, Proof: proof, What: fmt.Sprintf(format, args...), Remedy: remedy}
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
	tokens := notKnown("access token", "check the bff, which has a client, or make a first call: the log then says what does not fit",
		"the audience and the kind of access tokens, and whether the key set has the key that signs them: a server is no client of the provider and gets none")
	tokens.Optional = true
	return append(results, tokens)
}

// checkServers asks each remote server of a gateway whether it serves, as a whole and
// each service that the gateway exposes.
func (p *parts) checkServers(ctx context.Context) []check.Result {
	var results []check.Result
	for _, target := range p.cfg.Servers.Targets {
		name := p.values.Name("grpc-target")
		if len(p.cfg.Servers.Targets) > 1 {
			name += ": " + redacted(target)
		}
		dial := p.cfg.Servers
		dial.Targets, dial.TLS = []string{target}, p.security.GRPC
		conn, err := gateway.Dial(dial)
		if err != nil {
			continue // the validation has read the target
		}
		results = append(results, p.checkServer(ctx, conn, name, target)...)
		_ = conn.Close() // nothing is under way
	}
	return results
}

func (p *parts) checkServer(ctx context.Context, conn grpc.ClientConnInterface, name, target string) []check.Result {
	const proof = "server"
	health := healthpb.NewHealthClient(conn)
	ask := func(service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
		ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
		defer cancel()
		answer, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		return answer.GetStatus(), err
	}
	serving, err := ask("")
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return []check.Result{notKnown(proof, "", "%s: a gRPC server answers, without the health service of Gatehouse", name)}
	default:
		return []check.Result{noServer(ctx, err, name, target)}
	}
	results := []check.Result{ok(proof, name+": the server answers and is ready")}
	if serving != healthpb.HealthCheckResponse_SERVING {
		results[0] = check.Result{Status: check.Warn, Proof: proof, What: name + ": the server answers and is not ready",
			Remedy: "see /readyz of its admin port, or check server there"}
	}
	for _, service := range p.exposedNames() {
		if _, err := ask(service); status.Code(err) == codes.NotFound {
			results = append(results, check.Bad(proof, "register it there, or run the same version of the application in both",
				"%s: the server does not have the service %s, which the gateway exposes", name, service))
		}
	}
	return results
}

// noServer is the result for a server that does not answer.
func noServer(ctx context.Context, err error, name, target string) check.Result {
	what, remedy := status.Convert(err).Message(), "start the server, or correct the address"
	// gRPC has the cause as text only, so the address is dialed again.
	if network, address, ok := dialable(target); ok {
		ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_ = conn.Close() // it was a test
		} else if problem, remedy := cause.Of(err); problem != "" {
			return check.Bad("server", remedy, "%s: %s", name, problem)
		}
		what += "; something listens there"
		remedy = "is it a gRPC server, and does it speak TLS or not as this gateway expects?"
	}
	return check.Bad("server", remedy, "%s: the server does not answer (%s)", name, what)
}

// dialable returns the address of a gRPC target that names one.
func dialable(target string) (network, address string, ok bool) {
	if path, isSocket := strings.CutPrefix(target, "unix:"); isSocket {
		return "unix", strings.TrimPrefix(path, "//"), true
	}
	target = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(target, "passthrough:"), "dns:"), "///")
	_, _, err := net.SplitHostPort(target)
	return "tcp", target, err == nil && !strings.Contains(target, "/")
}

// checkGateway asks each remote gateway of a bff whether it is ready.
func (p *parts) checkGateway(ctx context.Context) []check.Result {
	var results []check.Result
	for _, address := range p.cfg.Gateways.Targets {
		results = append(results, p.checkOneGateway(ctx, address))
	}
	return results
}

func (p *parts) checkOneGateway(ctx context.Context, address string) check.Result {
	const proof = "gateway"
	name := p.values.Name("gateway-url")
	if len(p.cfg.Gateways.Targets) > 1 {
		name += ": " + redacted(address)
	}
	answered, body, err := get(ctx, p.security.Gateway, address, "/readyz")
	switch ready := answered == http.StatusOK && body == "ok"; {
	case err != nil:
		problem, remedy := cause.Of(err)
		if problem == "" {
			problem, remedy = err.Error(), "start the gateway, or correct the address"
		}
		return check.Bad(proof, remedy, "%s: %s", name, problem)
	case ready:
		return ok(proof, name+": the gateway answers and is ready")
	case answered == http.StatusServiceUnavailable && strings.HasPrefix(body, "not ready"):
		return check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: the gateway answers and is %s", name, body),
			Remedy: "see /readyz of its admin port, or check gateway there"}
	case answered == http.StatusMisdirectedRequest:
		return check.Bad(proof, "add the name to "+p.values.Variable("Gateway.Access.AllowedHosts")+" of the gateway",
			"%s: the gateway does not answer to this name (status 421)", name)
	}
	return check.Bad(proof, "correct the address", "%s: another server answers there (status %d to /readyz), not a gateway", name, answered)
}

// get returns the status and the beginning of the body of a part's answer.
func get(ctx context.Context, secure *tls.Config, base, path string) (code int, body string, err error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, DisableKeepAlives: true}
	if socket, ok := loopback.Socket(base); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
		base = "http://localhost"
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	const most = 200
	text, err := io.ReadAll(io.LimitReader(resp.Body, most))
	return resp.StatusCode, strings.Join(strings.Fields(string(text)), " "), err
}

// checkFrontendServer asks the front-end server, if there is one, for a page.
func (p *parts) checkFrontendServer(ctx context.Context) []check.Result {
	const proof = "front end"
	if p.cfg.Frontend == embeddedFrontend || strings.HasPrefix(p.cfg.Frontend, "dir:") {
		return nil
	}
	name := p.values.Name("frontend")
	code, _, err := get(ctx, p.security.Frontend, p.cfg.Frontend, "/")
	if err != nil {
		problem, remedy := cause.Of(err)
		if problem == "" {
			problem, remedy = err.Error(), "start it, or correct the address"
		}
		return []check.Result{check.Bad(proof, remedy, "%s: %s", name, problem)}
	}
	if code >= http.StatusInternalServerError {
		return []check.Result{{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: the front-end server answers with status %d", name, code)}}
	}
	return []check.Result{ok(proof, name+": the front-end server answers")}
}

// checkBaseURL looks at the base URL as browsers do, as far as that can be done from
// here: its name, its certificate, and whether a bff answers there. Nothing is wrong
// if none does, because this one need not run yet.
func (p *parts) checkBaseURL(ctx context.Context) check.Result {
	const proof = "base URL"
	name := p.values.Name("base-url")
	base, err := url.Parse(p.cfg.BFF.BaseURL)
	if err != nil || loopback.Host(base.Hostname()) {
		return ok(proof, name+" is on this machine: only browsers here can sign in")
	}
	optional := func(format string, args ...any) check.Result {
		r := notKnown(proof, "open it in a browser to find out", name+": whether browsers reach it: "+format, args...)
		r.Optional = true
		return r
	}
	code, body, err := get(ctx, nil, p.cfg.BFF.BaseURL, "/healthz")
	dns, isDNS := errors.AsType[*net.DNSError](err)
	problem, remedy := cause.Of(err)
	switch {
	case isDNS && dns.IsNotFound:
		return check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: %s, as far as this machine knows", name, problem),
			Remedy: "correct it unless browsers use another DNS"}
	case strings.Contains(problem, "certificate") || strings.Contains(problem, "plain HTTP"):
		return check.Result{Status: check.Warn, Proof: proof, What: name + ": " + problem, Remedy: remedy}
	case err != nil:
		if problem == "" {
			problem = err.Error()
		}
		return optional("%s", problem)
	case code == http.StatusOK && body == "ok":
		return ok(proof, name+": a bff answers there")
	}
	return check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: another server answers there, or a proxy without a bff behind it (status %d to /healthz)", name, code),
		Remedy: "browsers send callbacks of logins there, so it must lead to this bff once it runs"}
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
