//go:build linux && proof

package peers_test

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/peers"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// TestProofPeers: the rows of installed and downloaded products answer, and refuse what they must.
func TestProofPeers(t *testing.T) {
	for _, row := range peers.Installed() {
		t.Run(row.Name, func(t *testing.T) {
			if row.Missing != nil {
				if reason := row.Missing(&rows.Env{}); reason != "" {
					t.Fatal(reason)
				}
			}
			try(t, row)
		})
	}
}
