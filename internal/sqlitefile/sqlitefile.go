// Package sqlitefile owns what the SQLite databases of one file have in common: how
// they are opened, and the check whether there can be one at a path. It leaves the
// tables to its users.
package sqlitefile

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// Open opens two pools for a file: reads has several connections that cannot write,
// and writes has one, since SQLite allows one writer at a time, and its busy handler
// is less fair than a queue. The parameters are those of the driver, for both. The
// caller closes the pools, also after an error.
func Open(path string, readers int, params ...string) (reads, writes *sql.DB, err error) {
	if writes, err = sql.Open("sqlite", dsn(path, append(params, "_journal_mode=WAL", "_txlock=immediate"))); err != nil {
		return nil, nil, err
	}
	writes.SetMaxOpenConns(1)
	if reads, err = sql.Open("sqlite", dsn(path, append(params, "_query_only=1"))); err != nil {
		return nil, writes, err
	}
	reads.SetMaxOpenConns(readers)
	reads.SetMaxIdleConns(readers)
	return reads, writes, nil
}

func dsn(path string, params []string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // Windows: file:///C:/…
	}
	params = append(params, "_busy_timeout=5000", "_synchronous=NORMAL", "_dqs=0")
	return "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + strings.Join(params, "&")
}

var sqliteHeader = []byte("SQLite format 3\x00")

// Writable returns why there can be no SQLite database at a path, nil if there
// can: the file and its folder must be writable, since SQLite keeps a journal
// beside the file. It creates a file in the folder and removes it.
func Writable(path string) error {
	folder := filepath.Dir(path)
	probe, err := os.CreateTemp(folder, ".gatehouse-check-*")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: make it, writable by the user that runs gatehouse", folder)
	case err != nil:
		return fmt.Errorf("the folder %s cannot be written (%w): let the user that runs gatehouse write it, as SQLite keeps a journal beside the file", folder, textfile.WithoutPath(err))
	}
	_, _ = probe.Close(), os.Remove(probe.Name())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it will be created
	case err != nil:
		return fmt.Errorf("the file %s cannot be opened for writing (%w): correct the path, or its permissions", path, textfile.WithoutPath(err))
	}
	defer f.Close()
	head := make([]byte, len(sqliteHeader))
	if n, err := io.ReadFull(f, head); n > 0 && (err != nil || !bytes.Equal(head, sqliteHeader)) {
		return fmt.Errorf("the file %s is not a SQLite database: correct the path", path)
	}
	return nil
}
