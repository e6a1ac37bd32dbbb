//go:build linux

package proc

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// start starts a shell script that writes "ready" when its work is done.
func start(t *testing.T, script string) *Process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := Start(ctx, Config{Name: "shell", Dir: t.TempDir(), Command: []string{"/bin/sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		p.Wait()
	})
	if err := p.wait(t.Context(), func(context.Context) error {
		if !strings.Contains(p.LogEnd(), "ready") {
			return os.ErrNotExist
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

const work = `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done`

// TestDescendantsCount: the processor time and the memory of a child and a grandchild count, whether
// they are running or have ended.
func TestDescendantsCount(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"running": `( ( ` + work + `; echo ready; read -r never ) ) <&3 & wait`,
		"ended":   `( ( ` + work + ` ) ); echo ready; exec sleep 60`,
	} {
		p := start(t, `mkfifo p; exec 3<>p; `+script)
		used, err := Used([]*Process{p})
		if err != nil || used.CPU < 20*time.Millisecond || used.Logged != int64(len("ready\n")) {
			t.Errorf("%s: %+v, %v; want the processor time of the loop, and 6 bytes of log", name, used, err)
		}
		memory, err := Memory([]*Process{p})
		if err != nil || memory < 50<<10 || memory > 1<<30 {
			t.Errorf("%s: %d bytes, %v", name, memory, err)
		}
	}
}

// TestEndedProcess: a server that has ended is an error that has the end of its log.
func TestEndedProcess(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), Config{Name: "shell", Dir: t.TempDir(), Command: []string{"/bin/sh", "-c", "echo no license; exit 1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listening(t.Context(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "ended before it was ready; its log ends with: no license") {
		t.Error(err)
	}
	if _, err := Used([]*Process{p}); err == nil || !strings.Contains(err.Error(), "no license") {
		t.Error(err)
	}
	p.Wait()
}
