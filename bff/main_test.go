//go:build unix

package bff_test

import (
	"bytes"
	"fmt"
	"index/suffixarray"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

// TestMain searches all that the tests have logged and audited: it must contain no
// token, code, cookie or secret that a test has used.
func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	if leaks := everything.leaks(); len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: logged, and must not be:\n%s\n", strings.Join(leaks, "\n"))
		code = 1
	}
	os.Exit(code)
}

// everything is the log of the whole run, with the values that it must not
// contain.
var everything = &record{secrets: map[string]string{}}

type record struct {
	mu      sync.Mutex
	log     bytes.Buffer
	secrets map[string]string // value → what it is
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

// secret records a value that no log may contain, and returns it.
func secret(what, value string) string {
	everything.mu.Lock()
	defer everything.mu.Unlock()
	if len(value) >= 16 { // shorter ones may be in any log by chance
		everything.secrets[value] = what
	}
	return value
}

// count returns how often text was logged.
func (r *record) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Count(r.log.Bytes(), []byte(text))
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *record) leaks() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Thousands of values in megabytes: with an index, because bytes.Contains would take minutes with
	// the race detector.
	index := suffixarray.New(r.log.Bytes())
	var found []string
	for value, what := range r.secrets {
		if index.Lookup([]byte(value), 1) != nil {
			found = append(found, what)
		}
	}
	return found
}

// logged reports whether a line of the log has all texts.
func logged(texts ...string) bool {
	everything.mu.Lock()
	defer everything.mu.Unlock()
	for line := range bytes.Lines(everything.log.Bytes()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !bytes.Contains(line, []byte(text)) }) {
			return true
		}
	}
	return false
}

// TestLeaksAreFound checks that the search of the logs can fail.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	r := &record{secrets: map[string]string{"0123456789abcdef": "a test value", "fedcba9876543210": "another"}}
	logger(r).Info("m", "k", "x 0123456789abcdef y")
	if got := r.leaks(); len(got) != 1 || got[0] != "a test value" {
		t.Errorf("found %v", got)
	}
}

// logsTo makes a system log to r too.
func logsTo(r *record) func(*bff.Config) {
	return func(cfg *bff.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(r, everything), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

func logger(r *record) *slog.Logger {
	return slog.New(logs.Handler(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug})))
}
