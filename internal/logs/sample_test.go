package logs_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

func TestSample(t *testing.T) {
	t.Parallel()
	const requests = 4000
	written := func(share string, level slog.Level, msg string, took time.Duration) string {
		var rate logs.Share
		if err := rate.UnmarshalText([]byte(share)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		logger := slog.New(logs.Handler(logs.Sample(slog.NewTextHandler(&out, nil), rate))).With("part", "bff")
		for i := range requests {
			ctx := requestid.NewContext(t.Context(), fmt.Sprint("r", i))
			logger.LogAttrs(ctx, level, msg,
				slog.Attr{Value: slog.GroupValue(logs.AppendIDs(ctx, []slog.Attr{logs.Seconds("duration", took)})...)})
		}
		var ids []string
		for line := range strings.Lines(out.String()) {
			_, id, _ := strings.Cut(line, "request_id=")
			ids = append(ids, id)
		}
		return strings.Join(ids, "")
	}
	for _, c := range []struct {
		share       string
		level       slog.Level
		msg         string
		took        time.Duration
		least, most int
	}{
		{"on", slog.LevelInfo, logs.Request, 0, requests, requests},
		{"1", slog.LevelInfo, logs.Request, 0, requests, requests},
		{"off", slog.LevelInfo, logs.Request, 0, 0, 0},
		{"0.1", slog.LevelInfo, logs.Request, 0, requests / 20, requests / 5},
		{"off", slog.LevelInfo, logs.Request, time.Second, requests, requests},
		{"off", slog.LevelWarn, logs.Request, 0, requests, requests},
		{"off", slog.LevelInfo, "signed in", 0, requests, requests},
	} {
		if n := strings.Count(written(c.share, c.level, c.msg, c.took), "\n"); n < c.least || n > c.most {
			t.Errorf("%s, %v %q after %v: %d lines of %d, want %d to %d", c.share, c.level, c.msg, c.took, n, requests, c.least, c.most)
		}
	}
	if written("0.1", slog.LevelInfo, logs.Request, 0) != written("0.1", slog.LevelInfo, logs.Request, time.Millisecond) {
		t.Error("two processes write the lines of different requests")
	}
	for _, text := range []string{"", "yes", "2", "-0.1", "1%", "NaN"} {
		if err := new(logs.Share).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "give on, off, or a number") {
			t.Errorf("%q: got the error %v", text, err)
		}
	}
}
