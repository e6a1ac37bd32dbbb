// Package validate owns the validation of requests by the rules in their .proto
// (buf.validate), and the form of the errors. It leaves the rules to the .proto,
// and checks that no rule can express to the services.
//
// The interceptor of go-grpc-middleware returns buf.validate.Violations, which
// clients can read only with that .proto. This one returns google.rpc.BadRequest.
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

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// Message validates m. The error is a gRPC status with the code InvalidArgument and
// a google.rpc.BadRequest that names each field by its path. If prefix is not empty,
// it is the path of m itself.
func Message(m proto.Message, prefix string) error {
	err := protovalidate.Validate(m)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok { // a rule that cannot be compiled or evaluated
		return status.Errorf(codes.Internal, "validate %s: %v", m.ProtoReflect().Descriptor().FullName(), err)
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

// Field returns the error about one field, for a check that no rule can express.
func Field(path, format string, args ...any) error {
	return Invalid(&errdetails.BadRequest_FieldViolation{Field: path, Description: fmt.Sprintf(format, args...)})
}

// Invalid returns the error about one or more fields: a gRPC status with the code
// InvalidArgument, the descriptions as its message, and a google.rpc.BadRequest.
func Invalid(fields ...*errdetails.BadRequest_FieldViolation) error {
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i] = f.GetDescription()
		if f.GetField() != "" {
			texts[i] = f.GetField() + ": " + texts[i]
		}
	}
	return reason.Status(codes.InvalidArgument, strings.Join(texts, "; "), &errdetails.BadRequest{FieldViolations: fields}).Err()
}

// Unary refuses calls with an invalid request: a grpc.UnaryServerInterceptor.
func Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// Stream fails RecvMsg for invalid messages of a client: a
// grpc.StreamServerInterceptor.
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
		return status.Errorf(codes.Internal, "validate: a request of type %T is not a Protobuf message", req)
	}
	return Message(m, "")
}
