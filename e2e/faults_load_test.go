//go:build proof

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A kind of request, and what its answer must contain. The cookie is always sent.
type kind struct {
	name, path, body string
	share            int // of 10 requests
}

var kinds = []kind{
	{"private API", "/api/private-route", "This is a private route", 6},
	{"public API", "/api/products?pageSize=1", `"products"`, 3},
	{"page", "/", "<html", 1},
}

// An effect is what a fault did to a request.
type effect int

const (
	answered    effect = iota
	slow               // answered, but not within slowAfter
	unavailable        // 503 of ours, with Retry-After
	failed
	effects
)

// slowAfter is the longest answer that does not count as slow: a call of a store may take 2 s.
const slowAfter = 3 * time.Second

// A sample is one request of a load.
type sample struct {
	kind    *kind
	caller  *caller
	at      time.Time // when it was due
	late    time.Duration
	took    time.Duration
	effect  effect
	problem string
}

// offered is a load: it sends requests in an open loop until stop is called.
type offered struct {
	cluster *cluster
	address string
	client  *http.Client
	cancel  context.CancelFunc
	all     sync.WaitGroup

	mu      sync.Mutex
	samples []sample
}

func (c *cluster) offer(t *testing.T, address string, rate int) *offered {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &offered{cluster: c, address: address, cancel: cancel, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 20 * time.Second},
		Timeout:       60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	l.all.Go(func() {
		interval := time.Second / time.Duration(rate)
		for i, due := 0, time.Now(); ; i, due = i+1, due.Add(interval) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(due)):
			}
			l.all.Go(func() { l.send(t.Context(), due, pick(i), c.callers[i%len(c.callers)]) })
		}
	})
	t.Cleanup(l.client.CloseIdleConnections)
	return l
}

// pick returns the kind of the request i.
func pick(i int) *kind {
	n := (i + i/10) % 10 // so that each caller sends every kind
	for k := range kinds {
		if n -= kinds[k].share; n < 0 {
			return &kinds[k]
		}
	}
	return &kinds[0]
}

// stop ends the load and returns all requests in the order in which they were due.
func (l *offered) stop() []sample {
	l.cancel()
	l.all.Wait()
	l.client.CloseIdleConnections()
	slices.SortFunc(l.samples, func(a, b sample) int { return a.at.Compare(b.at) })
	return l.samples
}

func (l *offered) send(ctx context.Context, due time.Time, k *kind, c *caller) {
	s := sample{kind: k, caller: c, at: due, late: time.Since(due)}
	began := time.Now()
	status, header, body, err := c.ask(ctx, l.client, l.address, l.cluster.base, k.path)
	s.took = time.Since(began)
	switch {
	case err == nil && status == http.StatusOK && strings.Contains(body, k.body):
		if s.took > slowAfter {
			s.effect, s.problem = slow, fmt.Sprintf("%.1f s", s.took.Seconds())
		}
	case err == nil && status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
		s.effect, s.problem = unavailable, fmt.Sprintf("503 %.100s", strings.TrimSpace(body))
	case err != nil:
		s.effect, s.problem = failed, err.Error()
	default:
		s.effect, s.problem = failed, fmt.Sprintf("%d %.200s", status, strings.TrimSpace(body))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
}

// ask requests a path at an address of the installation with this base URL.
func (c *caller) ask(ctx context.Context, client *http.Client, address, base, path string) (int, http.Header, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, nil, "", err
	}
	req.Host = strings.TrimPrefix(base, "http://")
	req.Header = http.Header{"Cookie": {c.cookie}, "Accept": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	if path == "/" {
		req.Header.Set("Accept", "text/html")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp.Header, string(body), err
}

// A fault is one row: what happens while requests are sent, and what it may cost.
type fault struct {
	name string
	// plain sends the requests to the balancer that does not retry.
	plain bool
	// do brings the fault about. It calls over when the fault has ended, if that is before it
	// returns.
	do func(t *testing.T, c *cluster, over func())

	// prepare is called before requests are sent, and restore when the row has been measured.
	prepare, restore func(t *testing.T, c *cluster)

	failed      int             // requests that may fail
	failedEach  int             // of one session; 0 for no limit of its own
	unavailable map[string]bool // kinds that may get our 503; nil for none
	slow        map[string]bool // kinds that may be slow
	left        time.Duration   // after which a frozen peer gets no more requests; 0 for no such peer
	recovery    time.Duration   // after the end of the fault; default 2 s
	lost        int             // sessions that may be lost
}

func only(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set
}

// run is a fault's row, and what is wrong with it.
func (c *cluster) run(t *testing.T, f fault, rate int) (row, problems []string) {
	t.Helper()
	if f.prepare != nil {
		f.prepare(t, c)
	}
	if f.restore != nil {
		defer f.restore(t, c)
	}
	before := map[string]map[string]int{}
	for _, m := range c.members() {
		before[m.name] = m.said.counts()
	}
	address := c.retrying
	if f.plain {
		address = c.plain
	}
	l := c.offer(t, address, rate)
	pause(t, time.Second)
	began := time.Now()
	var ended time.Time
	f.do(t, c, func() { ended = time.Now() })
	if ended.IsZero() {
		ended = time.Now()
	}
	c.recovered(t)
	pause(t, 2*time.Second-min(time.Since(ended), time.Second)) // so that the end is seen
	samples := l.stop()
	lost := c.lost(t)

	var count [effects]int
	first := [effects]string{}
	byKind := map[string][effects]int{}
	failedOf, mostFailed := map[*caller]int{}, 0
	var recovery, left time.Duration
	var lateness []time.Duration
	for _, s := range samples {
		count[s.effect]++
		each := byKind[s.kind.name]
		each[s.effect]++
		byKind[s.kind.name] = each
		lateness = append(lateness, s.late)
		if s.effect == failed {
			failedOf[s.caller]++
			mostFailed = max(mostFailed, failedOf[s.caller])
		}
		if s.effect == answered {
			continue
		}
		if first[s.effect] == "" {
			first[s.effect] = s.kind.name + ": " + s.problem
		}
		if d := s.at.Sub(ended); d > recovery {
			recovery = d
		}
		if s.at.Before(ended) {
			left = max(left, s.at.Sub(began))
		}
	}
	for o := slow; o < effects; o++ {
		if first[o] != "" {
			t.Logf("%s: first %s: %s", f.name, [...]string{slow: "slow", unavailable: "503", failed: "failure"}[o], first[o])
		}
	}
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if count[failed] > f.failed {
		wrong("%d requests failed, want at most %d", count[failed], f.failed)
	}
	if f.failedEach > 0 && mostFailed > f.failedEach {
		wrong("%d requests of one session failed, want at most %d", mostFailed, f.failedEach)
	}
	for name, each := range byKind {
		if each[unavailable] > 0 && !f.unavailable[name] {
			wrong("%d × 503 (%s)", each[unavailable], name)
		}
		if each[slow] > 0 && !f.slow[name] {
			wrong("%d slow (%s)", each[slow], name)
		}
	}
	if limit := cmp.Or(f.recovery, 2*time.Second); recovery > limit {
		wrong("recovered %.1f s after the end, want %.1f s", recovery.Seconds(), limit.Seconds())
	}
	if f.left > 0 && left > f.left {
		wrong("left after %.1f s, want %.1f s", left.Seconds(), f.left.Seconds())
	}
	if lost > f.lost {
		wrong("%d sessions lost, want at most %d", lost, f.lost)
	}
	leftCell := "–"
	if f.left > 0 {
		leftCell = fmt.Sprintf("%.1f", left.Seconds())
	}
	verdict := "met"
	if len(problems) > 0 {
		slices.Sort(problems)
		verdict = strings.Join(problems, "; ")
	}
	slices.Sort(lateness)
	if p99 := lateness[len(lateness)*99/100]; p99 > 100*time.Millisecond {
		verdict += fmt.Sprintf(" (the load generator was %.2f s late)", p99.Seconds())
	}
	return []string{
		f.name, fmt.Sprintf("%d of %d", count[failed], len(samples)), fmt.Sprint(count[unavailable]), fmt.Sprint(count[slow]),
		fmt.Sprintf("%d of %d", lost, len(c.callers)), fmt.Sprintf("%.1f", recovery.Seconds()), leftCell, c.logged(before), verdict,
	}, problems
}

// logged summarises what the members have logged since: the messages, with the number of lines.
func (c *cluster) logged(before map[string]map[string]int) string {
	lines := map[string]int{}
	for _, m := range c.members() {
		for message, n := range m.said.counts() {
			if n -= before[m.name][message]; n > 0 {
				lines[message] += n
			}
		}
	}
	total := 0
	for _, message := range []string{"starting", "listening", "stopping", "stopped", "signed in", "access token refreshed"} { // as on any day
		delete(lines, message)
	}
	for _, n := range lines {
		total += n
	}
	if total == 0 {
		return "0"
	}
	messages := slices.SortedFunc(maps.Keys(lines), func(a, b string) int {
		return cmp.Or(cmp.Compare(lines[b], lines[a]), cmp.Compare(a, b))
	})
	var shown []string
	for _, message := range messages[:min(3, len(messages))] {
		shown = append(shown, fmt.Sprintf("%d × %s", lines[message], strings.ReplaceAll(message, "|", "/")))
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(shown, ", "))
}

// recovered waits until every session has an answer: it works, or it is signed out.
func (c *cluster) recovered(t *testing.T) {
	t.Helper()
	for i, caller := range c.callers {
		eventually(t, fmt.Sprintf("session %d has an answer", i), func() error {
			status, _, body, err := caller.ask(t.Context(), caller.client, c.retrying, c.base, "/api/private-route")
			if err == nil && status != http.StatusOK && status != http.StatusUnauthorized {
				err = errors.New(body)
			}
			return err
		})
	}
}

// lost counts the sessions that are signed out, and replaces them with new logins.
func (c *cluster) lost(t *testing.T) (lost int) {
	t.Helper()
	for i, caller := range c.callers {
		status, _, body, err := caller.ask(t.Context(), caller.client, c.retrying, c.base, "/api/private-route")
		switch {
		case err != nil:
			t.Fatal(err)
		case status == http.StatusUnauthorized:
			lost++
			c.callers[i] = c.signIn(t, i)
		case status != http.StatusOK:
			t.Errorf("session %d: %d %s", i, status, body)
		}
	}
	return lost
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
