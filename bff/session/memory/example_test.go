package memory_test

import (
	"context"
	"fmt"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
)

// The store ends with the process. It is for development and for one bff
// whose users may be signed out by a restart.
func ExampleNew() {
	store, err := memory.New(memory.Config{MaxSessions: 10_000})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	fmt.Println(session.Exercise(context.Background(), store))
	// Output: <nil>
}
