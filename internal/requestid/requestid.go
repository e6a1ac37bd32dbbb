// Package requestid owns the identifier of a request: its form, and how a context carries
// it. It leaves reading it from headers or metadata, and sending it on, to the parts, and
// writing it into log lines to package logs.
package requestid

import (
	"context"
	"math/rand/v2"
)

// Header is the HTTP header, and in lower case the gRPC metadata key, that
// carries the identifier.
const Header = "X-Request-Id"

// maxLength bounds what a client can write into a log.
const maxLength = 64

// Valid reports whether a client's identifier is safe to log and to send on: 1 to 64
// letters, digits, and "-_.:", so that it cannot forge a log line or a header.
func Valid(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return 0 < len(id) && len(id) <= maxLength
}

// Keep returns the identifier if it is valid, otherwise a new random one.
func Keep(id string) string {
	if Valid(id) {
		return id
	}
	return random()
}

// random returns a new identifier of 130 bits in base32. It has the form of crypto/rand.Text, at
// half the cost: an identifier tells requests apart and opens nothing, and the generator, ChaCha8
// seeded by the system, cannot be predicted from its output either.
func random() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var id [26]byte
	var bits uint64
	for i := range id {
		if i%12 == 0 {
			bits = rand.Uint64() //nolint:gosec // no secret
		}
		id[i] = alphabet[bits&31]
		bits >>= 5
	}
	return string(id[:])
}

type key struct{}

// A Context is a context with an identifier. It can be a part of a larger value, so that it costs
// no allocation of its own; that value must not be used for another request.
type Context struct {
	context.Context
	// IDs is the identifier, as the only value of a header field; "" for that of the context.
	IDs [1]string
}

// Value returns the identifier to FromContext, and other values of the context.
func (c *Context) Value(of any) any {
	if of == (key{}) && c.IDs[0] != "" {
		return c
	}
	return c.Context.Value(of)
}

// NewContext returns a context with the identifier.
func NewContext(ctx context.Context, id string) context.Context {
	return &Context{ctx, [1]string{id}}
}

// FromContext returns the identifier of the request, "" if there is none.
func FromContext(ctx context.Context) string {
	if c, ok := ctx.Value(key{}).(*Context); ok {
		return c.IDs[0]
	}
	return ""
}

// Values returns the identifier as the values of a header field, which must not be changed; nil if
// there is none.
func Values(ctx context.Context) []string {
	if c, ok := ctx.Value(key{}).(*Context); ok {
		return c.IDs[:]
	}
	return nil
}
