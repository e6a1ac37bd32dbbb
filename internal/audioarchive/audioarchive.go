// Package audioarchive owns the sample application: the list of its services and pages. Packages
// catalog, files, orders, productdb and pages hold them. It leaves the program around them to package gatehouse.
package audioarchive

import (
	"context"
	_ "embed"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/pages"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

//go:embed dev-users.yaml
var devUsers []byte

// App returns the application.
func App() gatehouse.App {
	shop := &shop{}
	return gatehouse.App{
		Title:   "Audio archive",
		Version: "1",
		Services: []gatehouse.Service{
			gatehouse.NewService(&audioarchivev1.StatusService_ServiceDesc, audioarchivev1.NewStatusServiceClient,
				audioarchivev1.RegisterStatusServiceHandlerClient, catalog.Status{}),
			gatehouse.NewServiceFunc(&audioarchivev1.ProductService_ServiceDesc, audioarchivev1.NewProductServiceClient,
				audioarchivev1.RegisterProductServiceHandlerClient, shop.openProducts).WithProbe(probeProducts),
			gatehouse.NewServiceFunc(&audioarchivev1.ProductFileService_ServiceDesc, audioarchivev1.NewProductFileServiceClient,
				audioarchivev1.RegisterProductFileServiceHandlerClient, shop.openFiles).WithFilesProbe(probeFiles),
			gatehouse.NewServiceFunc(&audioarchivev1.OrderService_ServiceDesc, audioarchivev1.NewOrderServiceClient,
				audioarchivev1.RegisterOrderServiceHandlerClient, shop.openOrders),
		},
		Pages:         []web.Section{pages.Section},
		Call:          "/api/private-route",
		CallConfirmed: "/api/confirmed-route",
		DevUsers:      devUsers,
	}
}

// devSeller is the user of the development provider who sells the demo products.
const devSeller = "dev|seller"

// probeProducts checks that products can be stored at DatabaseURL.
func probeProducts(ctx context.Context, env gatehouse.Environment) error {
	return env.DatabaseError(productdb.Probe(ctx, env.DatabaseURL))
}

// probeFiles checks that files can be stored at FilesURL.
func probeFiles(ctx context.Context, env gatehouse.Environment) error {
	return env.FilesError(files.Probe(ctx, env.FilesURL))
}
