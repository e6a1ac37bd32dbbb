package files_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// TestReusedField checks messages whose HttpBody is in a field, as an upload receives
// them in process: each is the one that was sent, whatever the memory had before.
func TestReusedField(t *testing.T) {
	t.Parallel()
	content := func(n int) *httpbody.HttpBody {
		return &httpbody.HttpBody{Data: bytes.Repeat([]byte{byte(n), 1}, n/2)}
	}
	type request = audioarchivev1.UploadProductFileRequest
	sent := []*request{
		{Name: "products/1", Content: content(20000)}, {Content: content(30000)}, {Content: content(2000)}, {Content: content(28000)},
		{Content: content(2)}, {}, {Content: &httpbody.HttpBody{}}, {Content: content(9000)}, {Content: content(9002)},
		{Content: &httpbody.HttpBody{ContentType: "a/b", Data: content(9000).Data}}, {SizeBytes: 1, Content: content(9000)}, {Content: content(8000)},
	}
	for name, kind := range map[string]proto.Message{
		"generated": new(request), "dynamic": dynamicpb.NewMessage(new(request).ProtoReflect().Descriptor()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, again := inprocess.New(inprocess.Config{}), 0
			conn.RegisterService(&grpc.ServiceDesc{ServiceName: "s", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
				StreamName: "Upload", ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
					if !inprocess.ReuseReceived(ss.Context()) {
						return errors.New("the call is not in process")
					}
					m, memory := proto.Clone(kind), (*byte)(nil)
					for i, want := range sent {
						if err := ss.RecvMsg(m); err != nil {
							return err
						}
						got := new(request)
						if raw, err := proto.Marshal(m); err != nil || proto.Unmarshal(raw, got) != nil || !proto.Equal(got, want) {
							t.Errorf("message %d: got %.60v, want %.60v (%v)", i, m, want, err)
						}
						if u, ok := m.(*request); ok && len(u.GetContent().GetData()) > 0 {
							if &u.Content.Data[0] == memory {
								again++
							}
							memory = &u.Content.Data[0]
						}
					}
					return ss.SendMsg(&request{})
				},
			}}}, struct{}{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/s/Upload")
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range sent {
				m := proto.CloneOf(m)
				if err := s.SendMsg(m); err != nil {
					t.Fatal(err)
				}
				clear(m.GetContent().GetData()) // it was encoded
			}
			if err := s.RecvMsg(new(request)); err != nil {
				t.Fatal(err)
			}
			if (again > 1) != (name == "generated") {
				t.Errorf("memory was used again %d times", again)
			}
		})
	}
}
