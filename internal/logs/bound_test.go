package logs_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

// A client that sends a path of a megabyte does not fill the log with it.
func TestLongTextsAreCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 1<<19)
	for name, args := range map[string][]any{
		"a text":   {"path", long},
		"an error": {"err", errors.New(long)},
		"bytes":    {"body", []byte(long)},
		"a list":   {"list", []string{long}},
		"a group":  {slog.Group("request", "path", long, "status", 404)},
		"a stack":  {"stack", long},
		"no group": {slog.Group("", "path", long, "status", 404)},
	} {
		var out bytes.Buffer
		logs.Logger(slog.New(slog.NewJSONHandler(&out, nil))).Info("m", args...)
		most := 1200
		if name == "a stack" {
			most = 33 << 10
		}
		if out.Len() > most || !strings.Contains(out.String(), "1048576 bytes") && name != "a list" || !utf8.Valid(out.Bytes()) {
			t.Errorf("%s: %d bytes: %.100s", name, out.Len(), out.String())
		}
	}
	var out bytes.Buffer
	logger := logs.Logger(slog.New(slog.NewTextHandler(&out, nil)))
	logger.Info(long)
	if out.Len() > 1200 {
		t.Errorf("a message: %d bytes", out.Len())
	}
	out.Reset()
	logger.Info("short", "path", "/x", "err", errors.New("y"), "n", 1)
	if got := out.String(); !strings.HasSuffix(got, "msg=short path=/x err=y n=1\n") {
		t.Errorf("got %s", got)
	}
}
