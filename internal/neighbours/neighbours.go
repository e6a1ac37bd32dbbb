// Package neighbours owns what a check of the configuration asks of other processes: the
// servers behind a gateway, the gateways and the front-end server behind a bff, and the
// origin that browsers see. It leaves the provider and the stores to their own packages,
// and the report to internal/check.
package neighbours

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
	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// timeout bounds each question.
const timeout = 5 * time.Second

// Names returns how results name settings.
type Names struct {
	// Setting returns the name of a flag's setting, its value and its source.
	Setting func(flag string) string
	// Variable returns the variable of a field of the program's configuration.
	Variable func(field string) string
}

// Servers asks each remote server of a gateway whether it serves, as a whole and
// each service that the gateway exposes. The targets are valid.
func (n Names) Servers(ctx context.Context, cfg gateway.DialConfig, exposed []string) []check.Result {
	var results []check.Result
	for _, target := range cfg.Targets {
		name := n.Setting("grpc-target")
		if len(cfg.Targets) > 1 {
			name += ": " + settings.Redacted(target)
		}
		dial := cfg
		dial.Targets = []string{target}
		conn, err := gateway.Dial(dial)
		if err != nil {
			continue // the validation has read the target
		}
		results = append(results, checkServer(ctx, conn, name, target, exposed)...)
		_ = conn.Close() // nothing is under way
	}
	return results
}

func checkServer(ctx context.Context, conn grpc.ClientConnInterface, name, target string, exposed []string) []check.Result {
	const proof = "server"
	health := healthpb.NewHealthClient(conn)
	ask := func(service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		answer, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		return answer.GetStatus(), err
	}
	serving, err := ask("")
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return []check.Result{check.NotKnown(proof, "", "%s: a gRPC server answers, without the health service of Gatehouse", name)}
	default:
		return []check.Result{noServer(ctx, err, name, target)}
	}
	results := []check.Result{check.Good(proof, "%s: the server answers and is ready", name)}
	if serving != healthpb.HealthCheckResponse_SERVING {
		results[0] = check.Result{Status: check.Warn, Proof: proof, What: name + ": the server answers and is not ready",
			Remedy: "see /readyz of its admin port, or check server there"}
	}
	for _, service := range exposed {
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
		ctx, cancel := context.WithTimeout(ctx, timeout)
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

// Gateways asks each remote gateway of a bff whether it is ready.
func (n Names) Gateways(ctx context.Context, addresses []string, secure *tls.Config) []check.Result {
	var results []check.Result
	for _, address := range addresses {
		name := n.Setting("gateway-url")
		if len(addresses) > 1 {
			name += ": " + settings.Redacted(address)
		}
		results = append(results, n.gateway(ctx, name, address, secure))
	}
	return results
}

func (n Names) gateway(ctx context.Context, name, address string, secure *tls.Config) check.Result {
	const proof = "gateway"
	answered, body, err := get(ctx, secure, address, "/readyz")
	switch ready := answered == http.StatusOK && body == "ok"; {
	case err != nil:
		problem, remedy := cause.Of(err)
		if problem == "" {
			problem, remedy = err.Error(), "start the gateway, or correct the address"
		}
		return check.Bad(proof, remedy, "%s: %s", name, problem)
	case ready:
		return check.Good(proof, "%s: the gateway answers and is ready", name)
	case answered == http.StatusServiceUnavailable && strings.HasPrefix(body, "not ready"):
		return check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: the gateway answers and is %s", name, body),
			Remedy: "see /readyz of its admin port, or check gateway there"}
	case answered == http.StatusMisdirectedRequest:
		return check.Bad(proof, "add the name to "+n.Variable("Gateway.Access.AllowedHosts")+" of the gateway",
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
	ctx, cancel := context.WithTimeout(ctx, timeout)
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

// Frontend asks a front-end server for a page.
func (n Names) Frontend(ctx context.Context, address string, secure *tls.Config) check.Result {
	return answers(ctx, "front end", n.Setting("frontend"), "the front-end server", address, "/", secure)
}

// Backend asks a server of a route of the bff for a path.
func (n Names) Backend(ctx context.Context, name, address, path string, secure *tls.Config) check.Result {
	return answers(ctx, "route", name, "the server", address, path, secure)
}

// answers asks a server for a path, and takes any answer but a server error.
func answers(ctx context.Context, proof, name, server, address, path string, secure *tls.Config) check.Result {
	code, _, err := get(ctx, secure, address, path)
	if err != nil {
		problem, remedy := cause.Of(err)
		if problem == "" {
			problem, remedy = err.Error(), "start it, or correct the address"
		}
		return check.Bad(proof, remedy, "%s: %s", name, problem)
	}
	if code >= http.StatusInternalServerError {
		return check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: %s answers with status %d", name, server, code)}
	}
	return check.Good(proof, "%s: %s answers", name, server)
}

// BaseURL looks at the base URL as browsers do, as far as that can be done from
// here: its name, its certificate, and whether a bff answers there. Nothing is wrong
// if none does, because this one need not run yet.
func (n Names) BaseURL(ctx context.Context, address string) check.Result {
	const proof = "base URL"
	name := n.Setting("base-url")
	base, err := url.Parse(address)
	if err != nil || loopback.Host(base.Hostname()) {
		return check.Good(proof, "%s is on this machine: only browsers here can sign in", name)
	}
	optional := func(format string, args ...any) check.Result {
		r := check.NotKnown(proof, "open it in a browser to find out", name+": whether browsers reach it: "+format, args...)
		r.Optional = true
		return r
	}
	code, body, err := get(ctx, nil, address, "/healthz")
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
		return check.Good(proof, "%s: a bff answers there", name)
	}
	return check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s: another server answers there, or a proxy without a bff behind it (status %d to /healthz)", name, code),
		Remedy: "browsers send callbacks of logins there, so it must lead to this bff once it runs"}
}
