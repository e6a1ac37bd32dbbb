//go:build proof

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

// TestProofStartup restarts serve under load while the provider is slow. A request may fail only if
// the provider has not answered within 2 s of its arrival, and only after 2 s.
func TestProofStartup(t *testing.T) {
	t.Parallel()
	const margin = 300 * time.Millisecond // for a busy machine
	var rows [][]string
	for _, c := range []struct {
		name string
		each time.Duration // for metadata and for keys
		runs int
	}{
		{"at once", 0, 3},
		{"after 1 s", 500 * time.Millisecond, 3},
		{"after 3 s", 1500 * time.Millisecond, 3},
		{"never", time.Hour, 1},
	} {
		requests, served, failed, late := 0, 0, 0, 0
		var longest time.Duration
		for range c.runs {
			seen, available := slowStart(t, c.each)
			for _, a := range seen {
				requests++
				longest = max(longest, a.took)
				inTime := a.at.Add(2 * time.Second).After(available[a.login].Add(margin))
				switch {
				case a.good():
					served++
				case a.status != http.StatusServiceUnavailable:
					t.Errorf("%s: login %t: status %d", c.name, a.login, a.status)
				case inTime:
					late++
					t.Errorf("%s: login %t failed after %v although the provider answered in time", c.name, a.login, a.took)
				default:
					failed++
					// Half a second early where the next attempt comes too late.
					if a.took < 1500*time.Millisecond-margin {
						t.Errorf("%s: login %t was given up after %v", c.name, a.login, a.took)
					}
				}
			}
		}
		rows = append(rows, []string{c.name, fmt.Sprint(c.runs), fmt.Sprint(requests), fmt.Sprint(served), fmt.Sprint(failed), fmt.Sprint(late), longest.Round(time.Millisecond).String()})
	}
	proof.Report(t, proof.Section{
		Title:   "Startup beside a slow provider",
		Text:    "`gatehouse serve` is stopped and started again under 100 bearer calls and 100 logins a second. A request may fail (503) only if the provider's metadata, and for calls its keys, do not arrive within 2 s of it.",
		Columns: []string{"provider answers", "restarts", "requests", "served", "503 after 2 s", "503 that could have been served", "longest"},
		Rows:    rows,
	})
}

// slowStart is restarted for 5 s, and returns the times from which on logins (true) and calls
// (false) could be served.
func slowStart(t *testing.T, each time.Duration) (seen []arrival, available map[bool]time.Time) {
	t.Helper()
	seen, idp := restarted(t, each, func(*process, string) { <-time.After(5 * time.Second) })
	available = map[bool]time.Time{false: time.Now(), true: time.Now()}
	for login, path := range map[bool]string{false: "/keys", true: "/.well-known/openid-configuration"} {
		if at, ok := idp.answered.Load(path); ok {
			available[login] = at.(time.Time)
		}
	}
	return seen, available
}
