// Package invalid owns the form of errors about the configuration of a part:
// which field, which value, what is wrong, and the remedy. It leaves what is
// valid to the parts, and the names of settings to the program.
package invalid

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// An Error is one thing that is wrong with a configuration.
type Error struct {
	// Field is the path of the field in the part's Config, such as
	// "Sessions.IdleTimeout".
	Field string
	// Value is the field's value as text; "" if it is missing or must not be
	// shown, because it is or may contain a secret.
	Value string
	// Problem completes a sentence that begins with the field: "is negative",
	// "is missing".
	Problem string
	// Remedy says what to do, as an imperative: "give a positive duration".
	Remedy string
}

func (e *Error) Error() string {
	text := e.Field
	if e.Value != "" {
		text += " " + strconv.Quote(e.Value)
	}
	text += " " + e.Problem
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Field returns an error about a field. The value is formatted with %v.
func Field(field string, value any, problem, remedy string) error {
	return &Error{Field: field, Value: fmt.Sprint(value), Problem: problem, Remedy: remedy}
}

// Missing returns the error about a required field that is not set.
func Missing(field, remedy string) error {
	return &Error{Field: field, Problem: "is missing", Remedy: remedy}
}

// NotNegative returns an error if value is negative. The remedy is to give what the field is, as in
// "a number of sessions", or 0 for the default.
func NotNegative[T int | time.Duration](field string, value T, what string, byDefault T) error {
	if value >= 0 {
		return nil
	}
	return Field(field, value, "is negative", fmt.Sprintf("give %s, or 0 for %v", what, byDefault))
}

// In puts prefix and a dot before the field of each Error in err, for a part
// whose Config contains the one that err is about. Other errors are wrapped
// with the prefix. It returns nil for nil.
func In(prefix string, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, In(prefix, e))
		}
		return errors.Join(errs...)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		named := *e
		named.Field = prefix + "." + e.Field
		return &named
	}
	return fmt.Errorf("%s: %w", prefix, err)
}

// All returns every Error in err, in order, and the errors that are none.
func All(err error) (fields []*Error, others []error) {
	if err == nil {
		return nil, nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			f, o := All(e)
			fields, others = append(fields, f...), append(others, o...)
		}
		return fields, others
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return []*Error{e}, nil
	}
	return nil, []error{err}
}

// Renamed returns the errors in err with other names of their fields, for a Config that
// has the values of one that it does not contain.
func Renamed(err error, fields map[string]string) error {
	invalids, errs := All(err)
	for _, e := range invalids {
		errs = append(errs, &Error{Field: fields[e.Field], Value: e.Value, Problem: e.Problem, Remedy: e.Remedy})
	}
	return errors.Join(errs...)
}
