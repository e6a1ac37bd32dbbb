package productdb

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// A File describes the file of a product. The content is stored elsewhere, under Key. Its time is
// whole microseconds.
type File struct {
	Key      string // "" for no file
	Name     string
	Type     string // media type
	Size     int64
	SHA256   string // hexadecimal
	Uploaded time.Time
}

const (
	// UploadWithin is the time in which an upload must be complete. After it the stored content is
	// stale.
	UploadWithin = 24 * time.Hour
	// staleGrace is how long the content of a replaced file remains, for downloads that begin at
	// the same time.
	staleGrace = time.Minute
	// staleAtOnce is the number of files that Stale returns.
	staleAtOnce = 100
)

// ErrUploadExpired means that an upload was not complete within UploadWithin.
var ErrUploadExpired = errors.New("productdb: the upload took too long")

const fileColumns = "file_key, file_name, file_type, file_size, file_sha256, file_uploaded"

// stored is a File as it is in a row.
type stored struct {
	File
	uploaded int64
}

func (s *stored) dest() []any {
	return []any{&s.Key, &s.Name, &s.Type, &s.Size, &s.SHA256, &s.uploaded}
}

func (s *stored) file() File {
	if s.Key == "" {
		return File{}
	}
	s.Uploaded = time.UnixMicro(s.uploaded).UTC()
	return s.File
}

func (f File) args() []any {
	return []any{f.Key, f.Name, f.Type, f.Size, f.SHA256, f.Uploaded.UnixMicro()}
}

// BeginUpload records that content is about to be stored under a key. If SetFile does not follow
// within UploadWithin, Stale returns the key.
func (db *DB) BeginUpload(ctx context.Context, key string) error {
	return db.write(ctx, func(tx *sql.Tx) (*change, error) { return nil, db.stale(ctx, tx, key, UploadWithin) })
}

// AbandonUpload makes the content of an upload stale, unless a product has it.
func (db *DB) AbandonUpload(ctx context.Context, key string) error {
	return db.write(ctx, func(tx *sql.Tx) (*change, error) {
		_, err := tx.ExecContext(ctx, `UPDATE stale_files SET due = $1 WHERE file_key = $2`, db.now().UnixMicro(), key)
		return nil, err
	})
}

func (db *DB) stale(ctx context.Context, tx *sql.Tx, key string, within time.Duration) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO stale_files (file_key, due, doomed) VALUES ($1, $2, 0)`, key, db.now().Add(within).UnixMicro())
	return err
}

// SetFile gives a product a file whose upload BeginUpload has recorded, if check returns nil for
// the product, and sets the file's time. The content of the file before becomes stale. ErrChanged
// means that a concurrent change was committed first.
func (db *DB) SetFile(ctx context.Context, id string, f File, check func(p Product) error) (Product, error) {
	before, err := db.Get(ctx, id)
	if err != nil {
		return Product{}, err
	}
	if err := check(before); err != nil {
		return Product{}, err
	}
	p := before
	p.Updated = db.now().UTC().Truncate(time.Microsecond)
	p.File, p.File.Uploaded = f, p.Updated
	p.Version++
	err = db.write(ctx, func(tx *sql.Tx) (*change, error) {
		result, err := tx.ExecContext(ctx, `DELETE FROM stale_files WHERE file_key = $1 AND doomed = 0`, f.Key)
		if err := changedOne(result, err); err != nil {
			if errors.Is(err, ErrChanged) {
				err = ErrUploadExpired
			}
			return nil, err
		}
		result, err = tx.ExecContext(ctx, `UPDATE products SET file_key = $1, file_name = $2, file_type = $3, file_size = $4,
			file_sha256 = $5, file_uploaded = $6, updated = $7, version = $8 WHERE id = $9 AND created = $10 AND version = $11`,
			append(p.File.args(), p.Updated.UnixMicro(), p.Version, id, before.Created.UnixMicro(), before.Version)...)
		if err := changedOne(result, err); err != nil {
			return nil, err
		}
		if before.File.Key != "" {
			err = db.stale(ctx, tx, before.File.Key, staleGrace)
		}
		return &change{Updated, p}, err
	})
	return p, err
}

// release makes the content of a deleted product stale. If the product has buyers, they keep the
// file. It runs after the deletion: an order for the product is committed before it, or fails.
func (db *DB) release(ctx context.Context, tx *sql.Tx, p Product) error {
	if p.File.Key == "" {
		return nil
	}
	var bought bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM orders WHERE product = $1)`, p.ID).Scan(&bought); err != nil {
		return err
	}
	if !bought {
		return db.stale(ctx, tx, p.File.Key, staleGrace)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO kept_files (product, seller, `+fileColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		append([]any{p.ID, p.Seller}, p.File.args()...)...)
	return err
}

// FileOf returns id, seller and file of a product, which may be deleted if it has buyers. It returns
// ErrNotFound if there is no such product.
func (db *DB) FileOf(ctx context.Context, id string) (p Product, deleted bool, err error) {
	p, err = db.Get(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return p, false, err
	}
	var seller string
	var row stored
	err = db.read(ctx, func(ctx context.Context) error {
		return db.reads.QueryRowContext(ctx, `SELECT seller, `+fileColumns+` FROM kept_files WHERE product = $1`, id).
			Scan(append([]any{&seller}, row.dest()...)...)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return Product{ID: id, Seller: seller, File: row.file()}, true, err
}

// Stale returns keys of content that no product has or can get any more. The caller removes the
// content, and then calls Removed.
func (db *DB) Stale(ctx context.Context) (keys []string, err error) {
	err = db.write(ctx, func(tx *sql.Tx) (*change, error) {
		keys = nil
		rows, err := tx.QueryContext(ctx, `UPDATE stale_files SET doomed = 1 WHERE file_key IN
			(SELECT file_key FROM stale_files WHERE due <= $1 ORDER BY due LIMIT $2) RETURNING file_key`, db.now().UnixMicro(), staleAtOnce)
		if err != nil {
			return nil, err
		}
		defer rows.Close() //nolint:errcheck // Err has it
		for rows.Next() {
			var key string
			if err := rows.Scan(&key); err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		return nil, rows.Err()
	})
	return keys, err
}

// Removed records that the content under a key, which Stale has returned, is removed.
func (db *DB) Removed(ctx context.Context, key string) error {
	return db.write(ctx, func(tx *sql.Tx) (*change, error) {
		_, err := tx.ExecContext(ctx, `DELETE FROM stale_files WHERE file_key = $1 AND doomed = 1`, key)
		return nil, err
	})
}
