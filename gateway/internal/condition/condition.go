// Package condition owns conditional requests and resumption: If-Match and
// If-None-Match (RFC 9110 §13), and Last-Event-ID of server-sent events. It
// leaves comparing states to the service, and the answer to its callers.
package condition

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// Conditions are the conditional header fields of one request. The nil
// *Conditions has none.
type Conditions struct {
	route  *route.Route
	etag   string // If-Match: one strong entity tag, "" for none or any
	none   string // If-None-Match of a GET
	resume string // Last-Event-ID
}

// Parse returns the conditions of a request for a route, nil if there are none.
func Parse(rt *route.Route, h http.Header) (*Conditions, *refusal.Refusal) {
	match, none, last := h["If-Match"], h["If-None-Match"], h["Last-Event-Id"]
	if match == nil && none == nil && last == nil {
		return nil, nil
	}
	c := &Conditions{route: rt, none: strings.Join(none, ",")}
	if len(none) > 0 && rt.Method != http.MethodGet {
		return nil, Unsupported("If-None-Match")
	}
	switch value := strings.TrimSpace(strings.Join(match, ",")); {
	case match == nil, value == "*" && rt.Method == http.MethodGet:
	case rt.ETag == nil && !((rt.Tagged || rt.Raw) && rt.Method == http.MethodGet):
		// A client that asks for protection must not be served without it, nor
		// with "*": a method that creates would create.
		return nil, Unsupported("If-Match")
	case value == "*": // any state; the service reports a missing resource
	case httpheader.IsEntityTag(value):
		c.etag = value
	case strings.HasPrefix(value, "W/") && httpheader.IsEntityTag(value[2:]):
		return nil, Refusal() // RFC 9110 §13.1.1: a weak tag never matches
	default:
		return nil, refusal.New(http.StatusBadRequest, codes.InvalidArgument, `If-Match must be one entity tag in quotation marks, or "*"`)
	}
	if rt.Resumable && len(last) > 0 {
		if len(last) > 1 || !utf8.ValidString(last[0]) {
			return nil, refusal.New(http.StatusBadRequest, codes.InvalidArgument, "Last-Event-ID must be one value, in UTF-8")
		}
		c.resume = last[0]
	}
	return c, nil
}

// Unsupported refuses a conditional request that a method cannot honour.
func Unsupported(header string) *refusal.Refusal {
	return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "this route does not support "+header)
}

// Refusal returns the answer to a failed If-Match.
func Refusal() *refusal.Refusal {
	return refusal.New(http.StatusPreconditionFailed, codes.FailedPrecondition, "the entity tag in If-Match is not the resource's",
		&errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ETagMismatch})
}

// Fill sets the fields of a request message that the conditions fill. An entity
// tag in the message must be equal to that of If-Match. Last-Event-ID replaces
// the resume token in the message: an EventSource that reconnects repeats its
// address, and the header has the later position.
func (c *Conditions) Fill(request any) error {
	if c == nil {
		return nil
	}
	rt, m := c.route, request.(proto.Message).ProtoReflect()
	if c.resume != "" {
		m.Set(m.Descriptor().Fields().ByName(route.ResumeField), protoreflect.ValueOfString(c.resume))
	}
	if c.etag == "" || rt.ETag == nil {
		return nil
	}
	for _, name := range rt.ETag[:len(rt.ETag)-1] {
		m = m.Mutable(m.Descriptor().Fields().ByName(name)).Message()
	}
	field := m.Descriptor().Fields().ByName(route.ETagField)
	if present := m.Get(field).String(); present != "" && present != c.etag {
		return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "If-Match and the request's etag are not the same",
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: route.ETagField, Description: "differs from If-Match"},
			}}).Status.Err()
	}
	m.Set(field, protoreflect.ValueOfString(c.etag))
	return nil
}

// Failed reports whether a status is the failure of If-Match, which is answered
// with 412. Without If-Match the same status is a conflict.
func (c *Conditions) Failed(st *status.Status) bool {
	if c == nil || c.etag == "" || st.Code() != codes.Aborted && st.Code() != codes.FailedPrecondition {
		return false
	}
	return slices.ContainsFunc(st.Details(), func(detail any) bool {
		info, ok := detail.(*errdetails.ErrorInfo)
		return ok && info.GetReason() == reason.ETagMismatch
	})
}

// Mismatched reports whether If-Match of a GET has another tag than its answer.
func (c *Conditions) Mismatched(tag string) bool {
	return c != nil && c.route.Method == http.MethodGet && c.etag != "" && c.etag != tag
}

// NotModified reports whether If-None-Match of a GET has the tag of its answer.
func (c *Conditions) NotModified(tag string) bool {
	return c != nil && c.none != "" && httpheader.NoneMatch(c.none, tag)
}

// Tag returns the entity tag of an answer's message, "" if it has none that
// HTTP can compare.
func Tag(rt *route.Route, m proto.Message) string {
	if !rt.Tagged {
		return ""
	}
	r := m.ProtoReflect()
	tag := r.Get(r.Descriptor().Fields().ByName(route.ETagField)).String()
	if !httpheader.IsEntityTag(strings.TrimPrefix(tag, "W/")) {
		return ""
	}
	return tag
}
