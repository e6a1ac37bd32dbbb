// Package telemetry owns the OpenTelemetry SDK of the program: which metrics and spans
// are collected, and where they are sent. It leaves instruments to package metrics, spans
// to the parts, and where variables come from to the program.
package telemetry

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

const (
	// flushTimeout bounds how long the end of the process waits for a collector.
	flushTimeout = 1500 * time.Millisecond
	// scrapeTimeout bounds the answer to a scrape, and maxScrapes how many are answered at
	// once.
	scrapeTimeout = 10 * time.Second
	maxScrapes    = 4
)

// Config says what is collected.
type Config struct {
	// Service and Version are the resource's service.name and service.version.
	Service, Version string
	// Variables are those whose names begin with [Prefix], without empty ones.
	Variables map[string]string
	// Scrape collects metrics for [Telemetry.ServeHTTP] as well.
	Scrape bool
	// Logger gets the errors of the SDK and the outages of exporters.
	Logger *slog.Logger
}

// A Telemetry has the providers for the parts. Without a scrape and without an exporter
// they do nothing.
type Telemetry struct {
	Meter  metric.MeterProvider
	Tracer trace.TracerProvider

	exports  exports
	scrape   http.Handler
	shutdown []func(context.Context) error
}

// New makes the providers, and begins to export if the variables say so. Meanwhile the
// environment of the process has these and no other variables of OpenTelemetry.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	return inEnvironment(cfg.Variables, func() (*Telemetry, error) { return start(ctx, cfg) })
}

// start is New in an environment with the variables.
func start(ctx context.Context, cfg Config) (*Telemetry, error) {
	setLoggers(cfg.Logger)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t := &Telemetry{
		Meter: metricnoop.NewMeterProvider(), Tracer: tracenoop.NewTracerProvider(),
		scrape: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorLog: scrapeLog{cfg.Logger}, ErrorHandling: promhttp.ContinueOnError,
			MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout, EnableOpenMetrics: true,
		}),
	}
	if disabled, given := cfg.Variables["OTEL_SDK_DISABLED"]; given && strings.EqualFold(disabled, "true") {
		return t, nil
	}
	from, err := cfg.resource(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.addTraces(ctx, cfg, from); err != nil {
		return nil, err
	}
	return t, t.addMetrics(ctx, cfg, from, registry)
}

// resource describes this process. OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME take
// precedence.
func (cfg Config) resource(ctx context.Context) (*resource.Resource, error) {
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithSchemaURL(semconv.SchemaURL),
		resource.WithAttributes(
			semconv.ServiceName(cfg.Service),
			semconv.ServiceVersion(cmp.Or(cfg.Version, "unknown")),
			semconv.ServiceInstanceID(uuid.NewString()),
		),
		resource.WithFromEnv())
}

// addMetrics collects metrics if they can be read somewhere.
func (t *Telemetry) addMetrics(ctx context.Context, cfg Config, from *resource.Resource, registry *prometheus.Registry) error {
	options := []sdkmetric.Option{sdkmetric.WithResource(from)}
	if cfg.Scrape {
		reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
		if err != nil {
			return err
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	exporter, err := cfg.metricExporter(ctx, &t.exports)
	if err != nil {
		return err
	}
	if exporter != nil {
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	if len(options) > 1 {
		provider := sdkmetric.NewMeterProvider(options...)
		t.Meter = provider
		t.exports.counter.Store(metrics.NewCounter(provider, metrics.TelemetryExports))
		t.shutdown = append(t.shutdown, provider.Shutdown)
	}
	return nil
}

// addTraces records spans if they can be sent somewhere. The standard variables choose
// sampler, limits and batches.
func (t *Telemetry) addTraces(ctx context.Context, cfg Config, from *resource.Resource) error {
	exporter, err := cfg.spanExporter(ctx, &t.exports)
	if exporter == nil || err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(from), sdktrace.WithBatcher(exporter))
	t.Tracer = provider
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

// ServeHTTP answers a scrape of Prometheus with the metrics of this process.
func (t *Telemetry) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.scrape.ServeHTTP(w, r) }

// Close sends what has not been sent yet. A collector that does not answer costs 1.5
// seconds and is no error: its outage has been logged.
func (t *Telemetry) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, shutdown := range t.shutdown {
		all.Go(func() { _ = shutdown(ctx) })
	}
	all.Wait()
}

// setLoggers sends to logger what OpenTelemetry reports for the whole process, which it
// writes to stderr by default. The exporters of this package report nothing there.
func setLoggers(logger *slog.Logger) {
	limit := throttle.Every(time.Minute)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if ok, held := limit.Next(); ok {
			logger.Warn("OpenTelemetry error", "err", err, "suppressed", held)
		}
	}))
	// Errors and warnings; the rest describes the library itself.
	otel.SetLogger(funcr.New(func(_, text string) {
		if ok, held := limit.Next(); ok {
			logger.Warn("OpenTelemetry reports", "text", text, "suppressed", held)
		}
	}, funcr.Options{Verbosity: 1}))
}

// A scrapeLog logs why a scrape lacks a metric.
type scrapeLog struct{ logger *slog.Logger }

func (l scrapeLog) Println(v ...any) {
	for _, v := range v {
		if err, ok := v.(error); ok {
			l.logger.Error("metrics are incomplete", "err", err)
		}
	}
}
