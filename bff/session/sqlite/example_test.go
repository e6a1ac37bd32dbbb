package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
)

// The sessions survive a restart of the one bff that uses the file.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "sessions.db")})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	fmt.Println(session.Exercise(ctx, store))
	// Output: <nil>
}
