package gatehouse

import "testing"

// TestOpenAPIOff: GATEHOUSE_API_DOCS=off removes the description of the API.
func TestOpenAPIOff(t *testing.T) {
	t.Parallel()
	p, err := configured(t, "GATEHOUSE_GRPC_TARGET=passthrough:///127.0.0.1:1", "GATEHOUSE_API_DOCS=off").assemble(t.Context(), partSet{Gateway: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(nil)
	if p.gateway.OpenAPI() != nil {
		t.Error("the API describes itself although that is off")
	}
}
