package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLogoutReachesTokens: with a denylist, an access token that was copied from the memory of a
// process is refused after its user has signed out, although it has not expired: in one process,
// and across processes that share a Redis.
func TestLogoutReachesTokens(t *testing.T) {
	t.Parallel()
	t.Run("one process", func(t *testing.T) {
		t.Parallel()
		address, rest := freeAddress(t), freeAddress(t)
		base := "http://localhost:" + portOf(address)
		op := startProvider(t, freeAddress(t), base, 10*time.Minute)
		p := gatehouse(t, op.environment(base), "serve", "--listen-bff="+address, "--listen-gateway="+rest,
			"--listen-grpc="+freeAddress(t), "--denylist=memory:")
		p.ready(t, base+"/readyz")
		logoutReachesToken(t, installation{base: base, op: op, processes: []*process{p}}, rest)
	})
	t.Run("bff and gateway in front of a server, and Redis", func(t *testing.T) {
		t.Parallel()
		address, rest, grpc := freeAddress(t), freeAddress(t), freeAddress(t)
		base, redis := "http://localhost:"+portOf(address), startRedis(t)
		op := startProvider(t, freeAddress(t), base, 10*time.Minute)
		server := gatehouse(t, []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer, "AUTH0_AUDIENCE=" + opAudience, "GATEHOUSE_DENYLIST=" + redis},
			"server", "--listen-grpc="+grpc)
		front := gatehouse(t, append(op.environment(base), "GATEHOUSE_DENYLIST="+redis),
			"serve", "--listen-bff="+address, "--listen-gateway="+rest, "--grpc-target=dns:///"+grpc)
		front.ready(t, "http://"+rest+"/readyz")
		front.ready(t, base+"/readyz")
		logoutReachesToken(t, installation{base: base, op: op, processes: []*process{front, server}}, rest)
	})
	t.Run("three processes and Redis", func(t *testing.T) {
		t.Parallel()
		address, rest, grpc := freeAddress(t), freeAddress(t), freeAddress(t)
		base, redis := "http://localhost:"+portOf(address), startRedis(t)
		op := startProvider(t, freeAddress(t), base, 10*time.Minute)
		server := gatehouse(t, []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer, "AUTH0_AUDIENCE=" + opAudience, "GATEHOUSE_DENYLIST=" + redis},
			"server", "--listen-grpc="+grpc)
		gateway := gatehouse(t, nil, "gateway", "--listen-gateway="+rest, "--grpc-target=dns:///"+grpc)
		bff := gatehouse(t, append(op.environment(base), "GATEHOUSE_DENYLIST="+redis),
			"bff", "--listen-bff="+address, "--gateway-url=http://"+rest)
		gateway.ready(t, "http://"+rest+"/readyz")
		bff.ready(t, base+"/readyz")
		eventually(t, "the server takes tokens", func() error {
			if got := bearing(t, rest, "nonsense"); got.StatusCode != http.StatusUnauthorized {
				return fmt.Errorf("status %d", got.StatusCode)
			}
			return nil
		})
		logoutReachesToken(t, installation{base: base, op: op, processes: []*process{bff, gateway, server}}, rest)
	})
}

func logoutReachesToken(t *testing.T, in installation, rest string) {
	t.Helper()
	alice, bob := newVisitor(t), newVisitor(t)
	signsIn(t, in, alice, "alice")
	tokens := in.op.state(t).of("access_token")
	alices := tokens[len(tokens)-1]
	signsIn(t, in, bob, "bob")
	tokens = in.op.state(t).of("access_token")
	bobs := tokens[len(tokens)-1]

	if got := bearing(t, rest, alices); got.StatusCode != http.StatusOK {
		t.Fatalf("before the logout: %d, want 200", got.StatusCode)
	}
	signsOut(t, in, alice)
	within(t, time.Second+slack, "the token is refused", func() error {
		got := bearing(t, rest, alices)
		if challenge := got.Header.Get("WWW-Authenticate"); got.StatusCode != http.StatusUnauthorized || !strings.Contains(challenge, "revoked") {
			return fmt.Errorf("%d, %s", got.StatusCode, challenge)
		}
		return nil
	})
	if got := bearing(t, rest, bobs); got.StatusCode != http.StatusOK {
		t.Errorf("bob, who is signed in: %d, want 200", got.StatusCode)
	}
	signsIn(t, in, alice, "alice") // signing in again works
	alice.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
}

// bearing calls the gateway with a token.
func bearing(t *testing.T, rest, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+rest+"/api/private-route", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// startRedis runs a Redis without persistence and returns its URL.
func startRedis(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing; make test installs it or says what to install")
	}
	address := freeAddress(t)
	p := start(t, "redis-server", nil, "redis-server", "--bind", "127.0.0.1", "--port", portOf(address), "--save", "", "--appendonly", "no")
	p.said(t, "Ready to accept connections")
	return "redis://" + address
}
