package productdb

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// An Order is the purchase of a product. Title, seller and price are those of the time of the
// purchase, which is whole microseconds.
type Order struct {
	ID, Buyer, Product string
	Title, Seller      string
	Currency           string
	Amount             int64
	Created            time.Time

	File    File // the product's, as it is now
	Deleted bool // the product
}

// ErrNoOrder means that the buyer has no such order.
var ErrNoOrder = errors.New("productdb: no such order")

// orders selects orders with the file of their products, deleted ones included.
const orders = `SELECT o.id, o.buyer, o.product, o.title, o.seller, o.currency, o.amount, o.created, p.id IS NULL,
	COALESCE(p.file_key, k.file_key, ''), COALESCE(p.file_name, k.file_name, ''), COALESCE(p.file_type, k.file_type, ''),
	COALESCE(p.file_size, k.file_size, 0), COALESCE(p.file_sha256, k.file_sha256, ''), COALESCE(p.file_uploaded, k.file_uploaded, 0)
	FROM orders o LEFT JOIN products p ON p.id = o.product LEFT JOIN kept_files k ON k.product = o.product WHERE `

func scanOrder(row scanner) (Order, error) {
	var o Order
	var created int64
	var file stored
	err := row.Scan(append([]any{&o.ID, &o.Buyer, &o.Product, &o.Title, &o.Seller, &o.Currency, &o.Amount, &created, &o.Deleted}, file.dest()...)...)
	o.Created, o.File = time.UnixMicro(created).UTC(), file.file()
	return o, err
}

func (db *DB) order(ctx context.Context, where string, args ...any) (o Order, err error) {
	err = db.read(ctx, func(ctx context.Context) (err error) {
		o, err = scanOrder(db.reads.QueryRowContext(ctx, orders+where, args...))
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoOrder
	}
	return o, err
}

// GetOrder returns an order of a buyer, or ErrNoOrder.
func (db *DB) GetOrder(ctx context.Context, buyer, id string) (Order, error) {
	return db.order(ctx, "o.id = $1 AND o.buyer = $2", id, buyer)
}

// OrderFor returns the order of a buyer for a product, or ErrNoOrder.
func (db *DB) OrderFor(ctx context.Context, buyer, product string) (Order, error) {
	return db.order(ctx, "o.buyer = $1 AND o.product = $2", buyer, product)
}

// CreateOrder adds an order with the given id if check returns nil for the product. A buyer has one
// order for a product at most: if there is one, it is returned, and check is not called. ErrChanged
// means that a concurrent change of the product was committed first.
func (db *DB) CreateOrder(ctx context.Context, id, buyer, product string, check func(p Product) error) (Order, error) {
	if o, err := db.OrderFor(ctx, buyer, product); !errors.Is(err, ErrNoOrder) {
		return o, err
	}
	p, err := db.Get(ctx, product)
	if err != nil {
		return Order{}, err
	}
	if err := check(p); err != nil {
		return Order{}, err
	}
	created := db.now().UTC().Truncate(time.Microsecond)
	err = db.write(ctx, func(tx *sql.Tx) (*change, error) {
		// Changes nothing, but locks the row: the price that is copied is the product's, and a
		// deletion that waits for the lock finds the order.
		result, err := tx.ExecContext(ctx, `UPDATE products SET version = version WHERE id = $1 AND created = $2 AND version = $3`,
			p.ID, p.Created.UnixMicro(), p.Version)
		if err := changedOne(result, err); err != nil {
			return nil, err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO orders (id, buyer, product, title, seller, currency, amount, created)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (buyer, product) DO NOTHING`,
			id, buyer, p.ID, p.Title, p.Seller, p.Currency, p.Amount, created.UnixMicro())
		return nil, err
	})
	if err != nil {
		return Order{}, err
	}
	return db.OrderFor(ctx, buyer, product)
}

// Orders returns at most limit orders of a buyer, newest first: for one product, or all if it is
// "", and those after a position, or the first if it is nil. more reports whether others follow.
func (db *DB) Orders(ctx context.Context, buyer, product string, after *Position, limit int) (found []Order, more bool, err error) {
	s := &statement{}
	s.WriteString(orders)
	conditions := []string{"o.buyer = " + s.bind(buyer)}
	if product != "" {
		conditions = append(conditions, "o.product = "+s.bind(product))
	}
	if after != nil {
		conditions = append(conditions, "(o.created, o.id) < ("+s.bind(after.Number)+", "+s.bind(after.ID)+")")
	}
	s.WriteString(strings.Join(conditions, " AND ") + " ORDER BY o.created DESC, o.id DESC LIMIT " + s.bind(limit+1))
	err = db.read(ctx, func(ctx context.Context) (err error) {
		found = nil
		rows, err := db.reads.QueryContext(ctx, s.String(), s.args...)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // Err has it
		for rows.Next() {
			o, err := scanOrder(rows)
			if err != nil {
				return err
			}
			found = append(found, o)
		}
		return rows.Err()
	})
	if more = len(found) > limit; more {
		found = found[:limit]
	}
	return found, more, err
}
