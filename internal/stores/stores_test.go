//go:build unix

package stores_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
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
			cfg := stores.Config{Address: setting, Logger: slog.New(slog.DiscardHandler), Explain: func(err error) error {
				if err != nil {
					err = fmt.Errorf("session store: %w", err)
				}
				return err
			}}
			if err := stores.ValidateSessions("SessionStore", setting); err != nil {
				t.Fatal(err)
			}
			store, _, err := stores.OpenSessions(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if err := stores.Ready(t.Context(), store); err != nil {
				t.Errorf("not ready: %v", err)
			}
			if err := stores.ProbeSessions(t.Context(), cfg); err != nil {
				t.Errorf("probing: %v", err)
			}
			if kill == nil {
				return
			}
			kill()
			if err := stores.ProbeSessions(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "session store: ") {
				t.Errorf("probing what is gone: %v, want the setting", err)
			}
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for deadline := time.Now().Add(10 * time.Second); stores.Ready(t.Context(), store) == nil; <-tick.C {
				if time.Now().After(deadline) {
					t.Fatal("ready without its server")
				}
			}
			// While it is gone, opening it waits and says why.
			late, _, err := stores.OpenSessions(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer late.Close()
			for _, err := range []error{stores.Ready(t.Context(), late), late.Touch(t.Context(), session.ID{}, time.Now(), time.Now())} {
				if err == nil || !strings.Contains(err.Error(), "session store: ") || !strings.Contains(err.Error(), "start it, or correct the address") {
					t.Errorf("opening it while it is gone: %v, want the setting and a remedy", err)
				}
			}
			restart()
			for deadline := time.Now().Add(30 * time.Second); stores.Ready(t.Context(), late) != nil; <-tick.C {
				if time.Now().After(deadline) {
					t.Fatal("not opened when its server is back:", stores.Ready(t.Context(), late))
				}
			}
			if err := session.Exercise(t.Context(), late); err != nil {
				t.Errorf("using it then: %v", err)
			}
		})
	}
}
