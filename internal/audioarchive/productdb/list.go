package productdb

import (
	"context"
	"database/sql"
	"errors"
)

// Field is what products can be searched and ordered by.
type Field int

// The fields.
const (
	ByID       Field = iota // a string
	BySeller                // a string
	ByTitle                 // a string; compared without regard to case
	ByCurrency              // a string
	ByAmount                // an int64
	ByDAW                   // an int64
	ByTempo                 // an int64
	ByCreated               // an int64, microseconds since 1970
	ByUpdated               // an int64, microseconds since 1970
)

var column = map[Field]string{
	ByID: "p.id", BySeller: "p.seller", ByTitle: "p.title_key", ByCurrency: "p.currency", ByAmount: "p.amount",
	ByDAW: "p.daw", ByTempo: "p.tempo", ByCreated: "p.created", ByUpdated: "p.updated",
}

// A Condition says which products are meant: it is And, Or, Compare, Prefix
// or Word.
type Condition interface{ isCondition() }

// And means what all of its conditions mean, everything if it has none.
type And []Condition

// Or means what one of its conditions means.
type Or []Condition

// Compare compares a field with a value of the field's type. Operator is one
// of = <> < <= > >=.
type Compare struct {
	Field    Field
	Operator string
	Value    any
}

// Prefix means titles that begin so.
type Prefix string

// Word means titles that have a word, which is one of Words.
type Word string

func (And) isCondition()     {}
func (Or) isCondition()      {}
func (Compare) isCondition() {}
func (Prefix) isCondition()  {}
func (Word) isCondition()    {}

// A Query asks for a page of products.
type Query struct {
	Where And
	// Order is ByCreated, ByUpdated, ByTitle or ByAmount. Products that are
	// equal in it come in the order of their ids.
	Order Field
	// Descending turns the order round.
	Descending bool
	// After is where the page before ended; nil for the first.
	After *Position
	// Limit is how many products to return at most.
	Limit int
}

// A Position is a place in an order. It stays the same place when the product
// that was there goes.
type Position struct {
	Text   string // the title's key, where that is the order
	Number int64  // the number, in other orders
	ID     string
}

// PositionOf is where p stands in an order.
func PositionOf(p Product, order Field) Position {
	at := Position{ID: p.ID}
	switch order {
	case ByTitle:
		at.Text = string(titleKey(p.Title))
	case ByAmount:
		at.Number = p.Amount
	case ByUpdated:
		at.Number = p.Updated.UnixMicro()
	default:
		at.Number = p.Created.UnixMicro()
	}
	return at
}

// A Page is a part of a list.
type Page struct {
	Products []Product
	// Next is where the list goes on; nil after its end. With it there may be
	// fewer products than the limit, or none: see [DB.List].
	Next *Position
}

const (
	// maxWalk bounds the products that are looked at for a page, along an
	// index that has them in order.
	maxWalk = 5000
	// firstWalk is tried before anything else: most filters let enough through.
	firstWalk = 256
	// maxFound bounds the products that are found by an index on a condition,
	// and then sorted. More of them are many enough to be met along the order.
	maxFound = 2000
)

// List returns a page of products. What it costs is bounded, however many
// products there are and whatever the filter asks for: a page ends when it is
// full, and also when maxWalk products have been looked at. A list goes on
// until Next is nil (AIP-158 allows for pages that are short).
func (db *DB) List(ctx context.Context, q Query) (Page, error) {
	w := q.walk()
	if len(w.rest) == 0 { // nothing is looked at in vain
		return db.page(ctx, q, w.sql(nil))
	}
	page, ended, err := db.walked(ctx, q, w, min(firstWalk, db.maxWalk))
	if err != nil || ended {
		return page, err
	}
	group, ok, err := db.rarest(ctx, q)
	if err != nil {
		return Page{}, err
	}
	if ok {
		return db.page(ctx, q, q.found(group))
	}
	page, _, err = db.walked(ctx, q, w, db.maxWalk)
	return page, err
}

// walked looks at n products at most, and reports whether that has filled the
// page or reached the end of the list.
func (db *DB) walked(ctx context.Context, q Query, w walk, n int) (page Page, ended bool, err error) {
	// Where to stop is found first, so that what comes and goes between the two
	// queries is neither passed over nor looked at for ever.
	stop, err := db.position(ctx, q.Order, w.stop(n))
	if err != nil {
		return Page{}, false, err
	}
	if page, err = db.page(ctx, q, w.sql(stop)); err != nil {
		return Page{}, false, err
	}
	if page.Next != nil || stop == nil {
		return page, true, nil
	}
	page.Next = stop
	return page, false, nil
}

// page runs a statement that yields one product more than the page may have.
func (db *DB) page(ctx context.Context, q Query, s *statement) (page Page, err error) {
	rows, err := db.reads.QueryContext(ctx, s.String(), s.args...)
	if err != nil {
		return Page{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return Page{}, err
		}
		page.Products = append(page.Products, p)
	}
	if len(page.Products) > q.Limit {
		page.Products = page.Products[:q.Limit]
		at := PositionOf(page.Products[q.Limit-1], q.Order)
		page.Next = &at
	}
	return page, rows.Err()
}

// position runs a statement that yields one position or none.
func (db *DB) position(ctx context.Context, order Field, s *statement) (*Position, error) {
	at := Position{}
	key := any(&at.Number)
	var text []byte
	if order == ByTitle {
		key = &text
	}
	err := db.reads.QueryRowContext(ctx, s.String(), s.args...).Scan(key, &at.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	at.Text = string(text)
	return &at, err
}

// rarest returns the conditions on one field, or the word, that the fewest
// products fulfil, if those are few enough to be sorted.
func (db *DB) rarest(ctx context.Context, q Query) (group And, ok bool, err error) {
	least := db.maxFound + 1
	for _, g := range q.groups() {
		s := q.count(g, least)
		var n int
		if err := db.reads.QueryRowContext(ctx, s.String(), s.args...).Scan(&n); err != nil {
			return nil, false, err
		}
		if n < least {
			group, least, ok = g, n, true
		}
	}
	return group, ok, nil
}
