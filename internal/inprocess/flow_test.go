package inprocess_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

var dones sync.Map // transcript → chan struct{}

func done(tr *transcript) chan struct{} {
	c, _ := dones.LoadOrStore(tr, make(chan struct{}))
	return c.(chan struct{})
}

// A sender is at most one window ahead of its receiver, in both directions, and
// continues when there is room.
func TestFlowControl(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent, received atomic.Int64
		release := make(chan struct{})
		conn := inProcess(t, &service{stream: func(ss grpc.ServerStream) error {
			for range 1000 {
				if err := ss.SendMsg(text(strings.Repeat("x", 1000))); err != nil {
					return err
				}
				sent.Add(1)
			}
			<-release
			for ss.RecvMsg(new(wrapperspb.StringValue)) == nil {
				received.Add(1)
			}
			return nil
		}})
		s, err := conn.NewStream(t.Context(), chatting, chat)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until all goroutines are blocked
		if n := sent.Load(); n < 60 || n > 70 {
			t.Errorf("the service has sent %d messages of 1 KB to a caller that does not read", n)
		}
		for range 1000 {
			if got := receive(s); !strings.HasPrefix(got, "message") {
				t.Fatal(got)
			}
		}
		var asked atomic.Int64
		go func() {
			for range 1000 {
				if s.SendMsg(text(strings.Repeat("x", 1000))) != nil {
					return
				}
				asked.Add(1)
			}
			_ = s.CloseSend()
		}()
		synctest.Wait()
		if n := asked.Load(); n < 60 || n > 70 {
			t.Errorf("the caller has sent %d messages of 1 KB to a service that does not read", n)
		}
		close(release)
		if got := receive(s); got != "EOF" || received.Load() != 1000 {
			t.Errorf("%s after %d messages", got, received.Load())
		}
	})
}

// A sender does not wait for room in a stream that has ended.
func TestSenderIsReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan error, 2)
		conn := inProcess(t, &service{stream: func(ss grpc.ServerStream) error {
			for {
				if err := ss.SendMsg(text(strings.Repeat("x", 1000))); err != nil {
					stuck <- err
					return err
				}
			}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		s, err := conn.NewStream(ctx, chatting, chat)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				if err := s.SendMsg(text(strings.Repeat("x", 1000))); err != nil {
					stuck <- err
					return
				}
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(stuck) != 2 {
			t.Errorf("%d of the two senders returned", len(stuck))
		}
	})
}

// A goroutine that outlives its handler gets an error when it sends.
func TestSendAfterTheEnd(t *testing.T) {
	t.Parallel()
	left := make(chan grpc.ServerStream, 1)
	conn := inProcess(t, &service{stream: func(ss grpc.ServerStream) error {
		left <- ss
		return nil
	}})
	s, err := conn.NewStream(t.Context(), chatting, chat)
	if err != nil {
		t.Fatal(err)
	}
	if got := receive(s); got != "EOF" {
		t.Fatal(got)
	}
	if err := (<-left).SendMsg(text("late")); err == nil {
		t.Error("a message was sent after the stream had ended")
	}
}

// A unary call runs in the goroutine of its caller.
func TestSameGoroutine(t *testing.T) {
	t.Parallel()
	goroutine := func() string {
		stack := make([]byte, 64)
		name, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), "[")
		return name
	}
	conn := inProcess(t, &service{unary: func(context.Context, *wrapperspb.StringValue) (any, error) { return text(goroutine()), nil }})
	if in, err := call(t.Context(), conn, "x"); err != nil || in != goroutine() {
		t.Errorf("the handler ran in %q, its caller in %q; %v", in, goroutine(), err)
	}
}

// BenchmarkInvoke measures the cost of a call beyond its handler, with two
// interceptors and a deadline.
func BenchmarkInvoke(b *testing.B) {
	conn := inProcess(nil, echoes(nil))
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer x", "x-request-id", "1"), time.Hour)
	defer cancel()
	in, out := text("a message"), new(wrapperspb.StringValue)
	b.ReportAllocs()
	for b.Loop() {
		if err := conn.Invoke(ctx, echo, in, out); err != nil {
			b.Fatal(err)
		}
	}
}

// An option for another codec is refused, not ignored.
func TestOtherCodec(t *testing.T) {
	t.Parallel()
	conn := inProcess(t, echoes(nil))
	for name, opt := range map[string]grpc.CallOption{
		"CallContentSubtype": grpc.CallContentSubtype("json"),
		"ForceCodecV2":       grpc.ForceCodecV2(encoding.GetCodecV2("proto")),
	} {
		_, err := call(t.Context(), conn, "x", opt)
		if status.Code(err) != codes.Unimplemented || !strings.Contains(status.Convert(err).Message(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := conn.NewStream(t.Context(), chatting, chat, opt); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: a stream: %v", name, err)
		}
	}
}

// A name without its first slash is refused, since policies by method name would not
// apply to it (CVE-2026-33186).
func TestMalformedName(t *testing.T) {
	t.Parallel()
	conn := inProcess(t, echoes(nil))
	for _, name := range []string{"", "/", "t.v1.T/Echo", "/t.v1.T", "//t.v1.T/Echo", "/t.v1.T/Echo/"} {
		if err := conn.Invoke(t.Context(), name, text(""), text("")); status.Code(err) != codes.Unimplemented {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := conn.NewStream(t.Context(), chatting, name); status.Code(err) != codes.Unimplemented {
			t.Errorf("%q: a stream: %v", name, err)
		}
	}
}

// Begin is called once per call, and End once per admitted call.
func TestBeginAndEnd(t *testing.T) {
	t.Parallel()
	var under, total atomic.Int64
	closed := atomic.Bool{}
	conn := inprocess.New(inprocess.Config{
		Unary: []grpc.UnaryServerInterceptor{passUnary},
		Begin: func() error {
			if closed.Load() {
				return status.Error(codes.Unavailable, "closed")
			}
			under.Add(1)
			total.Add(1)
			return nil
		},
		End: func() { under.Add(-1) },
	})
	conn.RegisterService(&desc, echoes(nil))
	if _, err := call(t.Context(), conn, "x"); err != nil {
		t.Fatal(err)
	}
	s, err := conn.NewStream(t.Context(), watching, watch)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SendMsg(text("x"))
	for receive(s) != "EOF" {
	}
	closed.Store(true)
	if _, err := call(t.Context(), conn, "x"); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if _, err := conn.NewStream(t.Context(), watching, watch); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if total.Load() != 2 {
		t.Errorf("%d calls began", total.Load())
	}
}

// A panic of a handler reaches the caller, in its goroutine.
func TestPanic(t *testing.T) {
	t.Parallel()
	ended := false
	conn := inprocess.New(inprocess.Config{Unary: []grpc.UnaryServerInterceptor{passUnary}, End: func() { ended = true }})
	conn.RegisterService(&desc, &service{unary: func(context.Context, *wrapperspb.StringValue) (any, error) { panic("oh") }})
	defer func() {
		if p := recover(); p != "oh" || !ended {
			t.Errorf("recovered %v, ended %t", p, ended)
		}
	}()
	_, _ = call(t.Context(), conn, "x")
}
