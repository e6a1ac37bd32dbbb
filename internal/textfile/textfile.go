// Package textfile owns the reading of small text files of operators: secrets,
// .env and configuration. It leaves their meaning to its callers.
package textfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// MaxBytes bounds a file.
const MaxBytes = 1 << 20

// BOM is the byte order mark that editors put before UTF-8. [Read] and [Decode]
// remove it.
const BOM = "\ufeff"

// Read returns the text of a file. Errors contain neither path nor content, but a
// remedy.
func Read(path string) (string, error) {
	raw, err := Bytes(path)
	if err != nil {
		return "", err
	}
	return Decode(raw)
}

// Bytes returns the content of a file, for [Decode]. Its errors are those of
// [Read].
func Bytes(path string) ([]byte, error) { return read(path, os.O_RDONLY) }

// Regular is [Bytes] for a file that is read again and again. It refuses all but
// regular files: opening a pipe waits for the other end, perhaps forever.
func Regular(path string) ([]byte, error) {
	if IsPipe(path) {
		return nil, errPipe
	}
	return read(path, os.O_RDONLY|syscall.O_NONBLOCK) // it may have become a pipe
}

// IsPipe reports whether path can be read only once, like the pipe of a shell's
// <(command).
func IsPipe(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && !info.Mode().IsRegular()
}

var errPipe = errors.New("is a pipe or a device; give a regular file")

func read(path string, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &readError{"no such file; correct the path", fs.ErrNotExist}
	case errors.Is(err, fs.ErrPermission):
		return nil, &readError{"permission denied; let the user that runs gatehouse read the file, and enter its folders", fs.ErrPermission}
	case err != nil:
		return nil, fmt.Errorf("%w; correct the path", WithoutPath(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("is a directory; give the path of a file in it")
	}
	raw, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", WithoutPath(err))
	case len(raw) > MaxBytes:
		return nil, fmt.Errorf("is longer than %d bytes; is it the right file?", MaxBytes)
	}
	return raw, nil
}

// A readError is an error of the system with another text.
type readError struct {
	text string
	err  error
}

func (e *readError) Error() string { return e.text }
func (e *readError) Unwrap() error { return e.err }

// WithoutPath returns an error of package os without the path, for callers that
// name the path themselves.
func WithoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Decode returns the text of a file's bytes without a byte order mark. It refuses
// UTF-16, UTF-32 and NUL bytes. It accepts other bytes that are not UTF-8, which a
// secret may contain.
func Decode(raw []byte) (string, error) {
	switch {
	case bytes.HasPrefix(raw, []byte{0xff, 0xfe}), bytes.HasPrefix(raw, []byte{0xfe, 0xff}):
		return "", errors.New("is UTF-16; save it as UTF-8")
	case bytes.HasPrefix(raw, []byte{0, 0, 0xfe, 0xff}): // the other byte order begins like UTF-16
		return "", errors.New("is UTF-32; save it as UTF-8")
	}
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		if n := bytes.Count(raw, []byte{0}); n >= len(raw)/3 {
			return "", errors.New("looks like UTF-16 (every other byte is NUL); save it as UTF-8")
		}
		return "", fmt.Errorf("has a NUL byte at position %d; write it as text, for example with base64 or hex", i)
	}
	return strings.TrimPrefix(string(raw), BOM), nil
}
