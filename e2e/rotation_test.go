package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// withSecrets returns an environment with other secrets.
func withSecrets(env []string, secrets ...string) []string {
	var changed []string
	for _, line := range env {
		if !strings.HasPrefix(line, "GATEHOUSE_SECRET=") {
			changed = append(changed, line)
		}
	}
	return append(changed, "GATEHOUSE_SECRET="+strings.Join(secrets, ","))
}

func newSecret() string { return rand.Text() + rand.Text() }

// startsAgain replaces a node's process.
func (n *node) startsAgain(t *testing.T, f *fleet, env []string) {
	t.Helper()
	if code := n.stop(t); code != 0 {
		t.Errorf("a node ended with exit code %d, want 0", code)
	}
	n.start(t, len(f.nodes), env...)
	n.ready(t, "http://"+n.address+"/readyz")
}

// TestRollingRotation: a new secret may be added in either order, one node after the other, without
// ending a session. A node with an unrelated secret does not start unless it is forced to, and ends
// no session either.
func TestRollingRotation(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 2)
		_, env, _ := startGated(t, f.base, 10*time.Minute)
		env = append(env, "GATEHOUSE_SESSION_STORE="+store)
		first, second, third := newSecret(), newSecret(), newSecret()
		f.start(t, withSecrets(env, first)...)
		var callers []*caller
		signedIn := func(when string) {
			t.Helper()
			callers = append(callers, callerOf(t, f, entersAs(t, f.base, "seller")))
			for i, c := range callers {
				for j, n := range f.nodes {
					if err := c.works(t.Context(), n); err != nil {
						t.Errorf("%s: session %d at node %d: %v", when, i, j, err)
					}
				}
			}
		}
		signedIn("at first")
		for _, secrets := range [][]string{{second, first}, {second, first, third}} {
			for _, n := range f.nodes {
				n.startsAgain(t, f, withSecrets(env, secrets...))
				signedIn("during the rotation")
			}
		}

		stranger := f.nodes[1]
		stranger.stop(t)
		wrong := withSecrets(env, newSecret())
		stranger.start(t, 2, wrong...)
		if code := stranger.wait(t); code == 0 {
			t.Error("a node without any of the others' secrets ended with exit code 0")
		}
		for _, says := range []string{"GATEHOUSE_SECRET", "GATEHOUSE_SECRET_COMPROMISED", "other nodes"} {
			stranger.said(t, says)
		}
		stranger.start(t, 2, append(wrong, "GATEHOUSE_SECRET_COMPROMISED=true")...)
		stranger.ready(t, "http://"+stranger.address+"/readyz")
		for range 3 {
			for _, c := range callers {
				status, header := c.status(t, stranger, "/api/private-route")
				if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || len(header["Set-Cookie"]) > 0 {
					t.Errorf("a node that cannot open the session: %d %v, want 503 with Retry-After and the cookie left alone", status, header)
				}
			}
		}
		stranger.startsAgain(t, f, withSecrets(env, third, second, first))
		signedIn("after a node with another secret")
	})
}

// A secretFile is the file of a secret that a test replaces.
type secretFile string

// write replaces the file at once, as orchestrators do.
func (f secretFile) write(t *testing.T, content string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(string(f)+".new", []byte(content), 0o600), os.Rename(string(f)+".new", string(f))); err != nil {
		t.Fatal(err)
	}
}

// reads has a process read its files again, and waits until it has used a change.
func (p *process) reads(t *testing.T, setting string) {
	t.Helper()
	line := `"msg":"setting changed at run time","part":"tls","setting":"` + setting + `"`
	before := strings.Count(p.out.String(), line)
	_ = p.cmd.Process.Signal(syscall.SIGHUP) // it may have ended, which the wait tells
	eventually(t, p.name+" reads "+setting, func() error {
		if strings.Count(p.out.String(), line) == before {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestRotateClientKey: a client key is replaced without a restart while the provider, which
// fetched the public keys once, knows both.
func TestRotateClientKey(t *testing.T) {
	t.Parallel()
	key := func() string {
		der := must1(x509.MarshalPKCS8PrivateKey(must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	old, next := key(), key()
	file := secretFile(filepath.Join(t.TempDir(), "client-key.pem"))
	file.write(t, old+next)
	address := freeAddress(t)
	base := "http://localhost:" + portOf(address)
	op := startProvider(t, freeAddress(t), base, firstTTL, "CLIENT_JWKS_URI="+base+"/api/auth/jwks.json")
	p := gatehouse(t, append(op.environment(base), "AUTH0_CLIENT_SECRET=", "GATEHOUSE_OIDC_CLIENT_KEY_FILE="+string(file)),
		"serve", "--listen-bff="+address, "--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t))
	p.ready(t, base+"/readyz")
	in := installation{base: base, op: op, processes: []*process{p}}
	alice := newVisitor(t)
	signsIn(t, in, alice, "alice")
	for _, content := range []string{next + old, next} {
		file.write(t, content)
		p.reads(t, "GATEHOUSE_OIDC_CLIENT_KEY")
		signsIn(t, in, newVisitor(t), "bob")
	}
	callsAPI(t, in, alice)
}

// TestRotateClientSecret: a client secret is replaced without a restart, at a provider that
// accepts both for a while. Between the removal of a secret and the new one, as at a provider that
// accepts one alone, no session is lost.
func TestRotateClientSecret(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	g, env, _ := startGated(t, f.base, 4*time.Second)
	var registered string
	env = slices.DeleteFunc(env, func(line string) bool {
		value, found := strings.CutPrefix(line, "GATEHOUSE_OIDC_CLIENT_SECRET=")
		if found {
			registered = value
		}
		return found
	})
	file := secretFile(filepath.Join(t.TempDir(), "client-secret"))
	file.write(t, registered)
	f.start(t, append(env, "GATEHOUSE_OIDC_CLIENT_SECRET_FILE="+string(file), "GATEHOUSE_SESSION_STORE=sqlite:sessions.db")...)
	n := f.nodes[0]
	c := callerOf(t, f, entersAs(t, f.base, "seller"))

	var refused atomic.Int64
	accepts := func(secrets ...string) {
		g.answer(func(w http.ResponseWriter, r *http.Request) {
			id, secret, _ := r.BasicAuth()
			if !slices.Contains(secrets, secret) {
				refused.Add(1)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
				return
			}
			r.SetBasicAuth(id, registered)
			g.mu.Lock()
			g.refreshes++
			g.mu.Unlock()
			g.next.ServeHTTP(w, r)
		})
	}
	refreshes := func(when string) {
		t.Helper()
		before := g.carriedOut()
		eventually(t, when, func() error {
			if err := c.works(t.Context(), n); err != nil {
				return err
			}
			if g.carriedOut() == before {
				return errors.New("not refreshed")
			}
			return nil
		})
	}
	second, third := rand.Text(), rand.Text()
	accepts(registered, second)
	file.write(t, second)
	n.reads(t, "GATEHOUSE_OIDC_CLIENT_SECRET")
	accepts(second)
	refreshes("refreshed with the second secret")
	if refused.Load() > 0 {
		t.Errorf("%d refreshes were refused, want none", refused.Load())
	}

	accepts(third)
	eventually(t, "a refresh with the removed secret", func() error {
		if status, header := c.status(t, n, "/api/private-route"); status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Fatalf("status %d %v, want 200 or 503", status, header)
		}
		if refused.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	file.write(t, third)
	n.reads(t, "GATEHOUSE_OIDC_CLIENT_SECRET")
	refreshes("refreshed with the third secret")
}

// TestRotateStorePassword: the password of the session store is replaced by a second one that is
// valid at the same time, in a rolling restart.
func TestRotateStorePassword(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(t *testing.T) (first, second string, add, remove func()){
		"Redis": func(t *testing.T) (string, string, func(), func()) {
			server := redistest.Start(t)
			set := func(rules ...string) { server.Do(t, append([]string{"ACL", "SETUSER", "gatehouse"}, rules...)...) }
			set("on", ">first", "~gatehouse:*", "+@read", "+@write", "+@scripting", "+@connection", "+role", "+info", "+client|tracking")
			return "redis://gatehouse:first@" + server.Addr(), "redis://gatehouse:second@" + server.Addr(),
				func() { set(">second") }, func() { set("<first") }
		},
		"PostgreSQL": func(t *testing.T) (string, string, func(), func()) {
			server := pgtest.StartTCP(t)
			database := must1(url.Parse(server.New(t)))
			run := func(statements string) {
				t.Helper()
				conn := must1(pgx.Connect(t.Context(), database.String()))
				defer conn.Close(t.Context())
				if _, err := conn.PgConn().Exec(t.Context(), statements).ReadAll(); err != nil {
					t.Fatalf("%s\n%v", statements, err)
				}
			}
			run("CREATE ROLE gatehouse LOGIN PASSWORD 'first'; GRANT CREATE ON SCHEMA public TO gatehouse")
			add := func() {
				for _, b := range blocksOf(t, "..", "docs/rotation.md") {
					if b.language != "sql" {
						continue
					}
					run(strings.ReplaceAll(b.text, "…", "second"))
				}
			}
			return "postgres://gatehouse:first@" + server.Addr() + database.Path, "postgres://gatehouse_b:second@" + server.Addr() + database.Path,
				add, func() { run("ALTER ROLE gatehouse NOLOGIN") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, add, remove := begin(t)
			f := newFleet(t, 2)
			_, env, _ := startGated(t, f.base, 10*time.Minute)
			file := secretFile(filepath.Join(t.TempDir(), "store"))
			file.write(t, first)
			env = append(env, "GATEHOUSE_SESSION_STORE_FILE="+string(file))
			f.start(t, env...)
			c := callerOf(t, f, entersAs(t, f.base, "seller"))
			add()
			for _, n := range f.nodes {
				if err := c.works(t.Context(), n); err != nil {
					t.Errorf("with both passwords: %v", err)
				}
			}
			file.write(t, second)
			for _, n := range f.nodes {
				_ = n.cmd.Process.Signal(syscall.SIGHUP)
				n.said(t, `"msg":"changed file takes effect after a restart","setting":"GATEHOUSE_SESSION_STORE"`)
				n.startsAgain(t, f, env)
			}
			remove()
			for _, n := range f.nodes {
				if err := c.works(t.Context(), n); err != nil {
					t.Error(err)
				}
			}
			n := f.nodes[0]
			n.startsAgain(t, f, env)
			if err := c.works(t.Context(), n); err != nil {
				t.Errorf("after the removal of the first password: %v", err)
			}
		})
	}
}

// TestRotateAuthority replaces the private authority between gateway and server, and their
// certificates, under load and without a restart.
func TestRotateAuthority(t *testing.T) {
	t.Parallel()
	old, next := certtest.New(t, "old"), certtest.New(t, "new")
	dir := t.TempDir()
	bundle := secretFile(filepath.Join(dir, "ca.crt"))
	bundle.write(t, string(old.PEM))
	issue := func(ca *certtest.Authority, name string) {
		t.Helper()
		pair := ca.Issue(t, name, "127.0.0.1")
		secretFile(filepath.Join(dir, name+".pem")).write(t, string(pair.Cert)+string(pair.Key)) // together, so that they fit
	}
	issue(old, "gateway")
	issue(old, "server")
	rest, grpc := freeAddress(t), freeAddress(t)
	op := startProvider(t, freeAddress(t), "http://localhost:3000", firstTTL)
	tlsOf := func(name string) []string {
		file := filepath.Join(dir, name+".pem")
		return []string{"GATEHOUSE_TLS_CERT_FILE=" + file, "GATEHOUSE_TLS_KEY_FILE=" + file}
	}
	server := gatehouse(t, append(tlsOf("server"), "AUTH0_ISSUER_BASE_URL="+op.issuer, "AUTH0_AUDIENCE="+opAudience,
		"GATEHOUSE_GRPC_CLIENT_CA_FILE="+string(bundle), "GATEHOUSE_GRPC_CLIENT_NAMES=gateway", "GATEHOUSE_DATABASE_URL=memory:"),
		"server", "--listen-grpc="+grpc)
	client := filepath.Join(dir, "gateway.pem")
	startGateway := func() *process {
		return gatehouse(t, append(tlsOf("gateway"), "GATEHOUSE_GRPC_CA_FILE="+string(bundle),
			"GATEHOUSE_TLS_CLIENT_CERT_FILE="+client, "GATEHOUSE_TLS_CLIENT_KEY_FILE="+client),
			"gateway", "--listen-gateway="+rest, "--grpc-target=dns:///"+grpc)
	}
	gateway := startGateway()
	roots := old.Pool()
	roots.AppendCertsFromPEM(next.PEM)
	get := func() error {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true} // a handshake each
		resp, err := (&http.Client{Transport: transport}).Get("https://" + rest + "/api/products")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}
	eventually(t, "gateway and server", get)

	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := get(); err != nil {
				done <- err
				return
			}
		}
	}()
	both := []*process{gateway, server}
	rotate := func(setting func(p *process) string) {
		t.Helper()
		for _, p := range both {
			p.reads(t, setting(p))
		}
	}
	authorities := func(p *process) string {
		if p == gateway {
			return "GATEHOUSE_GRPC_CA_FILE"
		}
		return "GATEHOUSE_GRPC_CLIENT_CA_FILE"
	}
	bundle.write(t, string(old.PEM)+string(next.PEM))
	rotate(authorities)
	issue(next, "gateway")
	issue(next, "server")
	rotate(func(*process) string { return "GATEHOUSE_TLS_CERT_FILE" })
	bundle.write(t, string(next.PEM))
	rotate(authorities)
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("a request failed: %v", err)
	}
	if err := handshake(t, grpc, next, new(next.Issue(t, "gateway"))); err != nil {
		t.Errorf("the server refuses a certificate of the new authority: %v", err)
	}
	if err := handshake(t, grpc, next, new(old.Issue(t, "gateway"))); err == nil {
		t.Error("the server accepts a certificate of the old authority")
	}
	gateway.stop(t)
	gateway = startGateway()
	eventually(t, "a new gateway", get)
}
