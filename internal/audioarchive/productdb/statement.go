package productdb

import (
	"fmt"
	"slices"
	"strings"
)

// No database chooses the index: SQLite has no statistics, and PostgreSQL's are sometimes wrong. A
// column is written plainly where its index is to be used, and as the expression COALESCE(column,
// column) where it is not.

// statement is a query under construction.
type statement struct {
	strings.Builder
	args []any
}

func (s *statement) bind(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

// The products that have a word, beginning with the word's entries: CROSS JOIN fixes the order for
// SQLite, and PostgreSQL cannot reorder this join.
const (
	wordsFirst = "product_words w CROSS JOIN products p"
	joined     = "p.id = COALESCE(w.id, w.id)"
)

// where writes conditions.
func (s *statement) where(conditions ...string) {
	if len(conditions) > 0 {
		s.WriteString(" WHERE " + strings.Join(conditions, " AND "))
	}
}

// A walk reads along an index in the requested order, and checks the rest of the conditions for
// each product.
type walk struct {
	query   Query
	word    *Word // walks along this word's entries, which are in the order of creation
	served  And   // conditions that the index fulfils
	rest    And   // conditions that each product is checked for
	key, id string
}

// walk chooses the index: that of a word, of a workstation or of a seller if there is one in this
// order, or else that of the order itself.
func (q Query) walk() walk {
	w := walk{query: q, key: column[q.Order], id: "p.id"}
	lead := slices.IndexFunc(q.Where, func(c Condition) bool { return q.Order == ByCreated && isWord(c) })
	if lead >= 0 {
		word := q.Where[lead].(Word)
		w.word, w.key, w.id = &word, "w.created", "w.id"
	} else {
		lead = slices.IndexFunc(q.Where, func(c Condition) bool {
			return is(c, BySeller, "=") && q.Order == ByCreated || is(c, ByDAW, "=")
		})
	}
	for i, c := range q.Where {
		switch {
		case i == lead && w.word != nil:
		case i == lead, w.word == nil && isRange(c, q.Order):
			w.served = append(w.served, c)
		default:
			w.rest = append(w.rest, c)
		}
	}
	return w
}

// from begins a statement with the selected columns, and returns the conditions that the index
// fulfils: up to stop, if given.
func (w walk) from(what string, products bool, stop *Position) (*statement, []string) {
	s := &statement{}
	source := "products p"
	var conditions []string
	switch {
	case w.word != nil && products:
		source = wordsFirst
		conditions = append(conditions, joined)
	case w.word != nil:
		source = "product_words w"
	}
	fmt.Fprintf(s, "SELECT %s FROM %s", what, source)
	if w.word != nil {
		conditions = append(conditions, "w.word = "+s.bind([]byte(*w.word)))
	}
	for _, c := range w.served {
		conditions = append(conditions, s.condition(c, plain))
	}
	beyond, within := ">", "<="
	if w.query.Descending {
		beyond, within = "<", ">="
	}
	if at := w.query.After; at != nil {
		conditions = append(conditions, s.compare(w.query, w.key, w.id, beyond, at))
	}
	if stop != nil {
		conditions = append(conditions, s.compare(w.query, w.key, w.id, within, stop))
	}
	return s, conditions
}

// sql returns the statement for a page.
func (w walk) sql(stop *Position) *statement {
	s, conditions := w.from(columns, true, stop)
	for _, c := range w.rest {
		conditions = append(conditions, s.condition(c, hidden))
	}
	s.where(conditions...)
	s.order(w.query, w.key, w.id)
	return s
}

// stop returns the statement for the position of the nth product from here, regardless of the rest
// of the conditions. It returns no row if the list ends before.
func (w walk) stop(n int) *statement {
	s, conditions := w.from(w.key+", "+w.id, false, nil)
	s.where(conditions...)
	direction := w.query.direction()
	fmt.Fprintf(s, " ORDER BY %s%s, %s%s LIMIT 1 OFFSET %d", w.key, direction, w.id, direction, n-1)
	return s
}

// found returns the statement for a page of the products that an index on some conditions finds,
// sorted.
func (q Query) found(group And) *statement {
	s := &statement{}
	source := "products p"
	var conditions []string
	word, byWord := group[0].(Word)
	if byWord {
		source = wordsFirst
		conditions = append(conditions, joined, "w.word = "+s.bind([]byte(word)))
	}
	fmt.Fprintf(s, "SELECT %s FROM %s", columns, source)
	for _, c := range q.Where {
		switch {
		case !slices.Contains(group, c):
			conditions = append(conditions, s.condition(c, hidden))
		case !byWord:
			conditions = append(conditions, s.condition(c, plain))
		}
	}
	key, id := hide(column[q.Order]), hide("p.id")
	if q.After != nil {
		beyond := ">"
		if q.Descending {
			beyond = "<"
		}
		conditions = append(conditions, s.compare(q, key, id, beyond, q.After))
	}
	s.where(conditions...)
	s.order(q, key, id)
	return s
}

// groups returns the conditions for which an index can find products: those on one field together,
// and each word by itself. There is none within an Or.
func (q Query) groups() []And {
	byField := map[Field]And{}
	var groups []And
	for _, c := range q.Where {
		switch c := c.(type) {
		case Word:
			groups = append(groups, And{c})
		case Prefix:
			byField[ByTitle] = append(byField[ByTitle], c)
		case Compare:
			if c.Operator != "<>" && c.Field != ByDAW { // a workstation is never rare
				byField[c.Field] = append(byField[c.Field], c)
			}
		}
	}
	// Always in the same order, so that prepared statements are reused.
	for field := ByID; field <= ByUpdated; field++ {
		if group := byField[field]; len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// count returns the statement that counts the products of a group, up to most.
func (q Query) count(group And, most int) *statement {
	s := &statement{}
	s.WriteString("SELECT count(*) FROM (SELECT 1 FROM ")
	if word, ok := group[0].(Word); ok {
		s.WriteString("product_words w WHERE w.word = " + s.bind([]byte(word)) + " ORDER BY w.created, w.id")
	} else {
		s.WriteString("products p WHERE " + s.condition(group, plain) + " ORDER BY " + inIndex(group[0]))
	}
	fmt.Fprintf(s, " LIMIT %d) found", most)
	return s
}

// inIndex returns the order of the index of a condition's field. In another order PostgreSQL may
// ignore the index.
func inIndex(c Condition) string {
	compare, ok := c.(Compare)
	switch {
	case !ok: // a Prefix
		return "p.title_key, p.id"
	case compare.Field == BySeller:
		return "p.seller, p.created, p.id"
	}
	return column[compare.Field] + ", p.id"
}

// order ends a statement. The limit is part of the text, so that PostgreSQL plans for it.
func (s *statement) order(q Query, key, id string) {
	direction := q.direction()
	fmt.Fprintf(s, " ORDER BY %s%s, %s%s LIMIT %d", key, direction, id, direction, q.Limit+1)
}

func (q Query) direction() string {
	if q.Descending {
		return " DESC"
	}
	return ""
}

// compare writes the comparison of the order with a position.
func (s *statement) compare(q Query, key, id, operator string, at *Position) string {
	var place any = at.Number
	if q.Order == ByTitle {
		place = []byte(at.Text)
	}
	return fmt.Sprintf("(%s, %s) %s (%s, %s)", key, id, operator, s.bind(place), s.bind(at.ID))
}

// Ways to write a column.
func plain(column string) string { return column }
func hide(column string) string  { return "COALESCE(" + column + ", " + column + ")" }

var hidden = hide

// condition writes one condition.
func (s *statement) condition(c Condition, written func(string) string) string {
	switch c := c.(type) {
	case And:
		return s.joined(c, " AND ", "1 = 1", written)
	case Or:
		return s.joined(c, " OR ", "1 = 0", hidden)
	case Compare:
		value := c.Value
		if c.Field == ByTitle {
			value = titleKey(c.Value.(string))
		}
		return written(column[c.Field]) + " " + c.Operator + " " + s.bind(value)
	case Prefix:
		low := titleKey(string(c))
		key := written(column[ByTitle])
		// No title key has a byte 0xff, as it is UTF-8.
		return fmt.Sprintf("(%s >= %s AND %s < %s)", key, s.bind(low), key, s.bind(append(low, 0xff)))
	case Word:
		// A value and not EXISTS, which PostgreSQL would turn into a join that begins with all
		// products that have the word.
		return "(SELECT 1 FROM product_words e WHERE e.id = p.id AND e.word = " + s.bind([]byte(c)) + ") = 1"
	}
	return "1 = 0" // there are no others
}

func (s *statement) joined(all []Condition, operator, none string, written func(string) string) string {
	if len(all) == 0 {
		return none
	}
	parts := make([]string, len(all))
	for i, c := range all {
		parts[i] = s.condition(c, written)
	}
	return "(" + strings.Join(parts, operator) + ")"
}

func isWord(c Condition) bool { _, ok := c.(Word); return ok }

func is(c Condition, field Field, operator string) bool {
	compare, ok := c.(Compare)
	return ok && compare.Field == field && compare.Operator == operator
}

// isRange reports whether a condition is a range along the order.
func isRange(c Condition, order Field) bool {
	switch c := c.(type) {
	case Prefix:
		return order == ByTitle
	case Compare:
		return c.Field == order && c.Operator != "<>"
	}
	return false
}
