package e2e

import (
	"testing"
)

// TestServeWithTutorialEnvironment runs `gatehouse serve` with the variables of the tutorial alone
// and a certified provider.
func TestServeWithTutorialEnvironment(t *testing.T) {
	t.Parallel()
	in := serveWithProvider(t)
	visitors := journey(t, in)
	if code := in.processes[0].stop(t); code != 0 {
		t.Errorf("gatehouse serve ended with exit code %d, want 0", code)
	}
	nothingPrinted(t, in, visitors...) // including the output of the shutdown
}

// serveWithProvider starts oidc-provider and gatehouse serve.
func serveWithProvider(t *testing.T, args ...string) installation {
	t.Helper()
	address := freeAddress(t)
	base := "http://localhost:" + portOf(address)
	op := startProvider(t, freeAddress(t), base, firstTTL)
	p := gatehouse(t, op.environment(base), append([]string{
		"serve", "--listen-bff=" + address, "--listen-gateway=" + freeAddress(t), "--listen-grpc=" + freeAddress(t),
		"--log-level=debug", // the most verbose level
	}, args...)...)
	p.ready(t, base+"/readyz")
	return installation{base: base, op: op, processes: []*process{p}}
}
