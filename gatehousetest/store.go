package gatehousetest

import (
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
)

// A store is a session store in memory.
type store struct{ *memory.Store }

func newStore(now func() time.Time) (*store, error) {
	inner, err := memory.New(memory.Config{Now: now})
	return &store{inner}, err
}
