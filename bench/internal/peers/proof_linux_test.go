//go:build proof

package peers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/peers"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

// TestProofPeers: the rows of installed and downloaded products answer, and refuse what they must.
func TestProofPeers(t *testing.T) {
	section := proof.Section{
		Title: "Benchmark: rows of other products",
		Text: fmt.Sprintf("Each product starts with the configuration that the benchmark measures. It must refuse the request without a credential and with a forged one, "+
			"and answer %d requests, half of them with the headers of a browser, with the cookies of two logins, or with a bearer token.", 2*tries),
		Columns: []string{"row", "versions"},
	}
	for _, row := range peers.Installed() {
		t.Run(row.Name, func(t *testing.T) {
			if reason := row.Missing(&rows.Env{}); reason != "" {
				t.Fatal(reason)
			}
			section.Rows = append(section.Rows, []string{row.Title, strings.Join(try(t, row).Versions, ", ")})
		})
	}
	proof.Report(t, section)
}
