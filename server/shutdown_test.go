package server_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/server"
)

// soon is how long a stop may take with nothing in flight.
const soon = 10 * time.Second

// Clients that watch the health of the server, such as load balancers, are told of the
// stop and do not delay it.
func TestShutdownWithWatchers(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{}, nil)
	var watchers []healthpb.Health_WatchClient
	for _, conn := range s.ways {
		w, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if first, err := w.Recv(); err != nil || first.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING { // Run does not run
			t.Fatalf("the first status is %v, %v", first, err)
		}
		watchers = append(watchers, w)
	}
	running, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = s.Run(running) }()
	for _, w := range watchers {
		if next, err := w.Recv(); err != nil || next.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("the next status is %v, %v", next, err)
		}
	}

	var reading sync.WaitGroup
	for _, w := range watchers {
		reading.Go(func() {
			last := healthpb.HealthCheckResponse_UNKNOWN
			for {
				next, err := w.Recv()
				if err != nil {
					if status.Code(err) != codes.Unavailable {
						t.Errorf("the watch ended with %v, want Unavailable", err)
					}
					break
				}
				last = next.GetStatus()
			}
			if last != healthpb.HealthCheckResponse_NOT_SERVING {
				t.Errorf("the last status is %v", last)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	if took := time.Since(began); took > soon {
		t.Errorf("Shutdown took %v", took)
	}
	reading.Wait()
	if err := <-s.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// hanging returns a probe whose handlers wait for release, or forever.
func hanging(obedient bool) (p *probe, running chan string, release chan struct{}) {
	running, release = make(chan string, 10), make(chan struct{})
	hang := func(ctx context.Context) error {
		running <- ""
		done := ctx.Done()
		if !obedient {
			done = nil
		}
		select {
		case <-release:
			return nil
		case <-done:
			return ctx.Err()
		}
	}
	return &probe{
		unary:  func(ctx context.Context, _ string) (string, error) { return "finished", hang(ctx) },
		stream: func(ss grpc.ServerStream) error { return hang(ss.Context()) },
	}, running, release
}

// Calls in flight end by themselves, and new ones are refused.
func TestShutdownWaits(t *testing.T) {
	t.Parallel()
	p, running, release := hanging(true)
	s := start(t, p, nil)
	ctx := s.authorized(t.Context(), nil)
	answers := make(chan error, 2)
	for _, conn := range s.ways {
		go func() {
			answer, err := invoke(ctx, conn, echo, "")
			if err == nil && answer != "finished" {
				err = errors.New("another answer: " + answer)
			}
			answers <- err
		}()
		<-running
	}
	ended := make(chan error, 1)
	go func() {
		bounded, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ended <- s.Shutdown(bounded)
	}()
	for way, conn := range s.ways { // each is called until it refuses
		for status.Code(invokeOnce(t, conn)) != codes.Unavailable {
			select {
			case err := <-ended:
				t.Fatalf("%s: Shutdown did not wait: %v", way, err)
			default:
			}
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	close(release)
	for range s.ways {
		if err := <-answers; err != nil {
			t.Errorf("a call in flight was lost: %v", err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("a second Shutdown: %v", err)
	}
	if err := invokeOnce(t, s.Conn()); status.Code(err) != codes.Unavailable {
		t.Errorf("a call in process after Shutdown: got %v, want Unavailable", err)
	}
}

// invokeOnce makes a call that needs no handler.
func invokeOnce(t *testing.T, conn grpc.ClientConnInterface) error {
	t.Helper()
	_, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	return err
}

// Shutdown returns when its context ends, even if handlers go on.
func TestShutdownCutsOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		obedient bool
		method   string
	}{
		"a call that obeys":             {true, echo},
		"a stream that obeys":           {true, chat},
		"a call that does not listen":   {false, echo},
		"a stream that does not listen": {false, chat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, running, release := hanging(c.obedient)
			s := start(t, p, nil)
			defer close(release)
			ctx := s.authorized(t.Context(), nil)
			answer := make(chan error, 1)
			go func() {
				if c.method == echo {
					_, err := invoke(ctx, s.ways["network"], echo, "")
					answer <- err
				} else {
					_, err := receive(open(ctx, t, s.ways["network"], chat))
					answer <- err
				}
			}()
			<-running
			bounded, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := s.Shutdown(bounded); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: %v, want the context's error", err)
			}
			if took := time.Since(began); took > soon {
				t.Errorf("Shutdown took %v of its 50 ms", took)
			}
			if err := <-answer; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
				t.Errorf("the caller got %v", err)
			}
			if err := <-s.served; err != nil {
				t.Errorf("Serve returned %v", err)
			}
		})
	}
	t.Run("a call in process", func(t *testing.T) {
		t.Parallel()
		p, running, release := hanging(true) // in the caller's goroutine, so a handler that ignores its context blocks the caller
		s := start(t, p, nil)
		defer close(release)
		ctx, hangUp := context.WithCancel(s.authorized(t.Context(), nil))
		answer := make(chan error, 1)
		go func() {
			_, err := invoke(ctx, s.Conn(), echo, "")
			answer <- err
		}()
		<-running
		bounded, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(bounded); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want the context's error", err)
		}
		hangUp() // the context of its caller ends it
		if err := <-answer; status.Code(err) != codes.Canceled {
			t.Errorf("the caller got %v", err)
		}
	})
}

// A server that is shut down before Serve does not serve.
func TestShutdownFirst(t *testing.T) {
	t.Parallel()
	s, err := server.New(newConfig(t, newIssuer(t), &probe{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(listener); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

// Serve returns the error of its listener.
func TestServeFails(t *testing.T) {
	t.Parallel()
	s, err := server.New(newConfig(t, newIssuer(t), &probe{}))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := s.Serve(listener); err == nil {
		t.Error("Serve on a closed listener returned nil")
	}
}

// A stream that is open at shutdown gets the remaining messages of its handler.
func TestInFlightMessages(t *testing.T) {
	t.Parallel()
	running, release := make(chan struct{}), make(chan struct{})
	s := start(t, &probe{stream: func(ss grpc.ServerStream) error {
		close(running)
		<-release
		return ss.SendMsg(wrapperspb.String("goodbye"))
	}}, nil)
	cs := open(s.authorized(t.Context(), nil), t, s.ways["network"], watch)
	<-running
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	for invokeOnce(t, s.Conn()) == nil { // until it stops
	}
	close(release)
	if text, err := receive(cs); text != "goodbye" {
		t.Errorf("the stream ended with %q, %v", text, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Between Leave and Drain only the health changes. From Drain on, calls over the
// network are refused and those in process are served.
func TestLeaveAndDrain(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{unary: func(context.Context, string) (string, error) { return "", nil }}, nil)
	ctx := s.authorized(t.Context(), nil)
	call := func(way string) error {
		_, err := invoke(ctx, s.ways[way], echo, "")
		return err
	}
	watch, err := healthpb.NewHealthClient(s.ways["network"]).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	health := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if next, err := watch.Recv(); err != nil || next.GetStatus() != want {
			t.Fatalf("the health is %v, %v, want %v", next.GetStatus(), err, want)
		}
	}
	health(healthpb.HealthCheckResponse_NOT_SERVING) // Run does not run
	running, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = s.Run(running) }()
	health(healthpb.HealthCheckResponse_SERVING)
	s.Leave()
	health(healthpb.HealthCheckResponse_NOT_SERVING)
	for way := range s.ways {
		if err := call(way); err != nil {
			t.Errorf("%s after Leave: %v", way, err)
		}
	}
	s.Drain()
	for status.Code(call("network")) != codes.Unavailable {
		if t.Context().Err() != nil {
			t.Fatal("calls over the network are served after Drain")
		}
	}
	if err := call("in process"); err != nil {
		t.Errorf("in process after Drain: %v", err)
	}
	bounded, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := s.Shutdown(bounded); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := call("in process"); status.Code(err) != codes.Unavailable {
		t.Errorf("in process after Shutdown: %v, want Unavailable", err)
	}
}
