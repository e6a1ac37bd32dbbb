package origin

import (
	"errors"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// Invalid converts an error of this package about the address raw into the
// error about the field of a configuration that holds it. It shows raw without
// its password, or not at all where that cannot be told apart. It returns nil
// for nil.
func Invalid(field, raw string, err error) error {
	if err == nil {
		return nil
	}
	value := shown(raw)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return &invalid.Error{Field: field, Value: value, Problem: "is invalid: " + err.Error()}
	}
	problem := e.Problem
	switch first, _, _ := strings.Cut(problem, " "); first {
	case "has", "is":
	case "missing", "not", "neither":
		problem = "is " + problem
	default:
		problem = "is invalid: " + problem
	}
	return &invalid.Error{Field: field, Value: value, Problem: problem, Remedy: e.Remedy}
}

// shown returns an address without its password, and "" if a part that cannot
// be parsed may contain one.
func shown(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err == nil && u.User != nil:
		return u.Redacted()
	case err != nil && strings.Contains(raw, "@"):
		return ""
	}
	return raw
}
