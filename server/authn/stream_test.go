package authn_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A fakeStream is the transport of a stream. The client's messages come from a
// channel, and receiving blocks until there is one or the call ends.
type fakeStream struct {
	grpc.ServerStream
	ctx      context.Context
	received chan string
	sent     []any
	panics   bool
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) SendMsg(m any) error { s.sent = append(s.sent, m); return nil }

func (s *fakeStream) RecvMsg(m any) error {
	if s.panics {
		panic("codec")
	}
	select {
	case text, ok := <-s.received:
		if !ok {
			return io.EOF
		}
		*m.(*string) = text
		return nil
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

var kinds = map[string]*grpc.StreamServerInfo{
	"server stream": {IsServerStream: true},
	"client stream": {IsClientStream: true},
	"bidi":          {IsServerStream: true, IsClientStream: true},
}

// stream runs a handler behind the interceptor as grpc.Server does: the context of the
// call ends when the handler has returned.
func stream(ctx context.Context, i *authn.Interceptor, kind *grpc.StreamServerInfo, method string, s *fakeStream, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	info := *kind
	info.FullMethod = method
	return i.Stream("service", s, &info, handler)
}

func TestStreamRefused(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil, &authv1.Policy{Scopes: []string{"a"}}, &authv1.Policy{Public: true})
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
	cold := authn.NewInterceptor(newCold(t, issuer), table)
	bearer := "Bearer " + mint(issuer, nil)
	for _, c := range []struct {
		name   string
		i      *authn.Interceptor
		method string
		values []string
		code   codes.Code
		reason string
		needs  []string
	}{
		{"no token", i, methods[0], nil, codes.Unauthenticated, authn.ReasonTokenMissing, nil},
		{"bad token", i, methods[0], []string{"Bearer x"}, codes.Unauthenticated, authn.ReasonTokenInvalid, nil},
		{"unknown method", i, "/x.Y/Z", nil, codes.Unauthenticated, authn.ReasonTokenMissing, nil},
		{"no scope", i, methods[1], []string{bearer}, codes.PermissionDenied, authn.ReasonScopeMissing, []string{"scope", "a"}},
		{"public, bad token", i, methods[2], []string{"Bearer x"}, codes.Unauthenticated, authn.ReasonTokenInvalid, nil},
		{"provider down", cold, methods[0], []string{bearer}, codes.Unavailable, authn.ReasonUnverifiable, nil},
		// The clock skew allowed for unary calls does not apply to streams.
		{"in the skew", i, methods[0], []string{"Bearer " + mint(issuer, map[string]any{"exp": time.Now().Add(-10 * time.Second).Unix()})}, codes.Unauthenticated, authn.ReasonTokenExpired, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := stream(incoming(t.Context(), c.values...), c.i, kinds["bidi"], c.method, &fakeStream{}, func(any, grpc.ServerStream) error {
				t.Error("the handler ran")
				return nil
			})
			wantRefusal(t, err, c.code, c.reason, c.needs...)
		})
	}
}

// The handler gets the principal and the messages, and the client gets what the handler
// returns.
func TestStreamPasses(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil, &authv1.Policy{Public: true})
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
	want := status.Error(codes.Aborted, "over")
	for name, kind := range kinds {
		for _, c := range []struct {
			who, method string
			values      []string
		}{{"caller", methods[0], []string{"Bearer " + mint(issuer, nil)}}, {"caller of a public method", methods[1], []string{"Bearer " + mint(issuer, nil)}}, {"anonymous caller", methods[1], nil}} {
			t.Run(name+"/"+c.who, func(t *testing.T) {
				t.Parallel()
				s := &fakeStream{received: make(chan string, 2)}
				s.received <- "one"
				s.received <- "two"
				close(s.received)
				ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": c.values})
				err := stream(ctx, i, kind, c.method, s, func(srv any, ss grpc.ServerStream) error {
					p, ok := authn.FromContext(ss.Context())
					if srv != "service" || ok != (c.values != nil) || ok && p.Subject != "user-1" {
						t.Errorf("the handler got %v and the principal %v", srv, p)
					}
					var one, two, three string
					if err := errors.Join(ss.RecvMsg(&one), ss.RecvMsg(&two)); err != nil || one != "one" || two != "two" {
						t.Errorf("received %q and %q, %v", one, two, err)
					}
					if err := ss.RecvMsg(&three); err != io.EOF {
						t.Errorf("at the end of the client's messages got %v, want io.EOF", err)
					}
					if err := ss.SendMsg("three"); err != nil || len(s.sent) != 1 {
						t.Errorf("sent %v, %v", s.sent, err)
					}
					return want
				})
				if err != want {
					t.Errorf("the stream ended with %v, want the handler's %v", err, want)
				}
			})
		}
	}
}

// A stream ends with the reason when its token expires, whatever its handler is doing.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	const life = 90 * time.Second
	issuer := newIssuer(t)
	handlers := map[string]grpc.StreamHandler{
		"receiving": func(_ any, ss grpc.ServerStream) error {
			var m string
			return ss.RecvMsg(&m)
		},
		"receiving in a loop that asks again": func(_ any, ss grpc.ServerStream) error {
			var m string
			_ = ss.RecvMsg(&m)
			if err := ss.RecvMsg(&m); status.Code(err) != codes.Unauthenticated {
				return errors.New("a second RecvMsg did not fail")
			}
			return nil
		},
		"waiting for its context": func(_ any, ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return nil // as if the stream had ended normally
		},
		"returning the context's error": func(_ any, ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return ss.Context().Err()
		},
		"sending now and then": func(_ any, ss grpc.ServerStream) error {
			for range time.Tick(10 * time.Second) {
				if err := ss.SendMsg("tick"); err != nil {
					return errors.New("another error")
				}
			}
			return nil
		},
	}
	for name, handler := range handlers {
		for kind, info := range kinds {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					table, methods := newTable(t, nil)
					i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
					began := time.Now()
					ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"exp": began.Add(life).Unix()}))
					s := &fakeStream{received: make(chan string)}
					err := stream(ctx, i, info, methods[0], s, handler)
					wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenExpired)
					if lived := time.Since(began); lived != life {
						t.Errorf("the stream ended after %v, want %v, when its token expired", lived, life)
					}
					if name == "sending now and then" && len(s.sent) != 8 {
						t.Errorf("%d messages were sent, want the 8 before the token expired", len(s.sent))
					}
				})
			})
		}
	}
}

// Timers stop while a machine sleeps, the clock does not.
func TestStreamOfSleepingMachine(t *testing.T) {
	t.Parallel()
	issuer, clock := newIssuer(t), newClock()
	issuer.Now = clock.Now
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Now: clock.Now}), table)
	s := &fakeStream{received: make(chan string, 1)}
	s.received <- "late"
	err := stream(incoming(t.Context(), "Bearer "+mint(issuer, nil)), i, kinds["bidi"], methods[0], s, func(_ any, ss grpc.ServerStream) error {
		if err := ss.SendMsg("early"); err != nil {
			return err
		}
		clock.Advance(time.Hour)
		if err := ss.SendMsg("late"); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a message was sent for an expired token: %v", err)
		}
		var m string
		if err := ss.RecvMsg(&m); status.Code(err) != codes.Unauthenticated {
			t.Errorf("the message %q was received for an expired token: %v", m, err)
		}
		return nil
	})
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenExpired)
	if len(s.sent) != 1 {
		t.Errorf("sent %v", s.sent)
	}
}

// A stream that waits ends within a second of the clock's end of its token.
func TestWaitingStreamOfSleepingMachine(t *testing.T) {
	t.Parallel()
	issuer, clock := newIssuer(t), newClock()
	issuer.Now = clock.Now
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Now: clock.Now}), table)
	err := stream(incoming(t.Context(), "Bearer "+mint(issuer, nil)), i, kinds["bidi"], methods[0], &fakeStream{}, func(_ any, ss grpc.ServerStream) error {
		clock.Advance(time.Hour)
		<-ss.Context().Done()
		return ss.Context().Err()
	})
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenExpired)
}

// A stream that ends for another reason returns that reason.
func TestStreamEndsEarlier(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	for name, c := range map[string]struct {
		context func(context.Context) (context.Context, context.CancelFunc)
		code    codes.Code
	}{
		"client goes away": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, codes.Canceled},
		"client's deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				table, methods := newTable(t, nil)
				i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
				ctx, cancel := c.context(incoming(t.Context(), "Bearer "+mint(issuer, nil)))
				defer cancel()
				err := stream(ctx, i, kinds["bidi"], methods[0], &fakeStream{received: make(chan string)}, func(_ any, ss grpc.ServerStream) error {
					var m string
					return ss.RecvMsg(&m)
				})
				if status.Code(err) != c.code {
					t.Errorf("the stream ended with %v, want %v", err, c.code)
				}
			})
		})
	}
}

// A panic of a codec reaches the recovery interceptor; in another goroutine it would end
// the process.
func TestStreamPanic(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{}), table)
	defer func() {
		if p := recover(); p != "codec" {
			t.Errorf("recovered %v, want the panic of RecvMsg", p)
		}
	}()
	err := stream(incoming(t.Context(), "Bearer "+mint(issuer, nil)), i, kinds["bidi"], methods[0], &fakeStream{panics: true}, func(_ any, ss grpc.ServerStream) error {
		var m string
		return ss.RecvMsg(&m)
	})
	t.Errorf("the stream ended with %v", err)
}
