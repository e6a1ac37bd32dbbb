package audit_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
)

// A handler of an application can store events elsewhere, or store some of them
// only.
func Example() {
	stdout := audit.To(os.Stdout)
	handler := func(ctx context.Context, e audit.Event) error {
		if e.Action == audit.CallDenied {
			return nil
		}
		return stdout(ctx, e)
	}
	at := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	for _, action := range []audit.Action{audit.SignIn, audit.CallDenied} {
		if err := handler(context.Background(), audit.Event{Time: at, Action: action, Part: "bff", Subject: "u1"}); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// {"time":"2026-11-27T08:00:00Z","action":"sign_in","part":"bff","subject":"u1"}
}
