package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

// A destination is what a log is written to. It can fail, and hold writes back.
type destination struct {
	mu      sync.Mutex
	held    chan struct{} // writes wait until it is closed; nil for not
	err     error         // after half of the bytes
	content bytes.Buffer
	writes  int
}

func (d *destination) Write(p []byte) (int, error) {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		<-held
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.err != nil {
		n, _ := d.content.Write(p[:len(p)/2])
		return n, d.err
	}
	return d.content.Write(p)
}

func (d *destination) set(held chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held, d.err = held, err
}

// read returns what has arrived, and in how many writes.
func (d *destination) read() (content string, writes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.content.String(), d.writes
}

// numbers returns the numbers of the lines "msg=line n=N" of a log, and its other lines.
func numbers(t *testing.T, content string) (ns []int, others []string) {
	t.Helper()
	for line := range strings.Lines(content) {
		var n int
		_, rest, _ := strings.Cut(line, "msg=")
		if _, err := fmt.Sscanf(rest, "line n=%d\n", &n); err != nil || !strings.HasPrefix(line, "time=") {
			others = append(others, line)
			continue
		}
		ns = append(ns, n)
	}
	return ns, others
}

// inOrder reports whether ns is 0, 1, 2 … n-1.
func inOrder(ns []int, n int) bool {
	for i := range ns {
		if ns[i] != i {
			return false
		}
	}
	return len(ns) == n
}

func newBatch(w io.Writer) (*logs.Batch, *slog.Logger) {
	b := logs.NewBatch(w)
	return b, logs.New(b, true, slog.LevelInfo, 1)
}

func TestBatchWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var to destination
		b, logger := newBatch(&to)
		n := 0
		log := func(level slog.Level) {
			logger.Log(t.Context(), level, "line", "n", n)
			n++
		}
		written := func(when string, lines, writes int) {
			t.Helper()
			synctest.Wait()
			content, got := to.read()
			if ns, others := numbers(t, content); !inOrder(ns, lines) || len(others) > 0 || got != writes {
				t.Errorf("%s: %d lines in %d writes, want %d in %d; others %q", when, len(ns), got, lines, writes, others)
			}
		}
		log(slog.LevelInfo)
		written("before Start", 1, 1)
		b.Start()
		log(slog.LevelInfo)
		log(slog.LevelInfo)
		time.Sleep(100*time.Millisecond - 1)
		written("before 100 ms", 1, 1)
		time.Sleep(1)
		written("after 100 ms", 3, 2)
		time.Sleep(time.Hour)
		log(slog.LevelInfo)
		time.Sleep(50 * time.Millisecond)
		log(slog.LevelWarn)
		written("after a warning", 5, 3)
		for writes := 3; writes == 3; _, writes = to.read() {
			log(slog.LevelInfo)
			synctest.Wait()
			if n > 1000 {
				t.Fatal("no write for the size of the lines")
			}
		}
		written("after 32 KB", n, 4)
		log(slog.LevelInfo)
		b.Flush()
		written("after Flush", n, 5)
		log(slog.LevelInfo)
		b.Stop()
		written("after Stop", n, 6)
		log(slog.LevelInfo)
		written("a line after Stop", n, 7)
	})
}

// A reader that has stopped loses no line and takes no memory: loggers wait.
func TestBatchBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := destination{held: make(chan struct{})}
		b, logger := newBatch(&to)
		b.Start()
		const lines = 10_000
		var logged atomic.Int64
		go func() {
			for n := range lines {
				logger.Info("line", "n", n)
				logged.Add(1)
			}
		}()
		time.Sleep(time.Minute)
		if n, most := logged.Load(), int64(4000); n == 0 || n > most {
			t.Errorf("%d lines wait, want at most %d", n, most)
		}
		if err, waiting := b.Err(); err == nil || !waiting {
			t.Errorf("the state is %v, %t, want an error, true", err, waiting)
		}
		close(to.held)
		time.Sleep(time.Second)
		content, _ := to.read()
		if ns, others := numbers(t, content); !inOrder(ns, lines) || len(others) > 0 {
			t.Errorf("%d lines arrived, or in another order; others %q", len(ns), others)
		}
		if err, waiting := b.Err(); err != nil || waiting {
			t.Errorf("the state is %v, %t afterwards", err, waiting)
		}
	})
}

// A reader that has stopped keeps the process from ending for a second.
func TestBatchStopBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := destination{held: make(chan struct{})}
		b, logger := newBatch(&to)
		b.Start()
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() { logger.Warn("line", "n", 0) })
		}
		synctest.Wait()
		started := time.Now()
		b.Stop()
		waiting.Wait()
		logger.Error("line", "n", 0)
		if took := time.Since(started); took > time.Second {
			t.Errorf("stopped after %v", took)
		}
		close(to.held)
		synctest.Wait()
		b.Stop()
		content, _ := to.read()
		if got := strings.Count(content, "\n"); got != 11 {
			t.Errorf("%d lines arrived late, want 11", got)
		}
	})
}

// A full disk stops neither the program nor, when it has space again, the log.
func TestBatchFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := destination{err: errors.New("no space left")}
		b, logger := newBatch(&to)
		b.Start()
		for n := range 100 {
			logger.Info("line", "n", n)
		}
		logger.Warn("line", "n", 100) // does not wait
		if err, waiting := b.Err(); waiting || err == nil || !strings.Contains(err.Error(), "0 are lost: no space left") {
			t.Errorf("the state is %v, %t", err, waiting)
		}
		to.set(nil, nil)
		time.Sleep(time.Second) // no other line is needed
		synctest.Wait()
		content, _ := to.read()
		if ns, others := numbers(t, content); !inOrder(ns, 101) || len(others) > 0 {
			t.Errorf("%d lines arrived, want 101; others %q", len(ns), others)
		}

		to.set(nil, errors.New("no space left"))
		const all = 20_000
		for n := 101; n < all; n++ {
			logger.Info("line", "n", n)
		}
		to.set(nil, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		content, _ = to.read()
		ns, others := numbers(t, content)
		lost := all - len(ns)
		if want := fmt.Sprintf("level=WARN msg=\"log lines lost\" lines=%d err=\"no space left\"\n", lost); lost < all/2 || len(others) != 1 || !strings.HasSuffix(others[0], want) {
			t.Errorf("%d lines arrived, others %q, want one %s", len(ns), others, want)
		}
		if err, waiting := b.Err(); err != nil || waiting {
			t.Errorf("the state is %v, %t afterwards", err, waiting)
		}
	})
}

// All lines of concurrent loggers arrive, whole.
func TestBatchConcurrent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b, logger := newBatch(file)
	b.Start()
	var loggers sync.WaitGroup
	const each = 2000
	for range 8 {
		loggers.Go(func() {
			for n := range each {
				level := slog.LevelInfo
				if n%100 == 99 {
					level = slog.LevelWarn
				}
				logger.Log(t.Context(), level, "line", "n", n)
			}
		})
	}
	loggers.Wait()
	b.Stop()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if ns, others := numbers(t, string(content)); len(ns) != 8*each || len(others) > 0 {
		t.Errorf("%d lines arrived, want %d; others %q", len(ns), 8*each, others)
	}
}

func BenchmarkBatch(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	batch, logger := newBatch(file)
	log := func(b *testing.B, write func(context.Context, *slog.Logger, slog.Level, ...slog.Attr)) {
		b.ReportAllocs()
		for b.Loop() {
			write(b.Context(), logger, slog.LevelInfo, slog.String("request_id", "x"), slog.String("path", "/api/products"), slog.Int("status", 200))
		}
	}
	ofLogger := func(ctx context.Context, logger *slog.Logger, level slog.Level, attrs ...slog.Attr) {
		logger.LogAttrs(ctx, level, "m", attrs...)
	}
	b.Run("single", func(b *testing.B) { log(b, ofLogger) })
	batch.Start()
	b.Run("batched", func(b *testing.B) { log(b, ofLogger) })
	b.Run("request", func(b *testing.B) { log(b, logs.WriteRequest) })
	batch.Stop()
}
