package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStreamThroughThreeProcesses: messages of a stream pass gateway and bff without delay,
// heartbeats included. When one of the three processes stops, it ends the stream with a message and
// does not wait for it.
func TestStreamThroughThreeProcesses(t *testing.T) {
	t.Parallel()
	var (
		address       = freeAddress(t)
		base          = "http://localhost:" + portOf(address)
		gatewayListen = freeAddress(t)
		grpcListen    = freeAddress(t)
		op            = startProvider(t, freeAddress(t), base, 10*time.Minute)
		admin         = freeAddress(t)
	)
	startServer := func() *process {
		p := gatehouse(t, []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer, "AUTH0_AUDIENCE=" + opAudience}, "server", "--listen-grpc="+grpcListen, "--listen-admin="+admin)
		p.ready(t, "http://"+admin+"/readyz")
		return p
	}
	startGateway := func() *process {
		p := gatehouse(t, []string{"AUTH0_BASE_URL=" + base}, "gateway", "--listen-gateway="+gatewayListen, "--grpc-target=dns:///"+grpcListen, "--stream-heartbeat=1s")
		p.ready(t, "http://"+gatewayListen+"/readyz")
		return p
	}
	server, gateway := startServer(), startGateway()
	bff := gatehouse(t, op.environment(base), "bff", "--listen-bff="+address, "--gateway-url=http://"+gatewayListen)
	bff.ready(t, base+"/readyz")
	v := newVisitor(t)
	signsIn(t, installation{base: base, op: op, processes: []*process{bff, gateway, server}}, v, "alice")

	for _, c := range []struct {
		name    string
		process *process
		again   func() *process
	}{
		{"server", server, startServer},
		{"gateway", gateway, startGateway},
		{"bff", bff, nil},
	} {
		stream := watches(t, v, base)
		for _, want := range []string{"id: ", `data: {"kind":"KIND_READY"`, "", ":"} { // the last is a heartbeat
			if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) || want == "" && line != "\n" {
				t.Fatalf("before %s stopped: %q, %v, want %q", c.name, line, err, want)
			}
		}
		begun := time.Now()
		if code := c.process.stop(t); code != 0 {
			t.Errorf("%s ended with exit code %d, want 0", c.name, code)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s waited %v for its stream", c.name, took)
		}
		rest, err := io.ReadAll(stream)
		if err != nil || !strings.Contains(string(rest), "\nevent: end\nretry: 2000\ndata: {") {
			t.Errorf("when %s stopped, the stream ended with %q, %v", c.name, rest, err)
		}
		if c.again == nil {
			break
		}
		c.again()
		eventually(t, "the API answers again", func() error {
			if got := v.fetch(t, "/api/private-route"); got.status != http.StatusOK {
				return httpError(got)
			}
			return nil
		})
	}
}

// watches opens the stream of products as a signed-in browser does.
func watches(t *testing.T, v *visitor, base string) *bufio.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/products:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	response, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff", "Content-Encoding": "",
	} {
		if got := response.Header.Get(name); got != want || response.StatusCode != http.StatusOK {
			t.Errorf("%d, %s is %q, want %q", response.StatusCode, name, got, want)
		}
	}
	return bufio.NewReader(response.Body)
}
