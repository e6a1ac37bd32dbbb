package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// A scrape is what Prometheus reads of a process.
type scrape map[string]*dto.MetricFamily

func readMetrics(t *testing.T, admin string) (scrape, string) {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v", resp.Status, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("/metrics cannot be parsed: %v", err)
	}
	return families, string(text)
}

// value adds the values, or the counts of a histogram, of the series with these labels:
// "name{key=value,…}".
func (s scrape) value(series string) (sum float64) {
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	for _, m := range s[name].GetMetric() {
		matches := true
		for pair := range strings.SplitSeq(labels, ",") {
			key, value, _ := strings.Cut(pair, "=")
			matches = matches && (pair == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
				return l.GetName() == key && l.GetValue() == value
			}))
		}
		if matches {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// series is the number of time series.
func (s scrape) series() (n int) {
	for name, family := range s {
		if !runtimeMetric(name) {
			n += len(family.GetMetric())
		}
	}
	return n
}

// runtimeMetric reports whether a metric is one of the collectors for Go and processes.
func runtimeMetric(name string) bool {
	return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || name == "target_info"
}

// declared has the instruments by their names in Prometheus.
func declared(t *testing.T) map[string]*metrics.Instrument {
	t.Helper()
	all := map[string]*metrics.Instrument{}
	for _, i := range metrics.All {
		name, err := telemetry.PrometheusName(i)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = i
	}
	return all
}

// wantsDeclared fails on a metric, a type, a label or a value that the reference lacks.
func (s scrape) wantsDeclared(t *testing.T) {
	t.Helper()
	known := declared(t)
	for name, family := range s {
		i := known[name]
		if i == nil {
			if !runtimeMetric(name) {
				t.Errorf("%s is not in the reference", name)
			}
			continue
		}
		if got, want := family.GetType(), telemetry.PrometheusType(i.Kind); got != want || family.GetHelp() == "" {
			t.Errorf("%s: type %v, help %q; want %v and a help text", name, got, family.GetHelp(), want)
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				a := attributeOf(i, l.GetName())
				if a == nil || len(a.Values) > 0 && !slices.Contains(a.Values, l.GetValue()) {
					t.Errorf("%s: the reference lacks %s=%q", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
}

// attributeOf returns the attribute of a label, nil for none.
func attributeOf(i *metrics.Instrument, label string) *metrics.Attribute {
	for n := range i.Attributes {
		if telemetry.LabelName(i.Attributes[n].Key) == label {
			return &i.Attributes[n]
		}
	}
	return nil
}

// mark is in everything that the test sends and a client chooses.
const mark = "zqmark"

// The metrics of a program follow what happens in it. They have no label but those of the
// reference, and nothing that a client sends makes a time series.
func TestMetrics(t *testing.T) {
	t.Parallel()
	redis, admin := redistest.Start(t), freeAddress(t)
	s := startDev(t, "--listen-admin="+admin, "--session-store=redis://"+redis.Addr())
	gateway := regexp.MustCompile(`REST +(http://[a-z0-9.]+:[0-9]+)`).FindStringSubmatch(s.out.String())[1]

	buyer := entersAs(t, s.base, "buyer")
	for range 3 {
		buyer.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	}
	buyer.fetch(t, "/api/admin/sessions").wants(t, http.StatusForbidden, "application/json")
	buyer.fetch(t, "/api/no-such-thing").wants(t, http.StatusNotFound, "application/json")
	newVisitorAt(t, s.base).open(t, s.base+"/api/auth/callback?state="+mark+"&code="+mark)
	flood(t, s, gateway, 40)

	got, text := readMetrics(t, admin)
	for series, least := range map[string]float64{
		"http_server_request_duration_seconds{gatehouse_part=bff,http_route=/api/private-route,http_response_status_code=200}": 3,
		"http_server_request_duration_seconds{gatehouse_part=bff,http_route=/api/auth/login}":                                  1,
		"http_server_request_duration_seconds{gatehouse_part=bff,http_response_status_code=404}":                               1,
		"http_server_request_duration_seconds{gatehouse_part=bff,http_request_method=_OTHER}":                                  1,
		"http_server_request_duration_seconds{gatehouse_part=gateway,http_response_status_code=401}":                           1,
		"rpc_server_call_duration_seconds{rpc_response_status_code=OK}":                                                        3,
		"rpc_server_call_duration_seconds{rpc_response_status_code=PERMISSION_DENIED}":                                         1,
		"gatehouse_login_attempts_total":                                                                                 1,
		"gatehouse_login_outcomes_total{gatehouse_result=completed}":                                                     1,
		"gatehouse_login_outcomes_total{gatehouse_result=stale}":                                                         1,
		"gatehouse_sessions_started_total":                                                                               1,
		"gatehouse_token_verifications_total{gatehouse_result=ok,gatehouse_cache=miss}":                                  1,
		"gatehouse_token_verifications_total{gatehouse_result=ok,gatehouse_cache=hit}":                                   2,
		"gatehouse_token_verifications_total{gatehouse_result=invalid}":                                                  1,
		"gatehouse_provider_unknown_kids_total{gatehouse_result=budget}":                                                 1,
		"gatehouse_provider_fetches_total{gatehouse_provider_document=keys}":                                             1,
		"gatehouse_provider_request_duration_seconds{gatehouse_provider_request=authorization_code,gatehouse_result=ok}": 1,
		"gatehouse_session_store_call_duration_seconds{gatehouse_store_operation=create,gatehouse_result=ok}":            1,
		"gatehouse_session_store_feed_connected":                                                                         1,
		"gatehouse_provider_available":                                                                                   1,
		"gatehouse_ready":                                                                                                1,
		"gatehouse_build_info":                                                                                           1,
		"gatehouse_dependency_ready{gatehouse_dependency=session store}":                                                 1,
	} {
		if v := got.value(series); v < least {
			t.Errorf("%s is %v, want at least %v", series, v, least)
		}
	}
	got.wantsDeclared(t)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	for _, p := range problems {
		if !runtimeMetric(p.Metric) {
			t.Errorf("promlint: %s: %s", p.Metric, p.Text)
		}
	}
	if err != nil {
		t.Error(err)
	}

	flood(t, s, gateway, 960)
	after, text := readMetrics(t, admin)
	if before, now := got.series(), after.series(); now != before {
		t.Errorf("%d time series, and %d before 960 requests with invented methods, hosts, paths and key ids", now, before)
	}
	for _, secret := range []string{mark, "buyer", buyer.session(t, s.base)} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
			t.Errorf("/metrics has %q, which a client has sent", secret)
		}
	}

	buyer.open(t, s.base+"/api/auth/logout")
	second := entersAs(t, s.base, "seller")
	redis.Kill()
	second.fetch(t, "/api/auth/me")
	eventually(t, "the metrics tell of the logout and of the outage", func() error {
		now, _ := readMetrics(t, admin)
		now.wantsDeclared(t)
		switch {
		case now.value("gatehouse_sessions_ended_total{gatehouse_session_end=signed_out}") == 0:
			return errors.New("no session has ended")
		case now.value("gatehouse_session_store_call_duration_seconds{gatehouse_result=error}") == 0:
			return errors.New("no call of the store has failed")
		case now.value("gatehouse_session_store_feed_connected") != 0:
			return errors.New("the feed is connected")
		case now.value("gatehouse_dependency_ready{gatehouse_dependency=session store}") != 0:
			return errors.New("the store is ready")
		}
		return nil
	})
}

// session returns the value of the session cookie.
func (v *visitor) session(t *testing.T, base string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(u) {
		if c.Name == "gatehouse" {
			return c.Value
		}
	}
	t.Fatal("no session cookie")
	return ""
}

// flood sends requests with methods, hosts, paths and key ids that it invents.
func flood(t *testing.T, s *system, gateway string, n int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for i := range n {
		method, address, host, token := http.MethodGet, s.base+"/api/private-route", "", ""
		invented := mark + strings.ToLower(rand.Text())
		switch i % 8 {
		case 0:
			method = strings.ToUpper(invented)
		case 1:
			host = invented + ".example"
		case 2:
			address = s.base + "/api/" + invented
		case 3:
			address = s.base + "/" + invented + "?" + invented + "=1"
		case 4:
			address = s.base + "/api/auth/" + invented
		case 5:
			address = s.base + "/api/auth/sessions/" + invented
		case 6:
			address, token = gateway+"/api/private-route", inventedToken(t, s.provider, invented)
		case 7:
			address = gateway + "/audioarchive.v1.ProductService/" + invented
		}
		r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			r.Host = host
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		r.Header.Set("User-Agent", invented)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// inventedToken returns a token that is valid but for its key, which is not in the key set.
func inventedToken(t *testing.T, issuer, kid string) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	return fmt.Sprintf("%s.%s.%s", part(map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": kid}),
		part(map[string]any{"iss": issuer, "aud": "https://api.gatehouse.localhost", "sub": "dev|" + kid, "iat": now, "exp": now + 600}),
		base64.RawURLEncoding.EncodeToString(make([]byte, 256)))
}
