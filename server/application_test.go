package server_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A journal records what interceptors see.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) add(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
}

// take returns the entries since the last call.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.entries
	j.entries = nil
	return taken
}

func (j *journal) unary(name string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		j.add(name + " " + info.FullMethod + " " + subject(ctx) + " " + req.(*wrapperspb.StringValue).GetValue())
		return handler(ctx, req)
	}
}

func (j *journal) stream(name string) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		j.add(name + " " + info.FullMethod + " " + subject(ss.Context()))
		return handler(srv, ss)
	}
}

// The application's interceptors run in their order, with the principal and the
// message, for authorized calls of its services only, on the network and in process.
func TestApplicationInterceptors(t *testing.T) {
	t.Parallel()
	var seen journal
	s := start(t, &probe{
		unary:  func(_ context.Context, text string) (string, error) { return text, nil },
		stream: func(ss grpc.ServerStream) error { return ss.SendMsg(wrapperspb.String("first")) },
	}, func(cfg *server.Config) {
		cfg.Reflection = true
		cfg.UnaryInterceptors = []grpc.UnaryServerInterceptor{seen.unary("outer"), seen.unary("inner")}
		cfg.StreamInterceptors = []grpc.StreamServerInterceptor{seen.stream("outer"), seen.stream("inner")}
	})
	for way, conn := range s.ways {
		ctx := s.authorized(t.Context(), nil)
		for _, c := range []struct {
			name string
			call func() error
			want []string
		}{
			{"without a token", func() error { _, err := invoke(t.Context(), conn, echo, "x"); return err }, nil},
			{"against the policy", func() error { _, err := invoke(ctx, conn, scoped, "x"); return err }, nil},
			{"stream without a token", func() error { _, err := receive(open(t.Context(), t, conn, watch)); return err }, nil},
			{"authorized", func() error { _, err := invoke(ctx, conn, echo, "hello"); return err },
				[]string{"outer " + echo + " user-1 hello", "inner " + echo + " user-1 hello"}},
			{"public", func() error { _, err := invoke(t.Context(), conn, openEcho, "hi"); return err },
				[]string{"outer " + openEcho + " anonymous hi", "inner " + openEcho + " anonymous hi"}},
			{"stream", func() error { _, err := receive(open(ctx, t, conn, watch)); return err },
				[]string{"outer " + watch + " user-1", "inner " + watch + " user-1"}},
			{"public stream", func() error { _, err := receive(open(t.Context(), t, conn, openWatch)); return err },
				[]string{"outer " + openWatch + " anonymous", "inner " + openWatch + " anonymous"}},
			{"health", func() error {
				_, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
				return err
			}, nil},
			{"reflection", func() error {
				stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
				if err != nil {
					return err
				}
				if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
					return err
				}
				_, err = stream.Recv()
				return err
			}, nil},
		} {
			err := c.call()
			if refused := strings.Contains(c.name, "without") || strings.Contains(c.name, "against"); refused != (err != nil) {
				t.Errorf("%s: %s: got the error %v", way, c.name, err)
			}
			if got := seen.take(); !slices.Equal(got, c.want) {
				t.Errorf("%s: %s: the interceptors saw %q, want %q", way, c.name, got, c.want)
			}
		}
	}
}

// What an application's interceptor returns is treated as what a service returns.
func TestApplicationInterceptorOutcome(t *testing.T) {
	t.Parallel()
	outcome := func(text string) (any, error) {
		switch text {
		case "panic":
			panic("secret")
		case "error":
			return nil, errors.New("SELECT secret")
		case "refuse":
			return wrapperspb.String("dropped"), status.Error(codes.FailedPrecondition, "not today")
		case "nothing":
			return nil, nil
		case "other":
			return "no message", nil
		}
		return nil, errors.New("unexpected")
	}
	s := start(t, &probe{}, func(cfg *server.Config) {
		cfg.UnaryInterceptors = []grpc.UnaryServerInterceptor{func(_ context.Context, req any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			return outcome(req.(*wrapperspb.StringValue).GetValue())
		}}
		cfg.StreamInterceptors = []grpc.StreamServerInterceptor{func(_ any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
			var m wrapperspb.StringValue
			if err := ss.RecvMsg(&m); err != nil {
				return err
			}
			_, err := outcome(m.GetValue())
			return err
		}}
	})
	for way, conn := range s.ways {
		ctx := s.authorized(t.Context(), nil)
		for _, c := range []struct {
			text string
			code codes.Code
			says string
		}{
			{"panic", codes.Internal, "internal error"},
			{"error", codes.Unknown, "internal error"},
			{"refuse", codes.FailedPrecondition, "not today"},
		} {
			_, unary := invoke(ctx, conn, echo, c.text)
			stream := open(ctx, t, conn, chat)
			if err := stream.SendMsg(wrapperspb.String(c.text)); err != nil {
				t.Fatal(err)
			}
			_, streamed := receive(stream)
			for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
				if st := status.Convert(err); st.Code() != c.code || st.Message() != c.says {
					t.Errorf("%s: %s: %s: got %v, want %v: %s", way, kind, c.text, err, c.code, c.says)
				}
			}
		}
		for _, text := range []string{"nothing", "other"} {
			if answer, err := invoke(ctx, conn, echo, text); err == nil && answer != "" || err != nil && status.Code(err) != codes.Internal {
				t.Errorf("%s: an interceptor that answers with %s: got %q, %v", way, text, answer, err)
			}
		}
	}
	stop(t, s)
	if log := s.log.String(); strings.Count(log, `"panic":"secret"`) != 4 || !strings.Contains(log, "SELECT secret") {
		t.Errorf("the log lacks the panics or the cause of the error:\n%s", log)
	}
}

// A stream interceptor that reads is bound by the expiry of the token as the service is.
// One for unary calls is bound by their deadline.
func TestApplicationInterceptorContext(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{}, func(cfg *server.Config) {
		cfg.UnaryInterceptors = []grpc.UnaryServerInterceptor{func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			if _, ok := ctx.Deadline(); !ok {
				return nil, errors.New("no deadline")
			}
			p, _ := authn.FromContext(ctx)
			return wrapperspb.String(p.Subject), nil
		}}
	})
	for way, conn := range s.ways {
		if got, err := invoke(s.authorized(t.Context(), nil), conn, echo, ""); got != "user-1" {
			t.Errorf("%s: got %q, %v", way, got, err)
		}
	}
}

// A missing interceptor is reported by its place.
func TestApplicationInterceptorMissing(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t, newIssuer(t), &probe{})
	cfg.UnaryInterceptors = make([]grpc.UnaryServerInterceptor, 1)
	cfg.StreamInterceptors = make([]grpc.StreamServerInterceptor, 1)
	_, err := server.New(cfg)
	for _, field := range []string{"UnaryInterceptors[0]", "StreamInterceptors[0]"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want an error about %s", err, field)
		}
	}
}
