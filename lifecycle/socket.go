package lifecycle

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// defaultSocketMode lets the user and the group of the process connect.
const defaultSocketMode fs.FileMode = 0o660

// maxSocketPath is the longest path of a Unix socket on Linux, in bytes; macOS has
// 103.
const maxSocketPath = 107

// A socketError says why a Unix socket cannot be listened on.
type socketError struct{ problem, remedy string }

func (e *socketError) Error() string { return e.problem }

// listen opens a port on TCP, or a Unix socket.
func listen(address string, mode fs.FileMode) (net.Listener, error) {
	path, ok := loopback.Socket(address)
	if !ok {
		return net.Listen("tcp", address)
	}
	if len(path) > maxSocketPath {
		return nil, &socketError{"has a path of more than 107 bytes, which no socket can have", "give a shorter one"}
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &socketError{"is in a folder that does not exist", "make it, writable by the user that runs the program"}
	case errors.Is(err, fs.ErrPermission):
		return nil, &socketError{"is in a folder that this user cannot write", "let the user that runs the program write there"}
	case err != nil:
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a process that was killed. A process that is
// alive answers at its socket, and a file of another kind is never removed.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil //nolint:nilerr // listening says why
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &socketError{"is a file that is no socket", "remove it, or give another path"}
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &socketError{"is the socket of a process that has ended, and cannot be removed", "remove it"}
	}
	return nil
}
