package productdb_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// While PostgreSQL is away or frozen, every call fails with ErrUnavailable within the limit, and the
// log has one line for the outage. Calls succeed as soon as it is back.
func TestOutage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	var log lines
	db := open(t, productdb.Config{URL: server.New(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if _, err := db.Create(t.Context(), sample(1), nil); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"Get":    func() error { _, err := db.Get(t.Context(), sample(1).ID); return err },
		"List":   func() error { _, err := db.List(t.Context(), productdb.Query{Limit: 1}); return err },
		"Create": func() error { _, err := db.Create(t.Context(), sample(2), nil); return err },
		"Ping":   func() error { return db.Ping(t.Context()) },
	}
	away := func(how string) {
		t.Helper()
		var all sync.WaitGroup
		for name, call := range calls {
			all.Go(func() {
				began := time.Now()
				if err := call(); !errors.Is(err, productdb.ErrUnavailable) || strings.Contains(err.Error(), "user=") {
					t.Errorf("%s while the server is %s: %v, want ErrUnavailable without its user", name, how, err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("%s while the server is %s took %v, want 2 s", name, how, took)
				}
			})
		}
		all.Wait()
	}
	server.Kill(t)
	away("away")
	server.Restart(t)
	if err := calls["Get"](); err != nil {
		t.Errorf("the first read after a restart: %v", err)
	}
	server.Freeze(t)
	away("frozen")
	server.Thaw(t)
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s after the thaw: %v", name, err)
		}
	}
	if n := strings.Count(log.String(), "database unavailable"); n != 1 {
		t.Errorf("%d lines for outages without a quiet second between, want 1:\n%s", n, log.String())
	}
}

// A restart of PostgreSQL between two reads is not noticed.
func TestReadAfterRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := open(t, productdb.Config{URL: server.New(t)})
	if _, err := db.Create(t.Context(), sample(1), nil); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	server.Restart(t)
	if _, err := db.Get(t.Context(), sample(1).ID); err != nil {
		t.Errorf("the first read after a restart: %v", err)
	}
}
