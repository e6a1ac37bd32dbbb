package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// TestHostsInDevelopment sends Host headers with foreign names to every web port of `gatehouse
// dev`, of `serve` on loopback, and of separate processes.
func TestHostsInDevelopment(t *testing.T) {
	t.Parallel()
	status := func(address, host string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	wants := func(what, address string, hosts map[string]int) {
		t.Helper()
		for host, want := range hosts {
			if got := status(address, host); got != want {
				t.Errorf("%s, %s with Host %q: status %d, want %d", what, address, host, got, want)
			}
		}
	}
	dev := startDev(t, "--allowed-hosts=phone.test")
	wants("dev", dev.base+"/public", map[string]int{"evil.example": 421, "localhost": 200, "app.localhost:1": 200, "phone.test:3000": 200, "[::1]:3000": 200})
	wants("dev", dev.base+"/api", map[string]int{"evil.example": 421, "localhost": 401})
	wants("dev, the provider", dev.provider+"/.well-known/openid-configuration", map[string]int{"evil.example": 421, "127.0.0.1:3001": 200})
	wants("dev, health", dev.base+"/healthz", map[string]int{"evil.example": 200})

	gatewayListen := freeAddress(t)
	serve := startServe(t, newNotes(), "GATEHOUSE_LISTEN_GATEWAY="+gatewayListen)
	wants("serve", serve.base+"/public", map[string]int{"evil.example": 421, "localhost": 200})
	wants("serve, gateway", "http://"+gatewayListen+"/api", map[string]int{"evil.example": 421, "localhost": 401})

	// A bff calls a separate gateway by a name of their network, unless the gateway listens on
	// loopback.
	for _, c := range []struct {
		listen, allowed string
		hosts           map[string]int
	}{
		{"0.0.0.0:", "", map[string]int{"gateway:5000": 503, "localhost": 503}},
		{"0.0.0.0:", "gateway", map[string]int{"gateway:5000": 503, "localhost": 503, "evil.example": 421}},
		{"127.0.0.1:", "", map[string]int{"gateway:5000": 421, "localhost": 503}},
	} {
		port := portOf(freeAddress(t))
		gateway := gatehouse(t, []string{"GATEHOUSE_BASE_URL=http://localhost:3000", "GATEHOUSE_ALLOWED_HOSTS=" + c.allowed},
			"gateway", "--listen-gateway="+c.listen+port, "--grpc-target=dns:///127.0.0.1:1")
		base := "http://127.0.0.1:" + port
		eventually(t, "the gateway lives", func() error {
			resp, err := http.Get(base + "/healthz")
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		})
		wants("gateway on "+c.listen, base+"/api/products", c.hosts)
		gateway.stop(t)
	}
}
