package catalog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.einride.tech/aip/filtering"
	"go.einride.tech/aip/ordering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

const (
	// maxBrackets limits the nesting of a filter: the parser's time doubles with every bracket.
	maxBrackets = 8
	// maxTerms limits the comparisons of a filter.
	maxTerms = 20
)

// orders are the fields that a list can be ordered by. Each has an index.
var orders = map[string]productdb.Field{
	"create_time":        productdb.ByCreated,
	"update_time":        productdb.ByUpdated,
	"title":              productdb.ByTitle,
	"price.amount_minor": productdb.ByAmount,
}

// parseOrder parses order_by.
func parseOrder(text string) (field productdb.Field, descending bool, err error) {
	if strings.TrimSpace(text) == "" {
		return productdb.ByCreated, true, nil
	}
	var order ordering.OrderBy
	if err := order.UnmarshalString(text); err != nil || len(order.Fields) != 1 {
		return 0, false, validate.Field("order_by", `must be one field, with "desc" after it or not, such as "create_time desc"`)
	}
	field, ok := orders[order.Fields[0].Path]
	if !ok {
		return 0, false, validate.Field("order_by", "products cannot be ordered by %q; by create_time, update_time, title and price.amount_minor they can", order.Fields[0].Path)
	}
	return field, order.Fields[0].Desc, nil
}

// parseFilter parses filter, a subset of AIP-160: comparisons of a field with a constant, joined by
// AND and OR. The library parses the syntax. Fields and values are checked here, with error
// messages in the terms of this API.
func parseFilter(text string) (productdb.And, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if strings.Count(text, "(") > maxBrackets {
		return nil, validate.Field("filter", "has more than %d brackets", maxBrackets)
	}
	var parser filtering.Parser
	parser.Init(text)
	parsed, err := parser.Parse()
	if err != nil {
		return nil, validate.Field("filter", `is malformed%s; write comparisons joined by AND and OR, such as daw = DAW_REAPER AND title:drums`, position(err))
	}
	c := compiler{}
	condition, err := c.compile(parsed.GetExpr())
	if err != nil {
		return nil, validate.Field("filter", "%v", err)
	}
	if all, ok := condition.(productdb.And); ok {
		return all, nil
	}
	return productdb.And{condition}, nil
}

// position returns where the parser stopped, if known. The parser wraps the error of each rule in
// that of the enclosing rule, which began earlier.
func position(err error) string {
	text := ""
	for ; err != nil; err = errors.Unwrap(err) {
		if at, ok := err.(interface{ Position() filtering.Position }); ok {
			text = fmt.Sprintf(" near character %d", at.Position().Column)
		}
	}
	return text
}

type compiler struct{ terms int }

// operators maps the operators of AIP-160 to SQL.
var operators = map[string]string{
	filtering.FunctionEquals: "=", filtering.FunctionNotEquals: "<>", filtering.FunctionLessThan: "<",
	filtering.FunctionLessEquals: "<=", filtering.FunctionGreaterThan: ">", filtering.FunctionGreaterEquals: ">=",
}

func (c *compiler) compile(e *expr.Expr) (productdb.Condition, error) {
	call := e.GetCallExpr()
	args := call.GetArgs()
	switch function := call.GetFunction(); {
	case call == nil:
		return nil, fmt.Errorf("%s stands alone; compare a field with a value, as in title:drums", describe(e))
	case function == filtering.FunctionAnd, function == filtering.FunctionFuzzyAnd:
		parts, err := c.compileAll(args)
		all := productdb.And{}
		for _, part := range parts {
			if inner, ok := part.(productdb.And); ok {
				all = append(all, inner...)
			} else {
				all = append(all, part)
			}
		}
		return all, err
	case function == filtering.FunctionOr:
		parts, err := c.compileAll(args)
		return productdb.Or(parts), err
	case function == filtering.FunctionHas || operators[function] != "":
		condition, err := compare(function, args[0], args[1])
		c.terms++
		if words, ok := condition.(productdb.And); ok { // each is a look-up in the database
			c.terms += len(words) - 1
		}
		if c.terms > maxTerms {
			return nil, fmt.Errorf("has more than %d comparisons, each word of a title being one", maxTerms)
		}
		return condition, err
	case function == filtering.FunctionNot:
		return nil, errors.New("NOT is not supported; use != instead")
	default:
		return nil, fmt.Errorf("function %q is not supported", function)
	}
}

func (c *compiler) compileAll(args []*expr.Expr) ([]productdb.Condition, error) {
	var all []productdb.Condition
	for _, arg := range args {
		condition, err := c.compile(arg)
		if err != nil {
			return nil, err
		}
		all = append(all, condition)
	}
	return all, nil
}

// A filterField is a field that a filter can name.
type filterField struct {
	operators string
	column    productdb.Field
	format    string                       // what a value must be, for the error
	value     func(*expr.Expr) (any, bool) // of the column; false if the format is another
}

const (
	equality = "= !="
	ranges   = "= != < <= > >="
)

// filterFields has the fields but title, whose comparisons are not of one column.
var filterFields = map[string]filterField{
	"name":                {equality, productdb.ByID, `a name in quotation marks, such as "products/…"`, named("products/")},
	"seller":              {equality, productdb.BySeller, `a name in quotation marks, such as "sellers/…"`, named("sellers/")},
	"daw":                 {equality, productdb.ByDAW, "one of the values of Daw, such as DAW_REAPER", daw},
	"title":               {operators: "= :"},
	"price.currency_code": {equality, productdb.ByCurrency, "a currency code such as EUR", currency},
	"price.amount_minor":  {ranges, productdb.ByAmount, "a whole number", number},
	"tempo_bpm":           {ranges, productdb.ByTempo, "a whole number", number},
	"create_time":         {ranges, productdb.ByCreated, `a time in quotation marks, such as "2026-11-24T18:00:00Z"`, timestamp},
	"update_time":         {ranges, productdb.ByUpdated, `a time in quotation marks, such as "2026-11-24T18:00:00Z"`, timestamp},
}

func compare(function string, left, right *expr.Expr) (productdb.Condition, error) {
	name := path(left)
	field, ok := filterFields[name]
	switch {
	case name == "":
		return nil, fmt.Errorf("%s is at the left of %q; a field must be there", describe(left), function)
	case !ok:
		known := slices.Sorted(maps.Keys(filterFields))
		return nil, fmt.Errorf("there is no field %q to filter by; there are %s", name, strings.Join(known, ", "))
	case !slices.Contains(strings.Fields(field.operators), function):
		return nil, fmt.Errorf("%s knows no %q; it knows %s", name, function, field.operators)
	case field.value == nil:
		return compareTitle(function, right)
	}
	value, ok := field.value(right)
	if !ok {
		return nil, fmt.Errorf("%s is compared with %s; it must be %s", name, describe(right), field.format)
	}
	return productdb.Compare{Field: field.column, Operator: operators[function], Value: value}, nil
}

func named(collection string) func(*expr.Expr) (any, bool) {
	return func(value *expr.Expr) (any, bool) {
		id, ok := strings.CutPrefix(text(value), collection)
		return id, ok && ValidID(id)
	}
}

func daw(value *expr.Expr) (any, bool) {
	number, ok := audioarchivev1.Daw_value[text(value)]
	return int64(number), ok
}

func currency(value *expr.Expr) (any, bool) {
	code := text(value)
	return code, len(code) == 3 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func number(value *expr.Expr) (any, bool) {
	n, ok := value.GetConstExpr().GetConstantKind().(*expr.Constant_Int64Value)
	if !ok {
		return nil, false
	}
	return n.Int64Value, true
}

func timestamp(value *expr.Expr) (any, bool) {
	at, err := time.Parse(time.RFC3339, text(value))
	return at.UnixMicro(), err == nil
}

func compareTitle(operator string, value *expr.Expr) (productdb.Condition, error) {
	wanted := text(value)
	if operator == filtering.FunctionHas {
		words := productdb.Words(wanted)
		if len(words) == 0 {
			return nil, fmt.Errorf("title has no word like %s; look for words of letters and digits", describe(value))
		}
		all := productdb.And{}
		for _, word := range words {
			all = append(all, productdb.Word(word))
		}
		return all, nil
	}
	if wanted == "" {
		return nil, fmt.Errorf("title is compared with %s; it must be text in quotation marks", describe(value))
	}
	if prefix, ok := strings.CutSuffix(wanted, "*"); ok && prefix != "" {
		return productdb.Prefix(prefix), nil
	}
	return productdb.Compare{Field: productdb.ByTitle, Operator: "=", Value: wanted}, nil
}

// path returns the dotted name that e is, or "".
func path(e *expr.Expr) string {
	if e.GetIdentExpr() != nil {
		return e.GetIdentExpr().GetName()
	}
	if s := e.GetSelectExpr(); s != nil && !s.GetTestOnly() {
		if parent := path(s.GetOperand()); parent != "" {
			return parent + "." + s.GetField()
		}
	}
	return ""
}

// text returns a value as text: a quoted string or one plain word. A value with NUL is none,
// because PostgreSQL has no NUL in text.
func text(e *expr.Expr) string {
	value := e.GetIdentExpr().GetName()
	if constant, ok := e.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue); ok {
		value = constant.StringValue
	}
	if strings.ContainsRune(value, 0) {
		return ""
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}

// describe returns an expression as the client wrote it.
func describe(e *expr.Expr) string {
	switch constant := e.GetConstExpr().GetConstantKind().(type) {
	case *expr.Constant_StringValue:
		return fmt.Sprintf("%q", constant.StringValue)
	case *expr.Constant_Int64Value:
		return strconv.FormatInt(constant.Int64Value, 10)
	case *expr.Constant_DoubleValue:
		return fmt.Sprint(constant.DoubleValue)
	}
	if name := path(e); name != "" {
		return fmt.Sprintf("%q", name)
	}
	return "an expression"
}
