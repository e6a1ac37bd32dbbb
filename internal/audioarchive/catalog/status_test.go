package catalog_test

import (
	"testing"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// TestStatus: the answers are the tutorial's, word for word.
func TestStatus(t *testing.T) {
	t.Parallel()
	var service audioarchivev1.StatusServiceServer = catalog.Status{}
	body, err := service.GetStatus(t.Context(), &audioarchivev1.GetStatusRequest{})
	if err != nil || body.GetContentType() != "text/plain; charset=utf-8" || string(body.GetData()) != "Server Running..." {
		t.Errorf("GetStatus: %v, %v", body, err)
	}
	route, err := service.GetPrivateRoute(t.Context(), &audioarchivev1.GetPrivateRouteRequest{})
	if err != nil || route.GetMessage() != "This is a private route" {
		t.Errorf("GetPrivateRoute: %v, %v", route, err)
	}
	confirmed, err := service.GetConfirmedRoute(t.Context(), &audioarchivev1.GetConfirmedRouteRequest{})
	if err != nil || confirmed.GetMessage() != "This is a confirmed route" {
		t.Errorf("GetConfirmedRoute: %v, %v", confirmed, err)
	}
}
