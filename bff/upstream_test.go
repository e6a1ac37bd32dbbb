package bff_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/faults"
)

// A remote is a gateway that can be broken. It answers with its name; /hold is answered
// when it is released.
type remote struct {
	name    string
	proxy   *faults.Proxy
	address string
	server  *httptest.Server
	unready atomic.Bool
	calls   atomic.Int64
	held    chan struct{}
	release chan struct{}
}

func newRemote(t *testing.T, name string) *remote {
	t.Helper()
	r := &remote{name: name, held: make(chan struct{}, 8), release: make(chan struct{})}
	r.server = httptest.NewServer(r)
	r.proxy = faults.NewProxy(t, "tcp", r.server.Listener.Addr().String())
	r.address = r.proxy.Addr()
	t.Cleanup(func() { r.server.CloseClientConnections(); r.server.Close() })
	return r
}

func (r *remote) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/prefix/readyz" {
		if r.unready.Load() {
			http.Error(w, "not ready: stopping", http.StatusServiceUnavailable)
		}
		return
	}
	r.calls.Add(1)
	body, _ := io.ReadAll(req.Body) // part of the answer
	switch req.URL.Path {
	case "/prefix/hold":
		r.held <- struct{}{}
		select {
		case <-r.release:
		case <-req.Context().Done():
			return
		}
	case "/prefix/stream":
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		r.held <- struct{}{}
		<-req.Context().Done()
		return
	case "/prefix/socket":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		write(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		r.held <- struct{}{}
		_, _ = io.Copy(io.Discard, conn) // until it is closed
		return
	}
	fmt.Fprintf(w, "%s %s %s", r.name, req.URL, body)
}

// upstream returns a server in front of remotes whose probes are quick.
func upstream(t *testing.T, remotes ...*remote) (string, *bff.Upstream) {
	t.Helper()
	cfg := bff.UpstreamConfig{Probe: "/readyz", ProbeInterval: 20 * time.Millisecond, ProbeTimeout: 250 * time.Millisecond}
	for _, r := range remotes {
		cfg.Targets = append(cfg.Targets, "http://"+r.address+"/prefix")
	}
	u, err := bff.NewUpstream(cfg)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(u)
	t.Cleanup(func() { front.Close(); _ = u.Close() })
	return front.URL, u
}

// fetched returns the name in the answer to a request, or what is wrong.
func fetched(ctx context.Context, method, address string) string {
	var body io.Reader
	if method == http.MethodPost {
		body = io.MultiReader(strings.NewReader("body")) // which cannot be read twice
	}
	req, err := http.NewRequestWithContext(ctx, method, address+"?a=%2F;b", body)
	if err != nil {
		return err.Error()
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	name, rest, _ := strings.Cut(string(text), " ")
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(rest, "/prefix/") || !strings.Contains(rest, "?a=%2F;b") || method == http.MethodPost && !strings.HasSuffix(rest, " body") {
		return fmt.Sprintf("%d %s %s %v", resp.StatusCode, resp.Header.Get("Retry-After"), text, err)
	}
	return name
}

// eventuallyNil waits until f returns nil.
func eventuallyNil(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// answering waits until exactly these servers answer, in turn.
func answering(t *testing.T, address string, names ...string) {
	t.Helper()
	eventuallyNil(t, fmt.Sprintf("%v answer", names), func() error {
		got := map[string]int{}
		for range 10 {
			got[fetched(t.Context(), http.MethodGet, address+"/x")]++
		}
		for _, name := range names {
			if got[name] != 10/len(names) {
				return fmt.Errorf("got %v", got)
			}
		}
		return nil
	})
}

// holdBoth makes a request that is held at each of two servers.
func holdBoth(one, two *remote, request func()) {
	go request()
	select {
	case <-one.held:
		go request()
		<-two.held
	case <-two.held:
		go request()
		<-one.held
	}
}

// TestUpstreamDrains checks that a gateway that says that it is not ready gets no more
// requests, and that those are used if there is no other.
func TestUpstreamDrains(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	address, u := upstream(t, one, two)
	answering(t, address, "one", "two")
	if err := u.Ready(t.Context()); err != nil {
		t.Errorf("Ready() = %v", err)
	}
	one.unready.Store(true)
	answering(t, address, "two")
	two.unready.Store(true)
	answering(t, address, "one", "two")
	eventuallyNil(t, "not ready", func() error {
		if err := u.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "stopping") {
			return fmt.Errorf("Ready() = %v", err)
		}
		return nil
	})
	two.unready.Store(false)
	answering(t, address, "two")
}

// TestUpstreamFrozen freezes a gateway: reads under way are answered by another one,
// other requests are not sent twice, streams and WebSockets end.
func TestUpstreamFrozen(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	address, _ := upstream(t, one, two)
	answering(t, address, "one", "two")
	read, written, ended, closed := make(chan string, 2), make(chan string, 2), make(chan error, 2), make(chan error, 2)
	holdBoth(one, two, func() { read <- fetched(t.Context(), http.MethodGet, address+"/hold") })
	holdBoth(one, two, func() { written <- fetched(t.Context(), http.MethodPost, address+"/hold") })
	opened := make(chan struct{}, 4)
	holdBoth(one, two, func() { ended <- streamed(t.Context(), address, opened) })
	holdBoth(one, two, func() { closed <- socketed(t.Context(), address, opened) })
	for range 4 {
		<-opened
	}
	one.proxy.Freeze()
	<-two.held // the read that was at one
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("the WebSocket ended with %v", err)
	}
	close(two.release)
	for range 2 {
		if got := <-read; got != "two" {
			t.Errorf("a read under way got %s, want the answer of two", got)
		}
	}
	if got := <-written; got != "two" {
		t.Errorf("the request at the other gateway got %s", got)
	}
	answering(t, address, "two")
	one.proxy.Thaw()
	close(one.release)
	if got := <-written; got != "one" {
		t.Errorf("the request that waited for the thaw got %s", got)
	}
	answering(t, address, "one", "two")
	select {
	case err := <-ended:
		t.Errorf("the other stream ended: %v", err)
	case err := <-closed:
		t.Errorf("the other WebSocket ended: %v", err)
	default:
	}
	two.proxy.Cut()
	<-ended
	<-closed
}

// streamed reads an event stream to its end.
func streamed(ctx context.Context, address string, opened chan<- struct{}) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/stream", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	opened <- struct{}{}
	_, err = io.ReadAll(resp.Body)
	return err
}

// socketed reads a WebSocket to its end.
func socketed(ctx context.Context, address string, opened chan<- struct{}) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	write(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close() // of 101, which has none
	opened <- struct{}{}
	_, err = io.Copy(io.Discard, r)
	return err
}

// TestUpstreamKilled kills a gateway: reads under way are answered by another one, and
// requests of any method that could not be sent too.
func TestUpstreamKilled(t *testing.T) {
	t.Parallel()
	one, two := newRemote(t, "one"), newRemote(t, "two")
	one.address = one.server.Listener.Addr().String() // a proxy would still accept connections
	address, _ := upstream(t, one, two)
	answering(t, address, "one", "two")
	read, written := make(chan string, 2), make(chan string, 2)
	holdBoth(one, two, func() { read <- fetched(t.Context(), http.MethodGet, address+"/hold") })
	holdBoth(one, two, func() { written <- fetched(t.Context(), http.MethodPost, address+"/hold") })
	one.server.Listener.Close()
	one.server.CloseClientConnections()
	<-two.held
	if got := <-written; !strings.HasPrefix(got, "502") {
		t.Errorf("the write at the killed gateway got %s, want 502", got)
	}
	for range 10 { // before or after a probe has failed
		if got := fetched(t.Context(), http.MethodPost, address+"/x"); got != "two" {
			t.Errorf("a new write got %s, want the answer of two", got)
		}
	}
	close(two.release)
	for range 2 {
		if got := <-read; got != "two" {
			t.Errorf("a read under way got %s, want the answer of two", got)
		}
	}
	<-written
}

// TestUpstreamLost checks that requests fail at once, with a time to come back, when no
// gateway has answered for long.
func TestUpstreamLost(t *testing.T) {
	t.Parallel()
	one := newRemote(t, "one")
	address, _ := upstream(t, one)
	answering(t, address, "one")
	one.proxy.Freeze()
	eventuallyNil(t, "requests fail at once", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got := fetched(ctx, http.MethodGet, address+"/x"); !strings.HasPrefix(got, "503 1 ") {
			return errors.New(got)
		}
		return nil
	})
	one.proxy.Thaw()
	answering(t, address, "one")
}

// TestUpstreamConfig checks that errors name field and remedy.
func TestUpstreamConfig(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]bff.UpstreamConfig{
		"Targets is missing": {},
		`Targets[1] "b:1" is invalid: the scheme is missing; did you mean http://b:1?`: {Targets: []string{"http://a", "b:1"}},
		"ProbeTimeout":    {Targets: []string{"http://a"}, ProbeTimeout: -1},
		"ResolveInterval": {Targets: []string{"http://a"}, ResolveInterval: -1},
	} {
		if _, err := bff.NewUpstream(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %s", err, want)
		}
	}
}
