package requestid_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

func TestKeep(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "7f3e-2.x_y:z", strings.Repeat("a", 64)} {
		if got := requestid.Keep(id); got != id {
			t.Errorf("Keep(%q) = %q, want it kept", id, got)
		}
	}
	for _, id := range []string{"", strings.Repeat("a", 65), "a b", "a\nlevel=ERROR", "a\"", "ü", "<script>", "a\x00"} {
		got := requestid.Keep(id)
		if got == id || !requestid.Valid(got) {
			t.Errorf("Keep(%q) = %q, want a fresh valid one", id, got)
		}
		if again := requestid.Keep(id); again == got {
			t.Errorf("Keep(%q) gave %q twice", id, got)
		}
	}
}
