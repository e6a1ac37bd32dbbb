package transcode

import (
	"context"
	"io"
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

// A call is one exchange with a route. It is in the context of everything that
// belongs to the call, as its upstream.Call.
type call struct {
	*exchange.Exchange
	route      *route.Route
	conditions *condition.Conditions
	params     map[string]string // values of the path's variables
	query      url.Values
	body       []byte           // JSON
	raw        *rawbody.Answer  // nil unless the answer is an HttpBody
	flow       *flow.Flow       // nil unless the answer streams, or the request does
	answers    *upstream.Stream // of the server, nil until the call is made
	called     bool             // the call has been made
	metadata   metadata.MD      // ours, nil without options of the application
	rendered   rendered
}

// callOf returns the call of a context, nil if there is none.
func callOf(ctx context.Context) *call {
	c, _ := upstream.CallOf(ctx).(*call)
	return c
}

// Calling implements upstream.Call. It adds the metadata of the application's options,
// which has replaced ours in the context, to ours.
func (c *call) Calling(ctx context.Context) (context.Context, error) {
	c.called = true
	if c.metadata == nil {
		return ctx, nil
	}
	all := c.metadata
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
	md, refused := sanitize.Metadata(r.Header, x.ID, h.cfg.RequestHeaders)
	if refused != nil {
		x.Refuse(refused)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	// The runtime would add metadata from the request, so that it gets a request
	// without a header and addresses.
	inner := r.WithContext(metadata.NewOutgoingContext(r.Context(), md))
	inner.Method, inner.URL, inner.Header = method, path, http.Header{}
	inner.Host, inner.RemoteAddr = "", ""
	if len(h.cfg.Options) > 0 { // they see what the application has listed
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
func (h *Handler) serve(x *exchange.Exchange, r *http.Request, registered *handler, params map[string]string) {
	rt := registered.route
	x.Route = rt
	if types := rt.MediaTypes(); types != nil && !httpheader.Accepts(x.Request.Header, types...) {
		x.Refuse(refusal.New(http.StatusNotAcceptable, codes.InvalidArgument,
			"this route answers with "+strings.Join(types, " or ")+", which the Accept header excludes"))
		return
	}
	conditions, refused := condition.Parse(rt, x.Request.Header)
	if refused != nil {
		x.Refuse(refused)
		return
	}
	c := &call{Exchange: x, route: rt, conditions: conditions, params: params}
	if len(h.cfg.Options) > 0 {
		c.metadata, _ = metadata.FromOutgoingContext(r.Context()) // a copy
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
	ctx := upstream.NewContext(r.Context(), c)
	if rt.Raw {
		c.raw, ctx = rawbody.NewAnswer(ctx, x, conditions)
	}
	if rt.Uploads {
		h.serveUpload(ctx, c)
		return
	}
	r.Body, r.ContentLength = body, -1
	// Generated code calls ParseForm, which keeps forms that are set: neither a
	// form in the body nor anything unchecked fills a message.
	r.Form, r.PostForm = c.query, url.Values{}
	if rt.Stream {
		c.flow = h.cfg.Flows.Begin(ctx, x, c.format())
		defer c.flow.Close()
		registered.next(x, r.WithContext(c.flow.Context()), params)
		return
	}
	ctx, cancel := context.WithDeadline(ctx, x.Deadline())
	defer cancel()
	registered.next(x, r.WithContext(ctx), params)
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
