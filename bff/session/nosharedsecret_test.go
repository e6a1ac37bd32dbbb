package session_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Leases in the store may contain any text.
func TestNoSharedSecretErrorShowsNoForeignText(t *testing.T) {
	t.Parallel()
	theirs := []string{"0a1b2c3d", "\x1b[2Jforged\nlevel=INFO", strings.Repeat("f", 5000)}
	for range 1000 {
		theirs = append(theirs, "00112233")
	}
	err := &session.NoSharedSecretError{Nodes: 3, Theirs: theirs, Ours: []string{"ffeeddcc"}}
	text := err.Error()
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' }) || len(text) > 2000 {
		t.Errorf("%d bytes: %.2000q", len(text), text)
	}
	for _, want := range []string{"0a1b2c3d", "ffeeddcc"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}
