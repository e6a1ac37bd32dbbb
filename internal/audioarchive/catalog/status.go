// Package catalog owns the sample application's services. It leaves authorization to the policy in
// their .proto, and transport to server and gateway.
package catalog

import (
	"context"

	"google.golang.org/genproto/googleapis/api/httpbody"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
)

// Status implements audioarchive.v1.StatusService: the two routes of the tutorial and one with a
// step-up. The zero value is ready to use.
type Status struct {
	audioarchivev1.UnimplementedStatusServiceServer
}

// GetStatus returns the same text as the tutorial's Express server.
func (Status) GetStatus(context.Context, *audioarchivev1.GetStatusRequest) (*httpbody.HttpBody, error) {
	return &httpbody.HttpBody{ContentType: "text/plain; charset=utf-8", Data: []byte("Server Running...")}, nil
}

// GetPrivateRoute returns the tutorial's message to signed-in callers.
func (Status) GetPrivateRoute(context.Context, *audioarchivev1.GetPrivateRouteRequest) (*audioarchivev1.GetPrivateRouteResponse, error) {
	return &audioarchivev1.GetPrivateRouteResponse{Message: "This is a private route"}, nil
}

// GetConfirmedRoute returns a message to callers with a recent sign-in, as its policy requires.
func (Status) GetConfirmedRoute(context.Context, *audioarchivev1.GetConfirmedRouteRequest) (*audioarchivev1.GetConfirmedRouteResponse, error) {
	return &audioarchivev1.GetConfirmedRouteResponse{Message: "This is a confirmed route"}, nil
}
