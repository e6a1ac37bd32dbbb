//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a server process.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // standard error, which is its log
}

// launch starts a program with its log in a file, as a service has it.
func launch(ctx context.Context, dir, name, program string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Dir, p.cmd.Stderr = dir, log
	p.cmd.Env = []string{} // no settings of the caller's environment
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	return p, p.cmd.Start()
}

// launchSelf starts this program in another role, and returns the address that it listens at.
func launchSelf(ctx context.Context, role string) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	p := &process{name: role, cmd: exec.CommandContext(ctx, self, role)}
	p.cmd.Env = []string{}
	p.cmd.Stderr = os.Stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 5 * time.Second
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, "", err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return p, "", fmt.Errorf("%s does not say where it listens: %w", role, err)
	}
	return p, strings.TrimSpace(address), nil
}

// spent returns the processor time of the processes so far, user and system.
func spent(processes []*process) (total time.Duration, err error) {
	for _, p := range processes {
		// The clock of another process's processor time, see clock_getcpuclockid(3). /proc counts
		// in hundredths of a second.
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &t); err != nil {
			return 0, fmt.Errorf("processor time of %s: %w", p.name, err)
		}
		total += time.Duration(t.Nano())
	}
	return total, nil
}

// ready waits until a server is ready.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s is not ready: %s", p.name, log)
		}
	}
}

// freeAddress returns a free address on loopback.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
