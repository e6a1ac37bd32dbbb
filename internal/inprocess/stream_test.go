package inprocess_test

import (
	"context"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// streams returns a service with one handler.
func streams(handler func(tr *transcript, ss grpc.ServerStream) error) func(*transcript) *service {
	return func(tr *transcript) *service {
		return &service{stream: func(ss grpc.ServerStream) error { return handler(tr, ss) }}
	}
}

var streamScenarios = []scenario{
	{name: "messages in order", want: "message 2", serve: streams(func(_ *transcript, ss grpc.ServerStream) error {
		for _, s := range []string{"1", "2", "3"} {
			if err := ss.SendMsg(text(s)); err != nil {
				return err
			}
		}
		return errNotFound
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, watching, watch)
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		tr.add("%s", outcome(s.CloseSend()))
		for range 5 {
			tr.add("%s", receive(s))
		}
	}},
	{name: "conversation", want: "message b", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, chat)
		for _, m := range []string{"a", "b", "c"} {
			tr.add("%s", outcome(s.SendMsg(text(m))))
			tr.add("%s", receive(s))
		}
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", receive(s))
		tr.add("%s", receive(s))
	}},
	{name: "collection", want: "message abc", serve: streams(func(_ *transcript, ss grpc.ServerStream) error {
		all, m := "", new(wrapperspb.StringValue)
		for {
			switch err := ss.RecvMsg(m); err {
			case nil:
				all += m.GetValue()
			case io.EOF:
				return ss.SendMsg(text(all))
			default:
				return err
			}
		}
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, collecting, collect)
		for _, m := range []string{"a", "b", "c"} {
			tr.add("%s", outcome(s.SendMsg(text(m))))
		}
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", receive(s))
		tr.add("%s", receive(s))
	}},
	{name: "sent after the last", want: `Internal "SendMsg called after CloseSend"`, serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, chat)
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		s = stream(ctx, tr, conn, watching, chat)
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		tr.add("%s", outcome(s.SendMsg(text("x"))))
	}},
	{name: "sent to a service that has ended", want: "EOF", serve: fails(errNotFound), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, chat)
		_, _ = s.Header() // it has ended by then
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		tr.add("%s", receive(s))
		s = stream(ctx, tr, conn, watching, watch)
		_, _ = s.Header()
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		tr.add("%s", receive(s))
	}},
	{name: "two answers where one is due", want: "cardinality violation: expected <EOF>", serve: streams(func(_ *transcript, ss grpc.ServerStream) error {
		_ = ss.SendMsg(text("1"))
		return ss.SendMsg(text("2"))
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, collecting, collect)
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", receive(s))
	}},
	{name: "no answer where one is due", want: "cardinality violation: received no response", serve: streams(func(*transcript, grpc.ServerStream) error { return nil }),
		ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
			s := stream(ctx, tr, conn, collecting, collect)
			tr.add("%s", outcome(s.CloseSend()))
			tr.add("%s", receive(s))
		}},
	{name: "no request where one is due", want: "cardinality violation: received no request", serve: streams(func(tr *transcript, ss grpc.ServerStream) error {
		err := ss.RecvMsg(new(wrapperspb.StringValue))
		tr.served("%s", outcome(err))
		return err
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, watch)
		tr.add("%s", outcome(s.CloseSend()))
		tr.add("%s", receive(s))
	}},
	{name: "two requests where one is due", want: "cardinality violation: received multiple request", serve: streams(func(_ *transcript, ss grpc.ServerStream) error {
		return ss.RecvMsg(new(wrapperspb.StringValue))
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, watch)
		tr.add("%s", outcome(s.SendMsg(text("1"))))
		_ = s.SendMsg(text("2")) // the service may have ended already
		tr.add("%s", receive(s))
	}},
	{name: "cancelled by the caller", want: `service: Canceled "context canceled"`, serve: streams(func(tr *transcript, ss grpc.ServerStream) error {
		_ = ss.SendMsg(text("first"))
		err := ss.RecvMsg(new(wrapperspb.StringValue))
		tr.served("%s", outcome(err))
		tr.served("%v", ss.Context().Err())
		kept.Store(tr, ss.Context())
		close(done(tr))
		return err
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := stream(ctx, tr, conn, chatting, chat)
		tr.add("%s", receive(s))
		cancel()
		<-done(tr)
		tr.add("%s", receive(s))
		tr.add("%s", receive(s))
	}},
	{name: "context of a stream ends with the handler", want: "context canceled", serve: streams(func(tr *transcript, ss grpc.ServerStream) error {
		kept.Store(tr, ss.Context())
		return nil
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, watching, watch)
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		tr.add("%s", receive(s))
		inner, _ := kept.Load(tr)
		select {
		case <-inner.(context.Context).Done():
		case <-ctx.Done():
		}
		tr.add("%v, %v", inner.(context.Context).Err(), ctx.Err())
	}},
	{name: "messages of a stream are copies", want: "message sent", serve: streams(func(_ *transcript, ss grpc.ServerStream) error {
		m := text("sent")
		err := ss.SendMsg(m)
		m.Value = "changed"
		return err
	}), ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, watching, watch)
		tr.add("%s", outcome(s.SendMsg(text("x"))))
		_, _ = s.Header()
		tr.add("%s", receive(s))
		tr.add("%s", receive(s))
	}},
	{name: "message too long for the caller of a stream", want: "ResourceExhausted", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, chat, grpc.MaxCallRecvMsgSize(5))
		tr.add("%s", outcome(s.SendMsg(text("0123456789"))))
		tr.add("%s", receive(s))
	}},
	{name: "message too long for a stream's service", want: "ResourceExhausted", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, chat)
		_ = s.SendMsg(text(strings.Repeat("x", 5<<20))) // refused by its first bytes on the network
		tr.add("%s", receive(s))
	}},
	{name: "message of a stream that cannot be sent", want: "invalid UTF-8", serve: echoes, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		s := stream(ctx, tr, conn, chatting, chat)
		tr.add("%s", outcome(s.SendMsg(text("\xff"))))
		s = stream(ctx, tr, conn, chatting, chat, grpc.MaxCallSendMsgSize(5))
		tr.add("%s", outcome(s.SendMsg(text("0123456789"))))
	}},
}
