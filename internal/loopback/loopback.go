// Package loopback owns one question: whether a host is this very machine, so
// that plain http to it crosses no wire. It leaves what follows from the
// answer to those who ask.
package loopback

import (
	"net/netip"
	"strings"
)

// Host reports whether host, without a port, names a loopback address:
// "localhost", 127.0.0.0/8 or ::1. Other names are not looked up, since their
// answer could change.
func Host(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}
