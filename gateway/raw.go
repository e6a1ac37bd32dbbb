package gateway

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a google.api.HttpBody is: bytes of any type, of a request or an answer.
// A service that serves ranges (RFC 9110 §14) gets Range and If-Range of a GET
// as metadata "range" and "if-range", and says in its header metadata, as
// "content-range", which bytes it sends. OUT_OF_RANGE says that there are none.

const httpBodyName = "google.api.HttpBody"

// rawHeaders are the header fields that a service may set beside an HttpBody,
// by their metadata keys. "cache-control" and "etag" it may set of any answer.
var rawHeaders = map[string]string{
	"accept-ranges":       "Accept-Ranges",
	"content-disposition": "Content-Disposition",
	"content-encoding":    "Content-Encoding",
	"content-language":    "Content-Language",
	"last-modified":       "Last-Modified",
}

// httpBody reads an HttpBody, generated or dynamic.
func httpBody(m proto.Message) (contentType string, data []byte) {
	if body, ok := m.(*httpbody.HttpBody); ok {
		return body.GetContentType(), body.GetData()
	}
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	return r.Get(fields.ByName("content_type")).String(), r.Get(fields.ByName("data")).Bytes()
}

// setHTTPBody fills one.
func setHTTPBody(r protoreflect.Message, contentType string, data []byte) {
	fields := r.Descriptor().Fields()
	r.Set(fields.ByName("content_type"), protoreflect.ValueOfString(contentType))
	r.Set(fields.ByName("data"), protoreflect.ValueOfBytes(data))
}

// rawField is the field of a request that holds its HttpBody, nil where the
// message is one; raw reports whether there is one.
func rawField(input protoreflect.MessageDescriptor, body string) (field protoreflect.FieldDescriptor, raw bool) {
	if body == "*" {
		return nil, input.FullName() == httpBodyName
	}
	field = input.Fields().ByName(protoreflect.Name(body))
	return field, field != nil && !field.IsList() && field.Message() != nil && field.Message().FullName() == httpBodyName
}

// rawRequest is the body of a request that is an HttpBody, as generated code
// hands it to the decoder.
type rawRequest struct {
	io.Reader
	contentType string
}

func (*rawRequest) Close() error { return nil }

// decode fills an HttpBody with the body.
func (b *rawRequest) decode(v any) error {
	data, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case **httpbody.HttpBody:
		*v = &httpbody.HttpBody{ContentType: b.contentType, Data: data}
	case proto.Message:
		setHTTPBody(v.ProtoReflect(), b.contentType, data)
	default:
		return fmt.Errorf("a body of %T is no HttpBody", v)
	}
	return nil
}

// rawContentType returns how a body of any type is labelled, "" for not.
func rawContentType(h http.Header) (string, *refusal) {
	unsupported := func(message string) (string, *refusal) {
		return "", refuse(http.StatusUnsupportedMediaType, codes.InvalidArgument, message)
	}
	if encoding := h.Values("Content-Encoding"); len(encoding) > 0 && !slices.Equal(encoding, []string{"identity"}) {
		return unsupported("a request body must come without Content-Encoding")
	}
	switch values := h.Values("Content-Type"); len(values) {
	case 0:
		return "", nil
	case 1:
		if _, _, err := mime.ParseMediaType(values[0]); err == nil && isPrintable(values[0]) {
			return values[0], nil
		}
	}
	return unsupported("the Content-Type must be one media type")
}

// ranged passes on which part of an HttpBody a client asks for.
func (x *exchange) ranged(ctx context.Context) context.Context {
	h := x.request.Header
	ask := h["Range"]
	if x.request.Method != http.MethodGet || len(ask) != 1 || !isRange(ask[0]) {
		return ctx
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "range", ask[0])
	if condition := h["If-Range"]; len(condition) == 1 && isRange(condition[0]) {
		ctx = metadata.AppendToOutgoingContext(ctx, "if-range", condition[0])
	}
	x.asksRange = true
	return ctx
}

// isRange reports whether a value is one to be passed on; RFC 9110 §14.2 lets
// any Range be ignored.
func isRange(value string) bool { return len(value) <= 512 && isPrintable(value) }

// contentRange is RFC 9110 §14.4, of a range that can be satisfied.
var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$`)

// rawHeader sets the header of an HttpBody's answer from the metadata, and
// returns how many bytes follow, -1 if that is not said. To a client that has
// asked for a range, content-range is 206; to any other it may only announce
// the whole, and so its length.
func (x *exchange) rawHeader(md metadata.MD) (length int64, err error) {
	h := x.Header()
	for key, name := range rawHeaders {
		if values := md.Get(key); len(values) == 1 && isPrintable(values[0]) {
			h.Set(name, values[0])
		}
	}
	if c := x.conditions; c != nil && c.none != "" && x.route.Method == http.MethodGet {
		if tag := h.Get("Etag"); tag != "" && noneMatches(c.none, tag) {
			h.Del("Content-Type")
			x.WriteHeader(http.StatusNotModified)
			x.complete = true
			return -1, nil
		}
	}
	values := md.Get("content-range")
	if len(values) == 0 {
		return -1, nil
	}
	invalid := status.Errorf(codes.Internal, "content-range %q is not what was asked for", values)
	parts := contentRange.FindStringSubmatch(values[0])
	if len(values) > 1 || parts == nil {
		return -1, invalid
	}
	first, _ := strconv.ParseInt(parts[1], 10, 64) // the pattern lets only such numbers pass
	last, _ := strconv.ParseInt(parts[2], 10, 64)
	size, err := strconv.ParseInt(parts[3], 10, 64)
	known := err == nil
	if first > last || known && last >= size {
		return -1, invalid
	}
	if h.Get("Accept-Ranges") == "" {
		h.Set("Accept-Ranges", "bytes")
	}
	switch {
	case x.asksRange:
		h.Set("Content-Range", values[0])
		x.success = http.StatusPartialContent
	case first != 0 || !known || last+1 != size:
		return -1, invalid
	}
	return last - first + 1, nil
}

// rawAnswer completes the header of an answer that is one HttpBody. The
// runtime calls it with the message.
func (g *Gateway) rawAnswer(ctx context.Context, w http.ResponseWriter, m proto.Message) error {
	x, ok := w.(*exchange)
	if !ok || m == nil || x.route == nil || !x.route.raw {
		return nil
	}
	md, _ := runtime.ServerMetadataFromContext(ctx)
	length, err := x.rawHeader(md.HeaderMD)
	if _, data := httpBody(m); err == nil && length >= 0 && length != int64(len(data)) {
		err = status.Errorf(codes.Internal, "content-range announces %d bytes, the answer has %d", length, len(data))
	}
	return err
}

// unranged takes from an answer that is an error what was said of an HttpBody,
// and says how long that is where a range lies outside.
func (x *exchange) unranged(refused *refusal, md metadata.MD) {
	h := x.Header()
	for _, name := range rawHeaders {
		h.Del(name)
	}
	h.Del("Content-Range")
	x.success = 0
	if !x.asksRange || refused.status.Code() != codes.OutOfRange {
		return
	}
	refused.http = http.StatusRequestedRangeNotSatisfiable
	if values := md.Get("content-range"); len(values) == 1 {
		if size, ok := strings.CutPrefix(values[0], "bytes */"); ok && digits(size) != "" {
			refused.contentRange = values[0]
		}
	}
}
