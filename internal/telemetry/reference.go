package telemetry

import (
	_ "embed"
	"fmt"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/otlptranslator"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// referenceIntroduction says what holds for all metrics.
//
//go:embed reference.md
var referenceIntroduction string

// Reference returns the reference of all metrics in Markdown.
func Reference() (string, error) {
	var b strings.Builder
	b.WriteString(referenceIntroduction)
	for _, i := range metrics.All {
		name, err := PrometheusName(i)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", name, i.Description)
		fmt.Fprintf(&b, "OpenTelemetry `%s`, %s", i.Name, i.Kind)
		if i.Unit != "" {
			fmt.Fprintf(&b, ", unit `%s`", i.Unit)
		}
		fmt.Fprintf(&b, ", recorded by %s.\n", i.Parts)
		if len(i.Buckets) > 0 {
			fmt.Fprintf(&b, "Upper bounds of its buckets: %s.\n", strings.ReplaceAll(strings.Trim(fmt.Sprint(i.Buckets), "[]"), " ", ", "))
		}
		if len(i.Attributes) == 0 {
			continue
		}
		b.WriteString("\n| label | values |\n|---|---|\n")
		for _, a := range i.Attributes {
			values := a.Description
			if len(a.Values) > 0 {
				values += ": `" + strings.Join(a.Values, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", LabelName(a.Key), values)
		}
	}
	return b.String(), nil
}

// PrometheusName returns the name under which Prometheus reads an instrument.
func PrometheusName(i *metrics.Instrument) (string, error) {
	kind := map[metrics.Kind]otlptranslator.MetricType{
		metrics.KindCounter: otlptranslator.MetricTypeMonotonicCounter, metrics.KindUpDownCounter: otlptranslator.MetricTypeNonMonotonicCounter,
		metrics.KindGauge: otlptranslator.MetricTypeGauge, metrics.KindHistogram: otlptranslator.MetricTypeHistogram,
	}[i.Kind]
	namer := otlptranslator.MetricNamer{WithMetricSuffixes: true}
	return namer.Build(otlptranslator.Metric{Name: i.Name, Unit: i.Unit, Type: kind})
}

// PrometheusType returns the type that Prometheus reads.
func PrometheusType(k metrics.Kind) dto.MetricType {
	switch k {
	case metrics.KindCounter:
		return dto.MetricType_COUNTER
	case metrics.KindHistogram:
		return dto.MetricType_HISTOGRAM
	}
	return dto.MetricType_GAUGE
}

// LabelName returns the name of an attribute as a label of Prometheus.
func LabelName(key string) string { return strings.NewReplacer(".", "_").Replace(key) }
