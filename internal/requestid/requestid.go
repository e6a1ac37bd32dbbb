// Package requestid owns the identifier of a request: its form, and how a context carries
// it. It leaves reading it from headers or metadata, and sending it on, to the parts, and
// writing it into log lines to package logs.
package requestid

import (
	"context"
	"crypto/rand"
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
	return rand.Text()
}

type key struct{}

// An identified context has the identifier. context.WithValue would allocate the string as well.
type identified struct {
	context.Context
	id string
}

func (c *identified) Value(of any) any {
	if of == (key{}) {
		return c
	}
	return c.Context.Value(of)
}

// NewContext returns a context with the identifier.
func NewContext(ctx context.Context, id string) context.Context { return &identified{ctx, id} }

// FromContext returns the identifier of the request, "" if there is none.
func FromContext(ctx context.Context) string {
	if c, ok := ctx.Value(key{}).(*identified); ok {
		return c.id
	}
	return ""
}
