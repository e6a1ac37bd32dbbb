// Package faults owns a TCP proxy that freezes, cuts and counts connections, for tests of network
// failures. It leaves the protocol to client and server.
package faults
