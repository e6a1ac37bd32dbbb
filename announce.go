package gatehouse

import (
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/buildinfo"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
)

// announce logs what starts: the build, and how the process stands to the others.
func (p *parts) announce(ports *ports) {
	build := buildinfo.Read()
	var listeners []string
	for _, part := range slices.Concat(ports.Front, ports.Back, ports.Last) {
		if part.Listener == nil {
			continue
		}
		listener := part.Name + " " + part.Listener.Addr().String()
		if part.TLS != nil {
			listener += " (TLS)"
		}
		listeners = append(listeners, listener)
	}
	attrs := []any{"version", build.Version, "commit", build.Commit, "go", build.Go, "listeners", strings.Join(listeners, ", ")}
	if p.provider != nil {
		attrs = append(attrs, "issuer", settings.Redacted(p.cfg.Provider.Issuer))
	}
	if p.store != nil {
		attrs = append(attrs, "store", stores.Kind(p.cfg.SessionStore))
	}
	if p.denylist != nil {
		attrs = append(attrs, "denylist", stores.Kind(p.cfg.Denylist))
	}
	if p.bff != nil {
		attrs = append(attrs, "base_url", settings.Redacted(p.cfg.BFF.BaseURL))
		if p.gateway == nil {
			attrs = append(attrs, "gateway", settings.RedactedList(strings.Join(p.cfg.Gateways.Targets, ",")))
		}
	}
	if p.gateway != nil && p.server == nil {
		attrs = append(attrs, "server", settings.RedactedList(strings.Join(p.cfg.Servers.Targets, ",")))
	}
	most, kept := arrival.Files()
	if most > 0 {
		attrs = append(attrs, "open_files", most, "reserved", kept)
	}
	p.logger.Info("starting", attrs...)
	if most > 0 && most < fewFiles {
		p.logger.Warn("few file descriptors", "open_files", most, "reserved", kept,
			"remedy", "each connection needs one: raise the hard limit of open files, with LimitNOFILE= in systemd or ulimit -Hn in a shell")
	}
}

// fewFiles is the number of file descriptors below which a process warns: a browser has up to
// six connections over HTTP/1.1, and each may need another one to the next part.
const fewFiles = 4096

// conclude logs that the process has stopped, and the error that it ends with.
func (p *parts) conclude(started time.Time, err error) {
	attrs := []any{logs.Seconds("duration", time.Since(started))}
	if err == nil {
		p.logger.Info("stopped", attrs...)
	} else {
		p.logger.Error("stopped", append(attrs, "err", err)...)
	}
}
