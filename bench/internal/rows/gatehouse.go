//go:build linux

package rows

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
)

// What the rows of Gatehouse remember and log.
const (
	gatehouseToken   = "server: the verified token; expiry, revocation and policy are checked at each call"
	gatehouseSession = "; bff: the opened session"
	gatehouseLog     = "a JSON line in each process, several written together; metrics, and 1% of traces"
)

// gatehouses returns the rows of Gatehouse.
func gatehouses() []Row {
	row := func(name, title string, credential Credential, start func(context.Context, *Env) (*Target, error)) Row {
		r := Row{Name: name, Title: title, Product: Gatehouse, Credential: credential, Caches: gatehouseToken, Logs: gatehouseLog, Start: start}
		if credential == SignedIn {
			r.Caches += gatehouseSession
		}
		return r
	}
	serve := func(name, title string, begin func(context.Context, *Env) (*store, error)) Row {
		return row(name, title, SignedIn, func(ctx context.Context, e *Env) (*Target, error) {
			sessions, err := begin(ctx, e)
			if err != nil {
				return nil, err
			}
			return startServe(ctx, e, sessions)
		})
	}
	redis := serve("serve-redis", "everything in one process, sessions in Redis", redisStore)
	redis.Missing = Need("install redis-server", "redis-server")
	postgres := serve("serve-postgres", "everything in one process, sessions in PostgreSQL", postgresStore)
	postgres.Missing = missingPostgres
	alone := row("bff", "bff alone, in front of an API that is not measured", SignedIn, startBFF)
	alone.Open, alone.Caches = true, "bff: the opened session"
	return []Row{
		row("gateway-server", "gateway + server in one process", Bearer, startGatewayServer),
		serve("serve-sqlite", "everything in one process, sessions in SQLite", sqliteStore),
		serve("serve-memory", "everything in one process, sessions in memory", memoryStore),
		redis,
		postgres,
		alone,
		row("bff-gateway", "bff + gateway in one process, one server", SignedIn, startFront),
		row("two", "gateway and server, two processes", Bearer, startTwo),
		row("three", "bff, gateway and server, three processes", SignedIn, startThree),
	}
}

// startServe starts everything in one process.
func startServe(ctx context.Context, e *Env, sessions *store) (*Target, error) {
	s, err := e.site(ctx)
	if err != nil {
		return nil, err
	}
	return e.web(ctx, s, "serve", sessions, nil, "--listen-gateway=127.0.0.1:0", "--listen-grpc=127.0.0.1:0", "--database-url=memory:")
}

// startGatewayServer starts everything in one process, whose gateway is asked.
func startGatewayServer(ctx context.Context, e *Env) (*Target, error) {
	s, err := e.site(ctx)
	if err != nil {
		return nil, err
	}
	gateway, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	args := append(s.login(inMemory), "--listen-gateway="+gateway, "--listen-grpc=127.0.0.1:0", "--database-url=memory:")
	p, err := e.gatehouse(ctx, "serve", gateway, args...)
	if err != nil {
		return nil, err
	}
	return e.api(ctx, s, gateway, p)
}

// startBFF starts a bff in front of the floor's handler, whose process is not measured.
func startBFF(ctx context.Context, e *Env) (*Target, error) {
	_, api, err := e.LaunchRole(ctx, roleFloor)
	if err != nil {
		return nil, err
	}
	s, err := e.site(ctx)
	if err != nil {
		return nil, err
	}
	return e.web(ctx, s, "bff", inMemory, nil, "--gateway-url=http://"+api)
}

// startFront starts bff and gateway in one process, and a server.
func startFront(ctx context.Context, e *Env) (*Target, error) {
	s, server, grpc, err := e.server(ctx)
	if err != nil {
		return nil, err
	}
	return e.web(ctx, s, "serve", inMemory, []*proc.Process{server}, "--listen-gateway=127.0.0.1:0", "--grpc-target=dns:///"+grpc)
}

// startTwo starts a gateway and a server.
func startTwo(ctx context.Context, e *Env) (*Target, error) {
	s, server, grpc, err := e.server(ctx)
	if err != nil {
		return nil, err
	}
	gateway, address, err := e.gateway(ctx, grpc)
	if err != nil {
		return nil, err
	}
	return e.api(ctx, s, address, gateway, server)
}

// startThree starts bff, gateway and server.
func startThree(ctx context.Context, e *Env) (*Target, error) {
	s, server, grpc, err := e.server(ctx)
	if err != nil {
		return nil, err
	}
	gateway, api, err := e.gateway(ctx, grpc)
	if err != nil {
		return nil, err
	}
	return e.web(ctx, s, "bff", inMemory, []*proc.Process{gateway, server}, "--gateway-url=http://"+api)
}

// A site is where users sign in, with their provider.
type site struct {
	address string
	*Provider
}

func (e *Env) site(ctx context.Context) (*site, error) {
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	provider, err := e.Provider(ctx, "http://"+address+"/api/auth/callback")
	return &site{address, provider}, err
}

// verification returns the settings of a server.
func (s *site) verification() []string {
	return []string{"--oidc-issuer=" + s.Issuer, "--audience=" + Audience}
}

// login returns the settings of a bff.
func (s *site) login(sessions *store) []string {
	return append(s.verification(),
		"--oidc-client-id="+s.ClientID, "--oidc-client-secret="+s.ClientSecret, "--secret="+rand.Text()+rand.Text(),
		"--base-url=http://"+s.address, "--listen-bff="+s.address, "--session-store="+sessions.url,
	)
}

// web starts a command with a bff, and signs users in.
func (e *Env) web(ctx context.Context, s *site, command string, sessions *store, behind []*proc.Process, args ...string) (*Target, error) {
	p, err := e.gatehouse(ctx, command, s.address, append(s.login(sessions), args...)...)
	if err != nil {
		return nil, err
	}
	cookies, err := e.SignIn(ctx, "http://"+s.address+"/api/auth/login")
	if err != nil {
		return nil, err
	}
	processes := slices.Concat([]*proc.Process{p}, behind, sessions.processes)
	return &Target{Address: s.address, Processes: processes, Credentials: cookies, Versions: sessions.versions}, nil
}

// api returns the target of a gateway that accepts tokens.
func (e *Env) api(ctx context.Context, s *site, address string, processes ...*proc.Process) (*Target, error) {
	tokens, err := e.Bearer(ctx, s.Provider)
	return &Target{Address: address, Processes: processes, Credentials: tokens}, err
}

// server starts a server, and returns its address and a site of its provider.
func (e *Env) server(ctx context.Context) (s *site, server *proc.Process, grpc string, err error) {
	if s, err = e.site(ctx); err != nil {
		return nil, nil, "", err
	}
	if grpc, err = proc.FreeAddress(); err != nil {
		return nil, nil, "", err
	}
	server, err = e.gatehouse(ctx, "server", "", append(s.verification(), "--listen-grpc="+grpc, "--database-url=memory:")...)
	return s, server, grpc, err
}

// gateway starts a gateway in front of a server, and returns its address.
func (e *Env) gateway(ctx context.Context, grpc string) (gateway *proc.Process, address string, err error) {
	if address, err = proc.FreeAddress(); err != nil {
		return nil, "", err
	}
	gateway, err = e.gatehouse(ctx, "gateway", address, "--listen-gateway="+address, "--grpc-target=dns:///"+grpc)
	return gateway, address, err
}

// gatehouse starts a command, and waits until it is ready at an address; "" means its admin port.
func (e *Env) gatehouse(ctx context.Context, command, address string, args ...string) (*proc.Process, error) {
	args = append([]string{e.Gatehouse, command, "--log-format=json"}, args...)
	if e.Quiet {
		args = append(args, "--log-level=error")
	}
	if e.Metrics || address == "" {
		admin, err := proc.FreeAddress()
		if err != nil {
			return nil, err
		}
		args = append(args, "--listen-admin="+admin)
		address = cmp.Or(address, admin)
	}
	cfg := proc.Config{Name: command, Command: args}
	switch {
	case e.Sample > 0:
		spans, err := collector(ctx)
		if err != nil {
			return nil, err
		}
		cfg.Env = []string{
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + spans, "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
			fmt.Sprintf("OTEL_TRACES_SAMPLER_ARG=%g", e.Sample),
		}
	case !e.Metrics:
		cfg.Env = []string{"OTEL_SDK_DISABLED=true"}
	}
	p, err := e.Launch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return p, p.Ready(ctx, "http://"+address+"/readyz")
}
