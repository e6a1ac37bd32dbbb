package metrics

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// RPC measures the calls of a gRPC server. It is safe for concurrent use.
type RPC struct {
	duration metric.Float64Histogram
	// results has the attributes of every result that has occurred. It is replaced, never
	// changed.
	results atomic.Pointer[map[callResult][]metric.RecordOption]
	mu      sync.Mutex // guards replacing results
}

type callResult struct{ method, code string }

// NewRPC returns the recorder of a server.
func NewRPC(provider metric.MeterProvider) *RPC {
	m := meter(provider)
	if m == nil {
		return nil
	}
	r := &RPC{duration: newHistogram(m, RPCServerCallDuration)}
	r.results.Store(&map[callResult][]metric.RecordOption{})
	return r
}

// Enabled reports whether calls are measured.
func (r *RPC) Enabled() bool { return r != nil }

// Since records a call of a registered method, "/package.Service/Method", or of Other. code
// is the name of its status, failed whether that is a fault of the server.
func (r *RPC) Since(ctx context.Context, start time.Time, method, code string, failed bool) {
	if r != nil {
		r.duration.Record(ctx, time.Since(start).Seconds(), r.options(callResult{method, code}, failed)...)
	}
}

func (r *RPC) options(of callResult, failed bool) []metric.RecordOption {
	if options, ok := (*r.results.Load())[of]; ok {
		return options
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := maps.Clone(*r.results.Load())
	list := []attribute.KeyValue{
		attribute.String(KeyRPCSystem, "grpc"), attribute.String(KeyRPCMethod, strings.TrimPrefix(of.method, "/")), attribute.String(KeyRPCStatus, of.code),
	}
	if failed {
		list = append(list, attribute.String(KeyError, of.code))
	}
	all[of] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(list...))}
	r.results.Store(&all)
	return all[of]
}
