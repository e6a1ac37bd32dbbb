package e2e

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestThreeProcesses makes the journey through bff, gateway and server as separate processes, each
// with only the settings that it needs.
func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	var (
		address       = freeAddress(t)
		base          = "http://localhost:" + portOf(address)
		gatewayListen = freeAddress(t)
		grpcListen    = freeAddress(t)
		op            = startProvider(t, freeAddress(t), base, firstTTL)
		telemetry     = startCollector(t)
		audited       = newAuditFile(t) // of all processes
		serverEnv     = append(telemetry.environment(), "AUTH0_ISSUER_BASE_URL="+op.issuer, "AUTH0_AUDIENCE="+opAudience)
		serverArgs    = []string{"server", "--listen-grpc=" + grpcListen, "--listen-admin=" + freeAddress(t), "--log-level=debug", audited.flag()}
	)
	server := gatehouse(t, serverEnv, serverArgs...)
	gateway := gatehouse(t, append(telemetry.environment(), "AUTH0_BASE_URL="+base),
		"gateway", "--listen-gateway="+gatewayListen, "--grpc-target=dns:///"+grpcListen, "--log-level=debug")
	bff := gatehouse(t, append(telemetry.environment(), op.environment(base)...),
		"bff", "--listen-bff="+address, "--gateway-url=http://"+gatewayListen, "--log-level=debug", audited.flag())
	server.ready(t, "http://"+serverArgs[2][len("--listen-admin="):]+"/readyz")
	gateway.ready(t, "http://"+gatewayListen+"/readyz")
	bff.ready(t, base+"/readyz")

	in := installation{base: base, op: op, processes: []*process{bff, gateway, server}}
	visitors := journey(t, in)

	// A restart of the server is an outage of the API, not a logout.
	bob := newVisitor(t)
	signsIn(t, in, bob, "bob")
	generatedClient(t, bob, base)
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
	in.processes, in.outlets = append(in.processes, again), telemetry.outlets(t)
	in.outlets["audit log"] = audited.outlet(t)
	nothingPrinted(t, in, append(visitors, bob)...)
}

// generatedClient returns a generated client of a signed-in user's page, whose calls and streams
// pass every process.
func generatedClient(t *testing.T, v *visitor, base string) {
	t.Helper()
	header := func(mediaType string) http.Header {
		return http.Header{
			"Content-Type": {mediaType}, "Connect-Protocol-Version": {"1"},
			"Origin": {base}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"},
		}
	}
	got := v.send(t, http.MethodPost, base+"/api/audioarchive.v1.StatusService/GetPrivateRoute", header("application/json"), strings.NewReader("{}"))
	if got.wants(t, http.StatusOK, "application/json").json(t)["message"] != "This is a private route" {
		t.Errorf("Connect through three processes: %s", got.body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const nothing = "\x00\x00\x00\x00\x02{}"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/audioarchive.v1.ProductService/WatchProducts", strings.NewReader(nothing))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header("application/connect+json")
	resp, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("a stream through three processes: %s, %v", resp.Status, err)
	}
	message := make([]byte, binary.BigEndian.Uint32(first[1:]))
	if _, err := io.ReadFull(resp.Body, message); err != nil || !strings.Contains(string(message), "KIND_READY") {
		t.Errorf("a stream through three processes began with %q, %v", message, err)
	}
}
