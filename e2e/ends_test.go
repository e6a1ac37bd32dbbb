package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A listener is an event stream that a browser has open at a node.
type listener struct {
	lines chan string // closed when the stream has ended
}

// listens opens a stream at a node and waits for its first event.
func (c *caller) listens(t *testing.T, n *node, path string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Cookie": {c.cookie}, "Accept": {"text/event-stream"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if mediaType := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(mediaType, "text/event-stream") {
		t.Fatalf("%s: %s, %s", path, resp.Status, mediaType)
	}
	l := &listener{lines: make(chan string, 100)}
	go func() {
		defer close(l.lines)
		defer resp.Body.Close()
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			l.lines <- scanner.Text()
		}
	}()
	return l
}

// hears waits for a line with the prefix and returns the rest of it.
func (l *listener) hears(t *testing.T, prefix string) string {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				t.Fatalf("the stream has ended before %q", prefix)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
		case <-limit:
			t.Fatalf("%q: not within %v", prefix, patience)
		}
	}
}

// ends waits until the stream has ended and returns how long that took.
func (l *listener) ends(t *testing.T) time.Duration {
	t.Helper()
	begun, limit := time.Now(), time.After(patience)
	for {
		select {
		case _, ok := <-l.lines:
			if !ok {
				return time.Since(begun)
			}
		case <-limit:
			t.Fatalf("the stream goes on after %v", patience)
		}
	}
}

// TestEndsEverywhere ends sessions at one node whose streams are open at another one: the streams
// end, with the reason. A node that is killed after a logout leaves nothing undone, and one that is
// stopped ends its streams.
func TestEndsEverywhere(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 2)
		op := startProvider(t, freeAddress(t), f.base, 10*time.Minute)
		f.start(t, append(op.environment(f.base), "GATEHOUSE_SESSION_STORE="+store)...)
		in := installation{base: f.base, op: op}
		first, second := f.nodes[0], f.nodes[1]

		alice, bob, carol := newVisitor(t), newVisitor(t), newVisitor(t)
		for name, v := range map[string]*visitor{"alice": alice, "bob": bob, "carol": carol} {
			signsIn(t, in, v, name)
		}
		watch := func(v *visitor) (c *caller, events, products *listener) {
			c = callerOf(t, f, v)
			events, products = c.listens(t, second, "/api/auth/events"), c.listens(t, second, "/api/products:watch")
			events.hears(t, "event: session")
			products.hears(t, "id: ")
			return c, events, products
		}

		// At the provider, which notifies the first node.
		_, events, products := watch(bob)
		bob.open(t, op.issuer+"/session/end").wants(t, http.StatusOK, "text/html")
		begun := time.Now()
		bob.submit(t, nil)
		events.hears(t, "event: ended")
		if data := events.hears(t, "data: "); data != `{"reason":"provider"}` {
			t.Errorf("bob hears %s", data)
		}
		events.ends(t)
		products.ends(t)
		t.Logf("signed out by the provider: heard and cut at the other node %v after the click at the provider", time.Since(begun))

		// At a node, which is killed afterwards.
		c, events, products := watch(alice)
		refresh := len(op.state(t).Live)
		begun = time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+first.address+"/api/auth/logout", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Cookie": {c.cookie}, "Accept": {"text/html"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
		resp, err := http.DefaultTransport.RoundTrip(req) // not followed: the browser never reaches the provider
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("logout: %s", resp.Status)
		}
		if err := first.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-first.done
		events.hears(t, "event: ended")
		if data := events.hears(t, "data: "); data != `{"reason":"signed_out"}` {
			t.Errorf("alice hears %s", data)
		}
		products.ends(t)
		t.Logf("signed out at one node: heard and cut at the other %v later", time.Since(begun))
		if n := len(op.state(t).Live); n != refresh {
			t.Errorf("%d refresh tokens are live right after the logout, want %d: its own waits for the browser", n, refresh)
		}
		_, events, products = watch(carol)
		eventually(t, "the other node revokes the refresh token", func() error {
			if n := len(op.state(t).Live); n != refresh-1 {
				return fmt.Errorf("%d refresh tokens are live, want %d", n, refresh-1)
			}
			return nil
		})

		// The end of a process is no logout.
		begun = time.Now()
		stopped := make(chan int)
		go func() { stopped <- second.stop(t) }()
		events.hears(t, "event: goodbye")
		events.ends(t)
		products.ends(t)
		if code := <-stopped; code != 0 {
			t.Errorf("the node ended with exit code %d, want 0", code)
		}
		t.Logf("with two streams open, a node ends within %v", time.Since(begun))
	})
}
