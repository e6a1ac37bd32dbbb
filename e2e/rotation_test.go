package e2e

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"
)

// withSecrets returns an environment with other secrets.
func withSecrets(env []string, secrets ...string) []string {
	var changed []string
	for _, line := range env {
		if !strings.HasPrefix(line, "GATEHOUSE_SECRET=") {
			changed = append(changed, line)
		}
	}
	return append(changed, "GATEHOUSE_SECRET="+strings.Join(secrets, ","))
}

func newSecret() string { return rand.Text() + rand.Text() }

// startsAgain replaces a node's process.
func (n *node) startsAgain(t *testing.T, f *fleet, env []string) {
	t.Helper()
	if code := n.stop(t); code != 0 {
		t.Errorf("a node ended with exit code %d, want 0", code)
	}
	n.start(t, len(f.nodes), env...)
	n.ready(t, "http://"+n.address+"/readyz")
}

// TestRollingRotation: a new secret may be added in either order, one node after the other, without
// ending a session. A node with an unrelated secret does not start unless it is forced to, and ends
// no session either.
func TestRollingRotation(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 2)
		_, env, _ := startGated(t, f.base, 10*time.Minute)
		env = append(env, "GATEHOUSE_SESSION_STORE="+store)
		first, second, third := newSecret(), newSecret(), newSecret()
		f.start(t, withSecrets(env, first)...)
		var callers []*caller
		signedIn := func(when string) {
			t.Helper()
			callers = append(callers, callerOf(t, f, entersAs(t, f.base, "seller")))
			for i, c := range callers {
				for j, n := range f.nodes {
					if err := c.works(t.Context(), n); err != nil {
						t.Errorf("%s: session %d at node %d: %v", when, i, j, err)
					}
				}
			}
		}
		signedIn("at first")
		for _, secrets := range [][]string{{second, first}, {second, first, third}} {
			for _, n := range f.nodes {
				n.startsAgain(t, f, withSecrets(env, secrets...))
				signedIn("during the rotation")
			}
		}

		stranger := f.nodes[1]
		stranger.stop(t)
		wrong := withSecrets(env, newSecret())
		stranger.start(t, 2, wrong...)
		if code := stranger.wait(t); code == 0 {
			t.Error("a node without any of the others' secrets ended with exit code 0")
		}
		for _, says := range []string{"GATEHOUSE_SECRET", "GATEHOUSE_SECRET_COMPROMISED", "other nodes"} {
			stranger.said(t, says)
		}
		stranger.start(t, 2, append(wrong, "GATEHOUSE_SECRET_COMPROMISED=true")...)
		stranger.ready(t, "http://"+stranger.address+"/readyz")
		for range 3 {
			for _, c := range callers {
				status, header := c.status(t, stranger, "/api/private-route")
				if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || len(header["Set-Cookie"]) > 0 {
					t.Errorf("a node that cannot open the session: %d %v, want 503 with Retry-After and the cookie left alone", status, header)
				}
			}
		}
		stranger.startsAgain(t, f, withSecrets(env, third, second, first))
		signedIn("after a node with another secret")
	})
}
