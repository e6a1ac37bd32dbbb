package sessiontest_test

import (
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

// The test of a store. Parts of a store that are optional are tested if it
// has them.
func ExampleRun() {
	test := func(t *testing.T) { // func TestConformance(t *testing.T) {
		t.Parallel()
		sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
			store, err := memory.New(memory.Config{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			return store
		})
	}
	_ = test
}
