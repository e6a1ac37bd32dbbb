//go:build unix

// Package redistest owns real Redis servers for the tests of one package: alone, as a cluster and under Sentinel, those that
// all tests of the package share and those that one test may freeze, kill and start again. It leaves installing them to
// tools/setup, and is imported by tests alone.
package redistest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is long because the machine may be busy, and costs nothing when all is well.
const patience = 60 * time.Second

// steady servers wait long before they take one another for dead, as the machine may be busy; nervous ones are for tests of
// what happens then.
const (
	steady  = 30 * time.Second
	nervous = time.Second
)

var (
	mu      sync.Mutex
	shared  = map[string][]*Server{}
	folders []string
)

// Run runs the tests, stops the servers that they share, and returns the exit code, for TestMain: os.Exit(redistest.Run(m)).
func Run(m *testing.M) int {
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, servers := range shared {
			for _, s := range servers {
				s.stop()
			}
		}
		for _, dir := range folders {
			_ = os.RemoveAll(dir)
		}
	}()
	return m.Run()
}

// Single returns the address of a server that the tests of the package share.
func Single(t testing.TB) string {
	t.Helper()
	return share(t, "single", func(dir string) ([]*Server, error) {
		s, err := begin(dir)
		return []*Server{s}, err
	})[0].Addr()
}

// Cluster returns the addresses of a cluster of three masters that the tests of the package share.
func Cluster(t testing.TB) []string {
	t.Helper()
	return addrs(share(t, "cluster", func(dir string) ([]*Server, error) { return beginCluster(dir, 3, 0, steady) }))
}

// Sentinels returns the addresses of sentinels that the tests of the package share; they know their master as "main".
func Sentinels(t testing.TB) []string {
	t.Helper()
	return addrs(share(t, "sentinels", func(dir string) ([]*Server, error) { return beginSentinels(dir, steady) })[2:])
}

func share(t testing.TB, name string, begin func(dir string) ([]*Server, error)) []*Server {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if servers, ok := shared[name]; ok {
		return servers
	}
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		t.Fatal(err)
	}
	folders = append(folders, dir)
	servers, err := begin(dir)
	if err != nil {
		t.Fatalf("Redis for the tests: %v", err)
	}
	shared[name] = servers
	return servers
}

func addrs(servers []*Server) (addrs []string) {
	for _, s := range servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// A Server is a process of Redis.
type Server struct {
	dir, addr string
	args      []string
	process   *exec.Cmd
	input     io.Closer
	pid       int
}

// Start makes a server of the test's own, to be broken, with settings such as "--appendonly", "yes".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := begin(t.TempDir(), args...)
	return own(t, []*Server{s}, err)[0]
}

// StartCluster makes a cluster of the test's own, of masters that have replicas each. The masters come first.
func StartCluster(t testing.TB, masters, replicas int) []*Server {
	t.Helper()
	servers, err := beginCluster(t.TempDir(), masters, replicas, 2*nervous)
	return own(t, servers, err)
}

func own(t testing.TB, servers []*Server, err error) []*Server {
	t.Helper()
	t.Cleanup(func() {
		for _, s := range servers {
			if s != nil {
				s.stop()
			}
		}
	})
	if err != nil {
		t.Fatalf("Redis for the test: %v", err)
	}
	return servers
}

// StartSentinels makes a master with a replica, and three sentinels that know them as "main" and replace a master that does
// not answer for a second.
func StartSentinels(t testing.TB) (master, replica *Server, sentinels []*Server) {
	t.Helper()
	servers, err := beginSentinels(t.TempDir(), nervous)
	servers = own(t, servers, err)
	return servers[0], servers[1], servers[2:]
}

func beginSentinels(dir string, patience time.Duration) (servers []*Server, err error) {
	add := func(name string, args ...string) error {
		sub := filepath.Join(dir, name)
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
		s, err := begin(sub, args...)
		servers = append(servers, s)
		return err
	}
	if err := add("master"); err != nil {
		return servers, err
	}
	host, port, _ := net.SplitHostPort(servers[0].Addr())
	if err := add("replica", "--replicaof", host+" "+port); err != nil {
		return servers, err
	}
	if err := servers[1].until("master_link_status:up", "INFO", "replication"); err != nil {
		return servers, err
	}
	for i := range 3 {
		name := fmt.Sprint("sentinel", i)
		config := filepath.Join(dir, name, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor main %s %s 2\nsentinel down-after-milliseconds main %d\nsentinel failover-timeout main %d\n",
			host, port, patience.Milliseconds(), 4*patience.Milliseconds())
		if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o700), os.WriteFile(config, []byte(text), 0o600)); err != nil {
			return servers, err
		}
		if err := add(name, config, "--sentinel"); err != nil {
			return servers, err
		}
	}
	for _, s := range servers[2:] {
		for _, known := range []string{"num-other-sentinels\n2", "num-slaves\n1"} {
			if err := s.until(known, "SENTINEL", "MASTER", "main"); err != nil {
				return servers, err
			}
		}
	}
	return servers, nil
}

// until asks until the answer has something in it.
func (s *Server) until(want string, args ...string) error {
	for deadline := time.Now().Add(patience); ; tick(20 * time.Millisecond) {
		answer, err := s.ask(args...)
		if err == nil && strings.Contains(answer, want) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s %s never says %q: %w\n%s", args[0], args[1], want, err, answer)
		}
	}
}

func begin(dir string, args ...string) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, addr: "127.0.0.1:" + port, args: args}
	return s, s.run()
}

// FreePort is a port that was free a moment ago, and that no other server of this program is given. It lies below the ports
// that systems hand out for ":0" and for outgoing connections, one of which would otherwise take it now and then before its
// server has started, or while it is down.
func FreePort() (string, error) {
	for range 1000 {
		port := strconv.Itoa(10000 + rand.IntN(5000))
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue
		}
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		return port, ln.Close()
	}
	return "", errors.New("no free port found")
}

var givenPorts sync.Map

func beginCluster(dir string, masters, replicas int, patience time.Duration) (servers []*Server, err error) {
	for i := range masters * (1 + replicas) {
		sub := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(sub, 0o700); err != nil {
			return servers, err
		}
		bus, err := FreePort() // by default it is the port and 10,000, which may be too much
		if err != nil {
			return servers, err
		}
		s, err := begin(sub, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", itoa(patience.Milliseconds()))
		servers = append(servers, s)
		if err != nil {
			return servers, err
		}
	}
	args := append([]string{"--cluster", "create"}, addrs(servers)...)
	out, err := exec.Command("redis-cli", append(args, "--cluster-replicas", strconv.Itoa(replicas), "--cluster-yes")...).CombinedOutput()
	if err != nil {
		return servers, fmt.Errorf("redis-cli --cluster create: %w\n%s", err, out)
	}
	for _, s := range servers {
		for _, known := range []string{"cluster_state:ok", "cluster_known_nodes:" + strconv.Itoa(len(servers))} {
			if err := s.until(known, "CLUSTER", "INFO"); err != nil {
				return servers, err
			}
		}
	}
	return servers, nil
}

func (s *Server) run() error {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("redis-server is not installed; run tools/setup, or install it (Debian: apt-get install redis-server): %w", err)
	}
	_, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{"sh"}, s.args...)
	args = append(args, "--port", port, "--bind", "127.0.0.1", "--dir", s.dir)
	if !strings.Contains(strings.Join(s.args, " "), "--sentinel") {
		args = append(args, "--save", "", "--rdbcompression", "no", "--repl-diskless-sync-delay", "0")
	}
	// The shell waits for the end of its input, which comes with the end of this process, however that ends, and takes the
	// server with it. It tells the server's id first.
	s.process = exec.Command("/bin/sh", append([]string{"-c", `
		redis-server "$@" >>log 2>&1 &
		echo $!
		read -r line
		kill -CONT $! 2>/dev/null
		kill -KILL $! 2>/dev/null
		wait $!
	`}, args...)...)
	s.process.Dir = s.dir
	input, err := s.process.StdinPipe()
	if err != nil {
		return err
	}
	output, err := s.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.process.Start(); err != nil {
		return err
	}
	s.input = input
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return err
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; tick(10 * time.Millisecond) {
		_, err := s.ask("PING")
		if err == nil || strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log")) // as much as can be had
			return fmt.Errorf("redis-server does not answer: %w\n%s", err, text)
		}
	}
}

// Addr is where the server listens, as "host:port".
func (s *Server) Addr() string { return s.addr }

// Dir is the server's folder.
func (s *Server) Dir() string { return s.dir }

// Kill ends the server without warning.
func (s *Server) Kill() { s.stop() }

func (s *Server) stop() {
	if s.input != nil {
		_ = s.input.Close()
		_ = s.process.Wait() // its status is that of the server
		s.input = nil
	}
}

// Replicated waits until a replica has all that was written until now. The
// command WAIT would not do: it speaks of what its own connection has written.
func (s *Server) Replicated(t testing.TB) {
	t.Helper()
	var written int64
	for deadline := time.Now().Add(patience); ; tick(10 * time.Millisecond) {
		if info, err := s.ask("INFO", "replication"); err == nil {
			acknowledged := int64(-1)
			for line := range strings.Lines(info) {
				line = strings.TrimSpace(line)
				if offset, ok := strings.CutPrefix(line, "master_repl_offset:"); ok && written == 0 {
					written, _ = strconv.ParseInt(offset, 10, 64) // what is none leaves us waiting
				}
				if replica, ok := strings.CutPrefix(line, "slave0:"); ok {
					for field := range strings.SplitSeq(replica, ",") {
						if offset, ok := strings.CutPrefix(field, "offset="); ok {
							acknowledged, _ = strconv.ParseInt(offset, 10, 64)
						}
					}
				}
			}
			if written > 0 && acknowledged >= written {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no replica has got what was written")
		}
	}
}

// Restart starts a server that was killed, at the same address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// Freeze stops the server; its connections stay open and nothing answers.
func (s *Server) Freeze(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Server) Thaw(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		t.Fatal(err)
	}
}

// Do runs one command and returns the answer as redis-cli prints it.
func (s *Server) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.ask(args...)
	if err != nil {
		t.Fatalf("%s: %v", args[0], err)
	}
	return out
}

func (s *Server) ask(args ...string) (string, error) {
	host, port, _ := net.SplitHostPort(s.addr)
	var out, problem bytes.Buffer
	c := exec.Command("redis-cli", append([]string{"-e", "-h", host, "-p", port}, args...)...)
	c.Stdout, c.Stderr = &out, &problem
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s%s%w", out.String(), problem.String(), err)
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n"), nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func tick(d time.Duration) { <-time.After(d) }
