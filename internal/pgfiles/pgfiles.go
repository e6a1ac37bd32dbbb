// Package pgfiles owns the certificates and keys that an address of PostgreSQL
// names: it reads them again for each connection. It leaves connecting to pgx,
// which reads them once.
package pgfiles

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// BeforeConnect returns a function for the pools of pgx, and for
// [stdlib.OptionBeforeConnect], that gives a connection to address the TLS of the
// files as they are now. While they cannot be used, such as during a change,
// connections get what was read before.
func BeforeConnect(address string) func(context.Context, *pgx.ConnConfig) error {
	var last atomic.Pointer[pgx.ConnConfig]
	return func(_ context.Context, config *pgx.ConnConfig) error {
		if !strings.Contains(address, "ssl") {
			return nil
		}
		if fresh, err := pgx.ParseConfig(address); err == nil {
			last.Store(fresh)
		}
		if read := last.Load(); read != nil {
			read = read.Copy() // handshakes change it
			config.TLSConfig, config.Fallbacks = read.TLSConfig, read.Fallbacks
		}
		return nil
	}
}
