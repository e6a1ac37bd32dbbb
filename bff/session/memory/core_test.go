package memory_test

import (
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

// core has the methods of session.Store alone, so that its index is that of session.IndexOf.
type core struct{ session.Store }

func TestConformanceOfTheCore(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
		return core{open(t, memory.Config{Now: now})}
	})
}

// notes has an index, a feed and notes of session.LocalNotes.
type notes struct {
	session.Store
	session.LocalNotes
}

func TestConformanceOfLocalNotes(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
		return &notes{Store: open(t, memory.Config{Now: now}), LocalNotes: session.LocalNotes{Now: now}}
	})
}
