package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeTimeout bounds how long an event waits for the reader of a pipe, which is under the
// lock that all events take.
const pipeTimeout = 100 * time.Millisecond

// To returns a handler that writes each event to w as one line of JSON, with one
// call of Write. It is safe for concurrent use.
func To(w io.Writer) Handler {
	var mu sync.Mutex
	return func(_ context.Context, e Event) error {
		line, err := encode(e)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("audit: write event: %w", err)
		}
		return nil
	}
}

func encode(e Event) ([]byte, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("audit: encode event: %w", err)
	}
	return append(line, '\n'), nil
}

// A File is an audit log in a file of JSON lines. It is safe for concurrent use,
// and several processes may write to one file on a local file system.
type File struct {
	path string

	mu   sync.Mutex
	file *os.File
	torn bool // the last line of the file has no end
}

// Open opens the file at path for appending, and creates it if there is none,
// readable by its owner alone (mode 0600).
func Open(path string) (*File, error) {
	f := &File{path: path}
	if err := f.reopen(); err != nil {
		return nil, err
	}
	return f, nil
}

// Record appends the event; it is a [Handler]. If the file was renamed or removed
// since the last event, as log rotation does, Record creates a new one at the same
// path. The event is with the operating system when Record returns: it survives
// the end of the process, not that of the machine.
func (f *File) Record(_ context.Context, e Event) error {
	line, err := encode(e)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.current() {
		if err := f.reopen(); err != nil {
			return err
		}
	}
	if f.torn { // so that this event is a line of its own
		line = append([]byte{'\n'}, line...)
	}
	_ = f.file.SetWriteDeadline(time.Now().Add(pipeTimeout)) // only pipes and the like have one
	if _, err := f.file.Write(line); err != nil {
		_ = f.file.Close()
		f.file = nil // the next event looks at what was written
		return fmt.Errorf("audit: append event: %w", err)
	}
	f.torn = false
	return nil
}

// current reports whether the open file is the one at the path.
func (f *File) current() bool {
	if f.file == nil {
		return false
	}
	opened, err := f.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.path)
	return err == nil && os.SameFile(opened, named)
}

func (f *File) reopen() error {
	// O_NONBLOCK, because opening a pipe without a reader waits for one.
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("audit: open file: %w", err)
	}
	if f.file != nil {
		_ = f.file.Close() // each line was written at once
	}
	f.file, f.torn = file, torn(f.path)
	return nil
}

// torn reports whether the last line of a file has no end, as after a full disk. What
// cannot be read counts as whole.
func torn(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var last [1]byte
	_, err = file.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// Close closes the file. An event that is recorded later opens it again.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
