package app

import (
	"context"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

// What the services are called as an API, in its description, and which version
// of it this is: that of the .proto packages, not of the program.
const title, version = audioarchive.Title, audioarchive.Version

// services is the one list of what is served. A new service is one line: its
// name, what is generated from its .proto for the server, for a client and for
// the gateway, and its implementation. This file is all of the program that
// names the sample application.
var services = []service{
	serve("audioarchive.v1.StatusService", audioarchivev1.RegisterStatusServiceServer, audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient).by(audioarchive.Status),
	serve("audioarchive.v1.ProductService", audioarchivev1.RegisterProductServiceServer, audioarchivev1.NewProductServiceClient, audioarchivev1.RegisterProductServiceHandlerClient).opened(openProducts).probed(probeProducts),
}

// pages are what the embedded front end shows besides its own.
var pages = audioarchive.Pages

// called is what the page /private calls, and calledConfirmed what it calls to
// show a step-up; "" for nothing.
const called, calledConfirmed = audioarchive.Call, audioarchive.CallConfirmed

// probeProducts proves that the products could be kept where DatabaseURL says,
// and changes nothing there.
func probeProducts(ctx context.Context, env environment) error {
	if err := audioarchive.ProbeProducts(ctx, env.DatabaseURL); err != nil {
		return env.databaseError(err)
	}
	return nil
}

func openProducts(ctx context.Context, env environment) (audioarchivev1.ProductServiceServer, error) {
	demoIssuer := ""
	if env.examples() {
		demoIssuer = env.Issuer
	}
	service, err := audioarchive.OpenProducts(ctx, env.DatabaseURL, demoIssuer)
	if err != nil {
		return nil, env.databaseError(err)
	}
	return service, nil
}
