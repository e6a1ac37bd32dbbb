package productdb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// A Product is a row. Its times are whole microseconds.
type Product struct {
	ID, Seller         string
	Title, Description string
	Currency           string // ISO 4217
	Amount             int64  // in the currency's smallest unit
	DAW                int32  // the number of the enum value
	Tempo              int32  // beats a minute, 0 for none
	Created, Updated   time.Time
	Version            int64 // 1, and one more with every change
	File               File  // SetFile sets it
}

// Errors that callers test for.
var (
	// ErrNotFound means that there is no such product.
	ErrNotFound = errors.New("productdb: no such product")
	// ErrChanged means that a concurrent change was committed first.
	ErrChanged = errors.New("productdb: changed meanwhile")
	// ErrRequestReused means that the request id was used for a request with other content.
	ErrRequestReused = errors.New("productdb: request identifier used for something else")
)

// KeepRequests is how long the request id of a creation is kept.
const KeepRequests = 7 * 24 * time.Hour

// A Request makes a creation safe to repeat.
type Request struct {
	ID     string // unique for a seller
	Digest []byte // of the request's content
}

const columns = "p.id, p.seller, p.title, p.description, p.currency, p.amount, p.daw, p.tempo, p.created, p.updated, p.version, " +
	"p.file_key, p.file_name, p.file_type, p.file_size, p.file_sha256, p.file_uploaded"

type scanner interface{ Scan(dest ...any) error }

func scan(row scanner) (Product, error) {
	var p Product
	var created, updated int64
	var file stored
	err := row.Scan(append([]any{&p.ID, &p.Seller, &p.Title, &p.Description, &p.Currency, &p.Amount, &p.DAW, &p.Tempo, &created, &updated, &p.Version}, file.dest()...)...)
	p.File = file.file()
	p.Created, p.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return p, err
}

// Get returns a product, or ErrNotFound.
func (db *DB) Get(ctx context.Context, id string) (p Product, err error) {
	err = db.read(ctx, func(ctx context.Context) (err error) {
		p, err = scan(db.reads.QueryRowContext(ctx, "SELECT "+columns+" FROM products p WHERE p.id = $1", id))
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return p, err
}

// Create adds a product, sets its times and version, and returns it. A repeated request gets the
// result of the first one.
func (db *DB) Create(ctx context.Context, p Product, request *Request) (Product, error) {
	p.Created = db.now().UTC().Truncate(time.Microsecond)
	p.Updated, p.Version, p.File = p.Created, 1, File{}
	err := db.write(ctx, func(tx *sql.Tx) (*change, error) {
		if request != nil {
			if earlier, err := claim(ctx, tx, p, request); err != nil || earlier != nil {
				if earlier != nil {
					p = *earlier
				}
				return nil, err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO products
			(id, seller, title, title_key, description, currency, amount, daw, tempo, created, updated, version)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			p.ID, p.Seller, p.Title, titleKey(p.Title), p.Description, p.Currency, p.Amount, p.DAW, p.Tempo,
			p.Created.UnixMicro(), p.Updated.UnixMicro(), p.Version)
		if err != nil {
			return nil, err
		}
		return &change{Created, p}, insertWords(ctx, tx, p)
	})
	return p, err
}

// claim records the request id for p. If it was recorded before, claim returns the product of that
// request. Of two requests at once, the second waits for the first.
func claim(ctx context.Context, tx *sql.Tx, p Product, request *Request) (*Product, error) {
	encoded, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO product_requests (seller, request_id, digest, product, created)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (seller, request_id) DO NOTHING`,
		p.Seller, request.ID, request.Digest, encoded, p.Created.UnixMicro())
	if err != nil {
		return nil, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return nil, err
	}
	var digest []byte
	err = tx.QueryRowContext(ctx, `SELECT digest, product FROM product_requests WHERE seller = $1 AND request_id = $2`,
		p.Seller, request.ID).Scan(&digest, &encoded)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(digest, request.Digest) {
		return nil, ErrRequestReused
	}
	earlier := new(Product)
	return earlier, json.Unmarshal(encoded, earlier)
}

// Update changes a product. It calls edit, which changes the product's fields, and returns an error
// of edit as it is. If nothing changes, nothing is written. ErrChanged means that a concurrent
// change was committed first.
func (db *DB) Update(ctx context.Context, id string, edit func(p *Product) error) (Product, error) {
	before, err := db.Get(ctx, id)
	if err != nil {
		return Product{}, err
	}
	p := before
	if err := edit(&p); err != nil {
		return Product{}, err
	}
	// Fields that edit must not change.
	p.ID, p.Seller, p.Created, p.Updated, p.Version, p.File = before.ID, before.Seller, before.Created, before.Updated, before.Version, before.File
	if p == before {
		return before, nil
	}
	p.Version++
	p.Updated = db.now().UTC().Truncate(time.Microsecond)
	err = db.write(ctx, func(tx *sql.Tx) (*change, error) {
		result, err := tx.ExecContext(ctx, `UPDATE products SET title = $1, title_key = $2, description = $3, currency = $4,
			amount = $5, daw = $6, tempo = $7, updated = $8, version = $9 WHERE id = $10 AND created = $11 AND version = $12`,
			p.Title, titleKey(p.Title), p.Description, p.Currency, p.Amount, p.DAW, p.Tempo, p.Updated.UnixMicro(), p.Version,
			p.ID, before.Created.UnixMicro(), before.Version)
		if err := changedOne(result, err); err != nil {
			return nil, err
		}
		if p.Title != before.Title {
			if err := deleteWords(ctx, tx, p.ID); err != nil {
				return nil, err
			}
			if err := insertWords(ctx, tx, p); err != nil {
				return nil, err
			}
		}
		return &change{Updated, p}, nil
	})
	return p, err
}

// Delete removes a product if check returns nil for it. ErrChanged means that a concurrent change
// was committed first.
func (db *DB) Delete(ctx context.Context, id string, check func(p Product) error) error {
	p, err := db.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := check(p); err != nil {
		return err
	}
	return db.write(ctx, func(tx *sql.Tx) (*change, error) {
		result, err := tx.ExecContext(ctx, `DELETE FROM products WHERE id = $1 AND created = $2 AND version = $3`, id, p.Created.UnixMicro(), p.Version)
		if err := changedOne(result, err); err != nil {
			return nil, err
		}
		if err := db.release(ctx, tx, p); err != nil {
			return nil, err
		}
		return &change{Deleted, p}, deleteWords(ctx, tx, id)
	})
}

func changedOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = ErrChanged
	}
	return err
}

// write runs do in a transaction, and records the change that it returns.
func (db *DB) write(ctx context.Context, do func(*sql.Tx) (*change, error)) error {
	return db.bounded(ctx, func(ctx context.Context) error { return db.transact(ctx, do) })
}

func (db *DB) transact(ctx context.Context, do func(*sql.Tx) (*change, error)) error {
	tx, err := db.writes.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // fails after a commit
	changed, err := do(tx)
	if err != nil {
		return err
	}
	var sequence int64
	if changed != nil {
		// Last, so that writers hold the lock for a short time.
		if sequence, err = db.log(ctx, tx, *changed); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		if db.remote && passing(err) {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return err
	}
	if changed != nil {
		db.feed.moved(sequence)
	}
	return nil
}

func insertWords(ctx context.Context, tx *sql.Tx, p Product) error {
	words := Words(p.Title)
	if len(words) == 0 {
		return nil
	}
	var rows []string
	args := []any{p.Created.UnixMicro(), p.ID}
	for i, word := range words {
		rows = append(rows, fmt.Sprintf("($%d, $1, $2)", i+3))
		args = append(args, []byte(word))
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO product_words (word, created, id) VALUES "+strings.Join(rows, ", "), args...)
	return err
}

func deleteWords(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM product_words WHERE id = $1`, id)
	return err
}

// fold makes text comparable without regard to letter case and Unicode normalization.
func fold(text string) string { return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text))) }

// TitleKeySize returns the size in bytes of a title's sort key, in which some characters become a
// whole phrase.
func TitleKeySize(title string) int { return len(titleKey(title)) }

// titleKey returns the key by which titles are ordered and compared.
func titleKey(title string) []byte { return []byte(fold(title)) }

// Words returns the different words of a text, by which it can be found.
func Words(text string) []string {
	words := strings.FieldsFunc(fold(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) })
	slices.Sort(words)
	return slices.Compact(words)
}
