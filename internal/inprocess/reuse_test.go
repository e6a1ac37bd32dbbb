package inprocess_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// bodies are messages of a stream: of all lengths, with and without other fields.
func bodies() []*httpbody.HttpBody {
	data := func(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8), 1}, n/3) }
	return []*httpbody.HttpBody{
		{ContentType: "a/b"}, {Data: data(30000)}, {Data: data(2000)}, {Data: data(60000)}, {}, {Data: data(3)}, {Data: data(40000)},
		{ContentType: "c/d", Data: data(50000)}, {Data: data(9000), Extensions: []*anypb.Any{{TypeUrl: "x"}}}, {Data: data(9000)},
	}
}

// TestReuse checks that a receiver gets the same messages with and without Reuse, in
// process and over a network, and with it in memory that it has used before.
func TestReuse(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*testing.T, *service) grpc.ClientConnInterface{"in process": inProcess, "network": dial} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var received []*httpbody.HttpBody
			conn := connect(t, &service{stream: func(ss grpc.ServerStream) error {
				if got, want := inprocess.ReuseReceived(ss.Context()), name == "in process"; got != want {
					t.Errorf("ReuseReceived: got %t, want %t", got, want)
				}
				for m := new(httpbody.HttpBody); ; {
					if err := ss.RecvMsg(m); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						return err
					}
					received = append(received, proto.CloneOf(m))
				}
				for _, m := range bodies() {
					if err := ss.SendMsg(m); err != nil {
						return err
					}
					clear(m.Data) // it was encoded
				}
				return nil
			}})
			s, err := conn.NewStream(t.Context(), chatting, chat, inprocess.Reuse())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range bodies() {
				if err := s.SendMsg(m); err != nil {
					t.Fatal(err)
				}
				clear(m.Data)
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			m, memory, again := new(httpbody.HttpBody), (*byte)(nil), 0
			for i, want := range bodies() {
				if err := s.RecvMsg(m); err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(m, want) {
					t.Errorf("message %d: got %.80v, want %.80v", i, m, want)
				}
				if len(m.Data) > 0 {
					if &m.Data[0] == memory {
						again++
					}
					memory = &m.Data[0]
				}
			}
			if err := s.RecvMsg(m); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
			if again < 2 {
				t.Errorf("memory was used again %d times, want 2 at least", again)
			}
			for i, want := range bodies() {
				if i >= len(received) || !proto.Equal(received[i], want) {
					t.Fatalf("the service has received %d messages; message %d is another one", len(received), i)
				}
			}
		})
	}
}

// TestReuseOthers checks messages that resemble one with an HttpBody in a field.
func TestReuseOthers(t *testing.T) {
	t.Parallel()
	long := structpb.NewStringValue(string(bytes.Repeat([]byte("v"), 20000)))
	for name, sent := range map[string][]proto.Message{
		"map":   {&structpb.Struct{Fields: map[string]*structpb.Value{"a": long}}, &structpb.Struct{}},
		"list":  {&structpb.ListValue{Values: []*structpb.Value{long}}, &structpb.ListValue{}},
		"oneof": {long, structpb.NewBoolValue(true)},
	} {
		for place, connect := range map[string]func(*testing.T, *service) grpc.ClientConnInterface{"in process": inProcess, "network": dial} {
			t.Run(name+"/"+place, func(t *testing.T) {
				t.Parallel()
				conn := connect(t, &service{stream: func(ss grpc.ServerStream) error {
					for _, m := range sent {
						if err := ss.SendMsg(m); err != nil {
							return err
						}
					}
					return nil
				}})
				s, err := conn.NewStream(t.Context(), watching, watch, inprocess.Reuse())
				if err == nil {
					err = errors.Join(s.SendMsg(text("x")), s.CloseSend())
				}
				if err != nil {
					t.Fatal(err)
				}
				m := sent[0].ProtoReflect().New().Interface()
				for i, want := range sent {
					if err := s.RecvMsg(m); err != nil {
						t.Fatal(err)
					}
					if !proto.Equal(m, want) {
						t.Errorf("message %d: got %.80v, want %.80v", i, m, want)
					}
				}
			})
		}
	}
}

// TestKept checks that a service, its interceptor and a caller that keep the messages
// they receive never see them change, as over a network. Only Reuse and ReuseReceived
// change that, for their own side of their own stream.
func TestKept(t *testing.T) {
	t.Parallel()
	for place, connect := range map[string]func(*testing.T, *service, ...grpc.StreamServerInterceptor) grpc.ClientConnInterface{"in process": inProcessVia, "network": dialVia} {
		for _, reused := range []string{"nowhere", "by the caller", "by the service"} {
			t.Run(place+"/reused "+reused, func(t *testing.T) {
				t.Parallel()
				var seen, intercepted, kept []*httpbody.HttpBody
				conn := connect(t, &service{stream: func(ss grpc.ServerStream) error {
					if reused == "by the service" {
						inprocess.ReuseReceived(ss.Context())
					}
					for {
						m := new(httpbody.HttpBody)
						if err := ss.RecvMsg(m); errors.Is(err, io.EOF) {
							return nil
						} else if err != nil {
							return err
						}
						seen = append(seen, m)
						if err := ss.SendMsg(m); err != nil {
							return err
						}
					}
				}}, func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
					return next(srv, &keeping{ss, &intercepted})
				})
				var opts []grpc.CallOption
				if reused == "by the caller" {
					opts = append(opts, inprocess.Reuse())
				}
				s, err := conn.NewStream(t.Context(), chatting, chat, opts...)
				if err != nil {
					t.Fatal(err)
				}
				for range 20 { // buffers of a pool come back
					for _, body := range bodies() {
						if err := s.SendMsg(body); err != nil {
							t.Fatal(err)
						}
						clear(body.Data)
						m := new(httpbody.HttpBody)
						if err := s.RecvMsg(m); err != nil {
							t.Fatal(err)
						}
						kept = append(kept, m)
					}
				}
				if err := s.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if err := s.RecvMsg(new(httpbody.HttpBody)); !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				for who, got := range map[string][]*httpbody.HttpBody{"the service": seen, "the interceptor": intercepted, "the caller": kept} {
					all := bodies()
					if len(got) != 20*len(all) {
						t.Fatalf("%s has %d messages", who, len(got))
					}
					for i, m := range got {
						if want := all[i%len(all)]; !proto.Equal(m, want) {
							t.Fatalf("message %d of %s has become %.60v, was %.60v", i, who, m, want)
						}
					}
				}
			})
		}
	}
}

// keeping is a stream that keeps what is received.
type keeping struct {
	grpc.ServerStream
	kept *[]*httpbody.HttpBody
}

func (k *keeping) RecvMsg(m any) error {
	err := k.ServerStream.RecvMsg(m)
	if err == nil {
		*k.kept = append(*k.kept, m.(*httpbody.HttpBody))
	}
	return err
}
