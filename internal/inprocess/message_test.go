package inprocess_test

import (
	"context"
	"math"
	"net"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// A copier answers with its request, a message of any type.
type copier struct {
	request func() proto.Message
	got     func(proto.Message)
}

func (*copier) isServer() {}

const copyMethod = "/t.v1.C/Copy"

var copierDesc = grpc.ServiceDesc{
	ServiceName: "t.v1.C",
	HandlerType: (*server)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Copy", Handler: func(srv any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := srv.(*copier).request()
		if err := dec(in); err != nil {
			return nil, err
		}
		srv.(*copier).got(in)
		return in, nil
	}}},
}

// copiers returns a connection to a copier in process, and one over a network.
func copiers(t *testing.T, c *copier) map[string]grpc.ClientConnInterface {
	t.Helper()
	here := inprocess.New(inprocess.Config{})
	here.RegisterService(&copierDesc, c)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&copierDesc, c)
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(srv.Stop)
	there, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = there.Close() })
	return map[string]grpc.ClientConnInterface{"in process": here, "network": there}
}

// odd are messages that encoding changes, or that have no encoding.
func odd() map[string]proto.Message {
	unknown := &httpbody.HttpBody{ContentType: "a/b", Data: []byte("data"), Extensions: []*anypb.Any{{Value: []byte("any")}}}
	unknown.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7))
	options := &descriptorpb.MethodOptions{}
	proto.SetExtension(options, authv1.E_Policy, &authv1.Policy{Scopes: []string{"a", "b"}})
	return map[string]proto.Message{
		"nothing":                  &structpb.Value{},
		"elements that are nil":    &structpb.ListValue{Values: []*structpb.Value{nil, {}, structpb.NewNumberValue(math.Copysign(0, -1))}},
		"values that are nil":      &structpb.Struct{Fields: map[string]*structpb.Value{"a": nil, "b": structpb.NewNullValue()}},
		"oneof that is nil":        &structpb.Value{Kind: (*structpb.Value_NumberValue)(nil)},
		"message that is nil":      &structpb.Value{Kind: &structpb.Value_ListValue{}},
		"bytes that are empty":     &httpbody.HttpBody{Data: []byte{}, Extensions: []*anypb.Any{nil, {Value: []byte{}}}},
		"unknown fields":           unknown,
		"extension":                options,
		"presence":                 &descriptorpb.FieldDescriptorProto{Name: proto.String(""), Number: proto.Int32(0), Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum()},
		"required and missing":     &descriptorpb.UninterpretedOption{Name: []*descriptorpb.UninterpretedOption_NamePart{{}}},
		"not UTF-8 in a list":      &structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("\xff")}},
		"not UTF-8 in a key":       &structpb.Struct{Fields: map[string]*structpb.Value{"\xff": structpb.NewNullValue()}},
		"a type made at this time": dynamicpb.NewMessage((&structpb.Value{}).ProtoReflect().Descriptor()),
	}
}

// Every message arrives as it does over a network, or fails with the same error, also if the ends
// have different Go types for it.
func TestMessagesLikeTheNetwork(t *testing.T) {
	t.Parallel()
	for name, sent := range odd() {
		for end, make := range map[string]func() proto.Message{
			"same type":  func() proto.Message { return sent.ProtoReflect().New().Interface() },
			"other type": func() proto.Message { return dynamicpb.NewMessage(sent.ProtoReflect().Descriptor()) },
		} {
			t.Run(name+"/"+end, func(t *testing.T) {
				t.Parallel()
				results := map[string]string{}
				for place, conn := range copiers(t, &copier{make, func(proto.Message) {}}) {
					answer := sent.ProtoReflect().New().Interface()
					err := conn.Invoke(t.Context(), copyMethod, sent, answer)
					wire, wireErr := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(answer)
					if wireErr != nil {
						t.Fatal(wireErr)
					}
					results[place] = outcome(err) + " " + string(wire)
				}
				if results["in process"] != results["network"] {
					t.Errorf("in process %q, on the network %q", results["in process"], results["network"])
				}
			})
		}
	}
}

// scribble changes all memory of a message in place.
func scribble(m protoreflect.Message) {
	clear(m.GetUnknown())
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
				scribble(value.Message())
				return true
			})
			value.Map().Clear(protoreflect.ValueOfString("a").MapKey())
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				scribble(value.List().Get(i).Message())
			}
			value.List().Truncate(0)
		case field.Message() != nil && !field.IsList():
			scribble(value.Message())
		case field.Kind() == protoreflect.BytesKind:
			clear(value.Bytes())
		}
		return true
	})
	for i := range m.Descriptor().Fields().Len() {
		m.Clear(m.Descriptor().Fields().Get(i))
	}
}

// The messages of both ends have no memory in common: each end changes its own.
func TestMemoryApart(t *testing.T) {
	t.Parallel()
	for name, sent := range odd() {
		var atService proto.Message
		conn := copiers(t, &copier{
			func() proto.Message { return sent.ProtoReflect().New().Interface() },
			func(m proto.Message) { atService = m },
		})["in process"]
		answer := sent.ProtoReflect().New().Interface()
		if conn.Invoke(t.Context(), copyMethod, sent, answer) != nil {
			continue // it has no encoding
		}
		want := proto.Clone(answer)
		scribble(atService.ProtoReflect())
		if !proto.Equal(answer, want) {
			t.Errorf("%s: the service has changed the caller's answer to %v", name, answer)
		}
		request := proto.Clone(sent)
		if err := conn.Invoke(t.Context(), copyMethod, request, answer); err != nil {
			t.Fatal(err)
		}
		scribble(request.ProtoReflect())
		scribble(answer.ProtoReflect())
		if !proto.Equal(atService, want) {
			t.Errorf("%s: the caller has changed the service's message to %v", name, atService)
		}
	}
}

// A handler cannot read the request when the call has ended: the caller may have changed it.
func TestLateRequest(t *testing.T) {
	t.Parallel()
	var late func(any) error
	desc := grpc.ServiceDesc{ServiceName: "t.v1.C", HandlerType: (*server)(nil), Methods: []grpc.MethodDesc{{MethodName: "Copy",
		Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			late = dec
			return text("answer"), nil
		}}}}
	conn := inprocess.New(inprocess.Config{})
	conn.RegisterService(&desc, &copier{})
	if err := conn.Invoke(t.Context(), copyMethod, text("asked"), text("")); err != nil {
		t.Fatal(err)
	}
	if in := text("before"); late(in) == nil || in.GetValue() != "before" {
		t.Errorf("the handler has read %v", in)
	}
}
