package gatehouse

import (
	"io"
	"testing"
)

// TestOpenAPIOff: GATEHOUSE_API_DOCS=off.
func TestOpenAPIOff(t *testing.T) {
	t.Parallel()
	cfg := config{GRPCTarget: "passthrough:///127.0.0.1:1", APIDocs: apiDocsOff, Output: io.Discard}
	cfg.withDefaults()
	p, err := assemble(t.Context(), cfg, partSet{Gateway: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(nil)
	if p.gateway.OpenAPI() != nil {
		t.Error("the API describes itself although that is off")
	}
}
