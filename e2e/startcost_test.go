package e2e

import (
	"slices"
	"testing"
	"time"
)

// TestStartCost compares the processor time of serve, from its start until it is ready and has
// stopped again, with that of a command that only prints. The ratio is about 3 with a new database
// and 2.3 with an existing one, on any machine: 50 to 65 ms beside 20 ms.
func TestStartCost(t *testing.T) {
	t.Parallel()
	const most, starts = 5, 3
	address := freeAddress(t)
	base := "http://" + address
	op := startProvider(t, freeAddress(t), base, firstTTL)
	least := func(start func() *process) time.Duration {
		var all []time.Duration
		for range starts {
			p := start()
			if code := p.wait(t); code != 0 {
				t.Fatalf("%s ended with exit code %d:\n%s", p.name, code, p.out.String())
			}
			all = append(all, p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime())
		}
		return slices.Min(all)
	}
	serve := func(dir string) *process {
		p := startIn(t, dir, "serve", op.environment(base), program, "serve",
			"--listen-bff="+address, "--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t))
		p.ready(t, base+"/readyz")
		p.stop(t)
		return p
	}
	prints := least(func() *process { return gatehouse(t, nil, "version") })
	existing := t.TempDir()
	for name, spent := range map[string]time.Duration{
		"a new database":       least(func() *process { return serve(t.TempDir()) }),
		"an existing database": least(func() *process { return serve(existing) }),
	} {
		if ratio := float64(spent) / float64(prints); ratio > most {
			t.Errorf("with %s serve takes %v of processor time to start, %.1f times %v, want at most %d times", name, spent, ratio, prints, most)
		} else {
			t.Logf("with %s: %v, %.1f times %v", name, spent, ratio, prints)
		}
	}
}
