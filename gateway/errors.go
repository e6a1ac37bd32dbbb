package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"
)

// refusal is an answer that is no success, in HTTP's terms and in gRPC's.
type refusal struct {
	http       int
	status     *status.Status // public: all of it is shown
	challenge  string         // WWW-Authenticate
	retryAfter string         // Retry-After, seconds
	allow      string         // Allow
	acceptPost string         // Accept-Post (of LDP §7.1, and Connect)

	contentRange string // Content-Range of 416
}

// header are the header fields that say more about a refusal.
func (r *refusal) header(x *exchange) http.Header {
	h := http.Header{}
	for name, value := range map[string]string{
		"Www-Authenticate": x.resource.challenge(r.challenge, x.request),
		"Retry-After":      r.retryAfter,
		"Allow":            r.allow,
		"Accept-Post":      r.acceptPost,
		"Content-Range":    r.contentRange,
	} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	return h
}

func refuse(httpStatus int, code codes.Code, message string, details ...protoadapt.MessageV1) *refusal {
	st := status.New(code, message)
	if with, err := st.WithDetails(details...); err == nil && len(details) > 0 {
		st = with
	}
	return &refusal{http: httpStatus, status: st}
}

// notFound refuses a path that no route has; given the path, it points out a
// trailing slash as the reason. Paths are exact: /api/ is not /api.
func (g *Gateway) notFound(path *url.URL) *refusal {
	message := "there is nothing at this path"
	if path != nil && strings.HasSuffix(path.Path, "/") {
		trimmed := &url.URL{Path: strings.TrimSuffix(path.Path, "/"), RawPath: strings.TrimSuffix(path.RawPath, "/")}
		if g.allowed(trimmed) != nil {
			message += "; leave out the slash at its end"
		}
	}
	return refuse(http.StatusNotFound, codes.NotFound, message)
}

// routingError answers what the mux has no handler for.
func (g *Gateway) routingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
	x, ok := w.(*exchange)
	if !ok { // a probe
		return
	}
	switch httpStatus {
	case http.StatusNotFound:
		x.refuse(g.notFound(r.URL))
	case http.StatusMethodNotAllowed:
		methods := g.allowed(r.URL)
		refused := refuse(httpStatus, codes.Unimplemented, "this path is served for "+strings.Join(methods, ", ")+" only")
		refused.allow = strings.Join(methods, ", ")
		x.refuse(refused)
	default:
		x.refuse(refuse(http.StatusBadRequest, codes.InvalidArgument, "the request is malformed"))
	}
}

// callError answers a call that failed, or a request that generated code could
// not make a call of.
func (g *Gateway) callError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	x, ok := w.(*exchange)
	if !ok {
		return
	}
	rpc, _ := runtime.RPCMethod(ctx)
	refused := g.refusalOf(ctx, rpc, err)
	if custom, ok := errors.AsType[*runtime.HTTPStatusError](err); ok {
		refused.http = custom.HTTPStatus
		if refused.http == http.StatusBadRequest {
			refused.status = status.New(codes.InvalidArgument, custom.Error())
		}
	}
	switch {
	case !x.called && x.route != nil: // generated code could not make a message of the request
		refused = x.malformed()
	case x.failedCondition(refused.status):
		refused.http = http.StatusPreconditionFailed
	case x.route != nil && x.route.raw:
		md, _ := runtime.ServerMetadataFromContext(ctx)
		x.unranged(refused, md.HeaderMD)
	}
	x.refuse(refused)
}

// refusalOf is what a client gets of an error of the server; the log gets the
// rest.
func (g *Gateway) refusalOf(ctx context.Context, rpc string, err error) *refusal {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok && x.flow != nil {
		if broken := x.flow.broken.Load(); broken != nil {
			return broken
		}
	}
	if limit, ok := errors.AsType[*limitError](err); ok && limit.request {
		return refuse(http.StatusRequestEntityTooLarge, codes.InvalidArgument, "the request is longer than the service takes")
	}
	st := statusOf(ctx, err)
	g.logCause(ctx, rpc, st)
	refused := &refusal{status: public(st), retryAfter: retryAfter(st)}
	refused.challenge, refused.http = challenge(st)
	return refused
}

func statusOf(ctx context.Context, err error) *status.Status {
	switch context.Cause(ctx) {
	case errLeaving:
		return leavingStatus()
	case errSlow:
		return status.New(codes.DeadlineExceeded, errSlow.Error())
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	// A channel in this process may pass on the context's own error.
	return status.FromContextError(err)
}

// logCause keeps what public hides.
func (g *Gateway) logCause(ctx context.Context, rpc string, st *status.Status) {
	switch st.Code() {
	case codes.Unknown, codes.Internal, codes.DataLoss, codes.Unavailable:
		level := slog.LevelError
		if st.Code() == codes.Unavailable && len(st.Proto().GetDetails()) > 0 {
			level = slog.LevelInfo // said by the server on purpose: it stops, or cannot tell yet
		}
		g.log.LogAttrs(ctx, level, "call failed",
			slog.String("rpc", rpc), slog.String("code", st.Code().String()), slog.String("cause", strings.ToValidUTF8(st.Message(), "\uFFFD")))
	}
}

// public is what a client may see of a status. A message of Unknown, Internal
// or DataLoss was written for nobody outside, nor was one that the transport
// wrote ("dial tcp 10.0.0.3:9090: …"), which carries no details.
func public(st *status.Status) *status.Status {
	switch st.Code() {
	case codes.Unavailable:
		if len(st.Proto().GetDetails()) == 0 {
			return status.New(codes.Unavailable, "the service is not available at the moment")
		}
	case codes.DeadlineExceeded:
		if len(st.Proto().GetDetails()) == 0 {
			return status.New(codes.DeadlineExceeded, "the service did not answer in time")
		}
	case codes.Canceled:
		return status.New(codes.Canceled, "the request was cancelled")
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
	case codes.Internal, codes.DataLoss:
		return status.New(st.Code(), "internal error")
	default: // Unknown, and what is no code at all
		return status.New(codes.Unknown, "internal error")
	}
	p := proto.CloneOf(st.Proto())
	p.Message = strings.ToValidUTF8(p.GetMessage(), "\uFFFD") // or it could not be written, as JSON or otherwise
	kept := p.Details[:0]
	for _, detail := range p.GetDetails() {
		// A detail whose type is not linked here cannot be written as JSON, and
		// DebugInfo is a stack trace.
		if _, err := protojson.Marshal(detail); err == nil && !detail.MessageIs((*errdetails.DebugInfo)(nil)) {
			kept = append(kept, detail)
		}
	}
	p.Details = kept
	return status.FromProto(p)
}

func runtimeStatus(code codes.Code) int {
	if code > codes.Unauthenticated { // no code; the runtime would log a warning each time
		return http.StatusInternalServerError
	}
	return runtime.HTTPStatusFromCode(code)
}

// retryAfter is google.rpc.RetryInfo in whole seconds, rounded up; "" without.
func retryAfter(st *status.Status) string {
	delay := retryDelay(st)
	if delay < 0 {
		return ""
	}
	return strconv.Itoa(int(math.Ceil(float64(delay) / float64(time.Second))))
}

// retryDelay is google.rpc.RetryInfo, negative without.
func retryDelay(st *status.Status) time.Duration {
	for _, detail := range st.Proto().GetDetails() {
		info := new(errdetails.RetryInfo)
		if !detail.MessageIs(info) || detail.UnmarshalTo(info) != nil || info.GetRetryDelay() == nil {
			continue
		}
		if delay := info.GetRetryDelay().AsDuration(); delay >= 0 {
			return delay
		}
	}
	return -1
}

// statusJSON is google.rpc.Status as JSON; every member is always there.
type statusJSON struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// problemJSON is RFC 9457 with code and details of google.rpc.Status as
// extension members. Its type is about:blank, so its title is HTTP's.
type problemJSON struct {
	Type    string            `json:"type"`
	Title   string            `json:"title"`
	Status  int               `json:"status"`
	Detail  string            `json:"detail"`
	Code    int               `json:"code"`
	Details []json.RawMessage `json:"details"`
}

func (r *refusal) body(problem bool) (contentType string, content []byte) {
	details := detailsJSON(r.status.Proto().GetDetails())
	var err error
	if problem {
		title := http.StatusText(r.http)
		if r.http == 499 { // what the runtime makes of Canceled
			title = "Client Closed Request"
		}
		contentType = typeProblem
		content, err = json.Marshal(problemJSON{"about:blank", title, r.http, r.status.Message(), int(r.status.Code()), details})
	} else {
		contentType = typeJSON
		content, err = json.Marshal(statusJSON{int(r.status.Code()), r.status.Message(), details})
	}
	if err != nil { // details are valid JSON, and the rest cannot fail
		content = []byte(`{"code":13,"message":"internal error","details":[]}`)
	}
	return contentType, content
}

func detailsJSON(details []*anypb.Any) []json.RawMessage {
	list := make([]json.RawMessage, 0, len(details))
	for _, detail := range details {
		if content, err := protojson.Marshal(detail); err == nil {
			list = append(list, content) // json.Marshal compacts it
		}
	}
	return list
}
