//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

const audience = "https://api.gatehouse.localhost"

// tokenLifetime is longer than a run, so that there is no refresh.
const tokenLifetime = 12 * time.Hour

// An installation is a bff and its client at the provider.
type installation struct {
	client  devidp.Client
	base    string // its origin
	address string
}

// start starts everything. The variants are in the order of the report, the bare handler and the
// plain grpc-gateway first. stop may be called after an error too.
func start(ctx context.Context, s settings, dir string) (variants []*variant, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running []*process
	stop = func() {
		cancel()
		for _, p := range running {
			_ = p.cmd.Wait() // it was told to end
		}
	}
	add := func(p *process, err error) (*process, error) {
		if p != nil && p.cmd.Process != nil {
			running = append(running, p)
		}
		return p, err
	}
	program := s.binary
	if program == "" {
		program = filepath.Join(dir, "gatehouse")
		root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/gatehouse-dev/gatehouse").Output()
		if err != nil {
			return nil, stop, fmt.Errorf("find the module of gatehouse: %w", err)
		}
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/gatehouse")
		build.Dir, build.Stderr = strings.TrimSpace(string(root)), os.Stderr
		if err := build.Run(); err != nil {
			return nil, stop, fmt.Errorf("building gatehouse: %w", err)
		}
	} else if program, err = filepath.Abs(program); err != nil {
		return nil, stop, err
	}

	// The addresses come first, because the provider needs them.
	address := map[string]string{}
	for _, name := range []string{"all", "all gateway", "all grpc", "bff", "three", "three gateway", "three grpc", "three admin"} {
		if address[name], err = freeAddress(); err != nil {
			return nil, stop, err
		}
	}
	installations := map[string]installation{}
	var clients []devidp.Client
	for _, name := range []string{"all", "bff", "three"} {
		base := "http://" + address[name]
		in := installation{base: base, address: address[name], client: devidp.Client{
			ID: name, Secret: rand.Text(), RedirectURIs: []string{base + "/api/auth/callback"},
		}}
		installations[name], clients = in, append(clients, in.client)
	}
	direct := devidp.Client{ID: "direct", Secret: rand.Text(), RedirectURIs: []string{"http://127.0.0.1:1/callback"}}
	issuer, err := startProvider(ctx, append(clients, direct))
	if err != nil {
		return nil, stop, err
	}

	bareProcess, bareAddress, err := launchSelf(ctx, roleBare)
	if _, err = add(bareProcess, err); err != nil {
		return nil, stop, err
	}
	plainProcess, plainAddress, err := launchSelf(ctx, rolePlain)
	if _, err = add(plainProcess, err); err != nil {
		return nil, stop, err
	}

	level := "--log-level=info"
	if s.quiet {
		level = "--log-level=error"
	}
	run := func(name, command, readyURL string, args ...string) (*process, error) {
		p, err := add(launch(ctx, dir, name, program, append([]string{command, "--log-format=json", level}, args...)...))
		if err != nil {
			return nil, err
		}
		return p, p.ready(ctx, readyURL)
	}
	api := []string{"--oidc-issuer=" + issuer, "--audience=" + audience}
	login := func(name string) []string {
		in := installations[name]
		store := "--session-store=memory:"
		if s.store == "sqlite" {
			store = "--session-store=sqlite:" + filepath.Join(dir, name+".db")
		}
		return append([]string{
			"--oidc-client-id=" + in.client.ID, "--oidc-client-secret=" + in.client.Secret, "--secret=" + rand.Text() + rand.Text(),
			"--base-url=" + in.base, "--listen-bff=" + in.address, store,
		}, api...)
	}
	all, err := run("all", "serve", installations["all"].base+"/readyz", append(login("all"),
		"--listen-gateway="+address["all gateway"], "--listen-grpc="+address["all grpc"], "--database-url=memory:")...)
	if err != nil {
		return nil, stop, err
	}
	bffAlone, err := run("bff", "bff", installations["bff"].base+"/readyz", append(login("bff"), "--gateway-url=http://"+bareAddress)...)
	if err != nil {
		return nil, stop, err
	}
	server, err := run("three-server", "server", "http://"+address["three admin"]+"/readyz", append([]string{
		"--listen-grpc=" + address["three grpc"], "--listen-admin=" + address["three admin"], "--database-url=memory:",
	}, api...)...)
	if err != nil {
		return nil, stop, err
	}
	gateway, err := run("three-gateway", "gateway", "http://"+address["three gateway"]+"/readyz",
		"--listen-gateway="+address["three gateway"], "--grpc-target=dns:///"+address["three grpc"])
	if err != nil {
		return nil, stop, err
	}
	threeBFF, err := run("three-bff", "bff", installations["three"].base+"/readyz", append(login("three"), "--gateway-url=http://"+address["three gateway"])...)
	if err != nil {
		return nil, stop, err
	}

	token, err := accessToken(ctx, issuer, direct)
	if err != nil {
		return nil, stop, err
	}
	bearer := func(name, address string, servers ...*process) error {
		v := &variant{name: name, address: address, servers: servers}
		for range s.connections {
			v.requests = append(v.requests, request(s, address, "Authorization: Bearer "+token))
		}
		variants = append(variants, v)
		return nil
	}
	// Each connection has a user of its own.
	signedIn := func(name, at string, servers ...*process) error {
		in := installations[at]
		v := &variant{name: name, address: in.address, servers: servers}
		for range s.connections {
			cookie, err := signIn(ctx, in.base)
			if err != nil {
				return fmt.Errorf("%s: signing in: %w", name, err)
			}
			v.requests = append(v.requests, request(s, in.address, "Cookie: "+cookie))
		}
		variants = append(variants, v)
		return nil
	}
	for _, add := range []func() error{
		func() error { return bearer("bare net/http handler", bareAddress, bareProcess) },
		func() error { return bearer("plain grpc-gateway in process, no auth", plainAddress, plainProcess) },
		func() error { return bearer("gateway + server in one process", address["all gateway"], all) },
		func() error { return signedIn("everything in one process, signed in", "all", all) },
		func() error { return signedIn("bff alone, own part", "bff", bffAlone) },
		func() error { return signedIn("three processes, signed in", "three", threeBFF, gateway, server) },
	} {
		if err := add(); err != nil {
			return nil, stop, err
		}
	}
	return variants, stop, nil
}

// startProvider starts the development provider in this process, whose processor time is not
// measured.
func startProvider(ctx context.Context, clients []devidp.Client) (issuer string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	issuer = "http://" + listener.Addr().String()
	provider, err := devidp.New(devidp.Config{
		Issuer: issuer, Clients: clients, Audience: audience, AccessTokenLifetime: tokenLifetime,
	})
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // ends with the context
	return issuer, nil
}
