// Package migrate owns bringing the tables of a database up to date. It leaves the
// migrations to the packages whose tables they are.
package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Up applies the migrations in the folder "migrations" of files that the database
// lacks. The table versions records them; it is not goose's default, so that another
// user of goose can share the database.
func Up(ctx context.Context, dialect database.Dialect, db *sql.DB, files fs.FS, versions string) error {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, db, dir, goose.WithTableName(versions), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	// Of two processes that start with a new database at once, one fails to migrate it,
	// and finds it migrated at the next attempt.
	for attempt := 0; ; attempt++ {
		_, err = p.Up(ctx)
		if err == nil || attempt == 4 || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("update the tables (is it a database of Gatehouse?): %w", err)
	}
	return nil
}
