// Package audioarchive owns the sample application that cmd/gatehouse serves: what it is called,
// its pages, and how its services open their storage. Packages catalog, productdb and pages hold
// the services, the database and the pages; the program around them is not its business.
package audioarchive

import (
	"context"

	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/pages"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

// Title and Version describe the API in its OpenAPI document. Version is that of the .proto
// packages, not of the program.
const Title, Version = "Audio archive", "1"

// Call is the path that the page /private calls, and CallConfirmed the one that it calls to
// show a step-up.
const (
	Call          = "/api/private-route"
	CallConfirmed = "/api/confirmed-route"
)

// demoSubject is the user of the development provider who sells the demo products.
const demoSubject = "dev|seller"

// Pages are the pages that the embedded front end shows beside its own.
var Pages = []web.Section{pages.Section}

// Status is the implementation of audioarchive.v1.StatusService.
var Status catalog.Status

// OpenProducts opens the implementation of audioarchive.v1.ProductService with the database at
// databaseURL. If demoIssuer is not empty and the database has no products, OpenProducts adds demo
// products that belong to a user of the provider with that issuer.
func OpenProducts(ctx context.Context, databaseURL, demoIssuer string) (*catalog.Products, error) {
	cfg := catalog.Config{URL: databaseURL}
	if demoIssuer != "" {
		cfg.DemoSeller = catalog.SellerID(demoIssuer, demoSubject)
	}
	return catalog.Open(ctx, cfg)
}

// ProbeProducts reports whether OpenProducts could use the database at databaseURL. It changes
// nothing there.
func ProbeProducts(ctx context.Context, databaseURL string) error {
	return productdb.Probe(ctx, databaseURL)
}
