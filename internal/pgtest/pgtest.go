//go:build unix

// Package pgtest owns a real PostgreSQL for the tests of one package: it is
// made when the first test wants it and gone when the tests have ended. It
// leaves installing PostgreSQL to tools/setup, and is imported by tests alone.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
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
)

// patience is long because the machine may be busy, and costs nothing when all
// is well.
const patience = 60 * time.Second

var (
	mu     sync.Mutex
	socket string // directory; empty until the server runs
	stop   = func() {}
)

// Run runs the tests, stops the server, and returns the exit code, for
// TestMain: os.Exit(pgtest.Run(m)).
func Run(m *testing.M) int {
	defer func() { stop() }() // the one that is there in the end
	return m.Run()
}

// New returns the URL of a fresh database.
func New(t testing.TB) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if socket == "" {
		if err := start(); err != nil {
			t.Fatalf("PostgreSQL for the tests: %v", err)
		}
	}
	name := "test_" + strings.ToLower(rand.Text())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return address(name)
}

func address(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + database, RawQuery: url.Values{"host": {socket}}.Encode()}
	return u.String()
}

// start makes a cluster and runs it on a socket in a folder of its own: no
// port that another program could have or reach.
func start() error {
	bin, err := binaries()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return err
	}
	attributes, err := unprivileged(dir)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	// A linguistic collation on purpose: what must be compared byte by byte
	// has to say so.
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US")
	initdb.SysProcAttr, initdb.Dir = attributes, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// The shell waits for the end of its input, which comes with the end of
	// this process, however that ends, and takes the server with it.
	server := exec.Command("/bin/sh", "-c", `
		"$1" -D "$2" -k "$3" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 >"$3/log" 2>&1 &
		server=$!
		read -r line
		kill -INT $server
		wait $server
		rm -rf "$3"
	`, "sh", filepath.Join(bin, "postgres"), data, dir)
	server.SysProcAttr, server.Dir = attributes, dir
	input, err := server.StdinPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	stop = func() {
		_ = input.Close()
		_ = server.Wait() // its status is that of rm
		_ = os.RemoveAll(dir)
	}
	socket = dir
	if err := answering(dir); err != nil {
		socket = ""
		stop()
		return err
	}
	return nil
}

func answering(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, address("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not answer: %w\n%s", err, logOf(dir))
		case <-ticker.C:
		}
	}
}

func logOf(dir string) string {
	f, err := os.Open(filepath.Join(dir, "log"))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 8<<10)) // as much as can be had
	return string(text)
}

// binaries is the folder with initdb and postgres, which Debian keeps off the
// path.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well formed
	if len(found) == 0 {
		return "", errors.New("initdb is not installed; run tools/setup, or install PostgreSQL (Debian: apt-get install postgresql)")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// unprivileged lets root run the server, which refuses to run as root, as
// somebody else, who gets dir.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	somebody, err := user.Lookup("postgres")
	if err != nil {
		somebody, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(somebody.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(somebody.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
