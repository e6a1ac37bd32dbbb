//go:build proof

package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// earlier is a commit whose nodes publish no key ids and delete records that they cannot open.
const earlier = "1fe628bf67fc1158ed492c8ba6c97a036c3bd279"

// TestProofRotation takes three nodes with 50 signed-in sessions through rotations of the secret, a
// node with another secret, nodes of an earlier build, and a read-only store. No session may be
// lost, and requests may fail with 503 only.
func TestProofRotation(t *testing.T) {
	old := buildEarlier(t)
	for _, store := range []struct {
		name  string
		begin func(t *testing.T) (url string, refuse func(bool))
	}{
		{"Redis", func(t *testing.T) (string, func(bool)) {
			server := redistest.Start(t, "--appendonly", "yes")
			return "redis://" + server.Addr(), func(refused bool) {
				replicas := "0"
				if refused {
					replicas = "1"
				}
				server.Do(t, "CONFIG", "SET", "min-replicas-to-write", replicas)
			}
		}},
		{"PostgreSQL", func(t *testing.T) (string, func(bool)) {
			url := pgtest.Start(t).New(t)
			return url, func(refused bool) {
				conn, err := pgx.Connect(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				for _, statement := range []string{fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %t", refused), "SELECT pg_reload_conf()"} {
					if _, err := conn.Exec(t.Context(), statement); err != nil {
						t.Fatal(err)
					}
				}
			}
		}},
	} {
		t.Run(store.name, func(t *testing.T) {
			url, refuse := store.begin(t)
			n := newProofNodes(t, url)
			var rows [][]string
			phase := func(name string, during func()) {
				t.Helper()
				got := n.load(t, during)
				recovery := n.recover(t)
				lost := n.lost(t)
				rows = append(rows, []string{
					name, strconv.Itoa(got.sent), strconv.Itoa(got.unavailable), strconv.Itoa(got.failed),
					fmt.Sprintf("%d of %d", lost, proofSessions), fmt.Sprintf("%.1f s", recovery.Seconds()),
				})
				if lost > 0 || got.failed > 0 {
					t.Errorf("%s: %d sessions lost, %d requests failed otherwise than with 503: %v", name, lost, got.failed, got.first)
				}
			}
			var first string
			for _, line := range n.env {
				if secret, ok := strings.CutPrefix(line, "GATEHOUSE_SECRET="); ok {
					first = secret
				}
			}
			second, third, fourth := newSecret(), newSecret(), newSecret()
			env := n.env
			use := func(secrets ...string) { env = withSecrets(n.env, secrets...) }
			roll := func() {
				for _, node := range n.nodes {
					n.pause(t, 3*time.Second)
					node.startsAgain(t, n.fleet, env)
				}
				n.pause(t, 12*time.Second) // until all nodes have read the leases of the others
			}
			replace := func(node *node, build string) {
				t.Helper()
				node.build = build
				node.startsAgain(t, n.fleet, env)
			}

			phase("a new secret in front of the old one, rolling restart", func() { use(second, first); roll() })
			phase("a new secret behind the old ones, rolling restart", func() { use(second, first, third); roll() })
			phase("the new secret moved to the front, rolling restart", func() { use(third, second, first); roll() })

			stranger := n.nodes[2]
			wrong := withSecrets(n.env, newSecret())
			phase("one node with another secret: it does not start", func() {
				n.pause(t, 2*time.Second)
				stranger.stop(t)
				stranger.start(t, len(n.nodes), wrong...)
				if code := stranger.wait(t); code == 0 {
					t.Error("it ended with exit code 0")
				}
				n.pause(t, 5*time.Second)
				stranger.start(t, len(n.nodes), env...)
				stranger.ready(t, "http://"+stranger.address+"/readyz")
			})
			phase("the same, started by GATEHOUSE_SECRET_COMPROMISED for 20 s", func() {
				n.pause(t, 2*time.Second)
				stranger.startsAgain(t, n.fleet, append(wrong, "GATEHOUSE_SECRET_COMPROMISED=true"))
				n.pause(t, 20*time.Second)
				stranger.startsAgain(t, n.fleet, env)
			})
			phase("two of three nodes of commit "+earlier[:7]+" for 30 s, then upgraded", func() {
				for _, node := range n.nodes[:2] {
					n.pause(t, 3*time.Second)
					replace(node, old)
				}
				n.pause(t, 30*time.Second)
				for _, node := range n.nodes[:2] {
					replace(node, program)
					n.pause(t, 3*time.Second)
				}
			})
			phase("the same, with a new secret at the upgraded nodes", func() {
				for _, node := range n.nodes[:2] {
					n.pause(t, 3*time.Second)
					replace(node, old)
				}
				use(fourth, third, second, first)
				for _, i := range []int{2, 0, 1} {
					replace(n.nodes[i], program)
					n.pause(t, 15*time.Second)
				}
			})
			phase("the store takes no writes for 15 s", func() {
				n.pause(t, 2*time.Second)
				refuse(true)
				n.pause(t, 15*time.Second)
				refuse(false)
				n.pause(t, 5*time.Second)
			})
			proof.Report(t, proof.Section{
				Title: "Secrets, builds and a read-only store: three nodes on " + store.name,
				Text: fmt.Sprintf("Three `gatehouse serve` on one %s, %d signed-in sessions, access tokens of %v, %d requests a second "+
					"(open loop, a refused connection is tried at the next node). A lost session is one that is signed out afterwards.",
					store.name, proofSessions, proofTTL, proofRate),
				Columns: []string{"what happens", "requests", "503", "other failures", "sessions lost", "recovery"},
				Rows:    rows,
			})
		})
	}
}

// buildEarlier builds the program of the earlier commit. It needs the history of the repository.
func buildEarlier(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	archive := exec.CommandContext(t.Context(), "git", "archive", earlier)
	archive.Dir = ".." // of the whole repository
	var failure bytes.Buffer
	archive.Stderr = &failure
	source, err := archive.Output()
	if err != nil {
		t.Fatalf("git archive %s: %v: %s (fetch the whole history)", earlier, err, failure.String())
	}
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(source)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	path := filepath.Join(dir, "gatehouse-earlier")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/gatehouse")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}
