//go:build proof

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestProofRollingRestart restarts two servers and two gateways behind one bff, one after the
// other, under reads and without a balancer: none fails.
func TestProofRollingRestart(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	base := "http://localhost:" + portOf(address)
	op := startProvider(t, freeAddress(t), base, 10*time.Minute)
	lameDuck := []string{"GATEHOUSE_LAME_DUCK=2s"}
	var begin []func() *process // start one part, and wait until it is ready
	var targets, urls []string
	for range 2 {
		grpc, admin := freeAddress(t), freeAddress(t)
		targets = append(targets, grpc)
		begin = append(begin, func() *process {
			p := gatehouse(t, append(lameDuck, "AUTH0_ISSUER_BASE_URL="+op.issuer, "AUTH0_AUDIENCE="+opAudience, "GATEHOUSE_DATABASE_URL=memory:"),
				"server", "--listen-grpc="+grpc, "--listen-admin="+admin)
			p.ready(t, "http://"+admin+"/readyz")
			return p
		})
	}
	for range 2 {
		rest := freeAddress(t)
		urls = append(urls, "http://"+rest)
		begin = append(begin, func() *process {
			p := gatehouse(t, lameDuck, "gateway", "--listen-gateway="+rest, "--grpc-target="+strings.Join(targets, ","))
			p.ready(t, "http://"+rest+"/readyz")
			return p
		})
	}
	var running []*process
	for _, start := range begin {
		running = append(running, start())
	}
	bff := gatehouse(t, op.environment(base), "bff", "--listen-bff="+address, "--gateway-url="+strings.Join(urls, ","))
	bff.ready(t, base+"/readyz")
	v := newVisitor(t)
	signsIn(t, installation{base: base, op: op, processes: []*process{bff}}, v, "alice")
	c, n := callerOf(t, &fleet{base: base}, v), &node{address: address}
	eventually(t, "the API answers", func() error { return c.works(t.Context(), n) })

	l := startReaders(t, c, n, "/api/private-route", "/api/auth/me")
	for i, p := range running {
		if code := p.stop(t); code != 0 {
			t.Errorf("%s ended with exit code %d, want 0", p.name, code)
		}
		running[i] = begin[i]()
		eventually(t, "it gets requests", func() error {
			if !strings.Contains(running[i].out.String(), `GetPrivateRoute`) && !strings.Contains(running[i].out.String(), "/api/private-route") {
				return fmt.Errorf("%s has none", running[i].name)
			}
			return nil
		})
	}
	l.end(t, "rolling restart", 3*time.Second)
	if resp, _, err := c.get(t.Context(), n, "/api/private-route"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("at the end: %v", err)
	}
}
