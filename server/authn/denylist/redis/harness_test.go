package redis_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

const issuer = "https://issuer.example"

type key = authn.RevocationKey

// A server is a redis-server of one test, without persistence.
type server struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd
}

func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("the tests need redis-server, which is not installed (Debian: apt-get install redis-server)")
	}
	port, err := redistest.FreePort()
	must(t, err)
	s := &server{t: t, addr: "127.0.0.1:" + port, dir: t.TempDir(), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// oldServer has empty lists that are not new, so that no process waits for others to restore
// denials.
func oldServer(t testing.TB) *server {
	t.Helper()
	s := startServer(t)
	for _, prefix := range []string{redis.DefaultPrefix, "other:"} {
		s.do("MSET", prefix+"epoch", "old@0", prefix+"seq", "0")
	}
	return s
}

func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	var out bytes.Buffer
	s.cmd = exec.Command("redis-server", append([]string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir, "--rdbcompression", "no",
	}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	must(s.t, s.cmd.Start())
	eventually(s.t, "redis-server answers", func() bool {
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, err = io.WriteString(conn, "PING\r\n")
		if err != nil {
			return false
		}
		answer := make([]byte, 1)
		_, err = conn.Read(answer)
		return err == nil // PONG, or that a password is needed
	})
}

// kill ends the server at once; start starts an empty one.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, s.cmd.Process.Signal(sig))
}

func (s *server) url() string { return "redis://" + s.addr }

// do runs a command from another client.
func (s *server) do(args ...string) rueidis.RedisResult {
	s.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true})
	must(s.t, err)
	defer client.Close()
	r := client.Do(context.Background(), client.B().Arbitrary(args...).Build())
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		s.t.Fatalf("%s: %v", args[0], err)
	}
	return r
}

// A clock that only tests move.
type clock struct {
	start  time.Time
	passed atomic.Int64
}

func newClock() *clock                   { return &clock{start: time.Now().Truncate(time.Second)} }
func (c *clock) Now() time.Time          { return c.start.Add(time.Duration(c.passed.Load())) }
func (c *clock) Advance(d time.Duration) { c.passed.Add(int64(d)) }

// open opens a list and runs it.
func open(t testing.TB, cfg redis.Config) *redis.List {
	t.Helper()
	l := openOnly(t, cfg)
	run(t, l)
	return l
}

func openOnly(t testing.TB, cfg redis.Config) *redis.List {
	t.Helper()
	var l *redis.List
	var err error
	eventually(t, "it opens", func() bool { // a busy machine may take longer than Open waits
		l, err = redis.Open(t.Context(), cfg)
		return err == nil || !errors.Is(err, context.DeadlineExceeded)
	})
	must(t, err)
	t.Cleanup(l.Close)
	return l
}

func run(t testing.TB, l *redis.List) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }() // the context ends before cleanup
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "the list is ready", func() bool { return l.Ready() == nil })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long a test waits. It is long, for a busy machine; neverGoodAfter checks what
// must happen within a second.
const patience = 30 * time.Second

// eventually polls. The pause between polls is no assumption about time.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

type verdict string

const (
	good    verdict = "good"
	denied  verdict = "denied"
	unknown verdict = "unknown" // answered with UNAVAILABLE
)

func ask(l *redis.List, k key) verdict {
	switch err := l.Revoked(context.Background(), &k); {
	case err == nil:
		return good
	case errors.Is(err, authn.ErrRevoked):
		return denied
	default:
		return unknown
	}
}

func want(t testing.TB, l *redis.List, k key, v verdict) {
	t.Helper()
	if got := ask(l, k); got != v {
		t.Errorf("%+v is %s, want %s", k, got, v)
	}
}

func sid(value string) key { return key{Issuer: issuer, SessionID: value} }

// A proxy is between a list and its server.
type proxy struct {
	ln     net.Listener
	target string

	mu     sync.Mutex
	thawed *sync.Cond
	frozen bool
	noFeed bool // connections that read the feed, or load, are cut
	conns  map[net.Conn]bool
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{ln: ln, target: target, conns: map[net.Conn]bool{}}
	p.thawed = sync.NewCond(&p.mu)
	go p.serve()
	t.Cleanup(func() { _ = ln.Close(); p.set(false, false); p.cut() })
	return p
}

func (p *proxy) url() string { return "redis://" + p.ln.Addr().String() }

func (p *proxy) set(frozen, noFeed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen, p.noFeed = frozen, noFeed
	p.thawed.Broadcast()
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *proxy) serve() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		upstream, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[upstream] = true, true
		p.mu.Unlock()
		go p.copy(upstream, client, true)
		go p.copy(client, upstream, false)
	}
}

func (p *proxy) copy(to, from net.Conn, questions bool) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.frozen {
			p.thawed.Wait()
		}
		cut := p.noFeed && questions && (bytes.Contains(buf[:n], []byte("XREAD")) || bytes.Contains(buf[:n], []byte("ZSCAN")))
		p.mu.Unlock()
		if err != nil || cut {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// holds returns the keys with a prefix, and a dump of the server.
func (s *server) holds(prefix string) (keys []string, dump string) {
	s.t.Helper()
	keys, err := s.do("KEYS", prefix+"*").AsStrSlice()
	must(s.t, err)
	s.do("SAVE")
	b, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
	must(s.t, err)
	must(s.t, os.Remove(filepath.Join(s.dir, "dump.rdb")))
	return keys, string(b)
}

func only(keys []string, part string) []string {
	var out []string
	for _, k := range keys {
		if strings.Contains(k, part) {
			out = append(out, k)
		}
	}
	return out
}
