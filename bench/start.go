//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

const audience = "https://api.gatehouse.localhost"

// tokenLifetime is longer than a run, so that there is no refresh.
const tokenLifetime = 12 * time.Hour

// A system is what start starts.
type system struct {
	settings
	dir       string
	address   map[string]string // of every listener
	processes map[string]*process
}

// wait returns when all processes have ended. Their context ends them.
func (sys *system) wait() {
	for _, p := range sys.processes {
		_ = p.cmd.Wait() // it was told to end
	}
}

// start starts everything. The variants are in the order of the report, the bare handler and the
// plain grpc-gateway first.
func (sys *system) start(ctx context.Context) ([]*variant, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program, err := sys.program(ctx)
	if err != nil {
		return nil, err
	}
	// The addresses come first, because the provider needs them.
	sys.address = map[string]string{}
	for _, name := range []string{
		roleBare, rolePlain, "all", "all gateway", "all grpc", "bff", "three", "three gateway", "three grpc", "three admin", "front", "front gateway",
		"all admin", "bff admin", "front admin", "three gateway admin", "three bff admin",
	} {
		if sys.address[name], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	clients := map[string]devidp.Client{}
	for _, name := range []string{"all", "bff", "front", "three"} {
		clients[name] = devidp.Client{
			ID: name, Secret: rand.Text(), RedirectURIs: []string{sys.base(name) + "/api/auth/callback"},
		}
	}
	direct := directory.Machine{ID: "direct", Secret: rand.Text()}
	issuer, err := startProvider(ctx, devidp.Config{
		Clients:  []devidp.Client{clients["all"], clients["bff"], clients["front"], clients["three"]},
		Machines: []directory.Machine{direct},
		Users:    []directory.User{{Key: "seller", Permissions: []string{"products:write"}}},
		Audience: audience, Behavior: devidp.Behavior{AccessTokenLifetime: tokenLifetime},
	})
	if err != nil {
		return nil, err
	}

	level := "--log-level=info"
	if sys.quiet {
		level = "--log-level=error"
	}
	gatehouse := func(command, admin string, args ...string) []string {
		if sys.metrics || command == "server" { // Prometheus could read them there; a server is ready there
			args = append(args, "--listen-admin="+sys.address[admin])
		}
		return append([]string{program, command, "--log-format=json", level}, args...)
	}
	var telemetry []string
	switch {
	case sys.sample == 0 && !sys.metrics:
		telemetry = []string{"OTEL_SDK_DISABLED=true"}
	case sys.sample > 0:
		collector, err := startCollector(ctx)
		if err != nil {
			return nil, err
		}
		telemetry = []string{
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + collector, "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
			fmt.Sprintf("OTEL_TRACES_SAMPLER_ARG=%g", sys.sample),
		}
	}
	api := []string{"--oidc-issuer=" + issuer, "--audience=" + audience}
	login := func(name string) []string {
		store := "memory:"
		if sys.store == "sqlite" {
			store = "sqlite:" + filepath.Join(sys.dir, name+".db")
		}
		return append([]string{
			"--oidc-client-id=" + name, "--oidc-client-secret=" + clients[name].Secret, "--secret=" + rand.Text() + rand.Text(),
			"--base-url=" + sys.base(name), "--listen-bff=" + sys.address[name], "--session-store=" + store,
		}, api...)
	}
	for _, p := range []struct {
		name, ready string
		command     []string
	}{
		{roleBare, sys.base(roleBare) + "/api/private-route", []string{self, roleBare, sys.address[roleBare]}},
		{rolePlain, sys.base(rolePlain) + "/api/private-route", []string{self, rolePlain, sys.address[rolePlain]}},
		{"all", sys.base("all") + "/readyz", gatehouse("serve", "all admin", append(login("all"),
			"--listen-gateway="+sys.address["all gateway"], "--listen-grpc="+sys.address["all grpc"], "--database-url=memory:")...)},
		{"bff", sys.base("bff") + "/readyz", gatehouse("bff", "bff admin", append(login("bff"), "--gateway-url="+sys.base(roleBare))...)},
		{"three-server", sys.base("three admin") + "/readyz", gatehouse("server", "three admin", append(api,
			"--listen-grpc="+sys.address["three grpc"], "--database-url=memory:")...)},
		{"front", sys.base("front gateway") + "/readyz", gatehouse("serve", "front admin", append(login("front"),
			"--listen-gateway="+sys.address["front gateway"], "--grpc-target=dns:///"+sys.address["three grpc"])...)},
		{"three-gateway", sys.base("three gateway") + "/readyz", gatehouse("gateway", "three gateway admin",
			"--listen-gateway="+sys.address["three gateway"], "--grpc-target=dns:///"+sys.address["three grpc"])},
		{"three-bff", sys.base("three") + "/readyz", gatehouse("bff", "three bff admin", append(login("three"), "--gateway-url="+sys.base("three gateway"))...)},
	} {
		started, err := launch(ctx, sys.dir, p.name, telemetry, p.command)
		if err != nil {
			return nil, err
		}
		sys.processes[p.name] = started
		if err := started.ready(ctx, p.ready); err != nil {
			return nil, err
		}
	}

	grant := clientcredentials.Config{ClientID: direct.ID, ClientSecret: direct.Secret, TokenURL: issuer + "/oauth/token"}
	token, err := grant.Token(ctx)
	if err != nil {
		return nil, err
	}
	var variants []*variant
	for _, v := range []struct {
		name, at string
		signedIn bool
		servers  []string
	}{
		{"bare net/http handler", roleBare, false, []string{roleBare}},
		{"plain grpc-gateway in process, no auth", rolePlain, false, []string{rolePlain}},
		{"gateway + server in one process", "all gateway", false, []string{"all"}},
		{"everything in one process, signed in", "all", true, []string{"all"}},
		{"bff alone, own part", "bff", true, []string{"bff"}},
		{"bff + gateway in one process, one server", "front", true, []string{"front", "three-server"}},
		{"three processes, signed in", "three", true, []string{"three-bff", "three-gateway", "three-server"}},
	} {
		measured := &variant{name: v.name, address: sys.address[v.at]}
		for _, name := range v.servers {
			measured.servers = append(measured.servers, sys.processes[name])
		}
		for range sys.connections {
			credential := "Authorization: Bearer " + token.AccessToken
			if v.signedIn { // each connection has a user of its own
				cookie, err := signIn(sys.base(v.at))
				if err != nil {
					return nil, fmt.Errorf("%s: signing in: %w", v.name, err)
				}
				credential = "Cookie: " + cookie
			}
			measured.requests = append(measured.requests, request(sys.settings, measured.address, credential))
		}
		variants = append(variants, measured)
	}
	return variants, nil
}

// base returns the origin of a listener.
func (sys *system) base(name string) string { return "http://" + sys.address[name] }

// program returns the path of gatehouse, which it builds unless there is a setting for it.
func (sys *system) program(ctx context.Context) (string, error) {
	if sys.binary != "" {
		return filepath.Abs(sys.binary)
	}
	path := filepath.Join(sys.dir, "gatehouse")
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/gatehouse-dev/gatehouse").Output()
	if err != nil {
		return "", fmt.Errorf("find the module of gatehouse: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/gatehouse")
	build.Dir, build.Stderr = strings.TrimSpace(string(root)), os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build gatehouse: %w", err)
	}
	return path, nil
}

// startProvider starts the development provider in this process, whose processor time is not
// measured.
func startProvider(ctx context.Context, cfg devidp.Config) (issuer string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	cfg.Issuer = "http://" + listener.Addr().String()
	provider, err := devidp.New(cfg)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // ends with the context
	return cfg.Issuer, nil
}

// startCollector starts a collector of spans in this process, which discards them. It returns the
// address for OTLP over HTTP.
func startCollector(ctx context.Context) (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // ends with the context
	return "http://" + listener.Addr().String() + "/v1/traces", nil
}
