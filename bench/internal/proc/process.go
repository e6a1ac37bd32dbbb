//go:build linux

package proc

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Config is what a process is started with.
type Config struct {
	// Name is the name of the log file, and that of the process in errors.
	Name string
	// Dir is the working directory, and that of the log file.
	Dir string
	// Command is the program's path with its arguments.
	Command []string
	// Env is the whole environment. Nothing is inherited.
	Env []string
	// Logs are other files that the process logs to.
	Logs []string
	// Credential is another user to run as. It is optional.
	Credential *syscall.Credential
	// Stop is the signal that ends the process; 0 means SIGTERM.
	Stop syscall.Signal
}

// A Process is a server process. Its standard output and error are in a file, as a service has them.
type Process struct {
	Name string
	cmd  *exec.Cmd
	logs []string
}

// Start starts a process, which ends with the context.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	path := filepath.Join(cfg.Dir, cfg.Name+".log")
	log, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{Name: cfg.Name, logs: append([]string{path}, cfg.Logs...)}
	p.cmd = exec.CommandContext(ctx, cfg.Command[0], cfg.Command[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = cfg.Dir, log, log
	p.cmd.Env = append([]string{}, cfg.Env...) // not nil, which means the caller's
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cfg.Credential}
	p.cmd.Cancel = func() error {
		if cfg.Stop == 0 {
			return p.cmd.Process.Signal(syscall.SIGTERM)
		}
		return p.cmd.Process.Signal(cfg.Stop)
	}
	p.cmd.WaitDelay = 10 * time.Second
	return p, p.cmd.Start()
}

// Wait returns when the process has ended, and ends what it has left behind.
func (p *Process) Wait() {
	_ = p.cmd.Wait() // it was told to end
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}

// Ready waits up to 60 s until a GET of url is answered with 200.
func (p *Process) Ready(ctx context.Context, url string) error {
	return p.wait(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", url, resp.Status)
		}
		return nil
	})
}

// Listening waits up to 60 s until an address accepts TCP connections.
func (p *Process) Listening(ctx context.Context, address string) error {
	return p.wait(ctx, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// wait calls try until it returns nil. The error has the end of the log.
func (p *Process) wait(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if s, ok := readStat(p.cmd.Process.Pid); !ok || s.state == 'Z' {
			return fmt.Errorf("%s ended before it was ready; its log ends with: %s", p.Name, p.LogEnd())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its log ends with: %s", p.Name, err, p.LogEnd())
		}
	}
}

// LogEnd returns the last 2000 bytes of the log.
func (p *Process) LogEnd() string {
	log, err := os.ReadFile(p.logs[0])
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

// FreeAddress returns an address on 127.0.0.1 that is free and was not returned before. Its port is
// below those that systems use for outgoing connections, which might otherwise take it before a
// process listens.
func FreeAddress() (string, error) {
	var failed error
	for range 1000 {
		port := 10000 + rand.IntN(5000)
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
		failed = err
	}
	return "", fmt.Errorf("no free port: %w", failed)
}

var givenPorts sync.Map
