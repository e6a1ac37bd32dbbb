// Package pgcheck owns checks of a PostgreSQL server before it is used: why a
// connection fails, and whether a user has the rights to a set of tables. It
// changes nothing. The tables are left to their packages.
package pgcheck

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
)

// Explain returns why PostgreSQL cannot be used, and a remedy. It does not show
// the driver's texts, which repeat the address with its user, and a malformed one
// with its password. The error is cause.ErrUnavailable if the reason may pass by
// itself.
func Explain(err error) error {
	if Passing(err) {
		return cause.Unavailable(explain(err))
	}
	return explain(err)
}

// passing are the SQLSTATEs of a server that stops, starts, or has too many clients.
var passing = []string{"57P01", "57P02", "57P03", "53300"}

// Passing reports whether an error may pass by itself.
func Passing(err error) bool {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return slices.Contains(passing, refused.Code)
	}
	_, parse := errors.AsType[*pgconn.ParseConfigError](err) // of a file that does not exist, for example
	return !parse && cause.Passing(err)
}

func explain(err error) error {
	if parse, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		if strings.Contains(parse.Error(), "failed to configure TLS") { // pgx has no value for it; its cause names options and files
			return fmt.Errorf("the address of PostgreSQL cannot be used: %w: correct sslmode, sslrootcert, sslcert, sslkey or sslpassword in it", errors.Unwrap(parse))
		}
		return errors.New("not an address of PostgreSQL: give postgres://USER:PASSWORD@HOST:PORT/NAME, with special characters in the password percent-encoded")
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("PostgreSQL refuses (%s, SQLSTATE %s): %s", refused.Message, refused.Code,
			remedy(refused))
	}
	where := "PostgreSQL"
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		where = fmt.Sprintf("PostgreSQL cannot be reached at %s port %d", connect.Config.Host,
			connect.Config.Port)
		if strings.Contains(err.Error(), "server refused TLS connection") { // pgx has no value for it
			return errors.New(where + " with TLS, which the server does not offer: turn TLS on there, or write sslmode=disable if the network between is yours alone")
		}
	}
	if problem, remedy := cause.Of(err); problem != "" {
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			remedy = "name a file with that authority's certificate in the address (sslrootcert=FILE), add it to the system's trusted ones (SSL_CERT_FILE names a file of them), or correct the server's certificate"
		}
		return fmt.Errorf("%s: %s: %s", where, problem, remedy)
	}
	if where != "PostgreSQL" {
		return errors.New(where + ": start it, or correct the address")
	}
	return fmt.Errorf("PostgreSQL cannot be used: %w", err)
}

func remedy(refused *pgconn.PgError) string {
	switch refused.Code {
	case "28P01":
		return "correct user or password"
	case "28000":
		if strings.Contains(refused.Message, "pg_hba.conf") {
			return "allow this machine, user and database in pg_hba.conf; a line with hostssl wants sslmode=require or better"
		}
		if strings.Contains(refused.Message, "client certificate") {
			return "name the files of a client certificate and its key in the address (sslcert=FILE, sslkey=FILE), or do not demand one in pg_hba.conf"
		}
		if strings.Contains(refused.Message, "not permitted to log in") {
			return "give the role the right (ALTER ROLE … LOGIN), or correct the user"
		}
		return "create the role there, or correct the user"
	case "3D000":
		return "create the database, or correct its name"
	case "3F000":
		return "create the schema, or correct search_path"
	case "53300":
		return "it is out of connections: raise max_connections (or the limit of the role or database), or give each client fewer, here with pool_max_conns; the address and the password are good"
	case "53100", "53200":
		return "give the server more disk or memory"
	case "57P01", "57P02", "57P03":
		return "wait until it has started, or see its log"
	case "25006":
		return "give the address of the primary: this server takes no writes"
	case "42501":
		return "give the user that right"
	}
	return "correct user, password, database name or the user's rights"
}

// Tables are the tables of a package and their migrations by goose.
type Tables struct {
	Names        []string
	VersionTable string
	Migrations   fs.FS // with the folder "migrations"
}

// latest returns the version of the newest migration.
func (t Tables) latest() (latest int64) {
	entries, _ := fs.ReadDir(t.Migrations, "migrations") // embedded, so that it exists
	for _, entry := range entries {
		if version, err := goose.NumericComponent(entry.Name()); err == nil {
			latest = max(latest, version)
		}
	}
	return latest
}

// Rights checks that the user of a connection can use the tables, or create them
// if they do not exist.
func Rights(ctx context.Context, conn *pgx.Conn, t Tables) error {
	var standby bool
	var readOnly, user string
	var schema *string
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), current_user, current_schema()").Scan(&standby, &readOnly, &user, &schema); err != nil {
		return Explain(err)
	}
	switch {
	case standby:
		return errors.New("PostgreSQL is a standby, which takes no writes: give the address of the primary")
	case readOnly == "on":
		return fmt.Errorf("PostgreSQL takes no writes of the user %s (default_transaction_read_only is on): turn it off for this user or database", user)
	case schema == nil:
		return errors.New("no schema of the search_path exists: create one, or correct search_path")
	}
	pending, err := t.pending(ctx, conn)
	if err != nil {
		return Explain(err)
	}
	if pending {
		if err := canCreate(ctx, conn); err != nil {
			return fmt.Errorf("the tables are not there yet, or are of an earlier version, and the user %s cannot make them in the schema %s: %w", user, *schema, Explain(err))
		}
	}
	for _, table := range append([]string{t.VersionTable}, t.Names...) {
		missing, err := missingRights(ctx, conn, table, pending, table == t.VersionTable)
		switch {
		case err != nil:
			return Explain(err)
		case missing != "":
			return fmt.Errorf("the user %s lacks %s on the table %s: give that user the right",
				user, missing, table)
		}
	}
	return nil
}

// pending reports whether there are migrations to apply.
func (t Tables) pending(ctx context.Context, conn *pgx.Conn) (bool, error) {
	there, err := exists(ctx, conn, t.VersionTable)
	if err != nil || !there {
		return true, err
	}
	var version int64
	err = conn.QueryRow(ctx,
		"SELECT coalesce(max(version_id), 0) FROM "+pgx.Identifier{t.VersionTable}.Sanitize()).Scan(&version)
	return version < t.latest(), err
}

func exists(ctx context.Context, conn *pgx.Conn, table string) (there bool, err error) {
	err = conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL",
		pgx.Identifier{table}.Sanitize()).Scan(&there)
	return there, err
}

// canCreate creates a table in a transaction that is rolled back.
func canCreate(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	_, err = tx.Exec(ctx,
		"CREATE TABLE "+pgx.Identifier{"gatehouse_check_" + strings.ToLower(rand.Text())}.Sanitize()+" (x INT)")
	return err
}

// missingRights returns the rights that the user lacks on a table; "" for none, or
// if the table does not exist.
func missingRights(ctx context.Context, conn *pgx.Conn, table string, pending,
	versions bool) (string, error) {
	there, err := exists(ctx, conn, table)
	if err != nil || !there {
		return "", err
	}
	needed := []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	if versions {
		needed = []string{"SELECT"}
		if pending {
			needed = append(needed, "INSERT")
		}
	}
	name := pgx.Identifier{table}.Sanitize()
	var missing []string
	for _, right := range needed {
		var has bool
		if err := conn.QueryRow(ctx, "SELECT has_table_privilege($1, $2)", name, right).Scan(&has); err != nil {
			return "", err
		}
		if !has {
			missing = append(missing, right)
		}
	}
	if pending && !versions { // a migration may alter it
		var owner bool
		if err := conn.QueryRow(ctx, "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)", name).Scan(&owner); err != nil {
			return "", err
		}
		if !owner {
			missing = append(missing, "ownership (to bring it up to date)")
		}
	}
	return strings.Join(missing, ", "), nil
}
