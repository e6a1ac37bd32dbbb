package gatehouse

import (
	"cmp"
	"context"
	"maps"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/buildinfo"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

// otelPrefix is that of OpenTelemetry's standard variables.
const otelPrefix = "OTEL_"

// startTelemetry begins to collect metrics and spans for a command that serves. The
// caller closes the result when the parts have ended.
func (p *program) startTelemetry(ctx context.Context, which partSet) (*telemetry.Telemetry, error) {
	variables := p.values.Foreign(otelPrefix)
	t, err := inEnvironment(variables, func() (*telemetry.Telemetry, error) {
		return telemetry.New(ctx, telemetry.Config{
			Service: p.serviceName(which), Version: buildinfo.Read().Version, Variables: variables,
			Scrape: p.cfg.ListenAdmin != "", Logger: p.logger.With("part", "telemetry"),
		})
	})
	if err != nil {
		return nil, err
	}
	p.telemetry = t
	metrics.ObserveGauges(t.Meter, metrics.BuildInfo, func(_ context.Context, observe func(float64, ...string)) { observe(1, buildLabels()...) })
	for _, meters := range []*metric.MeterProvider{&p.cfg.Provider.MeterProvider, &p.cfg.Server.MeterProvider, &p.cfg.Gateway.MeterProvider, &p.cfg.BFF.MeterProvider,
		&p.cfg.Servers.MeterProvider, &p.cfg.Gateways.MeterProvider} {
		*meters = t.Meter
	}
	for _, tracers := range []*trace.TracerProvider{&p.cfg.Provider.TracerProvider, &p.cfg.Server.TracerProvider, &p.cfg.Gateway.TracerProvider, &p.cfg.BFF.TracerProvider} {
		*tracers = t.Tracer
	}
	return t, nil
}

// buildLabels are version, commit and Go version of the program.
func buildLabels() []string {
	build := buildinfo.Read()
	return []string{build.Version, cmp.Or(build.Commit, "unknown"), runtime.Version()}
}

// observe has the state of the process collected: its readiness, its dependencies and its
// certificates.
func (p *parts) observe() {
	meters := p.telemetry.Meter
	var last struct {
		sync.Mutex
		report admin.Report
		at     time.Time
	}
	report := func(ctx context.Context) admin.Report { // one for both gauges
		last.Lock()
		defer last.Unlock()
		if time.Since(last.at) > readinessAge {
			last.report, last.at = p.readiness.Report(ctx), time.Now()
		}
		return last.report
	}
	value := func(ok bool) float64 {
		v, _ := metrics.Bool(ok)
		return v
	}
	metrics.ObserveGauges(meters, metrics.Ready, func(ctx context.Context, observe func(float64, ...string)) {
		observe(value(report(ctx).State != admin.NotReady))
	})
	metrics.ObserveGauges(meters, metrics.DependencyReady, func(ctx context.Context, observe func(float64, ...string)) {
		for _, d := range report(ctx).Dependencies {
			observe(value(d.State == admin.Ready), d.Name)
		}
	})
	metrics.ObserveGauges(meters, metrics.CertificateExpiry, func(_ context.Context, observe func(float64, ...string)) {
		for _, e := range p.security.Files.Expiries() {
			observe(float64(e.At.Unix()), e.Role)
		}
	})
}

// readinessAge is how long an answer about readiness is used for metrics.
const readinessAge = time.Second

// serviceName is the application's name, and for a part that runs alone its own.
func (p *program) serviceName(which partSet) string {
	switch which {
	case partSet{BFF: true}:
		return p.app.name() + "-bff"
	case partSet{Gateway: true}:
		return p.app.name() + "-gateway"
	case partSet{Server: true}:
		return p.app.name() + "-server"
	}
	return p.app.name()
}

var environment sync.Mutex

// inEnvironment calls f with these and no other variables of OpenTelemetry in the
// environment of the process, where its SDK reads them. They may come from .env or from
// the caller of Run.
func inEnvironment[T any](variables map[string]string, f func() (T, error)) (T, error) {
	environment.Lock()
	defer environment.Unlock()
	before := map[string]string{}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, otelPrefix) {
			before[name] = value
		}
	}
	if !maps.Equal(before, variables) {
		replaceEnvironment(before, variables)
		defer replaceEnvironment(variables, before)
	}
	return f()
}

// replaceEnvironment removes some variables and sets others. Their names and values come
// from an environment or from .env, whose parser knows the same forms, so no error occurs.
func replaceEnvironment(old, now map[string]string) {
	for name := range old {
		_ = os.Unsetenv(name)
	}
	for name, value := range now {
		_ = os.Setenv(name, value)
	}
}
