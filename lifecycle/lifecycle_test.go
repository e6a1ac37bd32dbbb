package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// A server is a Server that a test controls. It adds a line to the log when it is
// shut down.
type server struct {
	name     string
	log      *log
	serving  chan net.Addr
	closed   chan struct{}
	shutdown func(context.Context) error // nil: returns at once
}

func newServer(name string, l *log) *server {
	return &server{name: name, log: l, serving: make(chan net.Addr, 1), closed: make(chan struct{})}
}

func (s *server) Serve(l net.Listener) error {
	defer l.Close()
	s.serving <- l.Addr()
	<-s.closed
	return http.ErrServerClosed
}

func (s *server) Shutdown(ctx context.Context) error {
	s.log.add("shutdown " + s.name)
	close(s.closed)
	if s.shutdown != nil {
		return s.shutdown(ctx)
	}
	return nil
}

func (s *server) Close() error {
	s.log.add("close " + s.name)
	return nil
}

type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, ", ")
}

const anyPort = "127.0.0.1:0"

// Each stage stops when the one before has ended, and work beside the servers
// stops when all have ended.
func TestStopsInOrder(t *testing.T) {
	t.Parallel()
	l := &log{}
	front, back, last := newServer("front", l), newServer("back", l), newServer("last", l)
	ctx, cancel := context.WithCancel(t.Context())
	work := func(ctx context.Context) error {
		<-ctx.Done()
		l.add("work ends")
		return nil
	}
	cfg := lifecycle.Config{
		Front: []*lifecycle.Part{{Name: "front", Address: anyPort, Server: front, Run: work}},
		Back:  []*lifecycle.Part{{Name: "back", Address: anyPort, Server: back}},
		Last:  []*lifecycle.Part{{Name: "last", Address: anyPort, Server: last}},
		Drain: func(context.Context) error { l.add("drain"); return nil },
		Closers: []func() error{
			func() error { l.add("close a"); return nil },
			func() error { l.add("close b"); return nil },
		},
	}
	ended := make(chan error)
	go func() { ended <- lifecycle.Run(ctx, cfg) }()
	<-front.serving
	<-back.serving
	<-last.serving
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	if got, want := l.String(), "drain, shutdown front, shutdown back, shutdown last, work ends, close a, close b"; got != want {
		t.Errorf("it ended with %q, want %q", got, want)
	}
}

// Parts of one stage stop together: neither accepts requests while the other
// waits for one.
func TestStageStopsTogether(t *testing.T) {
	t.Parallel()
	a, b := newServer("a", &log{}), newServer("b", &log{})
	var both sync.WaitGroup
	both.Add(2)
	a.shutdown = func(context.Context) error { both.Done(); both.Wait(); return nil }
	b.shutdown = a.shutdown
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := lifecycle.Run(ctx, lifecycle.Config{Front: []*lifecycle.Part{
		{Name: "a", Address: anyPort, Server: a}, {Name: "b", Address: anyPort, Server: b},
	}})
	if err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

// Work that goes on after the last request is waited for beyond ShutdownTimeout.
func TestRunFinishesItsWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = lifecycle.DefaultShutdownTimeout + 15*time.Second
		s := newServer("bff", &log{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		work := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(limit)
			return nil
		}
		begun := time.Now()
		err := lifecycle.Run(ctx, lifecycle.Config{Front: []*lifecycle.Part{
			{Name: "bff", Address: anyPort, Server: s},
			{Name: "worker", Run: work}, // has no port
		}})
		if err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		if took := time.Since(begun); took != limit {
			t.Errorf("it took %v, want the %v of the work", took, limit)
		}
	})
}

// A request in flight gets its answer. Its context ends with the program, after
// the request.
func TestRequestInFlight(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		if err := r.Context().Err(); err != nil {
			t.Errorf("the context of a request in flight has ended: %v", err)
		}
		_, _ = io.WriteString(w, "whole")
	})}
	web.RegisterOnShutdown(func() { close(finish) })
	cfg := lifecycle.Config{Front: []*lifecycle.Part{{Name: "web", Address: anyPort, Server: web}}}
	if err := cfg.Listen(); err != nil {
		t.Fatal(err)
	}
	address := cfg.Front[0].Listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- lifecycle.Run(ctx, cfg) }()
	answer := make(chan string)
	go func() {
		resp, err := http.Get("http://" + address)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- string(body)
	}()
	<-begun
	cancel()
	if got := <-answer; got != "whole" {
		t.Errorf("the request in flight got %q, want its answer", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

// A part that fails stops the others, in order.
func TestFailureStopsAll(t *testing.T) {
	t.Parallel()
	l := &log{}
	broken := errors.New("broken")
	err := lifecycle.Run(t.Context(), lifecycle.Config{
		Front: []*lifecycle.Part{{Name: "front", Address: anyPort, Server: newServer("front", l)}},
		Back: []*lifecycle.Part{{
			Name: "back", Address: anyPort, Server: newServer("back", l),
			Run: func(context.Context) error { return broken },
		}},
	})
	if !errors.Is(err, broken) {
		t.Errorf("Run returned %v, want %v", err, broken)
	}
	if got, want := l.String(), "shutdown front, shutdown back"; got != want {
		t.Errorf("it ended with %q, want %q", got, want)
	}
}

// Requests that do not end in time are cut off at ShutdownTimeout. Parts behind
// have a second more.
func TestCutOff(t *testing.T) {
	t.Parallel()
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, c := range map[string]struct {
		back  func(context.Context) error // nil: there is none
		limit time.Duration
		ended string
	}{
		"front alone":       {nil, time.Minute, "shutdown front, close front"},
		"front and back":    {func(context.Context) error { return nil }, time.Minute, "shutdown front, close front, shutdown back"},
		"back ends neither": {waits, time.Minute + time.Second, "shutdown front, close front, shutdown back, close back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &log{}
				front := newServer("front", l)
				front.shutdown = waits
				cfg := lifecycle.Config{
					Front:           []*lifecycle.Part{{Name: "front", Address: anyPort, Server: front}},
					ShutdownTimeout: time.Minute,
				}
				if c.back != nil {
					back := newServer("back", l)
					back.shutdown = c.back
					cfg.Back = []*lifecycle.Part{{Name: "back", Address: anyPort, Server: back}}
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				begun := time.Now()
				err := lifecycle.Run(ctx, cfg)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop front") {
					t.Errorf("Run returned %v, want that the time to stop the front was up", err)
				}
				if took := time.Since(begun); took != c.limit {
					t.Errorf("it took %v, want %v", took, c.limit)
				}
				if got := l.String(); got != c.ended {
					t.Errorf("it ended with %q, want %q", got, c.ended)
				}
			})
		})
	}
}

// For LameDuck the program serves as before, but responses close their connection
// and Leave has been called. Nothing is drained or shut down before it is over.
func TestLameDuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lameDuck = 10 * time.Second
		l := &log{}
		part := newServer("front", l)
		var begun, drained time.Time
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun = time.Now()
		err := lifecycle.Run(ctx, lifecycle.Config{
			Front:    []*lifecycle.Part{{Name: "front", Address: anyPort, Server: part}},
			LameDuck: lameDuck,
			Leave:    func() { l.add("leave") },
			Drain:    func(context.Context) error { l.add("drain"); drained = time.Now(); return nil },
		})
		if err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		if got, want := l.String(), "leave, drain, shutdown front"; got != want {
			t.Errorf("it ended with %q, want %q", got, want)
		}
		if got := drained.Sub(begun); got != lameDuck {
			t.Errorf("it drained after %v, want %v", got, lameDuck)
		}
	})
}

// A response while the program leaves asks the client to close its connection:
// over HTTP/1.1 by a header, over HTTP/2 by GOAWAY. The request of an upgrade keeps
// its own Connection header.
func TestLeavingClosesConnections(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", version), func(t *testing.T) {
			t.Parallel()
			protocols := new(http.Protocols)
			protocols.SetHTTP1(version == 1)
			protocols.SetUnencryptedHTTP2(version == 2)
			web := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.RemoteAddr)
			})}
			left, serveOn := make(chan struct{}), make(chan struct{})
			cfg := lifecycle.Config{
				Front: []*lifecycle.Part{{Name: "web", Address: anyPort, Server: web}},
				Leave: func() { close(left); <-serveOn }, // as long as the test wants
			}
			if err := cfg.Listen(); err != nil {
				t.Fatal(err)
			}
			url := "http://" + cfg.Front[0].Listener.Addr().String()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- lifecycle.Run(ctx, cfg) }()
			transport := &http.Transport{Protocols: protocols}
			defer transport.CloseIdleConnections()
			get := func(upgrade string) (from string, closes bool) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				if upgrade != "" {
					req.Header.Set("Connection", "Upgrade")
					req.Header.Set("Upgrade", upgrade)
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return string(body), resp.Close
			}
			first, closes := get("")
			if closes {
				t.Error("a response before the stop closes its connection")
			}
			cancel()
			<-left
			if version == 1 {
				if from, closes := get("something"); closes || from != first {
					t.Errorf("the answer to an upgrade closes its connection")
				}
			}
			from, closes := get("")
			if from != first {
				t.Errorf("the kept connection was closed before it was asked to")
			}
			if version == 1 && !closes {
				t.Error("a response while the program leaves keeps its connection")
			}
			if version == 2 {
				for from == first { // GOAWAY follows the response
					from, _ = get("")
				}
			}
			close(serveOn)
			if err := <-ended; err != nil {
				t.Errorf("Run returned %v, want nil", err)
			}
		})
	}
}

// SIGHUP calls Reload and does not end the program. An error is logged.
func TestReload(t *testing.T) {
	t.Parallel()
	web := newServer("web", &log{})
	var out bytes.Buffer
	reloaded := make(chan struct{})
	calls := 0
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- lifecycle.Run(ctx, lifecycle.Config{
			Front:  []*lifecycle.Part{{Name: "web", Address: anyPort, Server: web}},
			Logger: slog.New(slog.NewTextHandler(&out, nil)),
			Reload: func(context.Context) error {
				defer func() { reloaded <- struct{}{} }()
				if calls++; calls == 1 {
					return errors.New("no such file")
				}
				return nil
			},
		})
	}()
	<-web.serving
	for range 2 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-reloaded
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	for _, want := range []string{`msg="reload failed" err="no such file"`, "msg=reloaded"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log is %q, want %q in it", out.String(), want)
		}
	}
}

// If one port is taken, nothing is served, the ports that were opened are closed,
// and the error names the part's setting, the address and the remedy.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for setting, named := range map[string]string{"": "back.Address", "--listen-back": "--listen-back"} {
		l := &log{}
		front := newServer("front", l)
		closed := false
		cfg := lifecycle.Config{
			Front:   []*lifecycle.Part{{Name: "front", Address: anyPort, Server: front}},
			Back:    []*lifecycle.Part{{Name: "back", Address: taken.Addr().String(), Setting: setting, Server: newServer("back", l)}},
			Closers: []func() error{func() error { closed = true; return nil }},
		}
		err = lifecycle.Run(t.Context(), cfg)
		for _, want := range []string{named, taken.Addr().String(), "in use", "another address"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Run returned %v, want an error with %q", err, want)
			}
		}
		if len(front.serving) > 0 || cfg.Front[0].Listener != nil {
			t.Error("the other part was served, or its port is still open")
		}
		if !closed {
			t.Error("the closers were not called")
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	err := lifecycle.Config{
		Front:           []*lifecycle.Part{{Name: "web", Server: newServer("web", &log{})}},
		Back:            []*lifecycle.Part{{Name: "api", Address: anyPort}},
		ShutdownTimeout: -1, LameDuck: -2,
	}.Validate()
	for _, want := range []string{"web.Address is missing", "api.Server is missing", `ShutdownTimeout "-1ns" is negative`, `LameDuck "-2ns" is negative`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate returned %v, want %q in it", err, want)
		}
	}
	if err := (lifecycle.Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "Front is empty, and so are Back and Last") {
		t.Errorf("a program without parts: Validate returned %v", err)
	}
}

// The log names each part and its address before it is served, and the stop.
func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	web := newServer("web", &log{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- lifecycle.Run(ctx, lifecycle.Config{
			Front:  []*lifecycle.Part{{Name: "web", Address: anyPort, Server: web}},
			Logger: slog.New(slog.NewTextHandler(&out, nil)),
		})
	}()
	address := <-web.serving
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	for _, want := range []string{"msg=listening part=web address=" + address.String(), "msg=stopping"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log is %q, want %q in it", out.String(), want)
		}
	}
}

// Connections on which nothing has arrived do not delay the stop: net/http would
// wait five seconds for them, other servers until their own limit.
func TestUnusedConnections(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]func(accepted chan<- struct{}) lifecycle.Server{
		"net/http": func(accepted chan<- struct{}) lifecycle.Server {
			return &http.Server{Handler: http.NotFoundHandler(), ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					close(accepted)
				}
			}}
		},
		"no states": func(accepted chan<- struct{}) lifecycle.Server {
			return &reader{accepted: accepted, read: make(chan struct{})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted := make(chan struct{})
			cfg := lifecycle.Config{Front: []*lifecycle.Part{{Name: "web", Address: anyPort, Server: server(accepted)}}}
			if err := cfg.Listen(); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", cfg.Front[0].Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- lifecycle.Run(ctx, cfg) }()
			<-accepted
			began := time.Now()
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run returned %v, want nil", err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v to stop with nothing in flight, want less than 3 s", took)
			}
		})
	}
}

// A reader waits at shutdown for its one connection to send or to close.
type reader struct {
	accepted chan<- struct{}
	read     chan struct{}
}

func (r *reader) Serve(l net.Listener) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	close(r.accepted)
	_, _ = c.Read(make([]byte, 1))
	close(r.read)
	return l.Close()
}

func (r *reader) Shutdown(context.Context) error {
	<-r.read
	return nil
}

// A port with all the connections it may have accepts the next one when one of them ends, and
// warns once a minute.
func TestFullPort(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	full := make(chan struct{}, 3)
	part := &lifecycle.Part{Name: "front", Address: anyPort, Server: newServer("front", &log{})}
	cfg := lifecycle.Config{
		Front: []*lifecycle.Part{part}, MaxConnections: 2, Full: func() { full <- struct{}{} },
		Logger: slog.New(slog.NewTextHandler(&out, nil)),
	}
	if err := cfg.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.CloseListeners)
	accepted := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := part.Listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 4 {
		c, err := net.Dial("tcp", part.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	first, second := <-accepted, <-accepted
	for _, c := range []net.Conn{first, second} {
		<-full
		select {
		case <-accepted:
			t.Fatal("a connection over the limit was accepted")
		default:
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		_ = (<-accepted).SetDeadline(time.Time{}) // open until the test ends
	}
	<-full
	_ = part.Listener.Close()
	<-ended
	const want = `level=WARN msg="port is full: further connections wait" part=front limit=2 suppressed=0`
	if n := strings.Count(out.String(), want); n != 1 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("log has the warning %d times, want once:\n%s", n, out.String())
	}
}
