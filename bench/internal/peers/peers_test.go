//go:build linux

package peers_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/peers"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// TestMain starts this program in its roles.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == rows.RoleCommand {
		if err := peers.Roles()[os.Args[2]](context.Background(), os.Args[3], os.Args[4:]); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// TestHandwritten: the rows that this program is itself answer, and refuse what they must.
func TestHandwritten(t *testing.T) {
	t.Parallel()
	for _, row := range peers.Handwritten() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			try(t, row)
		})
	}
}

// tries is how many requests try sends with each kind of headers.
const tries = 20

// try starts a row, and sends a few requests over two connections, with the headers of a browser and
// without. The servers end with the test.
func try(t *testing.T, row rows.Row) *rows.Target {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e := &rows.Env{Settings: rows.Settings{Self: self, Connections: 2}, Dir: dir}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(e.Wait)
	t.Cleanup(cancel)
	target, err := row.Start(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := row.Check(ctx, target); err != nil {
		t.Fatal(err)
	}
	for _, headers := range [][]string{nil, load.BrowserHeaders} {
		requests, err := target.Requests(2, headers...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := load.Saturate(ctx, load.Target{Address: target.Address, Requests: requests}, tries, time.Minute); err != nil {
			t.Errorf("%d headers: %v", len(headers), err)
		}
	}
	return target
}
