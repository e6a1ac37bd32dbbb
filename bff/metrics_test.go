package bff_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// measured has a bff collect metrics, and returns how to read them: the value of a counter
// or gauge, or the count of a histogram, by name and labels.
func measured() (func(*bff.Config), func(t *testing.T, name, labels string) float64) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	read := func(t *testing.T, name, labels string) (value float64) {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		has := func(set attribute.Set) bool { return set.Encoded(attribute.DefaultEncoder()) == labels }
		for _, s := range all.ScopeMetrics {
			for _, m := range s.Metrics {
				if m.Name != name {
					continue
				}
				switch data := m.Data.(type) {
				case metricdata.Sum[int64]:
					for _, p := range data.DataPoints {
						if has(p.Attributes) {
							value = float64(p.Value)
						}
					}
				case metricdata.Gauge[float64]:
					for _, p := range data.DataPoints {
						if has(p.Attributes) {
							value = p.Value
						}
					}
				case metricdata.Histogram[float64]:
					for _, p := range data.DataPoints {
						if has(p.Attributes) {
							value = float64(p.Count)
						}
					}
				}
			}
		}
		return value
	}
	return func(cfg *bff.Config) { cfg.MeterProvider = provider }, read
}

// Refreshes are counted by result, and requests that wait are measured.
func TestRefreshMetrics(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		token   http.HandlerFunc // nil for tokens
		status  int
		result  string // of the refresh
		waited  string
		request string // result of the request to the provider
	}{
		{"ok", nil, http.StatusOK, "ok", "ok", "ok"},
		{"over", refuse(http.StatusBadRequest, "invalid_grant"), http.StatusUnauthorized, "over", "ended", "grant_refused"},
		{"operator", refuse(http.StatusUnauthorized, "invalid_client"), http.StatusServiceUnavailable, "operator", "unavailable", "client_refused"},
		{"transient", refuse(http.StatusInternalServerError, "server_error"), http.StatusServiceUnavailable, "transient", "unavailable", "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				option, read := measured()
				s := bubble(t, option)
				b := s.browser().signIn()
				if c.token != nil {
					s.idp.change(func(p *provider) { p.instead["/token"] = c.token })
				}
				time.Sleep(20 * time.Minute)
				wantStatus(t, b.fetch("/api/private-route"), c.status)
				for series, labels := range map[string]string{
					"gatehouse.refreshes":                 "gatehouse.result=" + c.result,
					"gatehouse.refresh.wait.duration":     "gatehouse.result=" + c.waited,
					"gatehouse.provider.request.duration": "gatehouse.provider.request=refresh_token,gatehouse.result=" + c.request,
				} {
					if n := read(t, series, labels); n != 1 {
						t.Errorf("%s{%s} is %v, want 1", series, labels, n)
					}
				}
				if n := read(t, "gatehouse.sessions.ended", "gatehouse.session.end=provider"); (n == 1) != (c.result == "over") {
					t.Errorf("%v sessions were ended by the provider", n)
				}
			})
		})
	}
}
