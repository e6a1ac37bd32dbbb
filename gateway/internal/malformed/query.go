package malformed

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
)

// maxFieldDepth limits the names of a dotted parameter, and so the depth to which
// a recursive message is built.
const maxFieldDepth = 32

// None has no values, and is not nil. It must not be changed.
var None = url.Values{}

// Query parses a query and checks that each parameter names a field of the
// request message that it may fill. The runtime ignores unknown parameters and
// those whose field the path or the body fills, so that a typo or a conflict
// would go unnoticed.
//
// The caller must not change the values.
func Query(rt *route.Route, raw string) (url.Values, *refusal.Refusal) {
	if raw == "" {
		return None, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformedQuery(raw)
	}
	var list []*violation
	for _, key := range slices.Sorted(maps.Keys(values)) {
		problem := parameter(rt, key)
		if problem == "" && slices.ContainsFunc(values[key], func(v string) bool { return !utf8.ValidString(v) }) {
			problem = "is not UTF-8"
		}
		if problem != "" {
			list = append(list, &violation{
				Field: strings.ToValidUTF8(shortened(key), "\uFFFD"), Description: problem,
			})
		}
	}
	if list == nil {
		return values, nil
	}
	return nil, refusal.New(http.StatusBadRequest, codes.InvalidArgument,
		fmt.Sprintf("query parameter %q %s", list[0].Field, list[0].Description),
		&errdetails.BadRequest{FieldViolations: list})
}

// malformedQuery explains which parameter of a query cannot be parsed.
func malformedQuery(raw string) *refusal.Refusal {
	for pair := range strings.SplitSeq(raw, "&") {
		if _, err := url.ParseQuery(pair); err == nil {
			continue
		}
		problem := "has a percent sign without two hexadecimal digits after it; a percent sign itself is %25"
		if strings.Contains(pair, ";") {
			problem = "has a semicolon, which does not separate parameters; a semicolon itself is %3B"
		}
		name, _, _ := strings.Cut(pair, "=")
		field := strings.ToValidUTF8(shortened(name), "\uFFFD")
		return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the query is malformed: "+strconv.Quote(field)+" "+problem,
			&errdetails.BadRequest{FieldViolations: []*violation{{Field: field, Description: problem}}})
	}
	return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the query is malformed")
}

// parameter returns what is wrong with a parameter of that name, "" for nothing.
func parameter(rt *route.Route, key string) string {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return "has a name that is not plain UTF-8 text"
	}
	name, mapKey := key, false
	if open := strings.LastIndexByte(key, '['); open >= 0 && strings.HasSuffix(key, "]") {
		name, mapKey = key[:open], true
	}
	if strings.Count(name, ".") >= maxFieldDepth {
		return "is nested too deeply"
	}
	field, dotted, problem := fieldAt(rt.Descriptor.Input(), name)
	switch {
	case problem != "":
		return problem
	case mapKey && !field.IsMap():
		return "has a key in brackets, but is no map"
	case !mapKey && field.IsMap():
		return "is a map: name the key, as in " + string(field.Name()) + "[key]=value"
	}
	if slices.ContainsFunc(rt.Template.Variables, func(variable string) bool { return overlap(dotted, variable) }) {
		return "names a field that the path fills"
	}
	if rt.Body == "*" || rt.Body != "" && overlap(dotted, rt.Body) {
		return "names a field that the body fills"
	}
	return ""
}

// overlap reports whether one field path is the other or lies within it.
func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

// shortened cuts a client's text that an error repeats.
func shortened(s string) string {
	const limit = 64 // bytes
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > limit-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
