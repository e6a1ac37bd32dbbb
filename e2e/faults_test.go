//go:build proof

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

const (
	faultUsers = 50
	faultRate  = 100 // requests a second, open loop
	faultTTL   = 45 * time.Second
)

// Variables for work on the faults: which rows to run, and how many requests to send a second.
const (
	faultRowsEnv = "GATEHOUSE_FAULTS"
	faultRateEnv = "GATEHOUSE_FAULTS_RATE"
)

// during holds a fault for d.
func during(d time.Duration, begin, end func(t *testing.T, c *cluster)) func(*testing.T, *cluster, func()) {
	return func(t *testing.T, c *cluster, over func()) {
		begin(t, c)
		pause(t, d)
		end(t, c)
		over()
	}
}

// provided has the token endpoint answer refreshes otherwise for d.
func provided(d time.Duration, answer http.HandlerFunc) func(*testing.T, *cluster, func()) {
	return during(d, func(_ *testing.T, c *cluster) { c.gate.answer(answer) }, func(_ *testing.T, c *cluster) { c.gate.answer(nil) })
}

func killed(which func(*cluster) *member) func(*testing.T, *cluster, func()) {
	return func(t *testing.T, c *cluster, over func()) {
		m := which(c)
		m.kill(t)
		pause(t, 3*time.Second)
		m.start(t)
		m.ready(t, m.health)
		over()
	}
}

func frozen(d time.Duration, which func(*cluster) *member) func(*testing.T, *cluster, func()) {
	return during(d, func(t *testing.T, c *cluster) { which(c).signal(t, syscall.SIGSTOP) },
		func(t *testing.T, c *cluster) { which(c).signal(t, syscall.SIGCONT) })
}

// rolled restarts members one after the other.
func rolled(which func(*cluster) []*member) func(*testing.T, *cluster, func()) {
	return func(t *testing.T, c *cluster, _ func()) {
		for _, m := range which(c) {
			m.restart(t)
			pause(t, 500*time.Millisecond) // until the balancer has seen it
		}
	}
}

func aServer(c *cluster) *member     { return c.servers[0] }
func aGateway(c *cluster) *member    { return c.gateways[0] }
func aBFF(c *cluster) *member        { return c.bffs[0] }
func allBFFs(c *cluster) []*member   { return c.bffs }
func everybody(c *cluster) []*member { return c.members() }

// signedIn are the requests that need a session, publicAPI those that read the data without one, and
// sentWithToken those that are sent with an access token, if there is a session.
var (
	signedIn      = only("private API")
	publicAPI     = only("public API")
	sentWithToken = only("private API", "public API")
)

// faultRows are the rows, in the order in which they run.
func faultRows() []fault {
	inFlight := 5 // requests on their way to a process that is killed
	// slowly has the token endpoint answer refreshes after delay, for d, and waits for the last one.
	slowly := func(delay, d time.Duration) func(*testing.T, *cluster, func()) {
		return func(t *testing.T, c *cluster, over func()) {
			nodes := &proofNodes{gate: c.gate}
			provided(d, nodes.answersAfter(delay))(t, c, over)
			eventually(t, "no refresh is under way", func() error {
				if n := nodes.under.Load(); n > 0 {
					return fmt.Errorf("%d are", n)
				}
				return nil
			})
		}
	}
	rotate := func(t *testing.T, c *cluster) {
		if err := c.gate.next.RotateKeys(); err != nil {
			t.Fatal(err)
		}
	}
	var next string // the program of the next format of sessions
	return []fault{
		{name: "nothing, 5 s", do: func(t *testing.T, _ *cluster, _ func()) { pause(t, 5*time.Second) }},
		{name: "kill -9 of a bff", do: killed(aBFF), failed: inFlight},
		{name: "kill -9 of a gateway", do: killed(aGateway), failed: inFlight},
		{name: "kill -9 of a gateway, balancer without retries", plain: true, do: killed(aGateway), failed: inFlight},
		{name: "kill -9 of a server", do: killed(aServer), failed: inFlight},
		{name: "rolling restart of all 7, balancer with retries", do: rolled(everybody)},
		{name: "rolling restart of all 7, balancer without retries", do: rolled(everybody), plain: true},
		{name: "stop of a bff, balancer without retries", plain: true, do: rolled(func(c *cluster) []*member { return c.bffs[:1] })},
		{name: "stop of a gateway, balancer without retries", plain: true, do: rolled(func(c *cluster) []*member { return c.gateways[:1] })},
		{name: "rolling restart of the bffs, token endpoint answers after 1 s", do: func(t *testing.T, c *cluster, over func()) {
			c.gate.answer((&proofNodes{gate: c.gate}).answersAfter(time.Second))
			defer c.gate.answer(nil)
			rolled(allBFFs)(t, c, over)
		}},
		{name: "Redis killed and restarted", slow: signedIn, unavailable: signedIn, do: during(200*time.Millisecond,
			func(_ *testing.T, c *cluster) { c.redis.Kill() }, func(t *testing.T, c *cluster) { c.redis.Restart(t) })},
		{name: "Redis frozen for 10 s", unavailable: signedIn, do: during(10*time.Second,
			func(t *testing.T, c *cluster) { c.redis.Freeze(t) }, func(t *testing.T, c *cluster) { c.redis.Thaw(t) })},
		{name: "Redis full for 15 s", do: during(15*time.Second,
			func(t *testing.T, c *cluster) { c.redis.Do(t, "CONFIG", "SET", "maxmemory", "1mb") },
			func(t *testing.T, c *cluster) { c.redis.Do(t, "CONFIG", "SET", "maxmemory", "0") })},
		{name: "Redis without its replicas (NOREPLICAS) for 15 s", do: during(15*time.Second,
			func(t *testing.T, c *cluster) { c.redis.Do(t, "CONFIG", "SET", "min-replicas-to-write", "1") },
			func(t *testing.T, c *cluster) { c.redis.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0") })},
		{name: "PostgreSQL of the data killed and restarted", slow: publicAPI, unavailable: publicAPI, do: during(200*time.Millisecond,
			func(t *testing.T, c *cluster) { c.data.Kill(t) }, func(t *testing.T, c *cluster) { c.data.Restart(t) })},
		{name: "PostgreSQL of the data frozen for 10 s", unavailable: publicAPI, do: during(10*time.Second,
			func(t *testing.T, c *cluster) { c.data.Freeze(t) }, func(t *testing.T, c *cluster) { c.data.Thaw(t) })},
		{name: "server frozen for 10 s", left: 2 * time.Second, do: frozen(10*time.Second, aServer)},
		{name: "gateway frozen for 10 s", left: 2 * time.Second, do: frozen(10*time.Second, aGateway)},
		{name: "bff frozen for 10 s", left: 2 * time.Second, slow: only("private API", "public API", "page"), do: frozen(10*time.Second, aBFF)},
		{name: "provider down for 30 s", unavailable: sentWithToken, do: during(30*time.Second,
			func(_ *testing.T, c *cluster) { c.gate.down(true) }, func(_ *testing.T, c *cluster) { c.gate.down(false) })},
		{name: "token endpoint answers 500 for 30 s", unavailable: sentWithToken, do: provided(30*time.Second, answersStatus(http.StatusInternalServerError, ""))},
		{name: "token endpoint answers 429 with Retry-After: 5 for 30 s", unavailable: sentWithToken, recovery: 6 * time.Second,
			do: provided(30*time.Second, answersStatus(http.StatusTooManyRequests, "5"))},
		{name: "token endpoint takes 6 s, for 25 s", slow: sentWithToken, unavailable: sentWithToken, recovery: 8 * time.Second, do: slowly(6*time.Second, 25*time.Second)},
		{name: "token endpoint takes 8 s, for 25 s", slow: sentWithToken, unavailable: sentWithToken, recovery: 10 * time.Second, do: slowly(8*time.Second, 25*time.Second)},
		{name: "token endpoint takes 30 s, for 25 s", slow: sentWithToken, unavailable: sentWithToken, recovery: 32 * time.Second, do: slowly(30*time.Second, 25*time.Second)},
		// The tokens of all sessions are renewed before the old key is withdrawn.
		{name: "provider's key rotated softly, the old key withdrawn after 30 s", do: during(30*time.Second, rotate,
			func(_ *testing.T, c *cluster) { c.gate.next.WithdrawKeys() })},
		// Servers drop the old key at the first token with the new one: they refuse all others.
		{name: "provider's key rotated hard", failed: faultUsers, failedEach: 1, do: during(25*time.Second, func(t *testing.T, c *cluster) {
			rotate(t, c)
			c.gate.next.WithdrawKeys()
		}, func(*testing.T, *cluster) {})},
		{name: "one bff with a wrong secret does not start", do: func(t *testing.T, c *cluster, _ func()) {
			m := c.bffs[2]
			_ = m.stop(t)
			env := m.env
			m.with("GATEHOUSE_SECRET", rand.Text()+rand.Text())
			m.start(t)
			if code := m.wait(t); code == 0 {
				t.Error("a bff with a secret of its own ended with code 0")
			}
			m.env = env
			m.start(t)
			m.ready(t, m.health)
		}},
		{name: "one bff with a wrong secret, started by GATEHOUSE_SECRET_COMPROMISED, for 10 s", unavailable: sentWithToken, do: func(t *testing.T, c *cluster, _ func()) {
			m := c.bffs[2]
			env := m.env
			m.with("GATEHOUSE_SECRET", rand.Text()+rand.Text())
			m.with("GATEHOUSE_SECRET_COMPROMISED", "true")
			m.restart(t)
			pause(t, 10*time.Second)
			m.env = env
			m.restart(t)
		}},
		{name: `secret rotated to "new,old" in a rolling restart`, do: func(t *testing.T, c *cluster, _ func()) {
			fresh := rand.Text() + rand.Text()
			for _, m := range c.bffs {
				m.with("GATEHOUSE_SECRET", fresh+","+c.secret)
				m.restart(t)
			}
			c.secret = fresh
		}},
		{
			name:        "one of three bffs writes the next format of sessions for 25 s, then all do",
			unavailable: sentWithToken,
			prepare:     func(t *testing.T, _ *cluster) { next = buildNextFormat(t) },
			do: func(t *testing.T, c *cluster, _ func()) {
				for i, m := range []*member{c.bffs[2], c.bffs[0], c.bffs[1]} {
					m.build = next
					m.restart(t)
					if i == 0 {
						pause(t, 25*time.Second) // every session is renewed
					}
				}
			},
			restore: func(t *testing.T, c *cluster) { // this version opens none of its sessions
				for _, m := range c.bffs {
					m.build = ""
					m.restart(t)
				}
				c.signInAgain(t)
			},
		},
	}
}

// sessionRows are the rows of the other session store.
func sessionRows() []fault {
	return []fault{
		{name: "PostgreSQL of the sessions killed and restarted", slow: signedIn, unavailable: signedIn, do: during(200*time.Millisecond,
			func(t *testing.T, c *cluster) { c.sessions.Kill(t) }, func(t *testing.T, c *cluster) { c.sessions.Restart(t) })},
		{name: "PostgreSQL of the sessions frozen for 10 s", unavailable: signedIn, do: during(10*time.Second,
			func(t *testing.T, c *cluster) { c.sessions.Freeze(t) }, func(t *testing.T, c *cluster) { c.sessions.Thaw(t) })},
	}
}

// buildNextFormat builds this program as a later version may be: it writes a format of
// sessions that this one does not know, and reads both.
func buildNextFormat(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, changes := range map[string][]string{
		"codec.go": {"const dataFormat = 1\n", "const dataFormat = 2\n", "b[0] < dataFormat", "b[0] < 1"},
		"nodes.go": {"Formats: []int{dataFormat}", "Formats: []int{1, dataFormat}"},
	} {
		path, err := filepath.Abs(filepath.Join("../bff/session", file))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(changes); i += 2 {
			if !strings.Contains(string(source), changes[i]) {
				t.Fatalf("%s lacks %q", path, changes[i])
			}
		}
		overlay.Replace[path] = filepath.Join(dir, file)
		if err := os.WriteFile(overlay.Replace[path], []byte(strings.NewReplacer(changes...).Replace(string(source))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	content, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list, built := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "gatehouse-next")
	if err := os.WriteFile(list, content, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", list, "-o", built, "./cmd/gatehouse")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return built
}

// TestFaults takes an installation under load through faults, one after the other. make faults runs
// it and writes the table to docs/operations.md.
func TestFaults(t *testing.T) {
	rate := faultRate
	if text := os.Getenv(faultRateEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s %q: not a positive number", faultRateEnv, text)
		}
		rate = n
	}
	selected := regexp.MustCompile(os.Getenv(faultRowsEnv))
	c := newCluster(t, faultUsers, faultTTL)
	var rows [][]string
	run := func(faults []fault) {
		for _, f := range faults {
			if !selected.MatchString(f.name) {
				continue
			}
			row, problems := c.run(t, f, rate)
			t.Log(row)
			rows = append(rows, row)
			for _, problem := range problems {
				t.Errorf("%s: %s", f.name, problem)
			}
		}
	}
	run(faultRows())
	for _, f := range sessionRows() {
		if !selected.MatchString(f.name) {
			continue
		}
		store := c.sessions.New(t)
		for _, m := range c.bffs {
			m.with("GATEHOUSE_SESSION_STORE", store)
			m.restart(t)
		}
		c.signInAgain(t)
		run(sessionRows())
		break
	}
	proof.Report(t, proof.Section{
		Title: "One installation",
		Text: fmt.Sprintf("Three bffs, two gateways and two servers as processes on one machine, Redis with AOF for the sessions, PostgreSQL for the "+
			"data, haproxy with a health check every 500 ms, a lame-duck delay of %v; a provider that rotates refresh tokens and detects their reuse, "+
			"access tokens of %v. %d signed-in sessions send %d checked requests a second in an open loop: 60%% to a private route, 30%% read public "+
			"data, 10%% are for a public page. *503* are our own answers with Retry-After, *slow* those after more than %v, *failed* everything "+
			"else that is not right. *Recovery* is how long after the end of the fault the last request was sent that was not answered well, *left* how "+
			"long after the begin; both in seconds. Lines of requests do not count as log lines.",
			faultLameDuck, faultTTL, faultUsers, rate, slowAfter),
		Columns: []string{"fault", "failed of sent", "503", "slow", "sessions lost", "recovery", "left", "log lines", "goal"},
		Rows:    rows,
	})
}
