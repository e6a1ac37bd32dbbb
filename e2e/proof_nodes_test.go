//go:build proof

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

const (
	proofSessions = 50
	proofRate     = 100 // requests a second, open loop
	proofTTL      = 20 * time.Second
)

// TestProofNodes takes three nodes with 50 signed-in sessions through faults of the token endpoint
// and restarts. The provider rotates refresh tokens and ends a login when a refresh token is
// reused. No session may be lost, and requests may fail with 503 only.
func TestProofNodes(t *testing.T) {
	for _, store := range []struct {
		name  string
		begin func(t *testing.T) string
	}{
		{"Redis", func(t *testing.T) string {
			return "redis://" + redistest.Start(t, "--appendonly", "yes").Addr()
		}},
		{"PostgreSQL", func(t *testing.T) string { return pgtest.Start(t).New(t) }},
	} {
		t.Run(store.name, func(t *testing.T) {
			nodes := newProofNodes(t, store.begin(t))
			var rows [][]string
			phase := func(name string, provider http.HandlerFunc, during func()) {
				t.Helper()
				nodes.gate.answer(provider)
				got := nodes.load(t, during)
				nodes.gate.answer(nil)
				recovery := nodes.recover(t)
				lost := nodes.lost(t)
				rows = append(rows, []string{
					name, strconv.Itoa(got.sent), strconv.Itoa(got.unavailable), strconv.Itoa(got.failed),
					fmt.Sprintf("%d of %d", lost, proofSessions), fmt.Sprintf("%.1f s", recovery.Seconds()),
				})
				if lost > 0 || got.failed > 0 {
					t.Errorf("%s: %d sessions lost, %d requests failed otherwise than with 503: %v", name, lost, got.failed, got.first)
				}
			}
			wait := func(d time.Duration) func() { return func() { nodes.pause(t, d) } }
			slow := nodes.answersAfter

			phase("nothing", nil, wait(25*time.Second))
			phase("token endpoint answers after 6 s, for 40 s", slow(6*time.Second), wait(40*time.Second))
			phase("token endpoint answers after 30 s, for 45 s", slow(30*time.Second), wait(45*time.Second))
			phase("rolling restart, token endpoint answers after 1 s", slow(time.Second), func() { nodes.roll(t) })
			phase("rolling restart, token endpoint answers after 6 s", slow(6*time.Second), func() { nodes.roll(t) })
			phase("token endpoint 500 for 30 s", answersStatus(http.StatusInternalServerError, ""), wait(30*time.Second))
			phase("token endpoint 429 with Retry-After: 5 for 30 s", answersStatus(http.StatusTooManyRequests, "5"), wait(30*time.Second))
			phase("token endpoint 400 invalid_client for 30 s", answersError(http.StatusUnauthorized, "invalid_client"), wait(30*time.Second))

			// kill -9 during refreshes may lose exactly those sessions whose response never
			// arrived.
			nodes.gate.answer(slow(time.Second))
			var under int
			got := nodes.load(t, func() {
				nodes.pause(t, 15*time.Second)
				under = nodes.kill(t)
				nodes.pause(t, 25*time.Second)
			})
			nodes.gate.answer(nil)
			recovery := nodes.recover(t)
			lost := nodes.lost(t)
			rows = append(rows, []string{
				fmt.Sprintf("kill -9 of one node with %d refreshes under way at the provider", under), strconv.Itoa(got.sent),
				strconv.Itoa(got.unavailable), strconv.Itoa(got.failed), fmt.Sprintf("%d of %d", lost, proofSessions), fmt.Sprintf("%.1f s", recovery.Seconds()),
			})
			if lost > under {
				t.Errorf("kill -9: %d sessions lost, but only %d refreshes were under way", lost, under)
			}
			proof.Report(t, proof.Section{
				Title: "Three nodes on " + store.name,
				Text: fmt.Sprintf("Three `gatehouse serve` on one %s, %d signed-in sessions, access tokens of %v, %d requests a second "+
					"(open loop, a refused connection is tried at the next node). The provider rotates refresh tokens without grace and ends a "+
					"login whose refresh token comes twice. A lost session is one that is signed out afterwards.", store.name, proofSessions, proofTTL, proofRate),
				Columns: []string{"fault", "requests", "503", "other failures", "sessions lost", "recovery"},
				Rows:    rows,
			})
		})
	}
}

type proofNodes struct {
	*fleet
	gate    *gate
	env     []string
	callers []*caller
	under   atomic.Int64 // slow responses in progress
}

func newProofNodes(t *testing.T, store string) *proofNodes {
	t.Helper()
	return startProofNodes(t, newFleet(t, 3), "GATEHOUSE_SESSION_STORE="+store)
}

// startProofNodes starts a fleet with further settings, and signs users in.
func startProofNodes(t *testing.T, f *fleet, settings ...string) *proofNodes {
	t.Helper()
	n := &proofNodes{fleet: f}
	n.gate, n.env, _ = startGated(t, n.base, proofTTL)
	n.env = append(n.env, "GATEHOUSE_LOGIN_RATE=10000")
	n.env = append(n.env, settings...)
	n.start(t, n.env...)
	for i := range proofSessions {
		user := []string{"seller", "buyer"}[i%2]
		n.callers = append(n.callers, callerOf(t, n.fleet, entersAs(t, n.base, user)))
	}
	return n
}

func (n *proofNodes) pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

type loadResult struct {
	sent, unavailable, failed int
	first                     error // of failed
}

// load sends requests at proofRate until during returns.
func (n *proofNodes) load(t *testing.T, during func()) loadResult {
	t.Helper()
	var (
		mu     sync.Mutex
		result loadResult
		all    sync.WaitGroup
		stop   = make(chan struct{})
	)
	all.Go(func() {
		tick := time.NewTicker(time.Second / proofRate)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			all.Go(func() {
				status, err := n.ask(t.Context(), n.callers[i%len(n.callers)], i/len(n.callers)+i)
				mu.Lock()
				defer mu.Unlock()
				result.sent++
				switch {
				case err == nil && status == http.StatusOK:
				case err == nil && status == http.StatusServiceUnavailable:
					result.unavailable++
				default:
					result.failed++
					if result.first == nil {
						result.first = fmt.Errorf("status %d: %w", status, err)
					}
				}
			})
		}
	})
	during()
	close(stop)
	all.Wait()
	return result
}

// ask sends one request as a load balancer does, which tries the next node when a connection fails.
// With a single node it tries again for some seconds, as a proxy does while a service restarts.
func (n *proofNodes) ask(ctx context.Context, c *caller, first int) (status int, err error) {
	tries := len(n.nodes)
	if tries == 1 {
		tries = 100
	}
	for try := range tries {
		if len(n.nodes) == 1 && try > 0 {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		node := n.nodes[(first+try)%len(n.nodes)]
		if node.drained.Load() {
			err = errors.New("no node in the balancer")
			continue
		}
		var resp *http.Response
		resp, _, err = c.get(ctx, node, "/api/private-route")
		if err == nil {
			return resp.StatusCode, nil
		}
	}
	return 0, err
}

// recover waits until every session works again or is signed out, and returns how long that took.
func (n *proofNodes) recover(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	for i, c := range n.callers {
		eventually(t, fmt.Sprintf("session %d has an answer", i), func() error {
			status, err := n.ask(t.Context(), c, i)
			if err == nil && status == http.StatusServiceUnavailable {
				err = errors.New("503")
			}
			return err
		})
	}
	return time.Since(began)
}

// lost counts the sessions that are signed out, and replaces them with new logins.
func (n *proofNodes) lost(t *testing.T) int {
	t.Helper()
	lost := 0
	for i, c := range n.callers {
		if status, err := n.ask(t.Context(), c, i); err != nil || status != http.StatusOK {
			lost++
			n.callers[i] = callerOf(t, n.fleet, entersAs(t, n.base, "seller"))
		}
	}
	return lost
}

// roll restarts one node after the other, as a rolling update does.
func (n *proofNodes) roll(t *testing.T) {
	t.Helper()
	for _, node := range n.nodes {
		n.pause(t, 8*time.Second) // until refreshes are in progress again
		if code := node.stop(t); code != 0 {
			t.Errorf("a node ended with exit code %d, want 0", code)
		}
		node.start(t, len(n.nodes), n.env...)
		node.ready(t, "http://"+node.address+"/readyz")
	}
}

// kill ends a node during refreshes and starts it again. It returns the number of these refreshes.
func (n *proofNodes) kill(t *testing.T) int {
	t.Helper()
	eventually(t, "refreshes are under way", func() error {
		if n.under.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	node := n.nodes[1]
	if err := node.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	under := int(n.under.Load())
	<-node.done
	node.start(t, len(n.nodes), n.env...)
	return under
}

// answersAfter has the provider execute a refresh at once and answer it later, when the refresh
// token that was sent is used up.
func (n *proofNodes) answersAfter(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.under.Add(1)
		defer n.under.Add(-1)
		answer := httptest.NewRecorder()
		n.gate.next.ServeHTTP(answer, r)
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = io.Copy(w, bytes.NewReader(answer.Body.Bytes())) // the client may have gone
	}
}

func answersStatus(status int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
	}
}

func answersError(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, code)
	}
}
