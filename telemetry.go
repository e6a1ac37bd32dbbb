package gatehouse

import (
	"cmp"
	"context"
	"runtime"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/internal/buildinfo"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

// startTelemetry begins to collect metrics and spans for a command that serves. The
// caller closes the result when the parts have ended.
func (p *program) startTelemetry(ctx context.Context, which partSet) (*telemetry.Telemetry, error) {
	t, err := telemetry.New(ctx, telemetry.Config{
		Service: p.serviceName(which), Version: buildinfo.Read().Version, Variables: p.values.Foreign(telemetry.Prefix),
		Scrape: p.cfg.ListenAdmin != "", Logger: p.logger.With("part", "telemetry"),
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
