package productdb

import (
	"context"
	"database/sql"
	"errors"
)

// Field is a field that products can be searched and ordered by.
type Field int

// The fields.
const (
	ByID       Field = iota // a string
	BySeller                // a string
	ByTitle                 // a string; compared case-insensitively
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

// A Condition selects products. It is an And, Or, Compare, Prefix or Word.
type Condition interface{ isCondition() }

// And selects products that fulfil all conditions; all products if it is empty.
type And []Condition

// Or selects products that fulfil one of the conditions.
type Or []Condition

// Compare compares a field with a value of the field's type. Operator is one of = <> < <= > >=.
type Compare struct {
	Field    Field
	Operator string
	Value    any
}

// Prefix selects titles with a prefix.
type Prefix string

// Word selects titles with a word, which is one of Words.
type Word string

func (And) isCondition()     {}
func (Or) isCondition()      {}
func (Compare) isCondition() {}
func (Prefix) isCondition()  {}
func (Word) isCondition()    {}

// A Query selects a page of products.
type Query struct {
	Where And
	// Order is ByCreated, ByUpdated, ByTitle or ByAmount. Ties are ordered by id.
	Order Field
	// Descending reverses the order.
	Descending bool
	// After is the end of the page before; nil for the first page.
	After *Position
	// Limit is the maximum number of products.
	Limit int
}

// A Position is a place in an order. It remains valid when the product there is deleted.
type Position struct {
	Text   string // the title's key, if ordered by title
	Number int64  // the number, in other orders
	ID     string
}

// PositionOf returns the position of p in an order.
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
	// Next is where the list continues; nil at the end. A page with Next may have fewer products
	// than the limit, or none: see [DB.List].
	Next *Position
}

const (
	// maxWalk limits the products that are read for a page along an index in the requested order.
	maxWalk = 5000
	// firstWalk is tried first: most filters match enough products.
	firstWalk = 256
	// maxFound limits the products that are found by an index on a condition and then sorted. If
	// there are more, a walk along the order finds them soon enough.
	maxFound = 2000
)

// List returns a page of products. Its cost does not depend on the number of products or the
// filter: a page ends when it is full, or when maxWalk products were read. The list continues until
// Next is nil (AIP-158 allows short pages).
func (db *DB) List(ctx context.Context, q Query) (page Page, err error) {
	err = db.read(ctx, func(ctx context.Context) (err error) {
		page, err = db.list(ctx, q)
		return err
	})
	return page, err
}

func (db *DB) list(ctx context.Context, q Query) (Page, error) {
	w := q.walk()
	if len(w.rest) == 0 { // every product read is part of the page
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

// walked reads at most n products, and reports whether that has filled the page or reached the end
// of the list.
func (db *DB) walked(ctx context.Context, q Query, w walk, n int) (page Page, ended bool, err error) {
	// The end is determined first, so that concurrent changes between the two queries neither skip
	// products nor repeat them.
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

// page runs a statement that returns one product more than the page may have.
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

// position runs a statement that returns at most one position.
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

// rarest returns the conditions on one field, or the word, that match the fewest products, if these
// are few enough to be sorted.
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
