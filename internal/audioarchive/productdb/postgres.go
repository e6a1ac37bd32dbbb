package productdb

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/internal/filecheck"
	"github.com/gatehouse-dev/gatehouse/internal/pgcheck"
)

// onlyIndexes has a connection read by indexes, in their order, where there is
// one that fits. Every statement here is written for one, and bounded if it is
// used; what the planner believes of the data at the moment must not decide.
func onlyIndexes(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
	return err
}

// tables are those that the migrations make.
var tables = []string{"products", "product_words", "product_changes", "product_requests", "catalog_state"}

// Probe proves, without changing anything, that Open and the database could do
// their work: for a file that it can be written, for PostgreSQL that the user
// has the rights to the tables or to make them.
func Probe(ctx context.Context, address string) error {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return filecheck.Writable(path)
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
	return pgcheck.Rights(ctx, conn, pgcheck.Tables{Names: tables, VersionTable: migrationsTable, Latest: pgcheck.Latest(migrations, "migrations")})
}
