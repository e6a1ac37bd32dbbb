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
