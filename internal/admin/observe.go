package admin

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// readinessAge is how long a report is used for metrics.
const readinessAge = time.Second

// Observe has the readiness of the process and its dependencies collected.
func (r *Readiness) Observe(meters metric.MeterProvider) {
	var last struct {
		sync.Mutex
		report Report
		at     time.Time
	}
	report := func(ctx context.Context) Report { // one for both gauges
		last.Lock()
		defer last.Unlock()
		if time.Since(last.at) > readinessAge {
			last.report, last.at = r.Report(ctx), time.Now()
		}
		return last.report
	}
	value := func(ok bool) float64 {
		v, _ := metrics.Bool(ok)
		return v
	}
	metrics.ObserveGauges(meters, metrics.Ready, func(ctx context.Context, observe func(float64, ...string)) {
		observe(value(report(ctx).State != NotReady))
	})
	names := slices.Clone(metrics.Dependencies)
	for _, c := range r.checks {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name) // one that the configuration names
		}
	}
	metrics.ObserveGauges(meters, metrics.DependencyReady.With(metrics.KeyDependency, names...), func(ctx context.Context, observe func(float64, ...string)) {
		for _, d := range report(ctx).Dependencies {
			observe(value(d.State == Ready), d.Name)
		}
	})
}
