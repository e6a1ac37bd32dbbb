package productdb

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/internal/pgcheck"
	"github.com/gatehouse-dev/gatehouse/internal/sqlitefile"
)

// onlyIndexes makes a connection use indexes where there is one that fits. Every statement here is
// written for an index and bounded if it is used. The planner's estimates must not decide.
func onlyIndexes(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
	return err
}

// tables are the tables that the migrations create.
var tables = []string{"products", "product_words", "product_changes", "product_requests", "catalog_state",
	"kept_files", "stale_files", "orders"}

// Probe checks, without changing anything, that Open and the database would work: that a file can
// be written, or that the PostgreSQL user has rights to the tables or may create them.
func Probe(ctx context.Context, address string) error {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return sqlitefile.Writable(path)
	}
	if !strings.HasPrefix(address, "postgres") {
		return nil
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return pgcheck.Explain(err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return pgcheck.Explain(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return pgcheck.Rights(ctx, conn, pgcheck.Tables{Names: tables, VersionTable: migrationsTable, Migrations: migrations})
}
