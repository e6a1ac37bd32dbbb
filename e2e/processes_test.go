package e2e

import (
	"net/http"
	"testing"
)

// TestThreeProcesses makes the same journey through bff, gateway and server
// as processes of their own, each with no more than the settings that it
// needs.
func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	var (
		address       = freeAddress(t)
		base          = "http://localhost:" + portOf(address)
		gatewayListen = freeAddress(t)
		grpcListen    = freeAddress(t)
		op            = startProvider(t, freeAddress(t), base, firstTTL)
		serverEnv     = []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer, "AUTH0_AUDIENCE=" + opAudience}
		serverArgs    = []string{"server", "--listen-grpc=" + grpcListen, "--listen-admin=" + freeAddress(t), "--log-level=debug"}
	)
	server := gatehouse(t, serverEnv, serverArgs...)
	gateway := gatehouse(t, []string{"AUTH0_BASE_URL=" + base},
		"gateway", "--listen-gateway="+gatewayListen, "--grpc-target=dns:///"+grpcListen, "--log-level=debug")
	bff := gatehouse(t, op.environment(base),
		"bff", "--listen-bff="+address, "--gateway-url=http://"+gatewayListen, "--log-level=debug")
	server.ready(t, "http://"+serverArgs[2][len("--listen-admin="):]+"/readyz")
	gateway.ready(t, "http://"+gatewayListen+"/readyz")
	bff.ready(t, base+"/readyz")

	in := installation{base: base, op: op, processes: []*process{bff, gateway, server}}
	visitors := journey(t, in)

	// A server that is restarted is an outage of the API, not a logout.
	bob := newVisitor(t)
	signsIn(t, in, bob, "bob")
	if code := server.stop(t); code != 0 {
		t.Errorf("gatehouse server ended with exit code %d, want 0", code)
	}
	bob.fetch(t, "/api/private-route").wants(t, http.StatusServiceUnavailable, "application/json")
	bob.fetch(t, "/api/auth/me").wants(t, http.StatusOK, "application/json")
	again := gatehouse(t, serverEnv, serverArgs...)
	eventually(t, "the API answers again", func() error {
		if got := bob.fetch(t, "/api/private-route"); got.status != http.StatusOK {
			return httpError(got)
		}
		return nil
	})
	for _, p := range []*process{bff, gateway, again} {
		if code := p.stop(t); code != 0 {
			t.Errorf("%s ended with exit code %d, want 0", p.name, code)
		}
	}
	in.processes = append(in.processes, again)
	nothingPrinted(t, in, append(visitors, bob)...)
}
