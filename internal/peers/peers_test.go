package peers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// A world is what probes and look-ups find. Times are those of a synctest bubble.
type world struct {
	mu      sync.Mutex
	probes  map[string]error // nil error: serves; errSilent: no answer
	found   []string
	lookups int
	log     bytes.Buffer
}

var errSilent = errors.New("silent")

func (w *world) probe(ctx context.Context, p *peers.Peer) error {
	w.mu.Lock()
	err := w.probes[p.Address]
	w.mu.Unlock()
	if errors.Is(err, errSilent) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (w *world) lookup(context.Context, peers.Target) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	if w.found == nil {
		return nil, errors.New("no such host")
	}
	return slices.Clone(w.found), nil
}

func (w *world) set(address string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes[address] = err
}

func (w *world) resolveTo(found ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = found
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// lines returns the log since the last call, without times.
func (w *world) lines() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.log.Reset()
	return w.log.String()
}

// start starts a set over fixed addresses, and over a name if w finds some.
func (w *world) start(t *testing.T, targets ...peers.Target) *peers.Set {
	t.Helper()
	if w.probes == nil {
		w.probes = map[string]error{}
	}
	logger := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	s := peers.NewSet(peers.Config{Name: "server", Targets: targets, Probe: w.probe, Lookup: w.lookup, Logger: logger})
	s.Start()
	t.Cleanup(s.Close)
	return s
}

var pair = []peers.Target{{Host: "10.0.0.1", Port: "9090"}, {Host: "10.0.0.2", Port: "9090"}}

const first, second = "10.0.0.1:9090", "10.0.0.2:9090"

// picked returns the addresses of the next ten picks, each once, sorted.
func picked(s *peers.Set) string {
	var addresses []string
	for range 10 {
		if p := s.Pick(nil); p != nil && !slices.Contains(addresses, p.Address) {
			addresses = append(addresses, p.Address)
		}
	}
	slices.Sort(addresses)
	return strings.Join(addresses, " ")
}

func wantPicked(t *testing.T, s *peers.Set, when, want string) {
	t.Helper()
	if got := picked(s); got != want {
		t.Errorf("%s: picked %q, want %q", when, got, want)
	}
}

// TestFrozen checks the time in which a silent peer is left and comes back, and the
// log of it.
func TestFrozen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := w.start(t, pair...)
		wantPicked(t, s, "before a probe", first+" "+second)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if err := s.Ready(); err != nil {
			t.Errorf("Ready() = %v", err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		left := make(chan struct{})
		for _, p := range s.Peers() {
			p.Begin(&call{func() {
				if p.Address != first {
					t.Errorf("calls leave %s", p.Address)
				}
				close(left)
			}})
		}
		over := &call{func() { t.Error("a call that is over leaves") }}
		s.Peers()[0].Begin(over)
		s.Peers()[0].End(over)
		frozen := time.Now()
		w.set(first, errSilent) // just after a probe, the worst moment
		<-left
		if took := time.Since(frozen); took > 1500*time.Millisecond {
			t.Errorf("left after %v, want 1.5 s", took)
		}
		late := make(chan struct{})
		s.Peers()[0].Begin(&call{func() { close(late) }}) // a call that had chosen it before
		<-late
		synctest.Wait()
		wantPicked(t, s, "frozen", second)
		if p := s.Pick(s.Pick(nil)); p == nil || p.Address != first {
			t.Errorf("without the other, Pick is %v, want the silent one", p)
		}
		time.Sleep(time.Minute + time.Millisecond)
		w.set(first, nil)
		thawed := time.Now()
		for picked(s) != first+" "+second && time.Since(thawed) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(thawed); took > 1010*time.Millisecond {
			t.Errorf("used again after %v, want 1 s", took)
		}
		synctest.Wait()
		s.Peers()[0].Begin(&call{func() { t.Error("calls leave a peer that is back") }})
		time.Sleep(time.Second)
		lines := strings.Split(strings.TrimSpace(w.lines()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="server unavailable" address=10.0.0.1:9090 err="no answer to a probe within 1s"`) ||
			!strings.Contains(lines[1], `level=INFO msg="server available again" address=10.0.0.1:9090 duration=61`) {
			t.Errorf("got log\n%s", strings.Join(lines, "\n"))
		}
	})
}

// TestRestarts checks that a peer that leaves in an orderly way while another one serves
// has one line at INFO, and that it is an outage if it stays away or is the last one.
func TestRestarts(t *testing.T) {
	t.Parallel()
	unready, refused := fmt.Errorf("%w: draining", peers.ErrUnready), errors.New("connection refused")
	const leaves = `level=INFO msg="address not ready" address=10.0.0.1:9090 err="not ready: draining"` + "\n"
	for _, c := range []struct {
		name string
		away time.Duration
		last bool
		want string
	}{
		{"restarted", 10 * time.Second, false, leaves},
		{"away for long", 40 * time.Second, false, leaves + `level=WARN msg="server unavailable" address=10.0.0.1:9090 err="connection refused"` + "\n" +
			`level=INFO msg="server available again" address=10.0.0.1:9090 duration=`},
		{"the last one", 10 * time.Second, true, `level=WARN msg="server unavailable" address=10.0.0.1:9090 err="not ready: draining"` + "\n" +
			`level=INFO msg="server available again" address=10.0.0.1:9090 duration=`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				targets := pair
				if c.last {
					targets = pair[:1]
				}
				w.start(t, targets...)
				for _, step := range []error{nil, unready, refused, unready, nil} { // it stops, starts, and is ready
					w.set(first, step)
					wait := time.Second
					if errors.Is(step, refused) {
						wait = c.away
					}
					time.Sleep(wait)
					synctest.Wait()
				}
				if got := w.lines(); !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") != strings.Count(c.want+".", "\n")+strings.Count(c.want, "duration=") {
					t.Errorf("got log\n%swant\n%s", got, c.want)
				}
			})
		})
	}
}

// A call does something when it leaves its peer.
type call struct{ leave func() }

func (c *call) Leave() { c.leave() }

// TestPreference checks the order in which states are used.
func TestPreference(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := w.start(t, pair...)
		unready := fmt.Errorf("%w: draining", peers.ErrUnready)
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		wait(time.Second)
		w.set(first, unready)
		wait(time.Second)
		wantPicked(t, s, "one drains", second)
		w.set(second, errSilent)
		wait(2 * time.Second)
		wantPicked(t, s, "one drains, one is silent", first)
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "10.0.0.1:9090: not ready: draining") || !strings.Contains(err.Error(), second) {
			t.Errorf("Ready() = %v, want both addresses with causes", err)
		}
		w.set(first, errors.New("connection refused"))
		wait(2 * time.Second)
		wantPicked(t, s, "both are silent", first+" "+second)
		wait(peers.GiveUp)
		wantPicked(t, s, "both are lost", "")
		w.set(second, unready)
		wait(time.Second)
		wantPicked(t, s, "one answers", second)
	})
}

// TestSilentWithoutAnother checks that calls do not leave the only peer.
func TestSilentWithoutAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		s := w.start(t, pair[0])
		time.Sleep(time.Second)
		synctest.Wait()
		w.set(first, errSilent)
		s.Peers()[0].Begin(&call{func() { t.Error("calls leave the only peer") }})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantPicked(t, s, "silent", first)
	})
}

// TestNames checks that a name is looked up again, sooner when a peer fails, and that
// a failed look-up changes nothing.
func TestNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.resolveTo("10.0.0.1", "10.0.0.2")
		s := w.start(t, peers.Target{Host: "servers", Port: "9090"})
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantPicked(t, s, "at first", first+" "+second)
		time.Sleep(time.Second)
		w.resolveTo("10.0.0.2", "10.0.0.3")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		const third = "10.0.0.3:9090"
		wantPicked(t, s, "looked up again", second+" "+third)

		w.resolveTo()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		wantPicked(t, s, "without DNS", second+" "+third)
		if got := w.lines(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=WARN msg="address of the server unavailable" host=servers err="no such host"`) {
			t.Errorf("got log %s", got)
		}
		w.resolveTo("10.0.0.2")
		time.Sleep(11 * time.Second)
		w.lines()

		w.set(second, errors.New("connection refused"))
		w.resolveTo("10.0.0.4")
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		wantPicked(t, s, "replaced", "10.0.0.4:9090")
	})
}

// TestNeverAnswers checks that an address that has never answered is reported if the
// target has no other: localhost is 127.0.0.1 and ::1.
func TestNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		first error
		warns bool
	}{{"the other serves", nil, false}, {"no other serves", errors.New("connection refused"), true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				w.resolveTo("10.0.0.1", "10.0.0.2")
				s := w.start(t, peers.Target{Host: "servers", Port: "9090"})
				w.set(first, c.first)
				w.set(second, errors.New("connection refused"))
				_ = s.Wait(t.Context())
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := w.lines(); strings.Contains(got, "WARN") != c.warns {
					t.Errorf("got log %s", got)
				}
			})
		})
	}
}

// An answer of DNS with thousands of addresses is used in part, the same part each time.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		var many []string
		for i := range 4000 {
			many = append(many, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		}
		w.resolveTo(many...)
		s := w.start(t, peers.Target{Host: "server", Port: "9090"})
		time.Sleep(time.Second)
		synctest.Wait()
		before := s.Peers()
		slices.Reverse(many)
		w.resolveTo(many...)
		time.Sleep(2 * peers.DefaultResolve)
		synctest.Wait()
		if after := s.Peers(); len(before) != 100 || !slices.Equal(before, after) {
			t.Errorf("%d addresses, later %d, want the same 100", len(before), len(after))
		}
		if log := w.lines(); strings.Count(log, "too many addresses") != 1 {
			t.Errorf("logged %q, want one line", log)
		}
	})
}

// TestStartTogether checks that a peer that starts with its client serves soon after it is ready,
// and not an interval later.
func TestStartTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{probes: map[string]error{first: peers.ErrUnready}}
		s := w.start(t, pair[0])
		time.Sleep(50 * time.Millisecond)
		w.set(first, nil)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if err := s.Ready(); err != nil {
			t.Errorf("50ms after it is ready, 100ms after the start: %v", err)
		}
	})
}
