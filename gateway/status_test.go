package gateway_test

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// statusService has the two routes of the tutorial. It is a descriptor of the tests,
// which must pass without the sample application.
const statusService = "gatewaytest.status.v1.StatusService"

const statusFile = `
name: "gatewaytest/status/v1/status.proto"
package: "gatewaytest.status.v1"
syntax: "proto3"
dependency: ["google/api/annotations.proto", "google/api/httpbody.proto"]
message_type { name: "GetStatusRequest" }
message_type { name: "GetPrivateRouteRequest" }
message_type { name: "GetPrivateRouteResponse"
  field { name: "message" json_name: "message" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
service { name: "StatusService"
  method { name: "GetStatus" input_type: ".gatewaytest.status.v1.GetStatusRequest" output_type: ".google.api.HttpBody"
    options { [google.api.http] { get: "/api" } } }
  method { name: "GetPrivateRoute" input_type: ".gatewaytest.status.v1.GetPrivateRouteRequest" output_type: ".gatewaytest.status.v1.GetPrivateRouteResponse"
    options { [google.api.http] { get: "/api/private-route" } } }
}
`

func init() {
	if err := declare(statusFile); err != nil {
		panic(err)
	}
}

func exposeStatus() gateway.Service { return exposeDynamic(statusService) }

// privateRoute returns an answer of GetPrivateRoute.
func privateRoute(message string) proto.Message {
	m := newMessage(methodDescriptor("/" + statusService + "/GetPrivateRoute").Output())
	say(m, message)
	return m
}

// say sets the message of an answer of GetPrivateRoute.
func say(answer proto.Message, message string) {
	m := answer.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("message"), protoreflect.ValueOfString(message))
}

// registerStatus serves GetPrivateRoute with a message, and with a header.
func registerStatus(r grpc.ServiceRegistrar, message string) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: statusService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "GetPrivateRoute", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(newMessage(methodDescriptor("/" + statusService + "/GetPrivateRoute").Input())); err != nil {
				return nil, err
			}
			return privateRoute(message), grpc.SetHeader(ctx, metadata.Pairs("cache-control", "public", "etag", `"1"`))
		}}},
	}, struct{}{})
}
