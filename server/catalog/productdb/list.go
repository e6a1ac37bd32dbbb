package productdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// List returns a page of products.
func (db *DB) List(ctx context.Context, q Query) (products []Product, err error) {
	text, args := q.sql()
	rows, err := db.reads.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return nil, err
		}
		products = append(products, p)
	}
	return products, rows.Err()
}

// statement is a query under construction.
type statement struct {
	query Query
	args  []any
}

func (s *statement) bind(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

// sql writes the query so that both databases walk along the index that is
// meant for it: neither has to guess, and SQLite has no statistics to guess
// from.
func (q Query) sql() (string, []any) {
	s := &statement{query: q}
	from, key, id := "products p", column[q.Order], "p.id"
	var conditions []string
	rest := q.Where
	for i, c := range q.Where {
		word, ok := c.(Word)
		if !ok {
			continue
		}
		// The first word leads. CROSS JOIN tells SQLite the order, and means
		// nothing in particular to PostgreSQL.
		from = "product_words w CROSS JOIN products p"
		conditions = append(conditions, "p.id = w.id", "w.word = "+s.bind([]byte(word)))
		if q.Order == ByCreated {
			key, id = "w.created", "w.id"
		}
		rest = append(append(And{}, q.Where[:i]...), q.Where[i+1:]...)
		break
	}
	for _, c := range rest {
		conditions = append(conditions, s.condition(c, false))
	}
	direction, beyond := "", ">"
	if q.Descending {
		direction, beyond = " DESC", "<"
	}
	if q.After != nil {
		var at any = q.After.Number
		if q.Order == ByTitle {
			at = []byte(q.After.Text)
		}
		conditions = append(conditions, fmt.Sprintf("(%s, %s) %s (%s, %s)", key, id, beyond, s.bind(at), s.bind(q.After.ID)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "SELECT %s FROM %s", columns, from)
	if len(conditions) > 0 {
		b.WriteString(" WHERE " + strings.Join(conditions, " AND "))
	}
	// The limit is in the text: PostgreSQL plans for it then.
	fmt.Fprintf(&b, " ORDER BY %s%s, %s%s LIMIT %d", key, direction, id, direction, q.Limit)
	return b.String(), s.args
}

// condition writes one condition. Within an OR no index can serve.
func (s *statement) condition(c Condition, within bool) string {
	switch c := c.(type) {
	case And:
		return s.joined(c, " AND ", "1 = 1", within)
	case Or:
		return s.joined(c, " OR ", "1 = 0", true)
	case Compare:
		value := c.Value
		if c.Field == ByTitle {
			value = titleKey(c.Value.(string))
		}
		return s.operand(c, within) + " " + c.Operator + " " + s.bind(value)
	case Prefix:
		low := titleKey(string(c))
		key := column[ByTitle]
		// No title's key has a byte 0xff, since it is UTF-8.
		return fmt.Sprintf("(%s >= %s AND %s < %s)", key, s.bind(low), key, s.bind(append(low, 0xff)))
	case Word:
		return "EXISTS (SELECT 1 FROM product_words e WHERE e.id = p.id AND e.word = " + s.bind([]byte(c)) + ")"
	}
	return "1 = 0" // there are no others
}

func (s *statement) joined(all []Condition, operator, none string, within bool) string {
	if len(all) == 0 {
		return none
	}
	parts := make([]string, len(all))
	for i, c := range all {
		parts[i] = s.condition(c, within)
	}
	return "(" + strings.Join(parts, operator) + ")"
}

// operand is the column, made an expression where an index on it would only
// lead away from the one that yields the order: all cheap products would be
// found and sorted for the first page of the newest.
func (s *statement) operand(c Compare, within bool) string {
	name := column[c.Field]
	switch c.Field {
	case ByAmount, ByCreated, ByUpdated:
		if !within && c.Field != s.query.Order && c.Operator != "<>" {
			return "(" + name + " + 0)"
		}
	}
	return name
}
