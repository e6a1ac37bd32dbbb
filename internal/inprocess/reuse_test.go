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
