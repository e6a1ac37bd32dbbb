package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A logging is a gateway with a log of its own.
type logging struct {
	*process
	base, admin string
	requests    int
}

// startLogging starts a gateway that writes its log to a file. No server is behind it.
func startLogging(t *testing.T, to *os.File, args ...string) *logging {
	t.Helper()
	address, admin := freeAddress(t), freeAddress(t)
	l := &logging{base: "http://" + address, admin: "http://" + admin}
	cmd := exec.Command(program, append([]string{"gateway", "--listen-gateway=" + address, "--listen-admin=" + admin, "--grpc-target=dns:///127.0.0.1:1"}, args...)...)
	cmd.Env, cmd.Stderr = []string{}, to
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.process = &process{name: "gateway", cmd: cmd, out: &transcript{}, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the exit code is read from cmd.ProcessState
		close(l.done)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	l.ready(t, l.base+"/healthz")
	return l
}

// send sends n requests, each of which has a line with its number.
func (l *logging) send(ctx context.Context, n int) error {
	for range n {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+"/api/nothing", nil)
		if err != nil {
			return err
		}
		req.Header.Set("X-Request-Id", fmt.Sprint("number-", l.requests))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			return fmt.Errorf("answered %s", resp.Status)
		}
		l.requests++
	}
	return nil
}

// complete returns an error unless a log has one line for each request so far, in order.
func (l *logging) complete(log string) error {
	n := 0
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
			return fmt.Errorf("a line that is not whole: %s", line)
		}
		_, number, found := strings.Cut(line, `"request_id":"number-`)
		if !found {
			continue
		}
		if !strings.HasPrefix(number, fmt.Sprint(n, `"`)) {
			return fmt.Errorf("line %d is %s", n, line)
		}
		n++
	}
	if n != l.requests {
		return fmt.Errorf("the log has %d lines for %d requests", n, l.requests)
	}
	return nil
}

func logFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// TestLogIsComplete: the lines of requests, which wait for others, are written while the process
// runs, when it is told to stop, and before a second signal ends it at once.
func TestLogIsComplete(t *testing.T) {
	t.Parallel()
	file := logFile(t)
	content := func() string {
		log, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(log)
	}
	send := func(l *logging, n int) {
		t.Helper()
		if err := l.send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	l := startLogging(t, file, "--lame-duck=5m")
	send(l, 100)
	eventually(t, "all lines", func() error { return l.complete(content()) })
	send(l, 100)
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stop", func() error {
		if !strings.Contains(content(), `"msg":"stopping"`) {
			return fmt.Errorf("no line says so")
		}
		return nil
	})
	send(l, 100) // in the lame-duck delay
	l.stop(t)
	if err := l.complete(content()); err != nil {
		t.Error(err)
	}
}

// TestLogReaderGone: a process whose log cannot be written any more serves on, says so at the admin
// port, and stops as usual.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := startLogging(t, w)
	_, _ = w.Close(), r.Close()
	if err := l.send(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the admin port says so", func() error { return says(t, l.admin+"/readyz", "broken pipe") })
	if code := l.stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestLogReaderStops: a process whose log is not read waits, and goes on when it is read. It loses
// no line, and it can be stopped meanwhile.
func TestLogReaderStops(t *testing.T) {
	t.Parallel()
	for _, resumes := range []bool{true, false} {
		t.Run(fmt.Sprint("resumes=", resumes), func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			l := startLogging(t, w)
			_ = w.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sent := make(chan error, 1)
			var sending sync.WaitGroup
			defer sending.Wait()
			sending.Go(func() { sent <- l.send(ctx, 2000) })
			eventually(t, "the admin port says so", func() error { return says(t, l.admin+"/readyz", "the reader of the log has taken no lines") })
			select {
			case err := <-sent:
				t.Fatalf("all requests were answered (%v), want that they wait", err)
			default:
			}
			if !resumes {
				started := time.Now()
				_ = l.cmd.Process.Signal(syscall.SIGTERM)
				l.wait(t)
				if took := time.Since(started); took > 15*time.Second {
					t.Errorf("it stopped after %v", took)
				}
				cancel()
				return
			}
			log := make(chan string, 1)
			go func() {
				content, _ := io.ReadAll(bufio.NewReader(r))
				log <- string(content)
			}()
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if code := l.stop(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if err := l.complete(<-log); err != nil {
				t.Error(err)
			}
		})
	}
}

// says returns an error unless url answers with a text.
func says(t *testing.T, url, text string) error {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && !strings.Contains(string(body), text) {
		err = fmt.Errorf("it says %s", body)
	}
	return err
}
