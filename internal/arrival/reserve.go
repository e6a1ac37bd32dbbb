package arrival

import (
	"net"
	"syscall"
)

// The file descriptors that [Reserve] keeps are an eighth of those that the process may
// have, within these bounds.
const (
	leastReserve = 16
	mostReserve  = 512
)

// Reserve returns a listener that closes new connections while the process has few file
// descriptors left. Those remain for ports without a Reserve, such as one for health checks,
// and for connections to stores and other parts, without which no request can be answered.
func Reserve(inner net.Listener) net.Listener {
	if most, kept := Files(); most > 0 {
		return &reserve{inner, most - kept}
	}
	return inner
}

// Files returns how many file descriptors the process may have, and how many of them
// [Reserve] keeps. Both are 0 if the limit is not known.
func Files() (most, kept uint64) {
	most = openFiles()
	if most == 0 {
		return 0, 0
	}
	return most, min(max(most/8, leastReserve), mostReserve)
}

type reserve struct {
	net.Listener
	first uint64 // descriptor that is kept
}

func (l *reserve) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || descriptor(c) < l.first {
			return c, err
		}
		_ = c.Close() // nothing was read yet
	}
}

// descriptor returns the descriptor of a connection; 0 if it is not known. The system
// gives out the lowest free number, so that a high one means that few are left.
func descriptor(c net.Conn) (number uint64) {
	sys, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return 0
	}
	if raw.Control(func(fd uintptr) { number = uint64(fd) }) != nil {
		return 0
	}
	return number
}
