package gatehouse

import (
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/sessionadmin"
)

// sharesSessions reports whether the session store is one that several
// processes can open, so that a server by itself can look after sessions too.
func (p *program) sharesSessions() bool {
	kind := storeKind(p.cfg.SessionStore)
	return kind == "postgres" || kind == "redis"
}

// exposedAdmin is the operator's service for the gateway.
var exposedAdmin = gateway.Expose(sessionadminv1.NewSessionAdminServiceClient,
	sessionadminv1.RegisterSessionAdminServiceHandlerClient, "gatehouse.sessionadmin.v1.SessionAdminService")

// registerAdmin registers the operator's service, which is of Gatehouse
// itself and so stands in no list.
func (p *parts) registerAdmin(r grpc.ServiceRegistrar) {
	admin := sessionadmin.Config{Issuer: p.cfg.Provider.Issuer, Logger: p.logger.With("part", "server")}
	if p.store != nil {
		admin.Store = p.store
	}
	if p.denylist != nil {
		admin.Denylist = p.denylist
	}
	sessionadminv1.RegisterSessionAdminServiceServer(r, sessionadmin.New(admin))
}
