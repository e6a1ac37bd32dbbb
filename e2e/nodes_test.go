package e2e

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// A fleet is several `gatehouse serve` with one session store, as behind a load balancer. Each node
// can be addressed.
type fleet struct {
	base  string // the base URL: the first node's address
	nodes []*node
}

// A node is one process of a fleet.
type node struct {
	*process
	address string
	rest    string      // the address of its gateway; "" for any
	build   string      // the path of its program; "" for the one under test
	drained atomic.Bool // the balancer of a proof test sends it no requests
}

// onStores runs a test with each store that nodes can share.
func onStores(t *testing.T, test func(t *testing.T, store string)) {
	t.Helper()
	for name, begin := range map[string]func(t *testing.T) string{
		"Postgres": func(t *testing.T) string { return pgtest.Start(t).New(t) },
		"Redis":    func(t *testing.T) string { return "redis://" + redistest.Start(t).Addr() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, begin(t))
		})
	}
}

// newFleet chooses the nodes' addresses; start starts them.
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{}
	for range n {
		f.nodes = append(f.nodes, &node{address: freeAddress(t)})
	}
	f.base = "http://localhost:" + portOf(f.nodes[0].address)
	return f
}

func (f *fleet) start(t *testing.T, env ...string) {
	t.Helper()
	for _, n := range f.nodes {
		n.start(t, len(f.nodes), env...)
	}
	for _, n := range f.nodes {
		n.ready(t, "http://"+n.address+"/readyz")
	}
}

func (n *node) start(t *testing.T, replicas int, env ...string) {
	t.Helper()
	n.process = start(t, "gatehouse serve", append([]string{
		"GATEHOUSE_LISTEN_BFF=" + n.address,
		"GATEHOUSE_LISTEN_GATEWAY=" + cmp.Or(n.rest, "127.0.0.1:0"),
		"GATEHOUSE_LISTEN_GRPC=127.0.0.1:0",
		"GATEHOUSE_DATABASE_URL=memory:",
		fmt.Sprint("GATEHOUSE_REPLICAS=", replicas),
	}, env...), cmp.Or(n.build, program), "serve")
}

// A caller is a signed-in browser that can call any node.
type caller struct {
	client *http.Client
	cookie string
}

// callerOf returns a caller with a visitor's session.
func callerOf(t *testing.T, f *fleet, v *visitor) *caller {
	t.Helper()
	u, err := url.Parse(f.base)
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(c.client.CloseIdleConnections)
	for _, cookie := range v.client.Jar.Cookies(u) {
		if cookie.Name == sessionCookie {
			c.cookie = cookie.Name + "=" + cookie.Value
		}
	}
	if c.cookie == "" {
		t.Fatal("the visitor has no session")
	}
	return c
}

// get requests a path at a node. The body of the response is part of the error that wants200
// returns.
func (c *caller) get(ctx context.Context, n *node, path string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+path, nil)
	if err != nil {
		return nil, "", err
	}
	req.Header = http.Header{"Cookie": {c.cookie}, "Accept": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func (c *caller) works(ctx context.Context, n *node) error {
	resp, body, err := c.get(ctx, n, "/api/private-route")
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

func (c *caller) status(t *testing.T, n *node, path string) (int, http.Header) {
	t.Helper()
	resp, _, err := c.get(t.Context(), n, path)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header
}

// send sends a request of a page at a node.
func (c *caller) send(t *testing.T, n *node, method, path, mode, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Cookie": {c.cookie}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {mode}}
	resp, err := c.client.Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resp, string(answer)
}

// leaves signs out.
func (c *caller) leaves(t *testing.T, n *node) {
	t.Helper()
	if resp, body := c.send(t, n, http.MethodGet, "/api/auth/logout", "navigate", ""); resp.StatusCode/100 != 3 {
		t.Errorf("logout: %s: %s", resp.Status, body)
	}
}

// creates creates a product of the sample application.
func (c *caller) creates(t *testing.T, n *node, title string) {
	t.Helper()
	product := fmt.Sprintf(`{"title":%q,"price":{"currencyCode":"EUR","amountMinor":"1999"},"daw":"DAW_REAPER"}`, title)
	if resp, body := c.send(t, n, http.MethodPost, "/api/products", "cors", product); resp.StatusCode != http.StatusOK {
		t.Errorf("creating %s: %s: %s", title, resp.Status, body)
	}
}

// products returns the number of products.
func (c *caller) products(t *testing.T, n *node) int {
	t.Helper()
	resp, body := c.send(t, n, http.MethodGet, "/api/products?pageSize=1000", "cors", "")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("listing: %s: %s", resp.Status, body)
	}
	return strings.Count(body, `"title"`)
}

// TestRefreshStorm sends a thousand requests at once to three nodes after the access token has
// expired: there is one refresh, at a provider that rotates refresh tokens and treats reuse as
// theft (oauth2-proxy #1992, #1006).
func TestRefreshStorm(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 3)
		op := startProvider(t, freeAddress(t), f.base, firstTTL)
		f.start(t, append(op.environment(f.base), "GATEHOUSE_SESSION_STORE="+store)...)
		in := installation{base: f.base, op: op}
		alice := newVisitor(t)
		signsIn(t, in, alice, "alice")
		c := callerOf(t, f, alice)
		eventually(t, "the access token runs out", func() error {
			tokens := op.state(t).of("access_token")
			if left := time.Until(expiry(t, tokens[len(tokens)-1]).Add(time.Second)); left > 0 {
				return fmt.Errorf("%v left", left)
			}
			return nil
		})
		op.setTTL(t, 10*time.Minute) // so that no second refresh falls due
		before := op.state(t)
		const requests = 1000
		var failed atomic.Int64
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				if err := c.works(t.Context(), f.nodes[i%len(f.nodes)]); err != nil && failed.Add(1) <= 3 {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("%d of %d requests failed", n, requests)
		}
		after := op.state(t)
		if got := after.Grants["refresh_token"] - before.Grants["refresh_token"]; got != 1 {
			t.Errorf("the provider has refreshed %d times for %d requests over %d nodes, want once", got, requests, len(f.nodes))
		}
		if len(after.Refused) > 0 {
			t.Errorf("the provider's token endpoint has refused: %v", after.Refused)
		}
	})
}

// entersAs signs a demo user of the development provider in.
func entersAs(t *testing.T, base, user string) *visitor {
	t.Helper()
	v := newVisitor(t)
	v.open(t, base+"/private")
	chooses(t, v, user).wants(t, http.StatusOK, "text/html")
	return v
}

// TestNodeKilledInARefresh kills a node that holds the lock of a refresh: the others wait for the
// lease at most, and the session goes on, because the provider had not answered yet.
func TestNodeKilledInARefresh(t *testing.T) {
	t.Parallel()
	const (
		lease = 10 * time.Second
	)
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 2)
		g, env, _ := startGated(t, f.base, 5*time.Second)
		f.start(t, append(env, "GATEHOUSE_SESSION_STORE="+store)...)
		c := callerOf(t, f, entersAs(t, f.base, "seller"))
		g.holdNext()
		h := refreshComes(t, g, c, f.nodes[0])
		if err := f.nodes[0].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-f.nodes[0].done
		h.goOn <- false
		within(t, lease+slack, "the other node takes over", func() error {
			resp, body, err := c.get(t.Context(), f.nodes[1], "/api/private-route")
			switch {
			case err != nil:
				return err
			case resp.StatusCode == http.StatusOK && g.carriedOut() > 0:
				return nil
			case resp.StatusCode == http.StatusOK: // the token was still valid
			case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
				t.Fatalf("meanwhile the other node answers %s: %s, want 503 with Retry-After", resp.Status, body)
			}
			return errors.New("not yet")
		})
	})
}

// TestStopInARefresh stops a process during a refresh that no request waits for: the process stores
// the provider's response and ends at once afterwards.
func TestStopInARefresh(t *testing.T) {
	t.Parallel()
	store := "sqlite:" + filepath.Join(t.TempDir(), "sessions.db")
	f := newFleet(t, 1)
	g, env, _ := startGated(t, f.base, 20*time.Second)
	env = append(env, "GATEHOUSE_SESSION_STORE="+store)
	f.start(t, env...)
	c := callerOf(t, f, entersAs(t, f.base, "seller"))
	g.holdNext()
	h := refreshComes(t, g, c, f.nodes[0])
	if err := f.nodes[0].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it takes no more requests", func() error {
		conn, err := net.Dial("tcp", f.nodes[0].address)
		if err != nil {
			return nil
		}
		return errors.Join(errors.New("it does"), conn.Close())
	})
	select {
	case <-f.nodes[0].done:
		t.Fatal("it ended while the refresh was under way")
	default:
	}
	h.goOn <- true
	if code := f.nodes[0].wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if n := g.carriedOut(); n != 1 {
		t.Fatalf("the provider has refreshed %d times, want once", n)
	}
	f.start(t, env...)
	before := g.carriedOut()
	if err := c.works(t.Context(), f.nodes[0]); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if n := g.carriedOut() - before; n != 0 {
		t.Errorf("after the restart %d refreshes, want none: the new token was stored", n)
	}
}

// refreshComes sends requests to a node until a refresh is held at the gate.
func refreshComes(t *testing.T, g *gate, c *caller, n *node) *heldRefresh {
	t.Helper()
	var h *heldRefresh
	eventually(t, "a refresh", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = c.works(ctx, n) // a request that waits for the refresh ends with its deadline
		select {
		case h = <-g.came:
			return nil
		default:
			return errors.New("not yet")
		}
	})
	return h
}

// TestBrowserHangsUpInARefresh: the rotated token of a refresh is stored although the browser that
// caused it has gone, and other nodes use it (oauth2-proxy #2904).
func TestBrowserHangsUpInARefresh(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 2)
		const ttl = 4 * time.Second
		g, env, _ := startGated(t, f.base, ttl)
		f.start(t, append(env, "GATEHOUSE_SESSION_STORE="+store)...)
		v := entersAs(t, f.base, "seller")
		signedIn := time.Now()
		c := callerOf(t, f, v)
		eventually(t, "the access token runs out", func() error {
			if left := ttl + time.Second - time.Since(signedIn); left > 0 {
				return fmt.Errorf("%v left", left)
			}
			return nil
		})
		g.holdNext()
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- c.works(ctx, f.nodes[0]) }()
		var h *heldRefresh
		select {
		case h = <-g.came:
		case <-time.After(patience):
			t.Fatal("no refresh came")
		}
		hangUp()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the browser that hung up got %v", err)
		}
		h.goOn <- true
		eventually(t, "the refresh ends", func() error {
			if g.carriedOut() == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		for _, n := range f.nodes {
			if err := c.works(t.Context(), n); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestProviderFailsInARefresh: requests succeed while the token is valid; afterwards they get 503,
// without a logout, until the provider answers again.
func TestProviderFailsInARefresh(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	g, env, _ := startGated(t, f.base, 3*time.Second)
	f.start(t, append(env, "GATEHOUSE_SESSION_STORE=sqlite:sessions.db")...)
	c := callerOf(t, f, entersAs(t, f.base, "seller"))
	for name, answer := range map[string]http.HandlerFunc{
		"an error":              func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a page instead":        func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html><p>Sorry") },
		"nothing at all":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"busy":                  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"a token without value": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token_type":"Bearer"}`) },
	} {
		g.answer(answer)
		eventually(t, name+" is met", func() error {
			resp, body, err := c.get(t.Context(), f.nodes[0], "/api/private-route")
			switch {
			case err != nil:
				return err
			case resp.StatusCode == http.StatusOK:
				return errors.New("the token is good still")
			case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
				t.Fatalf("%s: %s %s, want 503 with Retry-After", name, resp.Status, body)
			}
			return nil
		})
		if status, _ := c.status(t, f.nodes[0], "/api/auth/me"); status != http.StatusOK {
			t.Errorf("%s: /api/auth/me says %d, want 200: the user is signed in", name, status)
		}
		g.answer(nil)
		eventually(t, "after "+name+" all is well", func() error { return c.works(t.Context(), f.nodes[0]) })
	}
	g.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	})
	eventually(t, "invalid_grant ends the session", func() error {
		resp, body, err := c.get(t.Context(), f.nodes[0], "/api/private-route")
		if err == nil && resp.StatusCode != http.StatusUnauthorized {
			err = fmt.Errorf("%s %s", resp.Status, body)
		}
		return err
	})
	if status, _ := c.status(t, f.nodes[0], "/api/auth/me"); status != http.StatusNoContent {
		t.Errorf("after invalid_grant /api/auth/me says %d, want 204", status)
	}
}

// TestProviderDown: sessions and their valid tokens go on working while the provider is down.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	_, env, provider := startGated(t, f.base, 10*time.Minute)
	f.start(t, append(env, "GATEHOUSE_SESSION_STORE=sqlite:sessions.db")...)
	c := callerOf(t, f, entersAs(t, f.base, "seller"))
	if err := c.works(t.Context(), f.nodes[0]); err != nil {
		t.Fatal(err)
	}
	if err := provider.Close(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := c.works(t.Context(), f.nodes[0]); err != nil {
			t.Fatal("with the provider gone:", err)
		}
	}
}

// TestStoreDown: an outage of the store leads to 503 with Retry-After within a limit, without a
// logout, and all sessions work again afterwards (oauth2-proxy #2503, #1325).
func TestStoreDown(t *testing.T) {
	t.Parallel()
	type server interface {
		Freeze(testing.TB)
		Thaw(testing.TB)
	}
	for name, begin := range map[string]func(t *testing.T) (url string, s server, kill func(), restart func()){
		"Postgres": func(t *testing.T) (string, server, func(), func()) {
			s := pgtest.Start(t)
			return s.New(t), s, func() { s.Kill(t) }, func() { s.Restart(t) }
		},
		"Redis": func(t *testing.T) (string, server, func(), func()) {
			s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			return "redis://" + s.Addr(), s, s.Kill, func() { s.Restart(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, s, kill, restart := begin(t)
			f := newFleet(t, 2)
			_, env, _ := startGated(t, f.base, 10*time.Minute)
			f.start(t, append(env, "GATEHOUSE_SESSION_STORE="+url)...)
			v := entersAs(t, f.base, "seller")
			c := callerOf(t, f, v)
			down := func(what string) {
				t.Helper()
				eventually(t, what+": 503", func() error {
					began := time.Now()
					resp, body, err := c.get(t.Context(), f.nodes[1], "/api/private-route")
					switch {
					case err != nil:
						return err
					case time.Since(began) > 20*time.Second:
						t.Fatalf("%s: the answer took %v", what, time.Since(began))
					case resp.StatusCode == http.StatusOK:
						return errors.New("still answered from memory")
					case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || len(resp.Header["Set-Cookie"]) > 0:
						t.Fatalf("%s: %s %s, want 503 with Retry-After, and no cookie", what, resp.Status, body)
					}
					return nil
				})
			}
			back := func(what string) {
				t.Helper()
				for _, n := range f.nodes {
					eventually(t, what+": signed in as before", func() error { return c.works(t.Context(), n) })
				}
			}
			back("at first")
			kill()
			down("killed")
			restart()
			back("started again")
			s.Freeze(t)
			down("frozen")
			s.Thaw(t)
			back("thawed")
		})
	}
}

// TestSecretRotation: a secret is replaced without ending a session while the old one is kept;
// without the old one its sessions end.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	store := pgtest.Start(t).New(t)
	f := newFleet(t, 1)
	_, env, _ := startGated(t, f.base, 10*time.Minute)
	old, fresh := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	env = append(env, "GATEHOUSE_SESSION_STORE="+store)
	with := func(secrets string) {
		t.Helper()
		if f.nodes[0].process != nil {
			f.nodes[0].stop(t)
		}
		var changed []string
		for _, line := range env {
			if !strings.HasPrefix(line, "GATEHOUSE_SECRET=") {
				changed = append(changed, line)
			}
		}
		f.start(t, append(changed, "GATEHOUSE_SECRET="+secrets)...)
	}
	signedIn := func(c *caller, when string) {
		t.Helper()
		if err := c.works(t.Context(), f.nodes[0]); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	with(old)
	first := callerOf(t, f, entersAs(t, f.base, "seller"))
	with(old + "," + fresh)
	signedIn(first, "with the new secret behind the old one")
	with(fresh + "," + old)
	signedIn(first, "with the new secret in front")
	second := callerOf(t, f, entersAs(t, f.base, "buyer"))
	with(fresh)
	signedIn(second, "with the new secret alone")
	if status, header := first.status(t, f.nodes[0], "/api/auth/me"); status != http.StatusNoContent {
		t.Errorf("under the old secret /api/auth/me says %d %v, want 204", status, header)
	}
	if status, _ := first.status(t, f.nodes[0], "/api/private-route"); status != http.StatusUnauthorized {
		t.Errorf("under the old secret the API says %d, want 401", status)
	}
}
