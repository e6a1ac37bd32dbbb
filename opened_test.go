//go:build unix

package gatehouse

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// Each kind of session store opens by its setting, is ready, and is not when
// its server has gone.
func TestStoresOpen(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(t *testing.T) (setting string, kill, restart func()){
		"memory": func(*testing.T) (string, func(), func()) { return "memory:", nil, nil },
		"sqlite": func(t *testing.T) (string, func(), func()) {
			return "sqlite:" + t.TempDir() + "/sessions.db", nil, nil
		},
		"postgres": func(t *testing.T) (string, func(), func()) {
			server := pgtest.Start(t)
			return server.New(t), func() { server.Kill(t) }, func() { server.Restart(t) }
		},
		"redis": func(t *testing.T) (string, func(), func()) {
			server := redistest.Start(t)
			return "redis://" + server.Addr(), server.Kill, func() { server.Restart(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setting, kill, restart := begin(t)
			p := &parts{program: configured(t, "GATEHOUSE_SESSION_STORE="+setting)}
			if err := checkStore(setting); err != nil {
				t.Fatal(err)
			}
			store, err := p.openStore(t.Context(), allParts)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if err := storeReady(t.Context(), store); err != nil {
				t.Errorf("not ready: %v", err)
			}
			if err := p.probeStore(t.Context()); err != nil {
				t.Errorf("probing: %v", err)
			}
			if kill == nil {
				return
			}
			kill()
			if err := p.probeStore(t.Context()); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SESSION_STORE=") {
				t.Errorf("probing what is gone: %v, want the setting", err)
			}
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for deadline := time.Now().Add(10 * time.Second); storeReady(t.Context(), store) == nil; <-tick.C {
				if time.Now().After(deadline) {
					t.Fatal("ready without its server")
				}
			}
			// While it is gone, opening it waits and says why.
			late, err := p.openStore(t.Context(), allParts)
			if err != nil {
				t.Fatal(err)
			}
			defer late.Close()
			for _, err := range []error{storeReady(t.Context(), late), late.Touch(t.Context(), session.ID{}, time.Now(), time.Now())} {
				if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SESSION_STORE=") || !strings.Contains(err.Error(), "start it, or correct the address") {
					t.Errorf("opening it while it is gone: %v, want the setting and a remedy", err)
				}
			}
			restart()
			for deadline := time.Now().Add(30 * time.Second); storeReady(t.Context(), late) != nil; <-tick.C {
				if time.Now().After(deadline) {
					t.Fatal("not opened when its server is back:", storeReady(t.Context(), late))
				}
			}
			if err := session.Exercise(t.Context(), late); err != nil {
				t.Errorf("using it then: %v", err)
			}
		})
	}
}
