package telemetry_test

import (
	"os"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := telemetry.Reference()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/metrics.md differs from the code: run go run ./cmd/gatehouse metrics >docs/metrics.md")
	}
}

// Names are what alerts and dashboards of users depend on.
func TestPrometheusName(t *testing.T) {
	t.Parallel()
	for i, want := range map[*metrics.Instrument]string{
		metrics.HTTPServerRequestDuration: "http_server_request_duration_seconds",
		metrics.HTTPServerActiveRequests:  "http_server_active_requests",
		metrics.RPCServerCallDuration:     "rpc_server_call_duration_seconds",
		metrics.LoginOutcomes:             "gatehouse_login_outcomes_total",
		metrics.BreakerOpen:               "gatehouse_refresh_breaker_open",
		metrics.KeySetAge:                 "gatehouse_provider_keyset_age_seconds",
		metrics.CertificateExpiry:         "gatehouse_tls_certificate_expiry_timestamp_seconds",
	} {
		if got, err := telemetry.PrometheusName(i); err != nil || got != want {
			t.Errorf("PrometheusName(%s) = %q, %v; want %q", i.Name, got, err, want)
		}
	}
}

func TestEveryMetricIsDescribed(t *testing.T) {
	t.Parallel()
	reference, err := telemetry.Reference()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range metrics.All {
		if !strings.HasSuffix(i.Description, ".") || i.Parts == "" {
			t.Errorf("%s: description %q, parts %q; want a sentence and parts", i.Name, i.Description, i.Parts)
		}
		for _, a := range i.Attributes {
			if a.Description == "" {
				t.Errorf("%s: %s has no description", i.Name, a.Key)
			}
		}
		if strings.Count(reference, "`"+i.Name+"`") != 1 {
			t.Errorf("the reference does not have %s once", i.Name)
		}
	}
}
