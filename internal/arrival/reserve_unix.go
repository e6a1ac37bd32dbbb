//go:build unix

package arrival

import "syscall"

// openFiles returns how many file descriptors the process may have; 0 if it is not known.
// Package os has raised the soft limit to the hard one.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || limit.Cur > 1<<31 {
		return 0
	}
	return limit.Cur
}
