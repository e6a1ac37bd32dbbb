package audit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/audit"
)

func events(t *testing.T, path string) (all []audit.Event) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		var e audit.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all
}

// A file is readable by its owner alone, and a rotation loses no event.
func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	file, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	record := func(subject string) {
		t.Helper()
		if err := file.Record(t.Context(), audit.Event{Action: audit.SignIn, Part: "bff", Subject: subject}); err != nil {
			t.Fatal(err)
		}
	}
	record("before\nrotation")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v), want 0600", info.Mode(), err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record("after rotation")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	record("after removal")
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if got := events(t, path+".1"); len(got) != 1 || got[0].Subject != "before\nrotation" {
		t.Errorf("rotated file has %+v, want the event before the rotation", got)
	}
	if got := events(t, path); len(got) != 1 || got[0].Subject != "after removal" {
		t.Errorf("file has %+v, want the event after the removal", got)
	}
}

// What a full disk has cut off does not take the next event with it.
func TestFileWithTornLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const torn = `{"time":"2026-`
	if err := os.WriteFile(path, []byte(torn), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for range 2 {
		if err := file.Record(t.Context(), audit.Event{Action: audit.SignIn}); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	if len(lines) != 3 || lines[0] != torn || !strings.HasSuffix(lines[1], "}") || lines[1] != lines[2] {
		t.Errorf("file is\n%s\nwant the torn line and two events", content)
	}
}

// An event that cannot be stored is an error, and the next one is tried again.
func TestFileCannotBeOpened(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "log")
	if _, err := audit.Open(filepath.Join(folder, "audit.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in a folder that does not exist: %v, want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := audit.Open(filepath.Join(folder, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := file.Record(t.Context(), audit.Event{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Record without the folder: %v, want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := file.Record(t.Context(), audit.Event{}); err != nil {
		t.Errorf("Record with the folder again: %v", err)
	}
}

// Events of several goroutines are whole lines.
func TestConcurrentEvents(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	file, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := file.Record(t.Context(), audit.Event{Subject: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := len(events(t, path)); got != 100 {
		t.Errorf("file has %d events, want 100", got)
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := audit.To(&out)(t.Context(), audit.Event{
		Time: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC), Action: audit.SessionEnded, Part: "server", Cause: "operator",
		Issuer: "https://id.example", Subject: "u1", BySubject: "op", Session: "abc", Count: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-11-27T08:00:00Z","action":"session_ended","part":"server","cause":"operator",` +
		`"issuer":"https://id.example","subject":"u1","by_subject":"op","session":"abc","count":2}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("event differs (-want +got):\n%s", diff)
	}
}
