package clockskew_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clockskew"
)

func TestOf(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 1, 2, 3, 4, 5, 900_000_000, time.UTC)
	received := sent.Add(2 * time.Second)
	for name, c := range map[string]struct {
		date  time.Time
		age   string
		ahead time.Duration
		known bool
	}{
		"the same second":       {sent.Truncate(time.Second), "", 0, true},
		"while we waited":       {sent.Add(time.Second), "", 0, true},
		"ahead":                 {received.Add(299*time.Second + 100*time.Millisecond), "", 299*time.Second + 100*time.Millisecond, true},
		"behind":                {sent.Truncate(time.Second).Add(-300 * time.Second), "", -300*time.Second - 900*time.Millisecond, true},
		"an answer of a cache":  {sent.Add(-time.Hour), "3600", 0, false},
		"an answer without one": {},
	} {
		header := http.Header{}
		if !c.date.IsZero() {
			header.Set("Date", c.date.Format(http.TimeFormat))
		}
		if c.age != "" {
			header.Set("Age", c.age)
		}
		if ahead, known := clockskew.Of(header, sent, received); ahead != c.ahead || known != c.known {
			t.Errorf("%s: %v, %t, want %v, %t", name, ahead, known, c.ahead, c.known)
		}
	}
}
