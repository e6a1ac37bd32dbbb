//go:build proof

package bff_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

// Each case of the matrix 3,000 times.
func TestProofProxyMatrix(t *testing.T) {
	const n = 3000
	section := proof.Section{
		Title: "Proxying",
		Text: fmt.Sprintf("%d requests of each case, 8 at a time, half of them to the API and half to the front end, with and without bodies of up to 200,000 bytes. "+
			"An answer is lost if it lacks a byte or a header, or if one that the server broke off ends as if it were whole.", n),
		Columns: []string{"server", "browser", "the server", "requests", "lost"},
	}
	matrix(t, n, 5*time.Millisecond, func(upstream, front, kind string, got matrixResult) {
		section.Rows = append(section.Rows, []string{upstream, front, kind, fmt.Sprint(got.requests), fmt.Sprint(got.lost)})
		if got.lost > 0 {
			t.Errorf("%s, %s, %s: %d of %d answers lost, the first: %v", upstream, front, kind, got.lost, got.requests, got.first)
		}
	})
	proof.Report(t, section)
}
