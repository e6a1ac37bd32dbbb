package denylist_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// One list serves both sides of a process: the server asks it at every call,
// and the bff fills it at every logout.
func Example() {
	list, err := denylist.New(denylist.Config{TokenLifetime: time.Hour})
	if err != nil {
		panic(err)
	}
	_ = authn.Config{Denylist: list}
	// bff.Config{Revoke: bff.DenyIn(list)}

	ctx := context.Background()
	if err := list.DenySession(ctx, "https://issuer.example", "sid-1", time.Time{}); err != nil {
		panic(err)
	}
	for _, sid := range []string{"sid-1", "sid-2"} {
		key := authn.RevocationKey{Issuer: "https://issuer.example", SessionID: sid}
		fmt.Println(sid, "revoked:", errors.Is(list.Revoked(ctx, &key), authn.ErrRevoked))
	}
	// Output:
	// sid-1 revoked: true
	// sid-2 revoked: false
}
