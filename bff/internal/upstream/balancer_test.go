package upstream

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// An address that DNS no longer gives is forgotten, also if a probe of it is under way.
// Where addresses come and go, memory would grow for ever.
func TestRemovedAddressIsForgotten(t *testing.T) {
	t.Parallel()
	held := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		held <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var address atomic.Value
	address.Store("127.0.0.1")
	b := New(Config{
		Name: "gateway", Targets: []*url.URL{{Scheme: "http", Host: "gateway:" + at.Port()}}, Probe: "/readyz",
		ProbeTimeout: time.Minute, ResolveInterval: time.Millisecond,
		Lookup: func(context.Context, peers.Target) ([]string, error) { return []string{address.Load().(string)}, nil },
	})
	t.Cleanup(b.Close)
	<-held
	if err := b.peers.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := weak.Make(b.peers.Peers()[0])
	address.Store("127.0.0.2")
	deadline := time.Now().Add(time.Minute)
	for first.Value() != nil {
		if time.Now().After(deadline) {
			t.Fatal("the address that was removed is kept in memory")
		}
		runtime.GC()
	}
}
