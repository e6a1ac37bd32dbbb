package metrics_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// read returns the value, or the count of a histogram, by metric and labels.
func read(t *testing.T, reader *sdkmetric.ManualReader) (values map[string]map[string]float64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	values = map[string]map[string]float64{}
	put := func(name string, set attribute.Set, v float64) {
		if values[name] == nil {
			values[name] = map[string]float64{}
		}
		values[name][set.Encoded(attribute.DefaultEncoder())] = v
	}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, float64(p.Count))
				}
			}
		}
	}
	return values
}

func newProvider() (*sdkmetric.MeterProvider, *sdkmetric.ManualReader) {
	reader := sdkmetric.NewManualReader()
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), reader
}

func TestNamesOfTheConventions(t *testing.T) {
	t.Parallel()
	for got, want := range map[*metrics.Instrument][2]string{
		metrics.HTTPServerRequestDuration: {httpconv.ServerRequestDuration{}.Name(), httpconv.ServerRequestDuration{}.Unit()},
		metrics.HTTPServerActiveRequests:  {httpconv.ServerActiveRequests{}.Name(), httpconv.ServerActiveRequests{}.Unit()},
		metrics.RPCServerCallDuration:     {rpcconv.ServerCallDuration{}.Name(), rpcconv.ServerCallDuration{}.Unit()},
	} {
		if got.Name != want[0] || got.Unit != want[1] {
			t.Errorf("declared %s in %s, want %s in %s", got.Name, got.Unit, want[0], want[1])
		}
	}
}

// Two recorders of one counter, as two parts of a process have, add up. Values exist before
// the first event; one that is not declared is _OTHER.
func TestCounter(t *testing.T) {
	t.Parallel()
	provider, reader := newProvider()
	one, two := metrics.NewCounter(provider, metrics.LimitRejections), metrics.NewCounter(provider, metrics.LimitRejections)
	one.Add(metrics.LimitCookies)
	two.AddN(2, metrics.LimitCookies)
	one.Add(rand.Text())
	got := read(t, reader)[metrics.LimitRejections.Name]
	want := map[string]float64{"login_rate": 0, "cookies": 3, "header": 0, "session_streams": 0, "connections": 0, "arriving_requests": 0, "introspection": 0, metrics.Other: 1}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for value, n := range want {
		if key := "gatehouse.limit=" + value; got[key] != n {
			t.Errorf("%s is %v, want %v", key, got[key], n)
		}
	}
}

func TestUpDownCounter(t *testing.T) {
	t.Parallel()
	provider, reader := newProvider()
	c := metrics.NewUpDownCounter(provider, metrics.StreamsOpen)
	end := c.Begin(metrics.StreamRPC)
	if got := read(t, reader)[metrics.StreamsOpen.Name]["gatehouse.stream.kind=rpc"]; got != 1 {
		t.Errorf("%v open, want 1", got)
	}
	end()
	if got := read(t, reader)[metrics.StreamsOpen.Name]["gatehouse.stream.kind=rpc"]; got != 0 {
		t.Errorf("%v open, want 0", got)
	}
}

// Without a provider nothing is recorded, and nothing fails.
func TestNoProvider(t *testing.T) {
	t.Parallel()
	metrics.NewCounter(nil, metrics.Refreshes).Add("ok")
	metrics.NewUpDownCounter(nil, metrics.StreamsOpen).Begin("rpc")()
	metrics.NewHistogram(nil, metrics.RefreshWait).Since(t.Context(), time.Now(), "ok")
	metrics.NewRPC(nil).Since(t.Context(), time.Now(), "/s/m", "OK", false)
	metrics.ObserveGauge(nil, metrics.Ready, nil)
	q := metrics.NewHTTP(nil, metrics.PartBFF).Begin(http.MethodGet, false)
	q.End(t.Context(), http.StatusOK)
	metrics.SetRoute(httptest.NewRecorder(), "/")
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method string
		secure       bool
		handler      http.HandlerFunc
		want         string
	}{
		{"a route", "GET", true, func(w http.ResponseWriter, _ *http.Request) { metrics.SetRoute(w, "/api/x"); w.WriteHeader(204) },
			"gatehouse.part=bff,gatehouse.stream=false,http.request.method=GET,http.response.status_code=204,http.route=/api/x,url.scheme=https"},
		{"no status", "POST", false, func(http.ResponseWriter, *http.Request) {},
			"gatehouse.part=bff,gatehouse.stream=false,http.request.method=POST,http.response.status_code=200,url.scheme=http"},
		{"early hints", "GET", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(500) },
			"error.type=500,gatehouse.part=bff,gatehouse.stream=false,http.request.method=GET,http.response.status_code=500,url.scheme=http"},
		{"an unknown method", "STEAL", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(405) },
			"gatehouse.part=bff,gatehouse.stream=false,http.request.method=_OTHER,http.response.status_code=405,url.scheme=http"},
		{"an invented status", "GET", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(477) },
			"gatehouse.part=bff,gatehouse.stream=false,http.request.method=GET,http.response.status_code=400,url.scheme=http"},
		{"a stream", "GET", false, func(w http.ResponseWriter, _ *http.Request) {
			metrics.RequestOf(wrapped{w}).SetStream()
			_, _ = w.Write([]byte("x"))
		}, "gatehouse.part=bff,gatehouse.stream=true,http.request.method=GET,http.response.status_code=200,url.scheme=http"},
		{"a cut connection", "GET", false, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"gatehouse.part=bff,gatehouse.stream=false,http.request.method=GET,url.scheme=http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			provider, reader := newProvider()
			during := 0.0
			wrap := accesslog.Wrap(accesslog.Config{
				Logger: slog.New(slog.DiscardHandler), Client: func(*http.Request) string { return "" },
				Requests: metrics.NewHTTP(provider, metrics.PartBFF), Secure: c.secure,
			})
			h := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, n := range read(t, reader)[metrics.HTTPServerActiveRequests.Name] {
					during += n
				}
				c.handler(w, r)
			}))
			func() {
				defer func() { _ = recover() }()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(c.method, "/", nil))
			}()
			got := read(t, reader)
			if during != 1 || len(got[metrics.HTTPServerActiveRequests.Name]) != 0 {
				t.Errorf("active: %v during the request, %v after it; want 1 and none", during, got[metrics.HTTPServerActiveRequests.Name])
			}
			if recorded := got[metrics.HTTPServerRequestDuration.Name]; len(recorded) != 1 || recorded[c.want] != 1 {
				t.Errorf("recorded %v, want one of %s", recorded, c.want)
			}
		})
	}
}

type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A part that makes routes of paths, by mistake, does not fill the memory.
func TestHTTPIsBounded(t *testing.T) {
	t.Parallel()
	provider, reader := newProvider()
	h := metrics.NewHTTP(provider, metrics.PartGateway)
	const requests = 4_000
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range requests / 4 {
				q := h.Begin(http.MethodGet, false)
				q.SetRoute(rand.Text())
				q.End(context.Background(), http.StatusOK)
			}
		})
	}
	all.Wait()
	recorded, total := read(t, reader)[metrics.HTTPServerRequestDuration.Name], 0.0
	for _, n := range recorded {
		total += n
	}
	if len(recorded) > 1_950 || total != requests {
		t.Errorf("%d series with %v requests, want at most 1,950 with %d", len(recorded), total, requests)
	}
}

// The table has no name twice, and no attribute without an end.
func TestTable(t *testing.T) {
	t.Parallel()
	var names []string
	for _, i := range metrics.All {
		if slices.Contains(names, i.Name) {
			t.Errorf("%s is declared twice", i.Name)
		}
		names = append(names, i.Name)
		if (i.Kind == metrics.KindHistogram) != (len(i.Buckets) > 0) || !slices.IsSorted(i.Buckets) {
			t.Errorf("%s: a %v with buckets %v", i.Name, i.Kind, i.Buckets)
		}
	}
}

func BenchmarkHTTP(b *testing.B) {
	provider, _ := newProvider()
	h := metrics.NewHTTP(provider, metrics.PartBFF)
	b.ReportAllocs()
	for b.Loop() {
		q := h.Begin(http.MethodGet, true)
		q.SetRoute("/api/private-route")
		q.End(b.Context(), http.StatusOK)
	}
}
