package gatehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

// audited returns the parts of a program with a value of audit-log, as far as its audit log
// needs them, and what starting that gave.
func audited(t *testing.T, value string, app App, out io.Writer) (*parts, error) {
	t.Helper()
	p, err := newProgram(app, out)
	if err != nil {
		t.Fatal(err)
	}
	p.read(settings.Sources{Environ: []string{"GATEHOUSE_AUDIT_LOG=" + value}})
	p.telemetry = &telemetry.Telemetry{}
	all := &parts{program: p, readiness: admin.NewReadiness(readyTimeout)}
	t.Cleanup(func() { _ = all.close(nil) })
	return all, p.values.Explain(all.startAudit())
}

func TestAuditLogSetting(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"true", "stderr", "on"} {
		if err := validated(t, partSet{BFF: true}, bffEnvironment("GATEHOUSE_AUDIT_LOG="+value)...); err == nil ||
			!strings.Contains(err.Error(), "GATEHOUSE_AUDIT_LOG") || !strings.Contains(err.Error(), "give off, stdout, or the path") {
			t.Errorf("%q: %v, want an error with the setting and a remedy", value, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing", "audit.jsonl")
	if _, err := audited(t, missing, App{}, io.Discard); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_AUDIT_LOG") ||
		!strings.Contains(err.Error(), "no such file") || !strings.Contains(err.Error(), "create its folder") {
		t.Errorf("a folder that does not exist: %v, want an error with the setting and a remedy", err)
	}
}

// An event comes after the lines of the log that were written before it.
func TestAuditFollowsLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	all, err := audited(t, "stdout", App{}, &out)
	if err != nil {
		t.Fatal(err)
	}
	all.log = logs.NewBatch(&out)
	logger := logs.New(all.log, true, slog.LevelInfo, 1)
	all.log.Start()
	defer all.log.Stop()
	logger.Info("before")
	if err := all.cfg.BFF.Audit(t.Context(), audit.Event{Action: audit.SignIn}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "msg=before\n{") {
		t.Errorf("got %s\nwant the line before the event", got)
	}
}

// Events go to stdout or a file, and to the application, from all parts.
func TestAuditHandlers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for _, c := range []struct {
		value       string
		application bool
	}{{"off", false}, {"off", true}, {"stdout", false}, {"stdout", true}, {path, true}} {
		var out bytes.Buffer
		got := 0
		app := App{}
		if c.application {
			app.Audit = func(context.Context, audit.Event) error { got++; return nil }
		}
		p, err := audited(t, c.value, app, &out)
		if err != nil {
			t.Fatal(err)
		}
		p.settingChanged(t.Context(), admin.Change{Setting: "log-level", From: "info", To: "debug", Client: "[::1]:9"})
		if want := c.application; got != map[bool]int{true: 1}[want] {
			t.Errorf("%s: the application got %d events, want them: %t", c.value, got, want)
		}
		written := out.Bytes()
		if c.value == path {
			if written, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		var e audit.Event
		if err := json.Unmarshal(written, &e); (err == nil) != (c.value != "off") {
			t.Errorf("%s: wrote %q", c.value, written)
		} else if err == nil && (e.Setting != "log-level" || e.Value != "debug" || e.Client != "::1" || e.Part != "program") {
			t.Errorf("%s: event %+v, want the new log level by ::1", c.value, e)
		}
		if none := c.value == "off" && !c.application; none != (p.cfg.BFF.Audit == nil) || none != (p.cfg.Server.Audit == nil) || none != (p.cfg.Provider.Audit == nil) {
			t.Errorf("%s: the parts do not have the handler", c.value)
		}
	}
}

// A handler that fails degrades the process, which stays ready.
func TestAuditReadiness(t *testing.T) {
	t.Parallel()
	p, err := audited(t, "off", App{Audit: func(context.Context, audit.Event) error { return errors.New("database away") }}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if report := p.readiness.Report(t.Context()); report.State != admin.Ready {
		t.Errorf("readiness %+v, want ready", report)
	}
	p.fileChanged("GATEHOUSE_SECRET")
	report := p.readiness.Report(t.Context())
	if report.State != admin.Degraded || report.Dependencies[0].Name != "audit log" || !strings.Contains(report.Dependencies[0].Cause, "database away") {
		t.Errorf("readiness %+v, want degraded by the audit log", report)
	}
}
