package transcode

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/condition"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/malformed"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/rawbody"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/internal/headers"
)

// A call is one exchange with a route, and the upstream.Call of what the gateway asks the server
// for it.
type call struct {
	*exchange.Exchange
	ctx        upstream.Context // of the call
	request    http.Request     // for the runtime
	route      *route.Route     // nil until it is found
	conditions *condition.Conditions
	params     map[string]string // values of the path's variables
	query      url.Values
	body       []byte           // JSON
	raw        *rawbody.Answer  // nil unless the answer is an HttpBody
	flow       *flow.Flow       // nil unless the answer streams, or the request does
	answers    *upstream.Stream // of the server, nil until the call is made
	called     bool             // the call has been made
	optional   bool             // there are options of the application
	// unary is the context of a unary call, nil if it is that of generated code: ctx with the
	// metadata of an HttpBody.
	unary    context.Context
	rendered rendered  // the answer
	length   [1]string // Content-Length
}

// callOf returns the call of a context, nil if there is none.
func callOf(ctx context.Context) *call {
	if c, ok := upstream.CallOf(ctx).(*call); ok && c.route != nil {
		return c
	}
	return nil
}

// Calling implements upstream.Call. It adds the metadata of the application's options,
// which has replaced ours in the context, to ours.
func (c *call) Calling(ctx context.Context) (context.Context, error) {
	c.called = true
	switch {
	case c.unary != nil:
		return c.unary, nil
	case !c.optional:
		return ctx, nil
	}
	all := c.ctx.OutgoingMetadata()
	added, _ := metadata.FromOutgoingContext(ctx)
	for key, values := range added {
		if _, ours := all[key]; !ours && !headers.Reserved(key) {
			all[key] = values
		}
	}
	if refused := sanitize.CheckSize(all); refused != nil {
		c.Override(refused)
		return nil, refused.Status.Err()
	}
	return metadata.NewOutgoingContext(ctx, all), nil
}

// Sending implements upstream.Call.
func (c *call) Sending(message proto.Message) error { return c.conditions.Fill(message) }

// Receiving implements upstream.Call.
func (c *call) Receiving(answers *upstream.Stream) { c.answers = answers }

// Serve answers a request for a path below the prefix of the API.
func (h *Handler) Serve(x *exchange.Exchange, r *http.Request, path *url.URL) {
	if r.Method == http.MethodOptions {
		methods := h.allowed(path)
		if methods == nil {
			x.Refuse(h.NotFound(path))
			return
		}
		x.Options(strings.Join(methods, ", "))
		return
	}
	md, refused := sanitize.Metadata(r.Header, x.IDs, h.cfg.RequestHeaders)
	if refused != nil {
		x.Refuse(refused)
		return
	}
	c := &call{Exchange: x, optional: len(h.cfg.Options) > 0}
	c.ctx.Begin(x.Context(), c, md)
	defer c.ctx.End()
	// The runtime would add metadata from the request, so that it gets a request
	// without a header and addresses.
	inner := &c.request
	if c.optional {
		*inner = *r.WithContext(&c.ctx)
		inner.Header = http.Header{}
	} else {
		*inner = *r.WithContext(c.ctx.Unending())
		inner.Header = nil
	}
	inner.URL, inner.Host, inner.RemoteAddr = path, "", ""
	if r.Method == http.MethodHead {
		inner.Method = http.MethodGet
	}
	if !c.optional {
		if found := h.literals[literal{inner.Method, path.Path}]; found != nil && path.RawPath == "" {
			h.serve(c, inner, found, nil)
			return
		}
	} else { // they see what the application has listed
		for _, name := range h.cfg.RequestHeaders {
			// Without values that metadata cannot have: options make metadata of them.
			if values := md[strings.ToLower(name)]; len(values) > 0 {
				inner.Header[name] = values
			}
		}
	}
	h.mux.ServeHTTP(x, inner)
}

// serve runs between the mux, which has found the route, and generated code. It
// refuses what generated code would ignore or misread.
func (h *Handler) serve(c *call, r *http.Request, registered *handler, params map[string]string) {
	x, rt := c.Exchange, registered.route
	x.Route, c.route, c.params = rt, rt, params
	if types := rt.MediaTypes(); types != nil && !httpheader.Accepts(x.Request.Header, types...) {
		x.Refuse(refusal.New(http.StatusNotAcceptable, codes.InvalidArgument,
			"this route answers with "+strings.Join(types, " or ")+", which the Accept header excludes"))
		return
	}
	var refused *refusal.Refusal
	if c.conditions, refused = condition.Parse(rt, x.Request.Header); refused != nil {
		x.Refuse(refused)
		return
	}
	var body io.ReadCloser
	if !rt.Uploads {
		if body, refused = c.readBody(); refused != nil {
			x.Refuse(refused)
			return
		}
	}
	if c.query, refused = malformed.Query(rt, r.URL.RawQuery); refused != nil {
		x.Refuse(refused)
		return
	}
	if !rt.Stream && !rt.Uploads {
		c.ctx.Bound(x.Deadline())
	}
	ctx := context.Context(&c.ctx)
	if c.optional {
		ctx = r.Context() // with what the runtime tells them
	}
	if rt.Raw {
		c.raw, ctx = rawbody.NewAnswer(ctx, x, c.conditions)
	}
	if rt.Uploads {
		h.serveUpload(ctx, c)
		return
	}
	r.Body, r.ContentLength = body, -1
	// Generated code calls ParseForm, which keeps forms that are set: neither a
	// form in the body nor anything unchecked fills a message.
	r.Form, r.PostForm = c.query, malformed.None
	if c.optional { // they may change them
		r.Form, r.PostForm = maps.Clone(c.query), url.Values{}
	}
	switch {
	case rt.Stream:
		c.flow = h.cfg.Flows.Begin(ctx, x, c.format())
		defer c.flow.Close()
		r = r.WithContext(c.flow.Context())
	case c.optional:
		r = r.WithContext(ctx)
	default:
		c.unary = ctx
	}
	registered.next(x, r, params)
}

// format returns the format of a stream.
func (c *call) format() flow.Format {
	switch {
	case c.route.Raw:
		return flow.Raw
	case httpheader.WantsEvents(c.Request.Header):
		return flow.Events
	}
	return flow.Lines
}
