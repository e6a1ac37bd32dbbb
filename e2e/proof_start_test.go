//go:build proof

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

// TestProofStart measures the time from the start of processes until they are ready, with a
// provider on the same machine. The limit is for a machine without other load, so that the test is
// not parallel.
func TestProofStart(t *testing.T) {
	const (
		starts = 20
		limit  = 150 * time.Millisecond // of the median of one process
		apart  = 2 * limit              // of bff, gateway and server that start at once
	)
	provider := freeAddress(t)
	dev := func(dir string, devidp string) (*process, string) {
		listen := freeAddress(t)
		return startIn(t, dir, "dev", nil, program, "dev", "--listen-devidp="+devidp, "--listen-bff="+listen,
			"--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t)), "http://localhost:" + portOf(listen)
	}
	idp, url := dev(t.TempDir(), provider)
	idp.ready(t, url+"/readyz")

	// run starts the commands of a topology in a folder, the part that is waited for first.
	run := func(dir string, commands ...string) (spent, worked time.Duration) {
		bff, gateway, server, admin := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
		base := "http://localhost:" + portOf(bff)
		addresses := []string{"--listen-bff=" + bff, "--listen-gateway=" + gateway, "--listen-grpc=" + server}
		more := map[string][]string{
			"bff": {"--gateway-url=http://" + gateway}, "gateway": {"--grpc-target=" + server}, "server": {"--listen-admin=" + admin},
		}
		ready := map[string]string{"gateway": "http://" + gateway, "server": "http://" + admin}[commands[0]]
		if ready == "" {
			ready = base
		}
		var all []*process
		began := time.Now()
		for _, command := range commands {
			args := append(append([]string{command}, addresses...), more[command]...)
			all = append(all, startIn(t, dir, command, tutorialEnvironment("http://"+provider, base), program, args...))
		}
		readyAtOnce(t, all[0], ready+"/readyz")
		spent = time.Since(began)
		for _, p := range all {
			p.stop(t)
			worked += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
		}
		return spent, worked
	}
	fresh := func(commands ...string) func() (time.Duration, time.Duration) {
		return func() (time.Duration, time.Duration) { return run(t.TempDir(), commands...) }
	}
	existing := t.TempDir()
	run(existing, "serve")

	var rows [][]string
	for _, c := range []struct {
		name  string
		limit time.Duration
		start func() (spent, worked time.Duration)
	}{
		{"`serve`, new databases", limit, fresh("serve")},
		{"`serve`, existing databases", limit, func() (time.Duration, time.Duration) { return run(existing, "serve") }},
		{"`dev`", limit, func() (time.Duration, time.Duration) {
			began := time.Now()
			p, url := dev(t.TempDir(), freeAddress(t))
			readyAtOnce(t, p, url+"/readyz")
			spent := time.Since(began)
			p.stop(t)
			return spent, p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
		}},
		{"`server`, new database", limit, fresh("server")},
		{"`gateway` and its `server` at once, the gateway ready", apart, fresh("gateway", "server")},
		{"`bff`, `gateway` and `server` at once, the bff ready", apart, fresh("bff", "gateway", "server")},
	} {
		var spent, worked []time.Duration
		for range starts {
			s, w := c.start()
			spent, worked = append(spent, s), append(worked, w)
		}
		slices.Sort(spent)
		slices.Sort(worked)
		median := spent[starts/2]
		if median > c.limit {
			t.Errorf("%s: ready after %v (median of %d starts; %v to %v), want at most %v", c.name, median, starts, spent[0], spent[starts-1], c.limit)
		}
		ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
		rows = append(rows, []string{c.name, ms(median), ms(spent[0]), ms(spent[starts-1]), ms(c.limit), ms(worked[starts/2])})
		t.Log(rows[len(rows)-1])
	}
	proof.Report(t, proof.Section{
		Title:   "Start",
		Text:    fmt.Sprintf("From the start of the processes until `/readyz` answers 200 to requests without a pause, with a provider on the same machine and SQLite; %d starts of each row. The processor time is that until the processes have ended, all together. Other load on the machine makes the times longer.", starts),
		Columns: []string{"processes", "ready, median", "least", "most", "limit of the median", "processor time, median"},
		Rows:    rows,
	})
}

// readyAtOnce waits until url answers 200, and asks each millisecond over a connection of its own.
func readyAtOnce(t *testing.T, p *process, url string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ticker.C:
		case <-p.done:
			t.Fatalf("%s has ended:\n%s", p.name, p.out.String())
		case <-deadline:
			t.Fatalf("%s is not ready within %v:\n%s", p.name, patience, p.out.String())
		}
	}
}
