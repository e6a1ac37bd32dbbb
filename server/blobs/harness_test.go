package blobs_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// A service has the methods that a test sets, with the streams of generated code.
type service struct {
	download func(grpc.ServerStreamingServer[httpbody.HttpBody]) error
	upload   func(grpc.ClientStreamingServer[httpbody.HttpBody, emptypb.Empty]) error
}

type server interface{ isServer() }

func (*service) isServer() {}

var desc = grpc.ServiceDesc{ServiceName: "t.v1.Files", HandlerType: (*server)(nil), Streams: []grpc.StreamDesc{
	{StreamName: "Download", ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(new(emptypb.Empty)); err != nil {
			return err
		}
		return srv.(*service).download(&grpc.GenericServerStream[emptypb.Empty, httpbody.HttpBody]{ServerStream: ss})
	}},
	{StreamName: "Upload", ClientStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
		return srv.(*service).upload(&grpc.GenericServerStream[httpbody.HttpBody, emptypb.Empty]{ServerStream: ss})
	}},
}}

func connect(s *service) *inprocess.Conn {
	conn := inprocess.New(inprocess.Config{})
	conn.RegisterService(&desc, s)
	return conn
}

// A reply is what a caller gets of a download.
type reply struct {
	header      metadata.MD
	contentType string
	content     []byte
	longest     int // message, in bytes of content
	err         error
}

// download calls a service that sends a file. pairs are metadata of the call.
func download(t *testing.T, serve func(grpc.ServerStreamingServer[httpbody.HttpBody]) error, pairs ...string) (got reply) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), pairs...)
	stream, err := connect(&service{download: serve}).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/t.v1.Files/Download")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(new(emptypb.Empty)), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	for {
		m := new(httpbody.HttpBody)
		if err := stream.RecvMsg(m); err != nil {
			if !errors.Is(err, io.EOF) {
				got.err = err
			}
			break
		}
		got.contentType += m.GetContentType()
		got.content = append(got.content, m.GetData()...)
		got.longest = max(got.longest, len(m.GetData()))
	}
	got.header, _ = stream.Header()
	return got
}

// upload calls a service with messages. If the context that next returns has ended,
// the upload breaks off there.
func upload(ctx context.Context, t *testing.T, serve func(grpc.ClientStreamingServer[httpbody.HttpBody, emptypb.Empty]) error, send func(grpc.ClientStream)) error {
	t.Helper()
	served := make(chan error, 1)
	conn := connect(&service{upload: func(stream grpc.ClientStreamingServer[httpbody.HttpBody, emptypb.Empty]) error {
		err := serve(stream)
		served <- err
		if err != nil {
			return err
		}
		return stream.SendAndClose(&emptypb.Empty{})
	}})
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/t.v1.Files/Upload")
	if err != nil {
		t.Fatal(err)
	}
	send(stream)
	_ = stream.RecvMsg(new(emptypb.Empty))
	return <-served
}
