package lifecycle_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// server is a Server under the control of a test; it notes in the log when it
// is shut down.
type server struct {
	name     string
	log      *log
	serving  chan net.Addr
	closed   chan struct{}
	shutdown func(context.Context) error // nil for at once
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

// TestEndsInOrder: each part ends when nobody in front of it is left, and what
// works beside them when all have ended.
func TestEndsInOrder(t *testing.T) {
	t.Parallel()
	l := &log{}
	front, back := newServer("front", l), newServer("back", l)
	ctx, cancel := context.WithCancel(t.Context())
	work := func(ctx context.Context) error {
		<-ctx.Done()
		l.add("work ends")
		return nil
	}
	ended := make(chan error)
	go func() {
		ended <- lifecycle.Run(ctx, lifecycle.Part{Address: anyPort, Server: front, Run: work}, lifecycle.Part{Address: anyPort, Server: back})
	}()
	<-front.serving
	<-back.serving
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	if got, want := l.String(), "shutdown front, shutdown back, work ends"; got != want {
		t.Errorf("it ended with %q, want %q", got, want)
	}
}

// TestRunFinishesItsWork: work that goes on after the last request is waited for beyond ShutdownTimeout, which is for
// requests.
func TestRunFinishesItsWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = lifecycle.ShutdownTimeout + 15*time.Second
		s := newServer("bff", &log{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		work := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(limit)
			return nil
		}
		begun := time.Now()
		if err := lifecycle.Run(ctx, lifecycle.Part{Address: anyPort, Server: s, Run: work}); err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		if took := time.Since(begun); took != limit {
			t.Errorf("it took %v, want the %v of the work", took, limit)
		}
	})
}

// TestRequestInFlight: a request that had begun gets its answer.
func TestRequestInFlight(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "whole")
	})}
	web.RegisterOnShutdown(func() { close(finish) })
	opened, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- lifecycle.Run(ctx, lifecycle.Part{Address: anyPort, Server: on{web, opened}})
	}()
	answer := make(chan string)
	go func() {
		resp, err := http.Get("http://" + opened.Addr().String())
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

// on serves on a listener whose address the test knows, in place of Run's.
type on struct {
	*http.Server
	listener net.Listener
}

func (o on) Serve(l net.Listener) error {
	_ = l.Close()
	return o.Server.Serve(o.listener)
}

// TestFailureEndsAll: a part that fails ends the others, in order.
func TestFailureEndsAll(t *testing.T) {
	t.Parallel()
	l := &log{}
	front, back := newServer("front", l), newServer("back", l)
	broken := errors.New("broken")
	err := lifecycle.Run(t.Context(),
		lifecycle.Part{Address: anyPort, Server: front},
		lifecycle.Part{Address: anyPort, Server: back, Run: func(context.Context) error { return broken }})
	if !errors.Is(err, broken) {
		t.Errorf("Run returned %v, want %v", err, broken)
	}
	if got, want := l.String(), "shutdown front, shutdown back"; got != want {
		t.Errorf("it ended with %q, want %q", got, want)
	}
}

// TestCutOff: what does not end in time is cut off, and the parts behind it
// are still ended.
func TestCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		front, back := newServer("front", l), newServer("back", l)
		front.shutdown = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		err := lifecycle.Run(ctx, lifecycle.Part{Address: anyPort, Server: front}, lifecycle.Part{Address: anyPort, Server: back})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run returned %v, want that the time was up", err)
		}
		if took := time.Since(begun); took != lifecycle.ShutdownTimeout {
			t.Errorf("it took %v, want %v", took, lifecycle.ShutdownTimeout)
		}
		if got, want := l.String(), "shutdown front, close front, shutdown back"; got != want {
			t.Errorf("it ended with %q, want %q", got, want)
		}
	})
}

// TestTakenPort: nothing is served if one port is taken, and the message names
// it.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := &log{}
	front := newServer("front", l)
	err = lifecycle.Run(t.Context(),
		lifecycle.Part{Address: anyPort, Server: front},
		lifecycle.Part{Address: taken.Addr().String(), Server: newServer("back", l)})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("Run returned %v, want an error that names %v", err, taken.Addr())
	}
	if len(front.serving) > 0 {
		t.Error("the other part has been served")
	}
}
