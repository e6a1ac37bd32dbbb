//go:build unix

// Package redistest owns real Redis servers for the tests of one package: single ones, a cluster
// and Sentinels, shared by all tests or started for one test that may freeze, kill and restart
// them. It leaves the installation of Redis to tools/setup.
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
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience limits every wait. It is long because the machine may be busy.
const patience = 60 * time.Second

// steady and nervous are how long servers wait for each other before a failover. steady suits a
// busy machine, nervous tests of failovers.
const (
	steady  = 30 * time.Second
	nervous = time.Second
)

var (
	mu      sync.Mutex
	shared  = map[string][]*Server{}
	folders []string
)

// Run runs the tests, stops the shared servers, and returns the exit code, for TestMain:
// os.Exit(redistest.Run(m)).
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

// Single returns the address of the shared server.
func Single(t testing.TB) string {
	t.Helper()
	return share(t, "single", func(dir string) ([]*Server, error) {
		s, err := begin(dir)
		return []*Server{s}, err
	})[0].Addr()
}

// Cluster returns the addresses of the shared cluster of three masters.
func Cluster(t testing.TB) []string {
	t.Helper()
	return addrs(share(t, "cluster", func(dir string) ([]*Server, error) { return beginCluster(dir, 3, 0, steady) }))
}

// Sentinels returns the addresses of shared sentinels; their master is named "main".
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

// A Server is a Redis process.
type Server struct {
	dir, addr string
	args      []string
	process   *exec.Cmd
	input     io.Closer
	pid       int
}

// Start starts a server for one test, with settings such as "--appendonly", "yes".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := begin(t.TempDir(), args...)
	return own(t, []*Server{s}, err)[0]
}

// StartCluster starts a cluster for one test, with the given numbers of masters and of replicas of
// each. The masters come first.
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

// StartSentinels starts a master with a replica, and three sentinels that name it "main" and
// replace a master that does not answer for a second.
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

// until repeats a command until the answer contains a text.
func (s *Server) until(want string, args ...string) error {
	return eventually(func() error {
		answer, err := s.ask(args...)
		if err == nil && !strings.Contains(answer, want) {
			err = fmt.Errorf("%s %s never says %q\n%s", args[0], args[1], want, answer)
		}
		return err
	})
}

// eventually repeats check until it returns nil, and returns its last error after patience.
func eventually(check func() error) error {
	for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		if err := check(); err == nil || time.Now().After(deadline) {
			return err
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

// FreePort returns a port of loopback that is free. No other call gets it while this program runs,
// nor on Linux one in another program: a server that found its port taken would be mistaken for the
// one that has it. The port is below the range that systems use for ":0" and for outgoing
// connections, which might otherwise take it while the server is not running.
func FreePort() (string, error) {
	for range 1000 {
		port := strconv.Itoa(15000 + rand.IntN(15000))
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue
		}
		if runtime.GOOS == "linux" {
			mark, err := net.Listen("unix", "@gatehouse-test-port-"+port) // an abstract name, without a file
			if err != nil {
				continue
			}
			givenPorts.Store(port, mark) // until the program ends
		}
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		return port, ln.Close()
	}
	return "", errors.New("no free port found")
}

var givenPorts sync.Map // by port; the values keep it

func beginCluster(dir string, masters, replicas int, patience time.Duration) (servers []*Server, err error) {
	for i := range masters * (1 + replicas) {
		sub := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(sub, 0o700); err != nil {
			return servers, err
		}
		bus, err := FreePort() // the default is the port plus 10,000, which may be too large
		if err != nil {
			return servers, err
		}
		s, err := begin(sub, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", fmt.Sprint(patience.Milliseconds()))
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
	// The shell waits for the end of its input, which comes with the end of this process in any
	// case, and then stops the server. It prints the server's process id first.
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
	return eventually(func() error {
		_, err := s.ask("PING")
		if err == nil || strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(s.dir, "log")) // as much as there is
		return fmt.Errorf("redis-server does not answer: %w\n%s", err, text)
	})
}

// Addr returns the server's address, as "host:port".
func (s *Server) Addr() string { return s.addr }

// Dir returns the server's directory.
func (s *Server) Dir() string { return s.dir }

// Kill ends the server without a shutdown.
func (s *Server) Kill() { s.stop() }

func (s *Server) stop() {
	if s.input != nil {
		_ = s.input.Close()
		_ = s.process.Wait() // the status is that of the server
		s.input = nil
	}
}

// Replicated waits until a replica has everything that was written. The command WAIT covers only
// the writes of its own connection.
func (s *Server) Replicated(t testing.TB) {
	t.Helper()
	var written int64
	err := eventually(func() error {
		info, err := s.ask("INFO", "replication")
		if err != nil {
			return err
		}
		acknowledged := int64(-1)
		for line := range strings.Lines(info) {
			line = strings.TrimSpace(line)
			if offset, ok := strings.CutPrefix(line, "master_repl_offset:"); ok && written == 0 {
				written, _ = strconv.ParseInt(offset, 10, 64) // 0 keeps waiting
			}
			if _, offset, ok := strings.Cut(line, ",offset="); ok && strings.HasPrefix(line, "slave0:") {
				offset, _, _ = strings.Cut(offset, ",")
				acknowledged, _ = strconv.ParseInt(offset, 10, 64)
			}
		}
		if written == 0 || acknowledged < written {
			return fmt.Errorf("the replica has %d of %d bytes", acknowledged, written)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("no replica has got what was written: %v", err)
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

// Thaw lets a frozen server continue.
func (s *Server) Thaw(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		t.Fatal(err)
	}
}

// Do runs a command and returns the output of redis-cli.
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
