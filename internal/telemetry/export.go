package telemetry

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

// The signals, as variables name them.
const (
	signalMetrics = "METRICS"
	signalTraces  = "TRACES"
)

// exports reports whether a signal is sent by OTLP: if OTEL_…_EXPORTER says so, or, without
// it, if there is an endpoint. OpenTelemetry's own default, an endpoint on this host,
// would be an outage for everyone who has no collector.
func (cfg Config) exports(signal string) bool {
	name := "OTEL_" + signal + "_EXPORTER"
	names, given := cfg.Variables[name]
	if !given {
		return cfg.Variables["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" ||
			cfg.Variables["OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"] != ""
	}
	otlp := false
	for exporter := range strings.SplitSeq(names, ",") {
		switch exporter = strings.TrimSpace(exporter); {
		case exporter == "otlp":
			otlp = true
		case exporter == "none" || exporter == "":
		case exporter == "prometheus" && signal == signalMetrics:
			cfg.Logger.Info("the prometheus exporter has no effect: metrics are at /metrics of the admin port", "setting", name)
		default:
			cfg.Logger.Warn("no such exporter: use otlp or none", "setting", name, "value", exporter)
		}
	}
	return otlp
}

// overGRPC reports whether a signal is sent by gRPC instead of HTTP.
func (cfg Config) overGRPC(signal string) bool {
	const general = "OTEL_EXPORTER_OTLP_PROTOCOL"
	switch protocol := cmp.Or(cfg.Variables["OTEL_EXPORTER_OTLP_"+signal+"_PROTOCOL"], cfg.Variables[general]); protocol {
	case "grpc":
		return true
	case "", "http/protobuf":
	default:
		cfg.Logger.Warn("protocol is not supported: http/protobuf is used, grpc is the other one", "setting", general, "value", protocol)
	}
	return false
}

// metricExporter returns the exporter of metrics, nil for none.
func (cfg Config) metricExporter(ctx context.Context, sent *exports) (sdkmetric.Exporter, error) {
	if !cfg.exports(signalMetrics) {
		return nil, nil
	}
	exporter, err := cfg.otlpMetrics(ctx)
	if err != nil {
		return nil, err
	}
	return metricExporter{exporter, sent.by(metrics.SignalMetrics, cfg.monitor("metrics exporter"))}, nil
}

func (cfg Config) otlpMetrics(ctx context.Context) (sdkmetric.Exporter, error) {
	if cfg.overGRPC(signalMetrics) {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

// spanExporter returns the exporter of spans, nil for none.
func (cfg Config) spanExporter(ctx context.Context, sent *exports) (sdktrace.SpanExporter, error) {
	if !cfg.exports(signalTraces) {
		return nil, nil
	}
	exporter, err := cfg.otlpTraces(ctx)
	if err != nil {
		return nil, err
	}
	return spanExporter{exporter, sent.by(metrics.SignalTraces, cfg.monitor("trace exporter"))}, nil
}

func (cfg Config) otlpTraces(ctx context.Context) (sdktrace.SpanExporter, error) {
	if cfg.overGRPC(signalTraces) {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

func (cfg Config) monitor(name string) *outage.Monitor {
	return outage.New(outage.Config{Name: name, Logger: cfg.Logger})
}

// exports counts exports, once metrics are collected.
type exports struct {
	counter atomic.Pointer[metrics.Counter]
}

// A recorder records the exports of one signal: it counts them and logs outages.
type recorder struct {
	sent   *exports
	signal string
	outage *outage.Monitor
}

func (e *exports) by(signal string, monitor *outage.Monitor) recorder {
	return recorder{e, signal, monitor}
}

// note records the outcome of an export. One that the end of the process cuts off says
// nothing about the collector.
func (r recorder) note(ctx context.Context, err error) {
	result := metrics.ExportOK
	switch {
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		result = metrics.ExportError
	}
	r.sent.counter.Load().Add(r.signal, result)
	r.outage.Note(ctx, err)
}

// A metricExporter records the exports of another exporter. It returns no error, since the
// SDK would report each one.
type metricExporter struct {
	sdkmetric.Exporter
	recorder
}

func (e metricExporter) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	e.note(ctx, e.Exporter.Export(ctx, data))
	return nil
}

// A spanExporter does the same for spans.
type spanExporter struct {
	sdktrace.SpanExporter
	recorder
}

func (e spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.note(ctx, e.SpanExporter.ExportSpans(ctx, spans))
	return nil
}
