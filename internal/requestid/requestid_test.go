package requestid_test

import (
	"bytes"
	"context"
	"log/slog"
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

func TestLogHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := requestid.Logger(requestid.Logger(slog.New(slog.NewTextHandler(&out, nil))).With("part", "bff"))
	ctx := requestid.NewContext(context.Background(), "abc")
	logger.InfoContext(ctx, "one")
	logger.Info("two")
	lines := strings.Split(out.String(), "\n")
	if !strings.HasSuffix(lines[0], "part=bff request_id=abc") {
		t.Errorf("with a request: %s", lines[0])
	}
	if strings.Contains(lines[1], "request_id") {
		t.Errorf("without a request: %s", lines[1])
	}
}
