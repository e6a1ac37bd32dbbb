package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/test/faults"
)

// A remote is a server of things that can be broken. Things that are asked of it are
// answered with its name as their title; "hold" is answered when it is released.
type remote struct {
	name    string
	proxy   *faults.Proxy
	grpc    *grpc.Server
	health  *health.Server
	calls   atomic.Int64
	held    chan struct{} // receives when a call is held
	release chan struct{} // closed to answer what is held
}

func newRemote(t *testing.T, name string) *remote {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{name: name, health: health.NewServer(), held: make(chan struct{}, 8), release: make(chan struct{})}
	b := &backend{answer: r.answer}
	r.grpc = grpc.NewServer(grpc.UnknownServiceHandler(b.handle))
	healthpb.RegisterHealthServer(r.grpc, r.health)
	r.proxy = faults.NewProxy(t, "tcp", listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- r.grpc.Serve(listener) }()
	t.Cleanup(func() { r.grpc.Stop(); <-served })
	return r
}

func (r *remote) answer(ctx context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error) {
	r.calls.Add(1)
	rpc, _ := grpc.MethodFromServerStream(stream)
	if strings.HasSuffix(rpc, "/WatchThings") {
		if err := stream.SendMsg(thing(`title: "` + r.name + `"`)); err != nil {
			return nil, err
		}
		r.held <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if strings.Contains(fmt.Sprint(request), "hold") {
		r.held <- struct{}{}
		select {
		case <-r.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if strings.Contains(fmt.Sprint(request), "refused") {
		return nil, status.Error(codes.Unavailable, "the database is away")
	}
	return thing(`id: "1" title: "` + r.name + `"`), nil
}

// dialed returns a gateway in front of remotes whose probes are quick.
func dialed(t *testing.T, log io.Writer, remotes ...*remote) (*gateway.Gateway, *gateway.ServerConn) {
	t.Helper()
	cfg := gateway.DialConfig{ProbeInterval: 20 * time.Millisecond, ProbeTimeout: 250 * time.Millisecond}
	if log != nil {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	for _, r := range remotes {
		cfg.Targets = append(cfg.Targets, r.proxy.Addr())
	}
	conn, err := gateway.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	g, err := gateway.New(gateway.Config{Conn: conn, Services: []gateway.Service{exposeDynamic(thingService)}})
	if err != nil {
		t.Fatal(err)
	}
	return g, conn
}

// title gets a thing, and returns the title: the name of the server, or the status.
func title(g http.Handler, id string) string {
	response := send(g, "GET", "/api/things/"+id, nil, "")
	body, _ := io.ReadAll(response.Body) // of a recorder
	for _, name := range []string{"one", "two"} {
		if bytes.Contains(body, []byte(`"title":"`+name+`"`)) {
			return name
		}
	}
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

// soon waits until f returns nil.
func soon(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answering waits until exactly these servers answer.
func answering(t *testing.T, g http.Handler, names ...string) {
	t.Helper()
	soon(t, fmt.Sprintf("%v answer", names), func() error {
		got := map[string]int{}
		for range 10 {
			got[title(g, "1")]++
		}
		if len(got) != len(names) {
			return fmt.Errorf("got %v", got)
		}
		for _, name := range names {
			if got[name] != 10/len(names) { // in turn
				return fmt.Errorf("got %v", got)
			}
		}
		return nil
	})
}

// holdBoth makes a call that is held at each of two servers.
func holdBoth(one, two *remote, call func()) {
	go call()
	select {
	case <-one.held:
		go call()
		<-two.held
	case <-two.held:
		go call()
		<-one.held
	}
}

// TestDialBalances checks that calls go to the servers in turn, and to those alone
// that say they serve.
func TestDialBalances(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	g, conn := dialed(t, nil, one, two)
	answering(t, g, "one", "two")
	one.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	answering(t, g, "two")
	two.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	answering(t, g, "one", "two") // they know best why
	soon(t, "not ready", func() error {
		if err := conn.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "NOT_SERVING") {
			return fmt.Errorf("Ready() = %v", err)
		}
		return nil
	})
	one.health.Resume()
	answering(t, g, "one")
	if err := conn.Ready(t.Context()); err != nil {
		t.Errorf("Ready() = %v", err)
	}
}

// TestDialFrozen freezes a server: it gets no more calls, reads under way are answered
// by another one, and calls that may write are not sent twice.
func TestDialFrozen(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	log := &logLines{}
	g, _ := dialed(t, log, one, two)
	answering(t, g, "one", "two")

	read, written := make(chan string, 2), make(chan int, 2)
	holdBoth(one, two, func() { read <- title(g, "hold") })
	holdBoth(one, two, func() {
		written <- send(g, "POST", "/api/things", []string{"Content-Type: application/json"}, `{"title":"hold"}`).StatusCode
	})
	one.proxy.Freeze()
	<-two.held // the read that was at one
	close(two.release)
	for range 2 {
		if got := <-read; got != "two" {
			t.Errorf("a read under way got %s, want the answer of two", got)
		}
	}
	if got := <-written; got != http.StatusOK {
		t.Errorf("the call at the other server got %d", got)
	}
	answering(t, g, "two")
	one.proxy.Thaw()
	close(one.release)
	if got := <-written; got != http.StatusOK {
		t.Errorf("the call that waited for the thaw got %d", got)
	}
	answering(t, g, "one", "two")
	if got := log.String(); strings.Count(got, "\n") != 2 || strings.Count(got, `level=WARN msg="server unavailable"`) != 1 || strings.Count(got, `msg="server available again"`) != 1 {
		t.Errorf("got log\n%s", got)
	}
}

// TestDialFrozenStream checks that a stream to a frozen server ends, so that its client
// comes back.
func TestDialFrozenStream(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	g, _ := dialed(t, nil, one, two)
	answering(t, g, "one", "two")
	ends := make(chan string, 2)
	holdBoth(one, two, func() {
		body, _ := io.ReadAll(send(g, "GET", "/api/things:watch", nil, "").Body) // of a recorder
		ends <- string(body)
	})
	one.proxy.Freeze()
	if got := <-ends; !strings.Contains(got, `"code":14`) {
		t.Errorf("the stream ended with %s, want code 14", got)
	}
	select {
	case got := <-ends:
		t.Errorf("the other stream ended: %s", got)
	default:
	}
	g.Drain()
	<-ends
}

// TestDialKilled breaks the connections of a server: reads under way are answered by
// another one, calls that may have begun are not repeated, and what a service itself
// reports is not either.
func TestDialKilled(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	g, _ := dialed(t, nil, one, two)
	answering(t, g, "one", "two")
	read, written := make(chan string, 2), make(chan int, 2)
	holdBoth(one, two, func() { read <- title(g, "hold") })
	holdBoth(one, two, func() {
		written <- send(g, "POST", "/api/things", []string{"Content-Type: application/json"}, `{"title":"hold"}`).StatusCode
	})
	one.grpc.Stop()
	<-two.held
	if got := <-written; got != http.StatusServiceUnavailable {
		t.Errorf("the write at the killed server got %d, want 503", got)
	}
	close(two.release)
	for range 2 {
		if got := <-read; got != "two" {
			t.Errorf("a read under way got %s, want the answer of two", got)
		}
	}
	<-written
	answering(t, g, "two")
	before := two.calls.Load()
	if got := title(g, "refused"); !strings.HasPrefix(got, "503") {
		t.Errorf("got %s, want 503", got)
	}
	if n := two.calls.Load() - before; n != 1 {
		t.Errorf("a read that the service refused was sent %d times, want once", n)
	}
}

// TestDialReconnects checks that a read survives a broken connection to the only
// address, behind which there may be several servers.
func TestDialReconnects(t *testing.T) {
	t.Parallel()
	one := newRemote(t, "one")
	g, _ := dialed(t, nil, one)
	answering(t, g, "one")
	read := make(chan string, 1)
	go func() { read <- title(g, "hold") }()
	<-one.held
	one.proxy.Cut()
	<-one.held
	close(one.release)
	if got := <-read; got != "one" {
		t.Errorf("the read got %s", got)
	}
}

// TestDialLost checks that calls fail at once, with a time to come back, when no server
// has answered for long.
func TestDialLost(t *testing.T) {
	t.Parallel()
	one := newRemote(t, "one")
	g, _ := dialed(t, nil, one)
	answering(t, g, "one")
	one.proxy.Freeze()
	soon(t, "calls fail at once", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/api/things/1", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "no server answers at the moment") {
			return fmt.Errorf("got %d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		return nil
	})
	one.proxy.Thaw()
	answering(t, g, "one")
}

// TestDialUnix checks a connection to a Unix socket, and the authority of TLS-less
// ones.
func TestDialUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "grpc.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{name: "one", held: make(chan struct{}, 1)}
	server := grpc.NewServer(grpc.UnknownServiceHandler((&backend{answer: r.answer}).handle))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	defer serving.Wait()
	defer server.Stop()
	conn, err := gateway.Dial(gateway.DialConfig{Targets: []string{"unix:" + path}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g, err := gateway.New(gateway.Config{Conn: conn, Services: []gateway.Service{exposeDynamic(thingService)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := title(g, "1"); got != "one" {
		t.Errorf("got %s", got)
	}
}
