package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// identity returns what a context says about the caller, by all ways that a service has.
func identity(ctx context.Context) string {
	subject := "-"
	if p, ok := authn.FromContext(ctx); ok {
		subject = p.Subject
	}
	md, _ := metadata.FromIncomingContext(ctx)
	method, _ := grpc.Method(ctx)
	return fmt.Sprintln(subject, requestid.FromContext(ctx), md["x-request-id"], md["x-user"], method)
}

// A service may keep the context of a call. It has the caller and the metadata of that call after
// it, and of no other call.
func TestKeptContexts(t *testing.T) {
	t.Parallel()
	const users, calls = 3, 20
	var mu sync.Mutex
	kept := map[string]context.Context{} // by request id
	keep := func(ctx context.Context) {
		mu.Lock()
		defer mu.Unlock()
		kept[requestid.FromContext(ctx)] = ctx
	}
	s := start(t, &probe{
		unary: func(ctx context.Context, _ string) (string, error) { keep(ctx); return identity(ctx), nil },
		stream: func(ss grpc.ServerStream) error {
			keep(ss.Context())
			return ss.SendMsg(wrapperspb.String(identity(ss.Context())))
		},
	}, nil)
	want := map[string]string{}
	var all sync.WaitGroup
	for way, conn := range s.ways {
		for user := range users {
			subject := fmt.Sprint("user-", user)
			if user == 0 { // without a token
				subject = "-"
			}
			signedIn := s.authorized(t.Context(), map[string]any{"sub": subject})
			for _, method := range []string{echo, watch, openEcho, openWatch} {
				open := method == openEcho || method == openWatch
				if open != (user == 0) {
					continue
				}
				id := func(n int) string {
					return strings.NewReplacer(" ", "-", "/", "-").Replace(fmt.Sprint(way, "-", subject, "-", method[len("/probe.v1.Probe/"):], "-", n))
				}
				for n := range calls {
					want[id(n)] = fmt.Sprintln(subject, id(n), []string{id(n)}, []string{subject}, method)
				}
				all.Go(func() {
					for n := range calls {
						ctx := metadata.AppendToOutgoingContext(signedIn, "x-request-id", id(n), "x-user", subject)
						if user == 0 {
							ctx = metadata.AppendToOutgoingContext(t.Context(), "x-request-id", id(n), "x-user", subject)
						}
						if method == echo || method == openEcho {
							if _, err := invoke(ctx, conn, method, ""); err != nil {
								t.Error(err)
							}
							continue
						}
						cs, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
						if err != nil {
							t.Error(err)
							continue
						}
						_ = cs.SendMsg(wrapperspb.String(""))
						_ = cs.CloseSend()
						for err == nil {
							_, err = receive(cs)
						}
					}
				})
			}
		}
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	for id, want := range want {
		if kept[id] == nil {
			t.Errorf("no call %s", id)
		} else if got := identity(kept[id]); got != want {
			t.Errorf("the kept context of %s is of %q, want %q", id, got, want)
		}
	}
}
