package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// etagField holds a resource's entity tag in messages (AIP-154).
const etagField = "etag"

// conditions are what a request's header says that belongs into its message,
// or is judged by the answer's.
type conditions struct {
	route  *route
	etag   string // If-Match, one strong entity tag; "" for none, or any
	none   string // If-None-Match, of a request that only reads
	resume string // Last-Event-ID
}

// conditions reads them; nil if there are none.
func (rt *route) conditions(h http.Header) (*conditions, *refusal) {
	match, none, last := h["If-Match"], h["If-None-Match"], h["Last-Event-Id"]
	if match == nil && none == nil && last == nil {
		return nil, nil
	}
	c := &conditions{route: rt, none: strings.Join(none, ",")}
	if len(none) > 0 && rt.Method != http.MethodGet {
		return nil, unsupported("If-None-Match")
	}
	switch value := strings.TrimSpace(strings.Join(match, ",")); {
	case match == nil, value == "*" && rt.Method == http.MethodGet:
	case !rt.takesETag() && !(rt.tagged && rt.Method == http.MethodGet):
		// A client that asks for protection is not to be served without,
		// "*" included: a method that creates would create.
		return nil, unsupported("If-Match")
	case value == "*": // any state; that there is none, the service says
	case isEntityTag(value):
		c.etag = value
	case strings.HasPrefix(value, "W/") && isEntityTag(value[2:]):
		return nil, mismatch() // RFC 9110 §13.1.1: a weak one matches nothing
	default:
		return nil, refuse(http.StatusBadRequest, codes.InvalidArgument, `If-Match must be one entity tag in quotation marks, or "*"`)
	}
	if rt.resumable && len(last) > 0 {
		if len(last) > 1 || !utf8.ValidString(last[0]) {
			return nil, refuse(http.StatusBadRequest, codes.InvalidArgument, "Last-Event-ID must be one value, in UTF-8")
		}
		c.resume = last[0]
	}
	return c, nil
}

func unsupported(header string) *refusal {
	return refuse(http.StatusBadRequest, codes.InvalidArgument, "this route cannot honour "+header+", so it does nothing")
}

func mismatch() *refusal {
	return refuse(http.StatusPreconditionFailed, codes.FailedPrecondition, "the entity tag in If-Match is not the resource's",
		&errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ETagMismatch})
}

// isEntityTag reports whether a value is one strong entity tag, RFC 9110
// §8.8.3.
func isEntityTag(s string) bool {
	return len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' &&
		!strings.ContainsFunc(s[1:len(s)-1], func(c rune) bool { return c <= ' ' || c == '"' || c > '~' })
}

// takesETag reports whether the request message has a place for an entity tag:
// a field of its own, or one of the resource that is its body.
func (rt *route) takesETag() bool { return rt.etag != nil }

// etagPath is where a route's entity tag goes, nil for nowhere: into the etag
// of the request message, or of the resource that is its body. A method that
// creates (AIP-133) has no resource yet whose state a client could know, though
// the resource to be made has that field: its path names a collection.
func etagPath(method protoreflect.MethodDescriptor, httpMethod string, t template, body string) []protoreflect.Name {
	input := method.Input()
	creates := httpMethod == http.MethodPost && (len(t.variables) == 0 || strings.HasPrefix(string(method.Name()), "Create"))
	if creates {
		return nil
	}
	if stringField(input, etagField) != nil {
		return []protoreflect.Name{etagField}
	}
	field := input.Fields().ByName(protoreflect.Name(body))
	if field == nil || field.Message() == nil || field.IsList() || field.IsMap() || stringField(field.Message(), etagField) == nil {
		return nil
	}
	inBody := slices.ContainsFunc(t.variables, func(v string) bool { return strings.HasPrefix(v, body+".") })
	if httpMethod == http.MethodPost && !inBody {
		return nil
	}
	return []protoreflect.Name{field.Name(), etagField}
}

// fill puts the conditions of a request into its message. An entity tag that
// the message holds already must be the same. A place to resume at wins over
// the message's own: an EventSource that connects again repeats its address,
// and says in the header how far it has come.
func (c *conditions) fill(request any) error {
	if c == nil {
		return nil
	}
	rt, m := c.route, request.(proto.Message).ProtoReflect()
	if c.resume != "" {
		m.Set(m.Descriptor().Fields().ByName(resumeField), protoreflect.ValueOfString(c.resume))
	}
	if c.etag == "" || !rt.takesETag() {
		return nil
	}
	for _, name := range rt.etag[:len(rt.etag)-1] {
		m = m.Mutable(m.Descriptor().Fields().ByName(name)).Message()
	}
	field := m.Descriptor().Fields().ByName(etagField)
	if present := m.Get(field).String(); present != "" && present != c.etag {
		st := status.New(codes.InvalidArgument, "If-Match and the request's etag are not the same")
		if detailed, err := st.WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: etagField, Description: "is not what If-Match says"},
		}}); err == nil {
			st = detailed
		}
		return st.Err()
	}
	m.Set(field, protoreflect.ValueOfString(c.etag))
	return nil
}

// failedCondition reports whether a refusal is about the entity tag of a
// conditional request. Without If-Match it is a conflict like any other.
func (x *exchange) failedCondition(st *status.Status) bool {
	if x.conditions == nil || x.conditions.etag == "" || st.Code() != codes.Aborted && st.Code() != codes.FailedPrecondition {
		return false
	}
	return slices.ContainsFunc(st.Details(), func(detail any) bool {
		info, ok := detail.(*errdetails.ErrorInfo)
		return ok && info.GetReason() == reason.ETagMismatch
	})
}

// tag gives the answer the entity tag of its message, and answers a conditional
// GET that needs no more than that.
func (g *Gateway) tag(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	x, ok := w.(*exchange)
	if !ok || x.route == nil || !x.route.tagged || m == nil {
		return nil
	}
	r := m.ProtoReflect()
	tag := r.Get(r.Descriptor().Fields().ByName(etagField)).String()
	if !isEntityTag(strings.TrimPrefix(tag, "W/")) {
		return nil // nothing that HTTP could compare
	}
	h := x.Header()
	if _, said := h["Etag"]; !said {
		h["Etag"] = []string{tag}
	}
	if c := x.conditions; c != nil && x.route.Method == http.MethodGet {
		switch {
		case c.etag != "" && c.etag != tag:
			x.refuse(mismatch())
			x.complete = true
		case c.none != "" && noneMatches(c.none, tag):
			h.Del("Content-Type")
			x.WriteHeader(http.StatusNotModified)
			x.complete = true
		}
	}
	return nil
}

// noneMatches compares weakly, RFC 9110 §13.1.2.
func noneMatches(list, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for element := range strings.SplitSeq(list, ",") { // a comma within a tag makes it no match, which is safe
		element = strings.TrimSpace(element)
		if element == "*" || strings.TrimPrefix(element, "W/") == tag {
			return true
		}
	}
	return false
}
