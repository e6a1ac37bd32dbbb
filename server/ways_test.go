package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

func subject(ctx context.Context) string {
	if p, ok := authn.FromContext(ctx); ok {
		return p.Subject
	}
	return "anonymous"
}

// The same policy applies on the network and in process.
func TestPolicies(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{
		unary:  func(ctx context.Context, text string) (string, error) { return text + " by " + subject(ctx), nil },
		stream: func(ss grpc.ServerStream) error { return ss.SendMsg(wrapperspb.String("by " + subject(ss.Context()))) },
	}, nil)
	good := s.issuer.Mint(map[string]any{"aud": audience})
	other := s.issuer.Mint(map[string]any{"aud": "https://other.example"})
	able := s.issuer.Mint(map[string]any{"aud": audience, "scope": "read write"})
	for _, c := range []struct {
		method, token string
		code          codes.Code
		reason        string
		by            string
	}{
		{echo, "", codes.Unauthenticated, authn.ReasonTokenMissing, ""},
		{echo, "rubbish", codes.Unauthenticated, authn.ReasonTokenInvalid, ""},
		{echo, other, codes.Unauthenticated, authn.ReasonTokenInvalid, ""},
		{echo, good, codes.OK, "", "user-1"},
		{scoped, good, codes.PermissionDenied, authn.ReasonScopeMissing, ""},
		{scoped, able, codes.OK, "", "user-1"},
		{openEcho, "", codes.OK, "", "anonymous"},
		{openEcho, "rubbish", codes.Unauthenticated, authn.ReasonTokenInvalid, ""},
		{openEcho, good, codes.OK, "", "user-1"},
		{watch, "", codes.Unauthenticated, authn.ReasonTokenMissing, ""},
		{watch, other, codes.Unauthenticated, authn.ReasonTokenInvalid, ""},
		{watch, good, codes.OK, "", "user-1"},
		{collect, "", codes.Unauthenticated, authn.ReasonTokenMissing, ""},
		{collect, good, codes.OK, "", "user-1"},
		{chat, "", codes.Unauthenticated, authn.ReasonTokenMissing, ""},
		{chat, good, codes.OK, "", "user-1"},
		{openWatch, "", codes.OK, "", "anonymous"},
		{openWatch, "rubbish", codes.Unauthenticated, authn.ReasonTokenInvalid, ""},
		{"/probe.v1.Probe/Unknown", good, codes.Unimplemented, "", ""},
		{"/unknown.v1.Service/Method", "", codes.Unimplemented, "", ""},
	} {
		for way, conn := range s.ways {
			t.Run(fmt.Sprintf("%s/%s/%.8s", way, c.method, c.token), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if c.token != "" {
					ctx = withToken(ctx, c.token)
				}
				var got string
				var err error
				switch c.method {
				case watch, collect, chat, openWatch:
					got, err = receive(open(ctx, t, conn, c.method))
				default:
					got, err = invoke(ctx, conn, c.method, "hello")
				}
				if status.Code(err) != c.code || reason(err) != c.reason {
					t.Fatalf("got %v with reason %q, want %v with %q", err, reason(err), c.code, c.reason)
				}
				if !strings.HasSuffix(got, c.by) {
					t.Errorf("the service answered %q, want by %s", got, c.by)
				}
			})
		}
	}
}

// A caller gets the same outcome on the network and in process, without internal
// details.
func TestOutcome(t *testing.T) {
	t.Parallel()
	var typedNil *status.Status
	for _, c := range []struct {
		name   string
		err    error
		code   codes.Code
		text   string
		logged string // "" if the caller gets the whole error
	}{
		{"status", status.Error(codes.NotFound, "no such product"), codes.NotFound, "no such product", ""},
		{"wrapped status", fmt.Errorf("products: %w", status.Error(codes.NotFound, "none")), codes.NotFound, "none", ""},
		{"error", errors.New("SELECT secret FROM t: no such table"), codes.Unknown, "internal error", "SELECT secret"},
		{"end of file", io.EOF, codes.Unknown, "internal error", "EOF"},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, "the call took too long", "deadline"},
		{"wrapped deadline", fmt.Errorf("SELECT secret: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "the call took too long", "SELECT secret"},
		{"cancelled", fmt.Errorf("SELECT secret: %w", context.Canceled), codes.Canceled, "the call was cancelled", "SELECT secret"},
		{"error with the status OK", claimsOK{}, codes.Unknown, "internal error", "claims OK"},
		{"error with a nil status", nilStatus{typedNil}, codes.Unknown, "internal error", "nil status"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, &probe{
				unary:  func(context.Context, string) (string, error) { return "", c.err },
				stream: func(grpc.ServerStream) error { return c.err },
			}, nil)
			for way, conn := range s.ways {
				ctx := s.authorized(t.Context(), nil)
				_, unary := invoke(ctx, conn, echo, "")
				_, streamed := receive(open(ctx, t, conn, watch))
				for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
					st, ok := status.FromError(err)
					if !ok || st.Code() != c.code || !strings.HasSuffix(st.Message(), c.text) {
						t.Errorf("%s, %s: got %v, want %v: %s", way, kind, err, c.code, c.text)
					}
					if strings.Contains(err.Error(), "secret") {
						t.Errorf("%s, %s: the caller gets %v, which has internal details", way, kind, err)
					}
				}
			}
			stop(t, s)
			for _, line := range s.log.lines(t) {
				if cause, _ := line["err"].(string); c.logged != "" && !strings.Contains(cause, c.logged) || c.logged == "" && !strings.HasSuffix(cause, c.text) {
					t.Errorf("got the log line %v, want the cause %q", line, c.logged)
				}
				if line["code"] != c.code.String() {
					t.Errorf("got the log line %v, want the code of the answer, %v", line, c.code)
				}
			}
			if n := len(s.log.lines(t)); n != 4 {
				t.Errorf("%d lines for 4 calls:\n%s", n, s.log)
			}
		})
	}
}

type claimsOK struct{}

func (claimsOK) Error() string              { return "claims OK" }
func (claimsOK) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

type nilStatus struct{ st *status.Status }

func (nilStatus) Error() string                { return "nil status" }
func (e nilStatus) GRPCStatus() *status.Status { return e.st }

// stop ends a server and waits until all calls have been logged.
func stop(t *testing.T, s *system) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

// A panic ends only its call, and its value is not shown to the caller.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{
		unary: func(_ context.Context, text string) (string, error) {
			if text == "panic" {
				panic("secret")
			}
			return text, nil
		},
		stream: func(ss grpc.ServerStream) error {
			_ = ss.SendMsg(wrapperspb.String("first"))
			panic(errors.New("secret"))
		},
	}, nil)
	for way, conn := range s.ways {
		ctx := s.authorized(t.Context(), nil)
		_, err := invoke(ctx, conn, echo, "panic")
		if st := status.Convert(err); st.Code() != codes.Internal || st.Message() != "internal error" {
			t.Errorf("%s: unary: %v", way, err)
		}
		cs := open(ctx, t, conn, chat)
		if first, err := receive(cs); first != "first" {
			t.Errorf("%s: %q, %v", way, first, err)
		}
		_, err = receive(cs)
		if st := status.Convert(err); st.Code() != codes.Internal || st.Message() != "internal error" {
			t.Errorf("%s: stream: %v", way, err)
		}
		if answer, err := invoke(ctx, conn, echo, "alive"); answer != "alive" {
			t.Errorf("%s: after the panics: %v", way, err)
		}
	}
	stop(t, s)
	if log := s.log.String(); strings.Count(log, `"panic":"secret"`) != 4 || !strings.Contains(log, "ways_test.go") {
		t.Errorf("the log lacks the panics and their stacks:\n%s", log)
	}
}

// A unary call ends at the server's limit or the caller's deadline, whichever is earlier.
func TestDeadline(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second // in which a busy machine comes to the handler
	lefts := make(chan time.Duration, 1)
	s := start(t, &probe{unary: func(ctx context.Context, text string) (string, error) {
		deadline, _ := ctx.Deadline()
		lefts <- time.Until(deadline)
		if text == "hang" {
			<-ctx.Done()
			return "", ctx.Err()
		}
		return text, nil
	}}, func(cfg *server.Config) { cfg.Limits.Timeout = limit })
	for way, conn := range s.ways {
		ctx := s.authorized(t.Context(), nil)
		if _, err := invoke(ctx, conn, echo, "hang"); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: a hanging handler: got %v", way, err)
		}
		if left := <-lefts; left > limit {
			t.Errorf("%s: the handler had a deadline in %v", way, left)
		}
		later, cancel := context.WithTimeout(ctx, time.Hour)
		if _, err := invoke(later, conn, echo, ""); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		if left := <-lefts; left > limit {
			t.Errorf("%s: with a deadline of the caller in 1 h the handler has %v", way, left)
		}
		cancel()
		earlier, cancel := context.WithTimeout(ctx, limit/2)
		if _, err := invoke(earlier, conn, echo, "hang"); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: the caller's deadline: %v", way, err)
		}
		if left := <-lefts; left > limit/2 {
			t.Errorf("%s: with a deadline of the caller in %v the handler has %v", way, limit/2, left)
		}
		cancel()
	}
}

// The caller of a stream gets the header before the first message, however long that
// takes; a refusal has no header.
func TestStreamHeader(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := start(t, &probe{stream: func(ss grpc.ServerStream) error { <-release; return nil }}, nil)
	defer close(release)
	for way, conn := range s.ways {
		for _, method := range []string{watch, chat, openWatch} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "id-1")
			if method != openWatch {
				ctx = s.authorized(ctx, nil)
			}
			md, err := open(ctx, t, conn, method).Header()
			if err != nil || len(md.Get("x-request-id")) != 1 || md.Get("x-request-id")[0] != "id-1" {
				t.Errorf("%s: %s: the header is %v, %v", way, method, md, err)
			}
		}
		refused := open(t.Context(), t, conn, watch)
		if md, _ := refused.Header(); len(md.Get("x-request-id")) > 0 {
			t.Errorf("%s: a refused stream has the header %v", way, md)
		}
	}
}

// A stream ends when its token expires, on the network and in process, also while it is
// silent.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	// One second left by the clock of the server.
	at := time.Now()
	s := start(t, &probe{stream: func(ss grpc.ServerStream) error {
		var m wrapperspb.StringValue
		return ss.RecvMsg(&m)
	}}, func(cfg *server.Config) { cfg.Authn.Now = func() time.Time { return at } })
	for way, conn := range s.ways {
		for _, method := range []string{watch, collect, chat} {
			t.Run(way+method, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				ctx = s.authorized(ctx, map[string]any{"iat": at.Unix(), "exp": float64(at.Add(200*time.Millisecond).UnixMilli()) / 1000})
				_, err := receive(open(ctx, t, conn, method))
				if status.Code(err) != codes.Unauthenticated || reason(err) != authn.ReasonTokenExpired {
					t.Errorf("the stream ended with %v, want Unauthenticated, TOKEN_EXPIRED", err)
				}
			})
		}
	}
}

// override would replace the authentication of its service in go-grpc-middleware.
type override struct{ probe }

func (*override) AuthFuncOverride(ctx context.Context, _ string) (context.Context, error) {
	return authn.NewContext(ctx, &authn.Principal{Subject: "intruder"}), nil
}

// A service cannot replace its authentication.
func TestServiceAuthFuncOverride(t *testing.T) {
	t.Parallel()
	o := &override{probe{unary: func(ctx context.Context, _ string) (string, error) { return subject(ctx), nil }}}
	desc := probeDesc
	desc.Methods = []grpc.MethodDesc{{MethodName: "Echo", Handler: func(srv any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
		return i(ctx, new(wrapperspb.StringValue), &grpc.UnaryServerInfo{Server: srv, FullMethod: echo}, func(ctx context.Context, _ any) (any, error) {
			text, err := srv.(*override).unary(ctx, "")
			return wrapperspb.String(text), err
		})
	}}}
	desc.Streams = nil
	s := start(t, nil, func(cfg *server.Config) {
		cfg.Register = func(r grpc.ServiceRegistrar) { r.RegisterService(&desc, o) }
		cfg.Policies = nil
	})
	for way, conn := range s.ways {
		if _, err := invoke(t.Context(), conn, echo, ""); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: without a token: %v", way, err)
		}
		if who, err := invoke(s.authorized(t.Context(), nil), conn, echo, ""); who != "user-1" {
			t.Errorf("%s: with a token the caller is %q, %v", way, who, err)
		}
	}
}
