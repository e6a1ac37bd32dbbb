package logs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := logs.Logger(logs.Logger(slog.New(slog.NewTextHandler(&out, nil))).With("part", "bff"))
	ctx := requestid.NewContext(context.Background(), "abc")
	traced := trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}))
	logger.InfoContext(ctx, "one")
	logger.InfoContext(traced, "two")
	logger.Info("three")
	logger.LogAttrs(traced, slog.LevelInfo, "four", logs.AppendIDs(traced, nil)...)
	logger.LogAttrs(traced, slog.LevelInfo, "five", slog.Attr{Value: slog.GroupValue(logs.AppendIDs(traced, nil)...)})
	lines := strings.Split(out.String(), "\n")
	const traceID = " trace_id=01000000000000000000000000000000 span_id=0200000000000000"
	for i, want := range []string{
		"msg=one part=bff request_id=abc", "msg=two part=bff request_id=abc" + traceID,
		"msg=three part=bff", "msg=four part=bff request_id=abc" + traceID, "msg=five part=bff request_id=abc" + traceID,
	} {
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("got %s\nwant the end %s", lines[i], want)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]float64{
		0: 0, 1234 * time.Nanosecond: 0.000001, 1500 * time.Millisecond: 1.5, time.Hour: 3600, -time.Second: -1,
	} {
		if got := logs.Seconds("duration", d).Value.Float64(); got != want {
			t.Errorf("Seconds(%v) = %v, want %v", d, got, want)
		}
	}
}

// What clients write into a path or a header can neither forge a line, nor change how a
// terminal shows it, nor make the line invalid.
func TestCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/plain ü 日本 👍":                  "/plain ü 日本 👍",
		"a\nlevel=ERROR msg=forged":      "a\nlevel=ERROR msg=forged", // the handlers escape it
		"\x1b[2J":                        "\x1b[2J",
		"bad \xff\xfe utf8":              "bad \uFFFD\uFFFD utf8",
		"c1 \u009b2J, del \u007f":        `c1 \u009b2J, del \u007f`,
		"right \u202e to left, \u2028 x": `right \u202e to left, \u2028 x`,
	} {
		var out bytes.Buffer
		logs.Logger(slog.New(slog.NewJSONHandler(&out, nil))).Info(text, "path", text)
		for _, c := range out.Bytes()[:out.Len()-1] {
			if c < ' ' || c == 0x7F {
				t.Errorf("%q: the line has the byte %#x: %q", text, c, out.String())
			}
		}
		var line struct{ Msg, Path string }
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != want || line.Path != want {
			t.Errorf("%q: got %+v, %v, want %q", text, line, err, want)
		}
	}
}

func TestErrorLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := logs.ErrorLog(slog.New(slog.NewTextHandler(&out, nil)))
	l.Printf("http: TLS handshake error from 192.0.2.7:1: EOF")
	l.Printf("http: Accept error: too many open files")
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=WARN msg="net/http reports" text="http: Accept error: too many open files"`) {
		t.Errorf("got\n%s", got)
	}
}
