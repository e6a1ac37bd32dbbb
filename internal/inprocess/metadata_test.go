package inprocess_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// State that the two sides of a scenario share outside of the connection.
var (
	onStart sync.Map // transcript → func(), called by a waiting service
	kept    sync.Map // transcript → context of a handler
)

// waits returns a service whose calls end with their context.
func waits(tr *transcript) *service {
	return &service{
		unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
			if f, ok := onStart.Load(tr); ok {
				f.(func())()
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
}

// says returns a service that sets metadata, records the results, and ends with or
// without an error.
func says(end error) func(*transcript) *service {
	return func(tr *transcript) *service {
		say := func(ctx context.Context) {
			tr.served("set: %s", outcome(grpc.SetHeader(ctx, metadata.Pairs("a", "1", "te", "x", "User-Agent", "x"))))
			tr.served("set: %s", outcome(grpc.SetHeader(ctx, metadata.Pairs("A", "2", "b-bin", "\x00\xff"))))
			tr.served("trailer: %s", outcome(grpc.SetTrailer(ctx, metadata.Pairs("t", "1", "grpc-status", "5"))))
			tr.served("send: %s", outcome(grpc.SendHeader(ctx, metadata.Pairs("c", "3"))))
			tr.served("set: %s", outcome(grpc.SetHeader(ctx, metadata.Pairs("d", "4"))))
			tr.served("send: %s", outcome(grpc.SendHeader(ctx, metadata.Pairs("d", "4"))))
			tr.served("trailer: %s", outcome(grpc.SetTrailer(ctx, metadata.Pairs("t", "2"))))
		}
		return &service{
			unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
				say(ctx)
				return text("answer"), end
			},
			stream: func(ss grpc.ServerStream) error {
				say(ss.Context())
				return end
			},
		}
	}
}

// hears returns a service that records the metadata of a call.
func hears(tr *transcript) *service {
	return &service{unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		tr.served("heard %s", shown(md))
		_, out := metadata.FromOutgoingContext(ctx)
		tr.served("outgoing %t", out)
		return text(""), nil
	}}
}

// asksWith calls with metadata.
func asksWith(pairs ...string) func(context.Context, *transcript, grpc.ClientConnInterface) {
	return func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		asks("x")(metadata.AppendToOutgoingContext(ctx, pairs...), tr, conn)
	}
}

// told calls and records the results of its options.
func told(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
	var header, trailer metadata.MD
	var from peer.Peer
	finished := "never"
	_, err := call(ctx, conn, "x", grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from), grpc.OnFinish(func(err error) { finished = outcome(err) }))
	tr.add("%s; header %s; trailer %s; peer %t; finished %s", outcome(err), shown(header), shown(trailer), from.Addr != nil, finished)
}

// credentials are per call.
type credentials struct {
	md  map[string]string
	err error
}

func (c credentials) GetRequestMetadata(_ context.Context, uri ...string) (map[string]string, error) {
	if c.md != nil {
		c.md["uris"] = fmt.Sprint(len(uri))
	}
	return c.md, c.err
}

func (credentials) RequireTransportSecurity() bool { return false }

var metadataScenarios = []scenario{
	{name: "metadata inwards", want: `a=["1" "2"] b-bin=["\x00\xff"]`, serve: hears, ask: asksWith("A", "1", "a", "2", "b-bin", "\x00\xff", "spaced", " x ")},
	{name: "the protocol's own keys", want: `heard a=["1"]`, serve: hears, ask: asksWith("te", "x", "grpc-timeout", "1S", "grpc-status", "0", "user-agent", "x", ":path", "/x", "a", "1")},
	{name: "a value that cannot be sent", want: "non-printable ASCII", serve: hears, ask: asksWith("a", "line\nbreak")},
	{name: "a key that cannot be sent", want: "illegal characters", serve: hears, ask: asksWith("a key", "1")},
	{name: "a key that is empty", want: "empty key", serve: hears, ask: asksWith("", "1")},
	{name: "metadata is a copy", want: "mine", serve: func(tr *transcript) *service {
		return &service{unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			md["a"][0] = "changed"
			return text(""), nil
		}}
	}, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		md := metadata.Pairs("a", "mine")
		asks("x")(metadata.NewOutgoingContext(ctx, md), tr, conn)
		tr.add("%s", shown(md))
	}},
	{name: "header and trailer of an answer", want: `header a=["1" "2"] b-bin=["\x00\xff"] c=["3"]; trailer t=["1" "2"]; peer true; finished <nil>`, serve: says(nil), ask: told},
	{name: "header and trailer of an error", want: `trailer t=["1" "2"]; peer true; finished NotFound`, serve: says(errNotFound), ask: told},
	{name: "neither", want: `header ; trailer ; peer true`, serve: fails(errNotFound), ask: told},
	{name: "header that is set and not sent", want: `header a=["1"]`, ask: told, serve: func(*transcript) *service {
		return &service{unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
			return nil, errors.Join(grpc.SetHeader(ctx, metadata.Pairs("a", "1")), errNotFound)
		}}
	}},
	{name: "header of a stream", want: `header a=["1" "2"] b-bin=["\x00\xff"] c=["3"]`, serve: says(nil), ask: toldByStream},
	{name: "header of a stream that failed", want: `NotFound`, serve: says(errNotFound), ask: toldByStream},
	{name: "stream without a header", want: `header ; application/grpc []`, serve: fails(errNotFound), ask: toldByStream},
	{name: "stream whose header is empty", want: `header ; application/grpc [application/grpc]`, ask: toldByStream, serve: func(*transcript) *service {
		return &service{stream: func(ss grpc.ServerStream) error { return ss.SendHeader(nil) }}
	}},
	{name: "stream metadata that cannot be sent", want: "illegal characters", ask: toldByStream, serve: func(tr *transcript) *service {
		return &service{stream: func(ss grpc.ServerStream) error {
			tr.served("%s", outcome(ss.SetHeader(metadata.MD{"A": {"1"}})))
			tr.served("%s", outcome(ss.SendHeader(metadata.MD{"a": {"\n"}})))
			return nil
		}}
	}},
	{name: "credentials", want: `authorization=["Bearer x" "given"] uris=["1"]`, serve: hears, ask: func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "given")
		asks("x", grpc.PerRPCCredentials(credentials{md: map[string]string{"Authorization": "Bearer x"}}))(ctx, tr, conn)
	}},
	{name: "credentials that fail", want: `Internal "transport: per-RPC creds failed due to error: none"`, serve: hears,
		ask: asks("x", grpc.PerRPCCredentials(credentials{err: errors.New("none")}))},
	{name: "credentials with a status", want: `Unauthenticated "none"`, serve: hears,
		ask: asks("x", grpc.PerRPCCredentials(credentials{err: status.Error(codes.Unauthenticated, "none")}))},
	{name: "credentials with a status that is not theirs", want: `Internal "transport: received per-RPC creds error with illegal status`, serve: hears,
		ask: asks("x", grpc.PerRPCCredentials(credentials{err: status.Error(codes.NotFound, "none")}))},
	{name: "peer of a call", want: "peer true", ask: asks("x"), serve: func(tr *transcript) *service {
		return &service{unary: func(ctx context.Context, _ *wrapperspb.StringValue) (any, error) {
			p, ok := peer.FromContext(ctx)
			tr.served("peer %t", ok && p.Addr != nil && p.Addr.String() != "")
			return text(""), nil
		}}
	}},
	{name: "options without a meaning here", want: "1 bytes, <nil>", serve: echoes,
		ask: asks("x", grpc.WaitForReady(true), grpc.CallContentSubtype("proto"), grpc.StaticMethod(), grpc.MaxRetryRPCBufferSize(1), grpc.EmptyCallOption{})},
}

func toldByStream(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface) {
	var byOption, trailer metadata.MD
	finished := "never"
	s := stream(ctx, tr, conn, watching, watch, grpc.Header(&byOption), grpc.Trailer(&trailer), grpc.OnFinish(func(err error) { finished = outcome(err) }))
	tr.add("%s", outcome(s.SendMsg(text("x"))))
	header, err := s.Header()
	tr.add("%s; header %s; application/grpc %v", outcome(err), shown(header), header["content-type"])
	tr.add("%s", receive(s))
	tr.add("option %s; trailer %s; option %s; finished %s", shown(byOption), shown(s.Trailer()), shown(trailer), finished)
	tr.add("again %s", receive(s))
}
