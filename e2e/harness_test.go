package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// program is the path of the gatehouse binary under test.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(transferEnv) != "" {
		transferProgram()
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gatehouse-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		defer unpublish()
		program = filepath.Join(dir, "gatehouse")
		build := exec.Command("go", "build", "-C", "..", "-o", program, "./cmd/gatehouse")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building gatehouse:", err)
			return 1
		}
		return m.Run()
	}())
}

// patience limits every wait for a process. It is long because the machine may be busy.
const patience = 2 * time.Minute

// slack is what a busy machine adds to a time that is promised.
const slack = 10 * time.Second

// eventually polls until do succeeds.
func eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	within(t, patience, what, do)
}

// within polls until do succeeds, and fails the test after limit.
func within(t *testing.T, limit time.Duration, what string, do func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		case <-ticker.C:
		}
	}
}

// freeAddress returns a loopback address with a free port that no other test gets.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// A process is a program under test. It ends with its test.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *transcript
	done chan struct{} // closed when it has ended
}

// start runs a command in an empty directory, with env as its environment plus PATH and HOME.
func start(t *testing.T, name string, env []string, command string, args ...string) *process {
	t.Helper()
	return startIn(t, t.TempDir(), name, env, command, args...)
}

// startIn is start in an existing directory.
func startIn(t *testing.T, dir, name string, env []string, command string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(command, args...), out: &transcript{}, done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is read from cmd.ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.out.String())
		}
	})
	return p
}

// gatehouse runs the program under test.
func gatehouse(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return start(t, "gatehouse "+args[0], env, program, args...)
}

// stop sends SIGTERM and returns the exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	return p.wait(t)
}

// wait waits until the process has ended and returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		t.Errorf("%s did not end within %v", p.name, patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// ready waits until url answers 200.
func (p *process) ready(t *testing.T, url string) {
	t.Helper()
	eventually(t, p.name+" at "+url, func() error {
		select {
		case <-p.done:
			t.Fatalf("%s has ended with exit code %d:\n%s", p.name, p.cmd.ProcessState.ExitCode(), p.out.String())
		default:
		}
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
			return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
		}
		return nil
	})
}

// said waits until the process has printed text.
func (p *process) said(t *testing.T, text string) {
	t.Helper()
	eventually(t, p.name+" says "+text, func() error {
		if !strings.Contains(p.out.String(), text) {
			return errors.New("not yet")
		}
		return nil
	})
}

// settles waits until the process has printed nothing for some time: it writes lines in batches.
func (p *process) settles(t *testing.T) {
	t.Helper()
	const quiet = 5 // looks
	before, same := -1, 0
	eventually(t, p.name+" is quiet", func() error {
		if n := len(p.out.String()); n != before {
			before, same = n, 0
		} else {
			same++
		}
		if same < quiet {
			return errors.New("not yet")
		}
		return nil
	})
}

// transcript is the output of a process.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
