//go:build linux

package rows

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
)

// A store is where a bff keeps its sessions.
type store struct {
	url       string // for Gatehouse
	processes []*proc.Process
	versions  []string
}

var inMemory = &store{url: "memory:"}

func memoryStore(context.Context, *Env) (*store, error) { return inMemory, nil }

func sqliteStore(_ context.Context, e *Env) (*store, error) {
	return &store{url: "sqlite:" + filepath.Join(e.Dir, "sessions.db")}, nil
}

// redisStore starts a Redis that writes no snapshots, because a fork would be measured by chance.
func redisStore(ctx context.Context, e *Env) (*store, error) {
	p, address, version, err := e.redis(ctx)
	return &store{url: "redis://" + address, processes: []*proc.Process{p}, versions: []string{version}}, err
}

func (e *Env) redis(ctx context.Context) (p *proc.Process, address, version string, err error) {
	if address, err = proc.FreeAddress(); err != nil {
		return nil, "", "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, "", "", err
	}
	path := e.Find("redis-server")
	if version, err = FirstLine(ctx, path, "--version"); err != nil {
		return nil, "", "", err
	}
	version, _, _ = strings.Cut(version, " sha=")
	p, err = e.Launch(ctx, proc.Config{
		Name: "redis", Command: []string{path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", e.Dir},
	})
	if err != nil {
		return nil, "", "", err
	}
	return p, address, version, p.Listening(ctx, address)
}

// postgresStore starts a PostgreSQL with its defaults, which wait for the disk at each commit.
func postgresStore(ctx context.Context, e *Env) (*store, error) {
	owner, err := postgresUser()
	if err != nil {
		return nil, err
	}
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(e.Dir, "postgres")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	initdb := exec.CommandContext(ctx, e.postgresBinary("initdb"), "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync")
	initdb.Dir = e.Dir
	if owner != nil {
		if err := os.Chown(data, int(owner.Uid), int(owner.Gid)); err != nil {
			return nil, err
		}
		initdb.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	version, err := FirstLine(ctx, e.postgresBinary("postgres"), "--version")
	if err != nil {
		return nil, err
	}
	p, err := e.Launch(ctx, proc.Config{
		Name:       "postgres",
		Command:    []string{e.postgresBinary("postgres"), "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "port=" + port},
		Credential: owner,
		Stop:       syscall.SIGINT, // without waiting for its clients
	})
	if err != nil {
		return nil, err
	}
	if err := p.Listening(ctx, address); err != nil {
		return nil, err
	}
	return &store{
		url: "postgres://postgres@" + address + "/postgres?sslmode=disable", processes: []*proc.Process{p}, versions: []string{version},
	}, nil
}

func missingPostgres(e *Env) string {
	for _, name := range []string{"postgres", "initdb"} {
		if e.postgresBinary(name) == "" {
			return name + " was not found: install postgresql, or name it with -with " + name + "=PATH"
		}
	}
	if _, err := postgresUser(); err != nil {
		return err.Error()
	}
	return ""
}

// postgresBinary returns the path of a program of PostgreSQL, which Debian does not have in PATH.
func (e *Env) postgresBinary(name string) string {
	if path := e.Find(name); path != "" {
		return path
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// postgresUser returns the user that PostgreSQL runs as, if this program runs as root, which it
// refuses.
func postgresUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		owner, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(owner.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(owner.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root: add a user postgres, or run this as another user")
}
