//go:build linux

package rows

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
)

// Settings are the same for all rows of a run.
type Settings struct {
	Self        string            // the path of this program
	Gatehouse   string            // the path of the gatehouse binary
	Binaries    map[string]string // paths of other programs by name, instead of those in PATH
	Connections int
	Quiet       bool    // no request log
	Metrics     bool    // of Gatehouse, for Prometheus
	Sample      float64 // share of the traces of Gatehouse that are recorded
	Progress    io.Writer
}

// Say tells the user what takes long.
func (s *Settings) Say(line string) {
	if s.Progress != nil {
		fmt.Fprintln(s.Progress, line)
	}
}

// An Env is where a row starts its servers.
type Env struct {
	Settings
	// Dir is a folder of the row alone. Other users can read it.
	Dir string

	processes []*proc.Process
}

// Wait returns when all processes have ended. The context that they were started with ends them.
func (e *Env) Wait() {
	for _, p := range e.processes {
		p.Wait()
	}
}

// Launch starts a process. The name in cfg is unique in the row; Dir is that of the row.
func (e *Env) Launch(ctx context.Context, cfg proc.Config) (*proc.Process, error) {
	cfg.Dir = e.Dir
	p, err := proc.Start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	e.processes = append(e.processes, p)
	return p, nil
}

// LaunchRole starts this program in a role, and waits until it listens.
func (e *Env) LaunchRole(ctx context.Context, role string, args ...string) (p *proc.Process, address string, err error) {
	if address, err = proc.FreeAddress(); err != nil {
		return nil, "", err
	}
	p, err = e.Launch(ctx, proc.Config{Name: role, Command: append([]string{e.Self, RoleCommand, role, address}, args...)})
	if err != nil {
		return nil, "", err
	}
	return p, address, p.Listening(ctx, address)
}

// RoleCommand is the first argument of this program in a role.
const RoleCommand = "role"

// Find returns the path of a program, or "" if there is none.
func (e *Env) Find(name string) string {
	if path := e.Binaries[name]; path != "" {
		return path
	}
	for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin"} { // not in every PATH
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// Need is a Missing for a row that needs programs. The remedy says how to get them.
func Need(remedy string, names ...string) func(*Env) string {
	return func(e *Env) string {
		for _, name := range names {
			if e.Find(name) == "" {
				return fmt.Sprintf("%s is not in PATH: %s, or name it with -with %s=PATH", name, remedy, name)
			}
		}
		return ""
	}
}

// FirstLine returns the first line that a command prints and that is not blank, for a version.
func FirstLine(ctx context.Context, command ...string) (string, error) {
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(line), nil
}

// ModuleVersion returns a Go module that this program is built with, and its version.
func ModuleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return path
	}
	for _, module := range info.Deps {
		if module.Path == path {
			return path + " " + module.Version
		}
	}
	return path
}

// serve serves until the context ends, in this process. It returns the origin.
func serve(ctx context.Context, host string, handler func(origin string) (http.Handler, error)) (origin string, err error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	origin = "http://" + listener.Addr().String()
	h, err := handler(origin)
	if err != nil {
		_ = listener.Close()
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // ends with the context
	return origin, nil
}

// collector starts a collector of spans in this process, which discards them. It returns the
// address for OTLP over HTTP.
func collector(ctx context.Context) (address string, err error) {
	origin, err := serve(ctx, "127.0.0.1", func(string) (http.Handler, error) {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), nil
	})
	return origin + "/v1/traces", err
}
