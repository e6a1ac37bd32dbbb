//go:build unix

package audit_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gatehouse-dev/gatehouse/audit"
)

// A pipe in the place of the file, without a reader or with one that has stopped, must not
// hold up what the events report.
func TestPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Record(t.Context(), audit.Event{Action: "x"}); err == nil {
		t.Error("an event that no one reads was recorded")
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0) // opens without waiting, and never reads
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	for range 10_000 { // more than the pipe holds
		if err = f.Record(t.Context(), audit.Event{Action: "x"}); err != nil {
			return
		}
	}
	t.Error("events were recorded in a pipe that is full")
}
