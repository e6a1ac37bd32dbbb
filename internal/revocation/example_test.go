package revocation_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
)

// A revocation denies access tokens, rejects logins in progress, and ends
// sessions.
func Example() {
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	revoker := revocation.New(revocation.Config{
		Store: store,
		Deny: func(_ context.Context, t revocation.Target) error {
			fmt.Println("denied the tokens of", t.Subject)
			return nil
		},
	})

	ctx := context.Background()
	started := time.Now()
	number, err := revoker.Begin(ctx) // a login begins
	if err != nil {
		panic(err)
	}
	target := revocation.Target{Issuer: "https://idp.example", Subject: "user-1", DecidedAt: time.Now()}
	ended, err := revoker.Revoke(ctx, target, session.ReasonOperator)
	fmt.Println("ended", len(ended), "sessions:", err)

	rejected, err := revoker.Revoked(ctx, revocation.Login{
		Issuer: "https://idp.example", Subject: "user-1", Number: number, Started: started,
	})
	fmt.Println("the login is rejected:", rejected, err)
	// Output:
	// denied the tokens of user-1
	// ended 0 sessions: <nil>
	// the login is rejected: true <nil>
}
