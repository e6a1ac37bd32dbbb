// Package frontends owns which front ends a program can have: the forms of their addresses,
// and the handlers of those that are not embedded. It leaves serving to packages spa and bff.
package frontends

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/spa"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// Embedded is the address of the pages of package web.
const Embedded = "embedded:"

// IsServer reports whether the address of a front end is that of a server.
func IsServer(value string) bool { return value != Embedded && !strings.HasPrefix(value, "dir:") }

// Validate returns what is wrong with a front end, the value of the field Frontend, or with
// its policy, that of FrontendCSP. It reads a directory, so that a build that is missing is
// found before anything listens.
func Validate(value, csp string) error {
	dir, isDir := strings.CutPrefix(value, "dir:")
	switch {
	case csp != "" && !isDir:
		return invalid.Field("FrontendCSP", csp,
			"is for a front end from a directory only: a front-end server, and the embedded pages, send their own", "remove it")
	case value == Embedded:
		return nil
	case isDir:
		return invalid.Renamed(spa.Config{Dir: dir, ContentSecurityPolicy: csp}.Validate(),
			map[string]string{"Dir": "Frontend", "ContentSecurityPolicy": "FrontendCSP"})
	}
	_, err := origin.Upstream(value)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*origin.Error](err); ok && strings.HasPrefix(e.Remedy, "did you mean") && strings.Contains(value, ":") {
		return origin.Invalid("Frontend", value, err)
	}
	if info, err := os.Stat(value); err == nil && info.IsDir() {
		return invalid.Field("Frontend", value, "is a directory", "did you mean dir:"+value+"?")
	}
	return invalid.Field("Frontend", value, "is no kind of front end that is known",
		"give embedded:, dir:PATH or the http:// address of a front-end server")
}

// Open returns the handler of a valid front end, nil for the embedded one. secure is for
// https to a server; nil means the system's authorities.
func Open(value, csp string, secure *tls.Config, logger *slog.Logger) (http.Handler, error) {
	if value == Embedded {
		return nil, nil
	}
	if dir, ok := strings.CutPrefix(value, "dir:"); ok {
		return spa.New(spa.Config{Dir: dir, ContentSecurityPolicy: csp, Logger: logger})
	}
	return bff.NewUpstream(bff.UpstreamConfig{Targets: []string{value}, Probe: bff.ProbeNone, TLS: secure, Logger: logger})
}
