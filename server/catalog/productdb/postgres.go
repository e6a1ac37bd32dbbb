package productdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// onlyIndexes has a connection read by indexes, in their order, where there is
// one that fits. Every statement here is written for one, and bounded if it is
// used; what the planner believes of the data at the moment must not decide.
func onlyIndexes(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
	return err
}

// connectError says why PostgreSQL cannot be reached. The driver's own texts
// repeat the address with its user, and for a malformed one with its password.
func connectError(err error) error {
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return errors.New("not an address of PostgreSQL; give postgres://USER:PASSWORD@HOST:PORT/NAME, with special characters in the password percent-encoded")
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("PostgreSQL refuses the connection (%s, SQLSTATE %s); correct user, password or database name", refused.Message, refused.Code)
	}
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return fmt.Errorf("PostgreSQL cannot be reached at %s port %d; start it, or correct the address", connect.Config.Host, connect.Config.Port)
	}
	return fmt.Errorf("PostgreSQL cannot be reached: %w", err)
}
