package inprocess_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// asks makes one call and records its outcome.
func asks(in string, opts ...grpc.CallOption) func(context.Context, *transcript, grpc.ClientConnInterface) {
	return func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		out, err := call(ctx, conn, in, opts...)
		tr.add("%d bytes, %s", len(out), outcome(err))
	}
}

type claimsOK struct{}

func (claimsOK) Error() string              { return "claims OK" }
func (claimsOK) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

type valueKey struct{}

var unaryScenarios = []scenario{
	{name: "answer", want: "5 bytes, <nil>", serve: echoes, ask: asks("hello")},
	{name: "empty message", want: "0 bytes, <nil>", serve: echoes, ask: asks("")},
	{name: "status with details", want: `NotFound "no such thing" [value:"detail"]`, serve: fails(errNotFound), ask: asks("")},
	{name: "wrapped status", want: `NotFound "looking: rpc error`, serve: fails(fmt.Errorf("looking: %w", errNotFound)), ask: asks("")},
	{name: "error", want: `Unknown "plain"`, serve: fails(errors.New("plain")), ask: asks("")},
	{name: "end of file", want: `Unknown "EOF"`, serve: fails(io.EOF), ask: asks("")},
	{name: "deadline of its own", want: `DeadlineExceeded "context deadline exceeded"`, serve: fails(context.DeadlineExceeded), ask: asks("")},
	{name: "cancelled of its own", want: `Canceled "x: context canceled"`, serve: fails(fmt.Errorf("x: %w", context.Canceled)), ask: asks("")},
	{name: "no known code", want: `Code(99) "odd"`, serve: fails(status.Error(99, "odd")), ask: asks("")},
	{name: "error that says OK", want: "Internal", serve: fails(claimsOK{}), ask: asks("")},
	{name: "no answer", want: "0 bytes, <nil>", serve: fails(nil), ask: asks("")},
	{name: "answer that is no message", want: "message is string", ask: asks(""), serve: func(*transcript) *service {
		return &service{unary: func(context.Context, *wrapperspb.StringValue) (any, error) { return "text", nil }}
	}},
	{name: "answer that is not UTF-8", want: "invalid UTF-8", ask: asks(""), serve: func(*transcript) *service {
		return &service{unary: func(context.Context, *wrapperspb.StringValue) (any, error) { return text("\xff"), nil }}
	}},
	{name: "request that is not UTF-8", want: "invalid UTF-8", serve: echoes, ask: asks("\xff")},
	{name: "no request", want: "<nil>", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		tr.add("%s", outcome(conn.Invoke(ctx, echo, nil, new(wrapperspb.StringValue))))
	}},
	{name: "request that is no message", want: "message is string", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		tr.add("%s", outcome(conn.Invoke(ctx, echo, "text", new(wrapperspb.StringValue))))
	}},
	{name: "request that is nil", want: "<nil>", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		tr.add("%s", outcome(conn.Invoke(ctx, echo, (*wrapperspb.StringValue)(nil), new(wrapperspb.StringValue))))
	}},

	{name: "request too long for the service", want: "ResourceExhausted", serve: echoes, ask: asks(strings.Repeat("x", 4<<20+1))},
	{name: "request too long for the caller", want: "ResourceExhausted", serve: echoes, ask: asks("0123456789", grpc.MaxCallSendMsgSize(5))},
	{name: "answer too long for the caller", want: "ResourceExhausted", serve: echoes, ask: asks("0123456789", grpc.MaxCallRecvMsgSize(5))},
	{name: "longest request", want: "4194299 bytes, <nil>", serve: echoes, ask: asks(strings.Repeat("x", 4<<20-5))},

	{name: "no such method", want: `Unimplemented "unknown method Nothing for service t.v1.T"`, serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		tr.add("%s", outcome(conn.Invoke(ctx, "/t.v1.T/Nothing", text(""), text(""))))
		tr.add("%s", outcome(conn.Invoke(ctx, "/t.v1.None/Echo", text(""), text(""))))
		tr.add("%s", outcome(conn.Invoke(ctx, "/t.v1.T/a/Echo", text(""), text(""))))
	}},

	{name: "over before it began", want: "Canceled", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		asks("x")(ended, tr, conn)
	}},
	{name: "too late before it began", want: "DeadlineExceeded", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ended, cancel := context.WithTimeout(ctx, -time.Second)
		defer cancel()
		_, err := call(ended, conn, "x")
		tr.add("%v", status.Code(err)) // grpc-go adds how far it came
	}},
	{name: "cancelled under way", want: "Canceled", ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ctx, cancel := context.WithCancel(context.WithValue(ctx, valueKey{}, "x"))
		started := make(chan struct{})
		onStart.Store(tr, func() { close(started) })
		go func() { <-started; cancel() }()
		_, err := call(ctx, conn, "x")
		tr.add("%s", outcome(err))
	}, serve: waits},
	{name: "too late under way", want: "DeadlineExceeded", ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := call(ctx, conn, "x")
		tr.add("%v", status.Code(err))
	}, serve: waits},

	{name: "context", want: "value <nil>, deadline true, /t.v1.T/Echo true", serve: func(tr *transcript) *service {
		return &service{unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
			deadline, ok := ctx.Deadline()
			method, known := grpc.Method(ctx)
			tr.served("value %v, deadline %t, %s %t", ctx.Value(valueKey{}), ok && time.Until(deadline) < patience, method, known)
			return text(""), nil
		}}
	}, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		asks("x")(context.WithValue(ctx, valueKey{}, "secret"), tr, conn)
	}},
	{name: "context ends with the handler", want: "context canceled", serve: func(tr *transcript) *service {
		return &service{unary: func(ctx context.Context, in *wrapperspb.StringValue) (any, error) {
			if in.GetValue() == "keep" {
				kept.Store(tr, ctx)
			}
			return text(""), nil
		}}
	}, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		asks("keep")(ctx, tr, conn)
		inner, _ := kept.Load(tr)
		select {
		case <-inner.(context.Context).Done():
		case <-ctx.Done():
		}
		tr.add("%v, %v", inner.(context.Context).Err(), ctx.Err())
	}},

	{name: "contexts that a service derives", want: "child context canceled context canceled, after true, value child", ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ctx, cancel := context.WithCancel(ctx)
		started := make(chan struct{})
		onStart.Store(tr, func() { close(started) })
		go func() { <-started; cancel() }()
		_, err := call(ctx, conn, "x")
		tr.add("%s", outcome(err))
		select {
		case <-done(tr): // over a network, the caller does not wait for the service
		case <-time.After(patience):
		}
	}, serve: func(tr *transcript) *service {
		return &service{unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
			defer close(done(tr))
			after := make(chan struct{})
			context.AfterFunc(ctx, func() { close(after) })
			child, cancel := context.WithTimeout(context.WithValue(ctx, valueKey{}, "child"), time.Hour)
			defer cancel()
			f, _ := onStart.Load(tr)
			f.(func())()
			<-child.Done()
			<-after
			tr.served("child %v %v, after %t, value %v", child.Err(), context.Cause(ctx), ctx.Err() != nil, child.Value(valueKey{}))
			return nil, child.Err()
		}}
	}},

	{name: "messages are copies", want: "asked sent, told shared shared", serve: func(tr *transcript) *service {
		shared := text("shared")
		return &service{unary: func(_ context.Context, in *wrapperspb.StringValue) (any, error) {
			in.Value = "changed by the service"
			return shared, nil
		}}
	}, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		in, first, second := text("sent"), text("what was there before"), new(wrapperspb.StringValue)
		tr.add("%s", outcome(conn.Invoke(ctx, echo, in, first)))
		told := first.GetValue()
		first.Value = "changed by the caller"
		tr.add("%s", outcome(conn.Invoke(ctx, echo, in, second)))
		tr.add("asked %s, told %s %s", in.GetValue(), told, second.GetValue())
	}},
	{name: "an answer replaces what was there", want: `"" <nil>`, serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		out := text("before")
		err := conn.Invoke(ctx, echo, text(""), out)
		tr.add("%q %v", out.GetValue(), err)
	}},
	{name: "stream method called as a unary one", want: "first", ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		out := new(wrapperspb.StringValue)
		tr.add("%s", outcome(conn.Invoke(ctx, collect, text("first"), out)))
		tr.add("%s", out.GetValue())
		tr.add("%s", outcome(conn.Invoke(ctx, watch, text("first"), out)))
	}, serve: echoes},
	{name: "unary method called as a stream", want: "message hello", ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, echo)
		tr.add("%s", outcome(s.SendMsg(text("hello"))))
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", receive(s))
		tr.add("%s", receive(s))
	}, serve: echoes},
}
