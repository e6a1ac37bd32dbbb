//go:build unix

// Package pgtest owns real PostgreSQL servers for the tests of one package: a shared one, which is
// started by the first test that needs it and stopped after the tests, and servers of a single test
// that may be frozen, killed and restarted. It leaves the installation of PostgreSQL to
// tools/setup.
package pgtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// patience limits every wait. It is long because the machine may be busy.
const patience = 60 * time.Second

var (
	mu     sync.Mutex
	shared *Server // nil until it runs

	// template is a new cluster, made once: copying it takes a tenth of the time.
	template    = sync.OnceValues(initialise)
	templateDir string
)

// Run runs the tests, stops the server, and returns the exit code, for
// TestMain: os.Exit(pgtest.Run(m)).
func Run(m *testing.M) int {
	defer func() {
		if shared != nil {
			shared.remove()
		}
		_ = os.RemoveAll(templateDir) // "" is no directory
	}()
	return m.Run()
}

// New returns the URL of a new database on the shared server.
func New(t testing.TB) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if shared == nil {
		server, err := begin(false, 0)
		if err != nil {
			t.Fatalf("PostgreSQL for the tests: %v", err)
		}
		shared = server
	}
	return shared.New(t)
}

// A Server is a PostgreSQL server.
type Server struct {
	bin, dir   string
	attributes *syscall.SysProcAttr
	input      io.Closer
	process    *exec.Cmd
	durable    bool  // committed data survives Kill
	port       int   // on loopback; 0 for the socket alone
	frozen     []int // process ids, in the order in which they were stopped
}

// Start starts a server for one test, which may break it.
func Start(t testing.TB) *Server { return start(t, 0) }

// StartTCP is Start for a server that listens on loopback too. There it requires a password, and
// uses TLS if it has the files server.crt and server.key.
func StartTCP(t testing.TB) *Server {
	t.Helper()
	free, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(free)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, port)
	s.exec(t, "ALTER ROLE postgres PASSWORD '"+Password+"'")
	s.Allow(t, "host all all 127.0.0.1/32 scram-sha-256")
	return s
}

// Allow sets the line of pg_hba.conf for connections on loopback.
func (s *Server) Allow(t testing.TB, line string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte("local all all trust\n"+line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.reload(t)
}

// reload makes the server read its configuration, and waits until new connections use it.
func (s *Server) reload(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ask := func(query string) (at time.Time) {
		conn := s.connect(ctx, t)
		defer conn.Close(ctx)
		if err := conn.QueryRow(ctx, query).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	began := ask("SELECT clock_timestamp()")
	s.exec(t, "SELECT pg_reload_conf()")
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ask("SELECT pg_conf_load_time()").After(began) {
		<-ticker.C // a query fails the test after patience
	}
}

// Password is the password of the user postgres.
const Password = "a-password-for-tests"

// Addr returns the server's address on loopback.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// UseCertificate makes the server use TLS with a certificate and key in PEM, for new connections.
func (s *Server) UseCertificate(t testing.TB, certificate, key []byte) {
	t.Helper()
	for name, content := range map[string][]byte{"server.crt": certificate, "server.key": key} {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if c := s.attributes; c != nil && c.Credential != nil {
			if err := os.Chown(path, int(c.Credential.Uid), int(c.Credential.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Client certificates, if required, are of the server's own authority.
	s.exec(t, "ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET ssl_ca_file = 'server.crt'")
	s.reload(t)
}

// exec runs statements as the owner of the cluster.
func (s *Server) exec(t testing.TB, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn := s.connect(ctx, t)
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
}

// connect connects as the owner of the cluster.
func (s *Server) connect(ctx context.Context, t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx, s.address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func start(t testing.TB, port int) *Server {
	t.Helper()
	s, err := begin(true, port)
	if err != nil {
		t.Fatalf("PostgreSQL for the test: %v", err)
	}
	t.Cleanup(func() {
		s.Thaw(t)
		s.remove()
	})
	return s
}

// New returns the URL of a new database.
func (s *Server) New(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	s.exec(t, "CREATE DATABASE "+name)
	return s.address(name)
}

// Socket returns the path of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL."+strconv.Itoa(s.number())) }

// number is the port number in the socket's name.
func (s *Server) number() int { return cmp.Or(s.port, 5432) }

func (s *Server) address(database string) string {
	query := url.Values{"host": {s.dir}}
	if s.port != 0 {
		query.Set("port", strconv.Itoa(s.port))
	}
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

// begin makes a cluster and runs it on a socket in a directory of its own, without a port that
// another program could use.
func begin(durable bool, port int) (*Server, error) {
	fresh, err := template()
	if err != nil {
		return nil, err
	}
	s := &Server{durable: durable, port: port}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(fresh, "data"), s.data()).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("copying a cluster: %w\n%s", err, out), os.RemoveAll(s.dir))
	}
	if err := s.run(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// initialise makes a cluster in a directory of its own.
func initialise() (dir string, err error) {
	s := &Server{}
	if err := s.prepare(); err != nil {
		return "", err
	}
	// A linguistic collation, so that code which needs byte order has to ask for it.
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", "postgres", "--auth", "trust", "--no-sync",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US")
	initdb.SysProcAttr, initdb.Dir = s.attributes, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(s.dir))
	}
	templateDir = s.dir
	return s.dir, nil
}

// prepare finds the programs, and makes the directory of a server.
func (s *Server) prepare() (err error) {
	if s.bin, err = binaries(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return err
	}
	s.attributes, err = unprivileged(s.dir)
	return err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run() error {
	// The shell waits for the end of its input, which comes with the end of this process in any
	// case, and then stops the server.
	commit := "off"
	if s.durable {
		commit = "on"
	}
	listen := ""
	if s.port != 0 {
		listen = "127.0.0.1"
	}
	s.process = exec.Command("/bin/sh", "-c", `
		"$1" -D "$2" -k "$3" -c listen_addresses="$5" -c port="$6" -c fsync=off -c synchronous_commit="$4" -c full_page_writes=off -c max_connections=200 >>"$3/log" 2>&1 &
		server=$!
		read -r line
		kill -INT $server
		wait $server
		[ "$line" = stay ] || rm -rf "$3"
	`, "sh", filepath.Join(s.bin, "postgres"), s.data(), s.dir, commit, listen, strconv.Itoa(s.number()))
	s.process.SysProcAttr, s.process.Dir = s.attributes, s.dir
	input, err := s.process.StdinPipe()
	if err != nil {
		return err
	}
	s.input = input
	if err := s.process.Start(); err != nil {
		return err
	}
	return s.answering()
}

func (s *Server) remove() {
	if s.input != nil {
		_ = s.input.Close()
		_ = s.process.Wait() // the status is that of rm
	}
	_ = os.RemoveAll(s.dir)
}

// Kill ends the server without a shutdown. Committed data is in its log.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	postmaster := s.postmaster(t)
	for _, pid := range append([]int{postmaster}, children(t, postmaster)...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_, _ = io.WriteString(s.input.(io.Writer), "stay\n")
	_ = s.process.Wait() // the status is that of the server
	s.input = nil
	s.awaitBackends(t)
}

// awaitBackends waits until no process is attached to the shared memory of a server that was
// killed. A backend that was started while the others were killed ends a little later, and
// PostgreSQL does not start beside it.
func (s *Server) awaitBackends(t testing.TB) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var segment string // the last field of the line with key and id
	for line := range strings.Lines(string(lock)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			segment = fields[1]
		}
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-ticker.C {
		table, err := os.ReadFile("/proc/sysvipc/shm")
		if err != nil {
			t.Fatal(err)
		}
		attached := false
		for line := range strings.Lines(string(table)) {
			if fields := strings.Fields(line); len(fields) > 6 && fields[1] == segment {
				attached = fields[6] != "0"
			}
		}
		if !attached {
			return
		}
	}
	t.Fatalf("processes of a killed PostgreSQL are still there after %v", patience)
}

// Restart starts a server that was killed.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatalf("PostgreSQL for the test: %v", err)
	}
}

// Freeze stops all processes of the server. Connections stay open, the system accepts new ones, and
// nothing answers.
func (s *Server) Freeze(t testing.TB) {
	t.Helper()
	postmaster := s.postmaster(t)
	s.frozen = []int{postmaster}
	_ = syscall.Kill(postmaster, syscall.SIGSTOP) // first, so that it starts no more
	for _, pid := range children(t, postmaster) {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		s.frozen = append(s.frozen, pid)
	}
}

// Thaw lets a frozen server continue.
func (s *Server) Thaw(testing.TB) {
	for _, pid := range s.frozen {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	s.frozen = nil
}

func (s *Server) postmaster(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// children returns the child processes of a process.
func children(t testing.TB, parent int) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(fields[0]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *Server) answering() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.address("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not answer: %w\n%s", err, logOf(s.dir))
		case <-ticker.C:
		}
	}
}

func logOf(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[:min(len(text), 8<<10)])
}

// binaries returns the directory with initdb and postgres, which Debian keeps out of PATH.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is valid
	if len(found) == 0 {
		return "", errors.New("initdb is not installed; run tools/setup, or install PostgreSQL (Debian: apt-get install postgresql)")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// unprivileged returns the credentials of another user for the server, which refuses to run as
// root, and gives that user dir.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
