//go:build !unix

package bff

import "net"

const canPeek = false

func silent(net.Conn) bool { return false }
