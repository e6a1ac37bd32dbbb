//go:build proof

package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// TestProofUpgrade upgrades nodes of the earlier commit one by one under load, takes half of them
// back, and upgrades them again, with the same settings, stores, denylist and database throughout.
// Sessions of either version are valid at the other, are refreshed by both, and end at both. No
// session may be lost and no request may fail.
func TestProofUpgrade(t *testing.T) {
	old := buildEarlier(t)
	for _, store := range []struct {
		name     string
		nodes    int
		settings func(t *testing.T) []string
		shared   bool // the database of the services outlives its node
	}{
		{"Redis", 3, func(t *testing.T) []string {
			url := "redis://" + redistest.Start(t, "--appendonly", "yes").Addr()
			return []string{"GATEHOUSE_SESSION_STORE=" + url, "GATEHOUSE_DENYLIST=" + url}
		}, false},
		{"PostgreSQL", 3, func(t *testing.T) []string {
			server := pgtest.Start(t)
			return []string{"GATEHOUSE_SESSION_STORE=" + server.New(t), "GATEHOUSE_DATABASE_URL=" + server.New(t)}
		}, true},
		{"SQLite", 1, func(t *testing.T) []string {
			dir := t.TempDir()
			return []string{
				"GATEHOUSE_SESSION_STORE=sqlite:" + filepath.Join(dir, "sessions.db"),
				"GATEHOUSE_DATABASE_URL=sqlite:" + filepath.Join(dir, "products.db"),
			}
		}, true},
	} {
		t.Run(store.name, func(t *testing.T) {
			settings := store.settings(t)
			denies := strings.HasPrefix(settings[len(settings)-1], "GATEHOUSE_DENYLIST=")
			f := newFleet(t, store.nodes)
			for _, node := range f.nodes {
				node.build, node.rest = old, freeAddress(t)
			}
			n := startProofNodes(t, f, settings...)
			version := func(node *node) string {
				if node.build == old {
					return earlier[:7]
				}
				return "this version"
			}
			products := 0
			// across has sessions begin and end, and data written, at each node while the others run.
			across := func() {
				t.Helper()
				for _, node := range n.nodes {
					// A login begins and ends at the base URL, which is the first node's.
					c := callerOf(t, n.fleet, entersAs(t, n.base, "seller"))
					access := n.gate.lastAccess(t)
					for _, other := range n.nodes {
						if err := c.works(t.Context(), other); err != nil {
							t.Errorf("a session of %s at %s: %v", version(n.nodes[0]), version(other), err)
						}
					}
					if store.shared {
						products++
						c.creates(t, node, fmt.Sprintf("Product %d", products))
						for _, other := range n.nodes {
							if got := c.products(t, other); got != products {
								t.Errorf("%d products at %s, want %d", got, version(other), products)
							}
						}
					}
					c.leaves(t, node)
					for _, other := range n.nodes {
						within(t, 2*time.Second, "the end at "+version(node)+" reaches "+version(other), func() error {
							if status, _ := c.status(t, other, "/api/private-route"); status != http.StatusUnauthorized {
								return fmt.Errorf("status %d", status)
							}
							if status := bearing(t, other.rest, access).StatusCode; denies && status != http.StatusUnauthorized {
								return fmt.Errorf("with the token: status %d", status)
							}
							return nil
						})
					}
				}
			}
			replace := func(build string, nodes ...*node) {
				t.Helper()
				for _, node := range nodes {
					if node.build == old {
						// Its stop interrupts refreshes, which loses their sessions.
						node.drained.Store(true)
						n.pause(t, 2*time.Second)
					}
					node.build = build
					node.startsAgain(t, n.fleet, n.env)
					node.drained.Store(false)
					across()
					n.pause(t, 3*time.Second)
				}
			}
			var rows [][]string
			phase := func(name string, during func()) {
				t.Helper()
				before := n.gate.carriedOut()
				got := n.load(t, func() {
					during()
					n.pause(t, proofTTL) // every session is refreshed
				})
				n.recover(t)
				lost, refreshes := n.lost(t), n.gate.carriedOut()-before
				rows = append(rows, []string{
					name, strconv.Itoa(got.sent), strconv.Itoa(got.unavailable), strconv.Itoa(got.failed),
					strconv.Itoa(refreshes), fmt.Sprintf("%d of %d", lost, proofSessions),
				})
				if lost > 0 || got.failed > 0 {
					t.Errorf("%s: %d sessions lost, %d requests failed otherwise than with 503: %v", name, lost, got.failed, got.first)
				}
				if refreshes < proofSessions {
					t.Errorf("%s: %d refreshes, want at least %d", name, refreshes, proofSessions)
				}
			}
			half := n.nodes[:(store.nodes+1)/2]
			phase("all nodes of commit "+earlier[:7], across)
			phase("upgraded one by one", func() { replace("", n.nodes...) })
			phase("half of them back", func() { replace(old, half...) })
			phase("upgraded again", func() { replace("", half...) })
			for _, node := range n.nodes {
				if said := node.out.String(); strings.Contains(said, "level=ERROR") || strings.Contains(said, `"level":"ERROR"`) {
					t.Errorf("a node has logged errors:\n%s", said)
				}
			}
			proof.Report(t, proof.Section{
				Title: "Upgrade and rollback on " + store.name,
				Text: fmt.Sprintf("`gatehouse serve` of commit %s and of this version, %d at a time on one %s, with the same settings. %d signed-in sessions, "+
					"access tokens of %v, %d requests a second (open loop; a refused connection is tried again). At each step users sign in and out at every "+
					"node, and each node sees it. Nodes of commit %[1]s get no requests in the last 2 s, because their stop interrupts refreshes. Other nodes "+
					"get them until they stop, and all once their port is open; commit %[1]s answers 503 until it has the provider's keys.",
					earlier[:7], store.nodes, store.name, proofSessions, proofTTL, proofRate),
				Columns: []string{"what happens", "requests", "503", "other failures", "refreshes", "sessions lost"},
				Rows:    rows,
			})
		})
	}
}

// TestProofUpgradeParts runs bff, gateway and server as processes of either version, in all
// combinations. Users sign in, call the API and sign out, and a denied call is told apart.
func TestProofUpgradeParts(t *testing.T) {
	old := buildEarlier(t)
	version := map[string]string{old: earlier[:7], program: "now"}
	var rows [][]string
	for _, server := range []string{old, program} {
		for _, gateway := range []string{old, program} {
			for _, bff := range []string{old, program} {
				name := fmt.Sprintf("bff %s, gateway %s, server %s", version[bff], version[gateway], version[server])
				works := t.Run(name, func(t *testing.T) { partsWork(t, bff, gateway, server) })
				result := "works"
				if !works {
					result = "**fails**"
				}
				rows = append(rows, []string{version[bff], version[gateway], version[server], result})
			}
		}
	}
	proof.Report(t, proof.Section{
		Title: "Parts of two versions",
		Text: fmt.Sprintf("`gatehouse bff`, `gateway` and `server` of commit %s and of this version as three processes. Users sign in, call the API, are refused "+
			"without a permission, and sign out, after which the gateway refuses their token (denylist in Redis).", earlier[:7]),
		Columns: []string{"bff", "gateway", "server", "result"},
		Rows:    rows,
	})
}

func partsWork(t *testing.T, bffBuild, gatewayBuild, serverBuild string) {
	t.Helper()
	f := newFleet(t, 1)
	n := f.nodes[0]
	n.rest = freeAddress(t)
	grpc := freeAddress(t)
	g, env, _ := startGated(t, f.base, 10*time.Minute)
	env = append(env, "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_DENYLIST=redis://"+redistest.Start(t).Addr())
	start(t, "gatehouse server", env, serverBuild, "server", "--listen-grpc="+grpc)
	gateway := start(t, "gatehouse gateway", nil, gatewayBuild, "gateway", "--listen-gateway="+n.rest, "--grpc-target=dns:///"+grpc)
	n.process = start(t, "gatehouse bff", env, bffBuild, "bff", "--listen-bff="+n.address, "--gateway-url=http://"+n.rest)
	gateway.ready(t, "http://"+n.rest+"/readyz")
	n.ready(t, "http://"+n.address+"/readyz")
	eventually(t, "the server takes tokens", func() error {
		if status := bearing(t, n.rest, "nonsense").StatusCode; status != http.StatusUnauthorized {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	seller, buyer := callerOf(t, f, entersAs(t, f.base, "seller")), callerOf(t, f, entersAs(t, f.base, "buyer"))
	access := g.lastAccess(t) // the buyer's
	seller.creates(t, n, "Product")
	if got := buyer.products(t, n); got != 1 {
		t.Errorf("%d products, want 1", got)
	}
	product := `{"title":"Refused","price":{"currencyCode":"EUR","amountMinor":"1999"},"daw":"DAW_REAPER"}`
	if resp, body := buyer.send(t, n, http.MethodPost, "/api/products", "cors", product); resp.StatusCode != http.StatusForbidden {
		t.Errorf("without the permission: %s: %s, want 403", resp.Status, body)
	}
	buyer.leaves(t, n)
	within(t, 2*time.Second, "the token is refused", func() error {
		if status := bearing(t, n.rest, access).StatusCode; status != http.StatusUnauthorized {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
}
