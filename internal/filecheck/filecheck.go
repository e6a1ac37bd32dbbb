// Package filecheck owns the check whether a process can have a SQLite database at
// a path. It does not change the database.
package filecheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

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
