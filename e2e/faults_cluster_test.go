//go:build proof

package e2e

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// faultLameDuck is longer than haproxy takes to notice that a member is leaving: two checks 500 ms
// apart.
const faultLameDuck = 2 * time.Second

// A cluster is a whole installation on this machine: three bffs, two gateways and two servers behind
// haproxy, Redis and PostgreSQL, and a provider that rotates refresh tokens and detects their reuse.
type cluster struct {
	redis    *redistest.Server
	sessions *pgtest.Server // the other session store
	data     *pgtest.Server
	gate     *gate
	provider *http.Server

	bffs, gateways, servers []*member
	// retrying and plain are the balancer's addresses for browsers: it tries a request that got no
	// answer at another bff, or it does not.
	base, retrying, plain string
	secret                string
	callers               []*caller
}

// A member is one process of a cluster, which may be restarted.
type member struct {
	name    string
	args    []string
	env     []string
	address string // which the balancer checks, or the server's gRPC address
	health  string
	build   string // the path of its program; "" for the one under test
	said    *speech
	*process
}

func (c *cluster) members() []*member { return slices.Concat(c.servers, c.gateways, c.bffs) }

// newCluster starts an installation and signs users in.
func newCluster(t *testing.T, users int, ttl time.Duration) *cluster {
	t.Helper()
	c := &cluster{
		redis: redistest.Start(t, "--appendonly", "yes"), sessions: pgtest.Start(t), data: pgtest.Start(t),
		retrying: freeAddress(t), plain: freeAddress(t), secret: rand.Text() + rand.Text(),
	}
	c.base = "http://localhost:" + portOf(c.retrying)
	var env []string
	c.gate, env, c.provider = startGated(t, c.base, ttl)
	env = append(env,
		"GATEHOUSE_SESSION_STORE=redis://"+c.redis.Addr(), "GATEHOUSE_DATABASE_URL="+c.data.New(t),
		"GATEHOUSE_LOGIN_RATE=100000", "GATEHOUSE_REPLICAS=3", "GATEHOUSE_LOG_FORMAT=json",
		"GATEHOUSE_LAME_DUCK="+faultLameDuck.String(), "GATEHOUSE_SECRET="+c.secret,
	)
	add := func(list *[]*member, command, name string, args ...string) *member {
		m := &member{name: name, env: env, address: freeAddress(t), said: &speech{}}
		admin := freeAddress(t)
		m.args = append([]string{command, "--listen-admin=" + admin}, args...)
		m.health = "http://" + admin + "/readyz"
		*list = append(*list, m)
		return m
	}
	for i := range 2 {
		m := add(&c.servers, "server", fmt.Sprint("server ", i+1))
		m.args = append(m.args, "--listen-grpc="+m.address)
	}
	for i := range 2 {
		m := add(&c.gateways, "gateway", fmt.Sprint("gateway ", i+1), "--grpc-target="+targetOf(c.servers))
		m.args = append(m.args, "--listen-gateway="+m.address)
	}
	for i := range 3 {
		m := add(&c.bffs, "bff", fmt.Sprint("bff ", i+1), "--gateway-url="+urlOf(c.gateways))
		m.args = append(m.args, "--listen-bff="+m.address)
	}
	c.balance(t)
	for _, m := range c.members() {
		m.start(t)
	}
	for _, m := range c.members() {
		m.ready(t, m.health)
	}
	(&process{name: "balancer", done: make(chan struct{})}).ready(t, c.base+"/healthz")
	for i := range users {
		c.callers = append(c.callers, c.signIn(t, i))
	}
	return c
}

// targetOf is the gRPC target of several servers, urlOf the address of several gateways.
func targetOf(servers []*member) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.address)
	}
	return strings.Join(all, ",")
}

func urlOf(gateways []*member) string {
	var all []string
	for _, g := range gateways {
		all = append(all, "http://"+g.address)
	}
	return strings.Join(all, ",")
}

// balance starts haproxy. Health checks every 500 ms find out what is not ready.
func (c *cluster) balance(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is missing; make faults installs it:", err)
	}
	var config strings.Builder
	config.WriteString(`global
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  timeout check 500ms
  default-server inter 500ms fastinter 200ms downinter 200ms fall 2 rise 1
`)
	for name, address := range map[string]string{"retrying": c.retrying, "plain": c.plain} {
		retries := "retries 0"
		if name == "retrying" {
			retries = "retries 3\n  option redispatch 1\n  retry-on conn-failure empty-response"
		}
		fmt.Fprintf(&config, "listen %s\n  bind %s\n  %s\n  option httpchk GET /readyz\n", name, address, retries)
		for i, b := range c.bffs {
			fmt.Fprintf(&config, "  server bff%d %s check\n", i, b.address)
		}
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "haproxy", nil, program, "-db", "-f", file)
}

// signInAgain replaces all sessions.
func (c *cluster) signInAgain(t *testing.T) {
	t.Helper()
	for i := range c.callers {
		c.callers[i] = c.signIn(t, i)
	}
}

// signIn signs a demo user in through the balancer.
func (c *cluster) signIn(t *testing.T, i int) *caller {
	t.Helper()
	user := []string{"seller", "buyer"}[i%2]
	return callerOf(t, &fleet{base: c.base}, entersAs(t, c.base, user))
}

// start starts a member, again after it has ended.
func (m *member) start(t *testing.T) {
	t.Helper()
	m.process = &process{name: m.name, cmd: exec.Command(cmp.Or(m.build, program), m.args...), done: make(chan struct{})}
	p := m.process
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, m.env...)
	p.cmd.Stdout, p.cmd.Stderr = m.said, m.said
	p.out = &transcript{} // m.said keeps the output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is read from cmd.ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // rows have shown how it stops
		<-p.done
		if t.Failed() && m.process == p {
			t.Logf("%s said last:\n%s", m.name, m.said.last())
		}
	})
}

// restart stops a member as a rolling update does, and waits until it is ready again.
func (m *member) restart(t *testing.T) {
	t.Helper()
	if code := m.stop(t); code != 0 {
		t.Errorf("%s ended with exit code %d, want 0:\n%s", m.name, code, m.said.last())
	}
	m.start(t)
	m.ready(t, m.health)
}

func (m *member) kill(t *testing.T) {
	t.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-m.done
}

func (m *member) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// with replaces a variable of the member's environment.
func (m *member) with(name, value string) {
	m.env = append(slices.DeleteFunc(slices.Clone(m.env), func(line string) bool { return strings.HasPrefix(line, name+"=") }), name+"="+value)
}

// speech is the output of a member without the lines of requests. It is too long to be kept whole.
type speech struct {
	mu    sync.Mutex
	part  []byte
	lines []string // the last ones
	count map[string]int
}

const keptLines = 60

func (s *speech) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part = append(s.part, p...)
	for {
		line, rest, whole := bytes.Cut(s.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		s.add(string(line))
		s.part = append(s.part[:0], rest...)
	}
}

func (s *speech) add(line string) {
	var record struct{ Msg, Level string }
	if json.Unmarshal([]byte(line), &record) != nil {
		record.Msg = "(not JSON)"
	}
	if record.Msg == "request" || record.Msg == "finished call" {
		return
	}
	if s.count == nil {
		s.count = map[string]int{}
	}
	s.count[record.Msg]++
	s.lines = append(s.lines, line)
	s.lines = s.lines[max(0, len(s.lines)-keptLines):]
}

func (s *speech) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// counts returns the number of lines by message.
func (s *speech) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.count)
}
