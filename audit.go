package gatehouse

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// The values of audit-log that are no path.
const (
	auditOff    = "off"
	auditStdout = "stdout"
)

// checkAuditLog refuses words that would become the names of files.
func checkAuditLog(value string) error {
	if slices.Contains([]string{"on", "true", "false", "none", "stderr", "file", "-"}, strings.ToLower(value)) {
		return invalid.Field("AuditLog", value, "is not where an audit log can be written",
			"give off, stdout, or the path of a file, such as /var/log/gatehouse/audit.jsonl")
	}
	return nil
}

// startAudit gives all parts the handler of audit events: that of the audit-log setting
// and that of the application.
func (p *parts) startAudit() error {
	var own audit.Handler
	switch to := p.cfg.AuditLog; to {
	case "", auditOff:
	case auditStdout:
		own = audit.To(p.out)
	default:
		file, err := audit.Open(to)
		if err != nil {
			return &invalid.Error{Field: "AuditLog", Value: to, Problem: "cannot be written: " + err.Error(),
				Remedy: "create its folder, and let the user of this process write there"}
		}
		p.closers = append(p.closers, file.Close)
		own = file.Record
	}
	if record := own; record != nil { // in order with the log
		own = func(ctx context.Context, e audit.Event) error {
			p.log.Flush()
			return record(ctx, e)
		}
	}
	logger := p.logger.With("part", "audit")
	handler, failing := auditlog.Watch(logger, own, p.app.Audit)
	if handler == nil {
		return nil
	}
	p.readiness.Add("audit log", func(context.Context) error {
		if err := failing(); err != nil {
			return &admin.Warning{Err: err}
		}
		return nil
	})
	p.recorder = auditlog.New(auditlog.Config{
		Handler: handler, Part: "program", Now: p.now, Logger: logger, MeterProvider: p.telemetry.Meter,
	})
	for _, to := range []*audit.Handler{&p.cfg.Provider.Audit, &p.cfg.Server.Audit, &p.cfg.BFF.Audit} {
		*to = handler
	}
	return nil
}

// fileChanged records that the file of a setting was read again.
func (p *program) fileChanged(setting string) {
	p.recorder.Record(context.Background(), audit.Event{
		Action: audit.SettingChanged, Cause: audit.FileChanged, Setting: setting,
	})
}

// settingChanged records a change at the admin port, whose settings are no secrets.
func (p *program) settingChanged(ctx context.Context, c admin.Change) {
	e := audit.Event{Action: audit.SettingChanged, Cause: audit.AdminPort, Setting: c.Setting, Value: c.To}
	if c.Client == "" {
		e.Cause = audit.TimeOver
	} else if host, _, err := net.SplitHostPort(c.Client); err == nil {
		e.Client = cmp.Or(host, c.Client)
	}
	p.recorder.Record(ctx, e)
}
