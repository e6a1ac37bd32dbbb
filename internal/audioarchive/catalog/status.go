// Package catalog owns the sample application's services. It leaves who may
// call them to the policy in their .proto, and being reached to server and
// gateway.
package catalog

import (
	"context"

	"google.golang.org/genproto/googleapis/api/httpbody"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
)

// Status implements audioarchive.v1.StatusService, the two routes of the
// tutorial and one that wants a stronger sign-in. The zero value is ready.
type Status struct {
	audioarchivev1.UnimplementedStatusServiceServer
}

// GetStatus says that the server runs, word for word as the tutorial's
// Express server does.
func (Status) GetStatus(context.Context, *audioarchivev1.GetStatusRequest) (*httpbody.HttpBody, error) {
	return &httpbody.HttpBody{ContentType: "text/plain; charset=utf-8", Data: []byte("Server Running...")}, nil
}

// GetPrivateRoute answers whoever the policy lets through.
func (Status) GetPrivateRoute(context.Context, *audioarchivev1.GetPrivateRouteRequest) (*audioarchivev1.GetPrivateRouteResponse, error) {
	return &audioarchivev1.GetPrivateRouteResponse{Message: "This is a private route"}, nil
}

// GetConfirmedRoute answers whoever the policy lets through, which asks for a
// stronger sign-in.
func (Status) GetConfirmedRoute(context.Context, *audioarchivev1.GetConfirmedRouteRequest) (*audioarchivev1.GetConfirmedRouteResponse, error) {
	return &audioarchivev1.GetConfirmedRouteResponse{Message: "This is a confirmed route"}, nil
}
