// Package validate owns holding requests to the rules that their .proto
// declares (buf.validate), and saying which fields break them. It leaves what
// the rules are to the .proto, and what no rule can say to the services.
//
// go-grpc-middleware has such an interceptor too; its violations are
// buf.validate.Violations, which a client can read only with that .proto.
// Here they are google.rpc.BadRequest, as from every other service.
package validate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Message holds m to its rules. The error is a gRPC status, InvalidArgument
// with a google.rpc.BadRequest that names every field by its path, below the
// field path prefix unless that is empty.
func Message(m proto.Message, prefix string) error {
	err := protovalidate.Validate(m)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok { // a rule of the .proto that cannot be compiled or computed
		return status.Errorf(codes.Internal, "rules of %s: %v", m.ProtoReflect().Descriptor().FullName(), err)
	}
	fields := make([]*errdetails.BadRequest_FieldViolation, len(invalid.Violations))
	for i, violation := range invalid.Violations {
		path := protovalidate.FieldPathString(violation.Proto.GetField())
		if prefix != "" {
			path = strings.TrimSuffix(prefix+"."+path, ".")
		}
		fields[i] = &errdetails.BadRequest_FieldViolation{Field: path, Description: violation.Proto.GetMessage()}
	}
	return Invalid(fields...)
}

// Field is the refusal of one field, for what no rule can say.
func Field(path, format string, args ...any) error {
	return Invalid(&errdetails.BadRequest_FieldViolation{Field: path, Description: fmt.Sprintf(format, args...)})
}

// Invalid is the refusal of one field or more.
func Invalid(fields ...*errdetails.BadRequest_FieldViolation) error {
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i] = f.GetDescription()
		if f.GetField() != "" {
			texts[i] = f.GetField() + ": " + texts[i]
		}
	}
	st := status.New(codes.InvalidArgument, strings.Join(texts, "; "))
	if detailed, err := st.WithDetails(&errdetails.BadRequest{FieldViolations: fields}); err == nil {
		st = detailed
	}
	return st.Err()
}

// Unary refuses a call whose request breaks a rule.
func Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// Stream refuses each message of a client that breaks a rule.
func Stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, checkedStream{ss})
}

type checkedStream struct{ grpc.ServerStream }

func (s checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return check(m)
}

func check(req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "a request of type %T is no Protobuf message", req)
	}
	return Message(m, "")
}
