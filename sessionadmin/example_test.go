package sessionadmin_test

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/sessionadmin"
)

// An operator ends the sessions of a subject. The server refuses the access
// tokens of the subject if it asks the same denylist (authn.Config.Denylist).
func Example() {
	store, err := memory.New(memory.Config{}) // the one that the bff uses
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	list, err := denylist.New(denylist.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	admin := sessionadmin.New(sessionadmin.Config{
		Store:    store,
		Denylist: list,
		Issuer:   "https://issuer.example",
	})
	// In server.Config, so that only callers with the permission sessions:admin
	// get through:
	_ = func(r grpc.ServiceRegistrar) { sessionadminv1.RegisterSessionAdminServiceServer(r, admin) }

	now := time.Now()
	_ = store.Create(context.Background(), session.Record{
		ID: session.ID{1}, Issuer: "https://issuer.example", Subject: "anna",
		CreatedAt: now, LastSeenAt: now, IdleExpiresAt: now.Add(time.Hour), ExpiresAt: now.Add(24 * time.Hour),
	}, session.ID{})
	resp, err := admin.EndSessions(context.Background(), &sessionadminv1.EndSessionsRequest{Subject: "anna"})
	fmt.Println(resp.GetEnded(), err)
	// Output: 1 <nil>
}
