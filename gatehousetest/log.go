package gatehousetest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxLog is how much of a system's log is written to a test, in bytes.
const maxLog = 1 << 20

// A log writes whole lines to the output of a test, until the test ends.
type log struct {
	mu     sync.Mutex
	out    io.Writer // nil after the end
	line   []byte    // begun
	left   int       // bytes
	recent []string  // the last lines, for the error of a start
}

func newLog(out io.Writer) *log { return &log{out: out, left: maxLog} }

// Write implements io.Writer. It has no error.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, p...)
	for {
		end := bytes.IndexByte(l.line, '\n') + 1
		if end == 0 {
			return len(p), nil
		}
		l.add(string(l.line[:end]))
		l.line = l.line[end:]
	}
}

// add is called with the lock held.
func (l *log) add(line string) {
	if l.recent = append(l.recent, line); len(l.recent) > 20 {
		l.recent = l.recent[1:]
	}
	if l.out == nil || l.left < 0 {
		return
	}
	if l.left -= len(line); l.left < 0 {
		line = fmt.Sprintf("gatehousetest: further lines are left out after %d bytes\n", maxLog)
	}
	_, _ = io.WriteString(l.out, line) // a test that has lost its output tells so itself
}

// end discards what comes later: a test must not write after its end.
func (l *log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = nil
}

// tail returns the last lines.
func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []byte
	for _, line := range l.recent {
		all = append(all, line...)
	}
	return string(all)
}
