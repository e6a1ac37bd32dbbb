// Package metrics owns the instruments of all parts: their names, units and labels, the
// values that a label can have, and how they are recorded. It leaves what is measured to
// the parts, and collection and export to internal/telemetry.
//
// A nil recorder does nothing, so that a part without a MeterProvider pays nothing.
package metrics

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

const scope = "github.com/gatehouse-dev/gatehouse"

// meter returns the meter of a provider, nil if nothing is collected.
func meter(provider metric.MeterProvider) metric.Meter {
	switch provider.(type) {
	case nil, noop.MeterProvider:
		return nil
	}
	return provider.Meter(scope)
}

// With returns the instrument with the values of an attribute that are known only at run
// time, such as the configured issuers.
func (i *Instrument) With(key string, values ...string) *Instrument {
	with := *i
	with.Attributes = slices.Clone(i.Attributes)
	for n := range with.Attributes {
		if with.Attributes[n].Key == key {
			with.Attributes[n].Values = values
		}
	}
	return &with
}

// combinations returns the attribute sets of all combinations of values, each attribute
// having Other besides its own.
func (i *Instrument) combinations() []attribute.Set {
	lists := [][]attribute.KeyValue{nil}
	for _, a := range i.Attributes {
		var longer [][]attribute.KeyValue
		for _, list := range lists {
			for _, value := range append(slices.Clone(a.Values), Other) {
				longer = append(longer, append(slices.Clone(list), attribute.String(a.Key, value)))
			}
		}
		lists = longer
	}
	sets := make([]attribute.Set, len(lists))
	for n, list := range lists {
		sets[n] = attribute.NewSet(list...)
	}
	return sets
}

// index returns the place of values among the combinations. A value that is not declared
// counts as Other.
func (i *Instrument) index(values []string) int {
	at := 0
	for n := range i.Attributes {
		declared, which := i.Attributes[n].Values, -1
		if n < len(values) {
			which = slices.Index(declared, values[n])
		}
		if which < 0 {
			which = len(declared)
		}
		at = at*(len(declared)+1) + which
	}
	return at
}

// hasOther reports whether the combination at an index has an undeclared value.
func (i *Instrument) hasOther(at int) bool {
	for _, a := range slices.Backward(i.Attributes) {
		size := len(a.Values) + 1
		if at%size == size-1 {
			return true
		}
		at /= size
	}
	return false
}

// cells are the values of a counter, one for each combination. They are read when metrics
// are collected, so that counting is one atomic addition, and a value is 0 before its
// first event: Prometheus takes no first value for an increase.
type cells struct {
	of   *Instrument
	n    []atomic.Int64
	sets []metric.ObserveOption
}

func newCells(of *Instrument) *cells {
	c := &cells{of: of}
	for _, set := range of.combinations() {
		c.sets = append(c.sets, metric.WithAttributeSet(set))
	}
	c.n = make([]atomic.Int64, len(c.sets))
	return c
}

// read has the cells read whenever metrics are collected. The callbacks of several cells of
// one instrument add up: those of the parts of a process.
func (c *cells) read(m metric.Meter, inst metric.Int64Observable, observable func(at int, n int64) bool) {
	must(m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for at := range c.n {
			if n := c.n[at].Load(); observable(at, n) {
				o.ObserveInt64(inst, n, c.sets[at])
			}
		}
		return nil
	}, inst))
}

// declared reports whether a value is observed: of an undeclared one only if it occurs.
func (c *cells) declared(at int, n int64) bool { return n != 0 || !c.of.hasOther(at) }

// A Counter counts events by the values of its attributes. It is safe for concurrent use.
type Counter struct{ cells *cells }

// NewCounter returns the recorder of a counter.
func NewCounter(provider metric.MeterProvider, of *Instrument) *Counter {
	m := meter(provider)
	if m == nil {
		return nil
	}
	c := &Counter{newCells(of)}
	c.cells.read(m, must(m.Int64ObservableCounter(of.Name, metric.WithUnit(of.Unit), metric.WithDescription(of.Description))),
		c.cells.declared)
	return c
}

// Add counts one event, with the values of the attributes in their order.
func (c *Counter) Add(values ...string) {
	if c != nil {
		c.cells.n[c.cells.of.index(values)].Add(1)
	}
}

// AddN counts several events.
func (c *Counter) AddN(n int, values ...string) {
	if c != nil {
		c.cells.n[c.cells.of.index(values)].Add(int64(n))
	}
}

// A UpDownCounter counts what begins and ends. It is safe for concurrent use.
type UpDownCounter struct{ cells *cells }

// NewUpDownCounter returns the recorder of an up-down counter. Values of attributes before
// those that Begin gives are fixed.
func NewUpDownCounter(provider metric.MeterProvider, of *Instrument) *UpDownCounter {
	m := meter(provider)
	if m == nil {
		return nil
	}
	c := &UpDownCounter{newCells(of)}
	c.cells.read(m, must(m.Int64ObservableUpDownCounter(of.Name, metric.WithUnit(of.Unit), metric.WithDescription(of.Description))),
		c.cells.declared)
	return c
}

// Begin counts one more, until the returned function is called.
func (c *UpDownCounter) Begin(values ...string) (end func()) {
	if c == nil {
		return func() {}
	}
	n := &c.cells.n[c.cells.of.index(values)]
	n.Add(1)
	return func() { n.Add(-1) }
}

// A Histogram records durations by the values of its attributes. It is safe for concurrent
// use.
type Histogram struct {
	of      *Instrument
	inst    metric.Float64Histogram
	options [][]metric.RecordOption
}

// NewHistogram returns the recorder of a histogram.
func NewHistogram(provider metric.MeterProvider, of *Instrument) *Histogram {
	m := meter(provider)
	if m == nil {
		return nil
	}
	h := &Histogram{of: of, inst: newHistogram(m, of)}
	for _, set := range of.combinations() {
		h.options = append(h.options, []metric.RecordOption{metric.WithAttributeSet(set)})
	}
	return h
}

func newHistogram(m metric.Meter, of *Instrument) metric.Float64Histogram {
	return must(m.Float64Histogram(of.Name, metric.WithUnit(of.Unit), metric.WithDescription(of.Description),
		metric.WithExplicitBucketBoundaries(of.Buckets...)))
}

// Since records the time since start, with the values of the attributes in their order.
func (h *Histogram) Since(ctx context.Context, start time.Time, values ...string) {
	if h != nil {
		h.inst.Record(ctx, time.Since(start).Seconds(), h.options[h.of.index(values)]...)
	}
}

// ObserveGauge has a gauge without attributes read by value whenever metrics are collected.
// value reports false for no value.
func ObserveGauge(provider metric.MeterProvider, of *Instrument, value func() (float64, bool)) {
	ObserveGauges(provider, of, func(_ context.Context, observe func(float64, ...string)) {
		if v, ok := value(); ok {
			observe(v)
		}
	})
}

// ObserveGauges is ObserveGauge for a gauge with attributes: values calls observe with each
// value and the values of the attributes, in their order.
func ObserveGauges(provider metric.MeterProvider, of *Instrument, values func(ctx context.Context, observe func(v float64, attributes ...string))) {
	m := meter(provider)
	if m == nil {
		return
	}
	inst := must(m.Float64ObservableGauge(of.Name, metric.WithUnit(of.Unit), metric.WithDescription(of.Description)))
	must(m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		values(ctx, func(v float64, attributes ...string) {
			list := make([]attribute.KeyValue, 0, len(of.Attributes))
			for n, a := range of.Attributes {
				value := attributes[n]
				if len(a.Values) > 0 && !slices.Contains(a.Values, value) {
					value = Other
				}
				list = append(list, attribute.String(a.Key, value))
			}
			o.ObserveFloat64(inst, v, metric.WithAttributes(list...))
		})
		return nil
	}, inst))
}

// Bool is the value of a gauge that is 1 or 0.
func Bool(b bool) (float64, bool) {
	if b {
		return 1, true
	}
	return 0, true
}

// must returns an instrument. The declarations of this package are valid, which its tests
// hold: OpenTelemetry returns no other error, and a usable instrument in any case.
func must[T any](instrument T, _ error) T { return instrument }
