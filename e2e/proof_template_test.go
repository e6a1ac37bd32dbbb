//go:build proof

package e2e

import "testing"

// TestProofTemplate follows the chapter for copies of the repository with its checks, and with the
// tests of the packages that the sample application was linked with.
func TestProofTemplate(t *testing.T) {
	followTemplate(t, []string{
		"make check",
		"go test . ./cmd/... ./gateway ./server ./bff/web/... ./internal/layout ./lifecycle",
	})
}
