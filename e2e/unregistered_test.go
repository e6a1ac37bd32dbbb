package e2e

import (
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// TestUnregisteredService: in one process, a gateway refuses a service that the server does not
// have, and names it, so that the program does not start and answer 501.
func TestUnregisteredService(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://issuer.test")
	srv, err := server.New(server.Config{
		Authn: authn.Config{Provider: oidctest.NewProvider(t, issuer), Audience: shopAudience},
		Register: func(r grpc.ServiceRegistrar) {
			audioarchivev1.RegisterProductServiceServer(r, audioarchivev1.UnimplementedProductServiceServer{})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	products := gateway.Expose(audioarchivev1.NewProductServiceClient, audioarchivev1.RegisterProductServiceHandlerClient, "audioarchive.v1.ProductService")
	status := gateway.Expose(audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient, "audioarchive.v1.StatusService")
	if _, err := gateway.New(gateway.Config{Conn: srv.Conn(), Services: []gateway.Service{products}}); err != nil {
		t.Errorf("registered service: %v", err)
	}
	_, err = gateway.New(gateway.Config{Conn: srv.Conn(), Services: []gateway.Service{products, status}})
	const want = `Services "audioarchive.v1.StatusService" is not registered at the server`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want %q", err, want)
	}
}
