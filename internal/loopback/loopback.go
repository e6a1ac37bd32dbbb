// Package loopback owns the test whether a host is this machine, so that plain http to
// it crosses no network. It leaves the consequences to the caller.
package loopback

import (
	"net"
	"net/netip"
	"strings"
)

// Host reports whether host, without a port, names a loopback address:
// "localhost", 127.0.0.0/8 or ::1. It does not look up other names, whose addresses
// could change.
func Host(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}

// Socket returns the path of a Unix socket in an address such as
// "unix:/run/shop.sock" or "unix:///run/shop.sock". It reports whether the address
// is one.
func Socket(address string) (path string, ok bool) {
	path, ok = strings.CutPrefix(address, "unix:")
	path = strings.TrimPrefix(path, "//")
	return path, ok && path != ""
}

// Listens reports whether an address to listen on is reached from this
// machine alone, as a Unix socket is.
func Listens(address string) bool {
	if _, ok := Socket(address); ok {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	return err == nil && Host(host)
}
