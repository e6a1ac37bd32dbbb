package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// TestProviderUnreachableAtStart starts gatehouse before its provider: it runs, is not ready, names
// the issuer at the admin port and in the log alone, and becomes ready by itself when the provider
// starts.
func TestProviderUnreachableAtStart(t *testing.T) {
	t.Parallel()
	address, admin, providerAddress := freeAddress(t), freeAddress(t), freeAddress(t)
	base, issuer := "http://localhost:"+portOf(address), "http://"+providerAddress
	p := gatehouse(t, tutorialEnvironment(issuer, base), "serve",
		"--listen-bff="+address, "--listen-admin="+admin, "--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t))
	p.ready(t, base+"/healthz")
	p.ready(t, "http://"+admin+"/healthz")
	for url, says := range map[string][]string{base + "/readyz": {"not ready"}, "http://" + admin + "/readyz": {issuer, "refused"}} {
		eventually(t, url+" says why", func() error {
			resp, err := http.Get(url)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			switch {
			case err != nil:
				return err
			case resp.StatusCode != http.StatusServiceUnavailable:
				t.Fatalf("%s: %s, want 503", url, resp.Status)
			case url == base+"/readyz" && strings.Contains(string(body), issuer):
				t.Fatalf("%s shows the issuer to the public: %s", url, body)
			}
			for _, text := range says {
				if !strings.Contains(string(body), text) {
					return fmt.Errorf("%s lacks %q", body, text)
				}
			}
			return nil
		})
	}
	p.said(t, issuer) // the log names it too
	early := newVisitor(t)
	early.open(t, base+"/").wants(t, http.StatusOK, "text/html")
	refused := early.open(t, base+"/private").wants(t, http.StatusServiceUnavailable, "text/html")
	if refused.header.Get("Retry-After") == "" {
		t.Error("the page that says so has no Retry-After")
	}

	op := startProvider(t, providerAddress, base, firstTTL)
	p.ready(t, base+"/readyz")
	p.ready(t, "http://"+admin+"/readyz")
	signsIn(t, installation{base: base, op: op, processes: []*process{p}}, early, "alice")
	early.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
}

// TestIdleEndsAtOnce sends SIGTERM to each command without requests in flight. Clients keep
// connections open, as browsers, proxies and gRPC clients do: used ones, and ones that were never
// used.
func TestIdleEndsAtOnce(t *testing.T) {
	t.Parallel()
	const issuer, base = "http://127.0.0.1:1", "http://localhost:3000" // never contacted
	env := tutorialEnvironment(issuer, base)
	listen := func(t *testing.T, args []string, names ...string) (_ []string, addresses map[string]string) {
		addresses = map[string]string{}
		for _, name := range names {
			addresses[name] = freeAddress(t)
			args = append(args, "--listen-"+name+"="+addresses[name])
		}
		return args, addresses
	}
	for _, c := range []struct {
		command   []string
		listeners []string
	}{
		{[]string{"dev"}, []string{"bff", "gateway", "grpc", "devidp"}},
		{[]string{"serve"}, []string{"bff", "gateway", "grpc", "admin"}},
		{[]string{"bff", "--gateway-url=http://127.0.0.1:1"}, []string{"bff", "admin"}},
		{[]string{"gateway", "--grpc-target=dns:///127.0.0.1:1"}, []string{"gateway", "admin"}},
		{[]string{"server"}, []string{"grpc", "admin"}},
	} {
		t.Run(c.command[0], func(t *testing.T) {
			t.Parallel()
			args, addresses := listen(t, c.command, c.listeners...)
			p := gatehouse(t, env, args...)
			for name, address := range addresses {
				unused := connect(t, address)
				defer unused.Close()
				if name == "grpc" {
					client := healthpb.NewHealthClient(dial(t, address))
					eventually(t, "gRPC at "+address, func() error {
						_, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
						return err
					})
					// A health watch does not delay the end either.
					watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
					if err == nil {
						_, err = watch.Recv()
					}
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				path := "/healthz"
				if name == "devidp" {
					path = "/.well-known/openid-configuration"
				}
				p.ready(t, "http://"+address+path) // leaves an idle connection
			}
			began := time.Now()
			if code := p.stop(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("ended after %v with nothing in flight, want at most 2 s", took)
			}
		})
	}
}

// TestShutdownIsBounded has a client that does not end its stream. The process waits for the
// shutdown timeout and logs it; a second signal ends it at once.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout string
		insist  bool
		code    int
		says    []string
	}{
		"the time is up":  {"1s", false, 1, []string{"GATEHOUSE_SHUTDOWN_TIMEOUT", "1s"}},
		"a second signal": {"1h", true, -1, nil}, // ended by the signal itself
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			p := gatehouse(t, nil, "dev", "--shutdown-timeout="+c.timeout, "--listen-grpc="+address,
				"--listen-bff="+freeAddress(t), "--listen-gateway="+freeAddress(t), "--listen-devidp="+freeAddress(t))
			connect(t, address).Close()
			stream, err := reflectionpb.NewServerReflectionClient(dial(t, address)).ServerReflectionInfo(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			request := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
			if err := stream.Send(request); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			if c.insist {
				eventually(t, "a signal after the first ends it", func() error {
					_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
					select {
					case <-p.done:
						return nil
					default:
						return errors.New("it goes on")
					}
				})
			}
			if code := p.stop(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, text := range c.says {
				if !strings.Contains(p.out.String(), text) {
					t.Errorf("the output lacks %s:\n%s", text, p.out.String())
				}
			}
		})
	}
}

// connect opens a connection as soon as the port is open.
func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	var conn net.Conn
	eventually(t, "connecting to "+address, func() (err error) {
		conn, err = net.Dial("tcp", address)
		return err
	})
	return conn
}

// TestStoresUnreachableAtStart starts each command before its session store, its denylist and its
// database: it waits, is not ready, says why once in the log and at the admin port, serves what
// works without, and becomes ready by itself.
func TestStoresUnreachableAtStart(t *testing.T) {
	t.Parallel()
	redis, postgres := redistest.Start(t), pgtest.Start(t)
	database := postgres.New(t)
	redis.Kill()
	postgres.Kill(t)
	address := freeAddress(t)
	base := "http://localhost:" + portOf(address)
	_, env, _ := startGated(t, base, time.Minute)
	env = append(env, "GATEHOUSE_SESSION_STORE=redis://"+redis.Addr(), "GATEHOUSE_DENYLIST=redis://"+redis.Addr(), "GATEHOUSE_DATABASE_URL="+database)
	begin := func(command string, args ...string) (*process, string) {
		admin := freeAddress(t)
		p := gatehouse(t, env, append([]string{command, "--listen-admin=" + admin, "--listen-grpc=" + freeAddress(t)}, args...)...)
		return p, "http://" + admin
	}
	all, allAdmin := begin("serve", "--listen-bff="+address, "--listen-gateway="+freeAddress(t))
	server, serverAdmin := begin("server")
	for p, admin := range map[*process]string{all: allAdmin, server: serverAdmin} {
		p.ready(t, admin+"/healthz")
		for _, text := range []string{"session store unavailable", "denylist unavailable", "service unavailable"} {
			p.said(t, text)
		}
		resp, err := http.Get(admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), redis.Addr()) {
			t.Errorf("%s: readyz at the admin port says %s %s, want 503 with the address of Redis", p.name, resp.Status, body)
		}
	}
	v := newVisitor(t)
	v.open(t, base+"/readyz").wants(t, http.StatusServiceUnavailable, "text/plain")
	v.open(t, base+"/").wants(t, http.StatusOK, "text/html")
	redis.Restart(t)
	postgres.Restart(t)
	for p, admin := range map[*process]string{all: allAdmin, server: serverAdmin} {
		p.ready(t, admin+"/readyz")
		if n := strings.Count(p.out.String(), `"session store unavailable"`); n != 1 {
			t.Errorf("%s has said %d times that the session store is unavailable, want once", p.name, n)
		}
	}
	all.ready(t, base+"/readyz")
	entersAs(t, base, "seller").fetch(t, "/api/products").wants(t, http.StatusOK, "application/json")
}

// TestLameDuck stops a process under requests: while it is a lame duck its health checks fail,
// requests are served, and their connections are closed. SIGHUP before ends nothing.
func TestLameDuck(t *testing.T) {
	t.Parallel()
	address, gateway, admin, grpcAddress := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(address)
	_, env, _ := startGated(t, base, time.Minute)
	p := gatehouse(t, append(env, "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:"), "serve", "--lame-duck=2s",
		"--listen-bff="+address, "--listen-gateway="+gateway, "--listen-admin="+admin, "--listen-grpc="+grpcAddress)
	checks := []string{base + "/readyz", "http://" + gateway + "/readyz", "http://" + admin + "/readyz"}
	for _, url := range checks {
		p.ready(t, url)
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGHUP {
			p.said(t, `"reloaded"`)
		}
	}
	began := time.Now()
	for _, url := range checks {
		eventually(t, url+" is not ready", func() error {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				return errors.New(resp.Status)
			}
			return nil
		})
	}
	status, err := healthpb.NewHealthClient(dial(t, grpcAddress)).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || status.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("gRPC health: %v, %v, want NOT_SERVING", status, err)
	}
	for _, url := range []string{base + "/", base + "/api/products", "http://" + gateway + "/api/products"} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !resp.Close {
			t.Errorf("%s of a lame duck: %s, closing its connection: %t; want 200 and true", url, resp.Status, resp.Close)
		}
	}
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took < time.Second || took > 15*time.Second {
		t.Errorf("ended after %v, want 2 s and little more", took)
	}
}
