//go:build linux

package main

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
	"time"

	"golang.org/x/sys/unix"
)

// A process is a server process.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // standard error, which is its log
}

// launch starts a command with an environment of these variables alone and its log in a file, as a service has it.
func launch(ctx context.Context, dir, name string, env, command []string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	p.cmd.Dir, p.cmd.Stderr = dir, log
	p.cmd.Env = append([]string{}, env...) // not nil, which means the caller's
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 5 * time.Second
	return p, p.cmd.Start()
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

// logSize returns the bytes that the processes have logged so far.
func logSize(processes []*process) (total int64, err error) {
	for _, p := range processes {
		info, err := os.Stat(p.log)
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}

// resident returns the resident memory of the processes in bytes.
func resident(processes []*process) (total int64, err error) {
	for _, p := range processes {
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
		if err != nil {
			return 0, fmt.Errorf("memory of %s: %w", p.name, err)
		}
		var size, pages int64
		if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
			return 0, fmt.Errorf("memory of %s: %w", p.name, err)
		}
		total += pages * int64(os.Getpagesize())
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

// freeAddress returns an address on loopback that is free and was not returned before. Its
// port is below those that systems use for outgoing connections, which might otherwise take
// it before a process listens.
func freeAddress() (string, error) {
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
