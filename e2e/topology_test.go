package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Readers send requests until they are stopped, and collect what fails.
type readers struct {
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex
	sent    int
	failed  []string
	slowest time.Duration
}

// startReaders sends a GET of each path every 20 ms, with a user's session.
func startReaders(t *testing.T, c *caller, n *node, paths ...string) *readers {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &readers{stop: stop}
	t.Cleanup(func() { stop(); l.all.Wait() })
	for _, path := range paths {
		l.all.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					l.all.Go(func() { l.send(t, c, n, path) })
				}
			}
		})
	}
	return l
}

func (l *readers) send(t *testing.T, c *caller, n *node, path string) {
	began := time.Now()
	resp, body, err := c.get(context.WithoutCancel(t.Context()), n, path)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failed = append(l.failed, err.Error())
	} else if resp.StatusCode != http.StatusOK {
		l.failed = append(l.failed, resp.Status+": "+body)
	}
}

// end stops the load, and fails the test if a request has failed or took longer than
// limit.
func (l *readers) end(t *testing.T, what string, limit time.Duration) {
	t.Helper()
	l.stop()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%s: %d sent, %d failed, slowest %v", what, l.sent, len(l.failed), l.slowest)
	if len(l.failed) > 0 || l.sent == 0 {
		t.Errorf("%s: %d of %d failed: %s", what, len(l.failed), l.sent, l.failed[:min(3, len(l.failed))])
	}
	if l.slowest > limit {
		t.Errorf("%s: one took %v, want %v at most", what, l.slowest, limit)
	}
}

// TestServeInFrontOfServers runs bff and gateway in one process in front of two servers:
// a server that is frozen or killed costs no read, and the settings of a server are
// said to have no effect.
func TestServeInFrontOfServers(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	base := "http://localhost:" + portOf(address)
	op := startProvider(t, freeAddress(t), base, 10*time.Minute)
	var servers []*process
	var targets []string
	for range 2 {
		grpc := freeAddress(t)
		servers = append(servers, gatehouse(t, []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer, "AUTH0_AUDIENCE=" + opAudience, "GATEHOUSE_DATABASE_URL=memory:"},
			"server", "--listen-grpc="+grpc))
		targets = append(targets, grpc)
	}
	front := gatehouse(t, append(op.environment(base), "GATEHOUSE_DATABASE_URL=sqlite:/nonexistent/x.db"), "serve",
		"--listen-bff="+address, "--listen-gateway=127.0.0.1:0", "--grpc-target="+strings.Join(targets, ","))
	front.ready(t, base+"/readyz")
	if got := front.out.String(); !strings.Contains(got, "note: GATEHOUSE_DATABASE_URL") || !strings.Contains(got, "has no effect, because the server is at --grpc-target="+targets[0]) {
		t.Errorf("it does not say that the database has no effect: %s", got)
	}
	v := newVisitor(t)
	signsIn(t, installation{base: base, op: op, processes: []*process{front}}, v, "alice")
	n := &node{address: address}
	c := callerOf(t, &fleet{base: base}, v)
	eventually(t, "the API answers", func() error { return c.works(t.Context(), n) })

	const unavailable = `"msg":"server unavailable","part":"gateway","address":"`
	if strings.Contains(front.out.String(), unavailable) {
		t.Errorf("it warns of servers that start: %s", front.out)
	}
	l := startReaders(t, c, n, "/api/private-route")
	eventually(t, "both servers answer", func() error {
		for _, s := range servers {
			if !strings.Contains(s.out.String(), "/GetPrivateRoute") {
				return fmt.Errorf("%s has no call", s.name)
			}
		}
		return nil
	})
	if err := servers[0].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frozen server is left", func() error {
		if got := front.out.String(); !strings.Contains(got, unavailable+targets[0]) {
			return fmt.Errorf("no line in the log")
		}
		return nil
	})
	l.end(t, "frozen server", 3*time.Second+slack)
	l = startReaders(t, c, n, "/api/private-route")
	if err := servers[0].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	within(t, 2*time.Second+slack, "it is used again", func() error {
		if got := front.out.String(); !strings.Contains(got, `"server available again"`) {
			return fmt.Errorf("no line in the log")
		}
		return nil
	})
	if err := servers[1].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed server is left", func() error {
		if got := front.out.String(); !strings.Contains(got, unavailable+targets[1]) {
			return fmt.Errorf("no line in the log")
		}
		return nil
	})
	l.end(t, "killed server", 3*time.Second+slack)
}
