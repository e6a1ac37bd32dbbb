// Package rawbody owns google.api.HttpBody: bytes of any content type as the body
// of a request or an answer, ranges of it (RFC 9110 §14), and its header. It
// leaves calling the service to its callers.
//
// A service that supports ranges gets Range and If-Range of a GET as metadata
// "range" and "if-range", and tells in its header metadata "content-range" which
// bytes it sends, or in "body-length" that it sends all and how many these are.
// OUT_OF_RANGE means that there are no such bytes. It gets "if-none-match", and
// "http-method" of HEAD, to which it may send a message with the type and no content.
package rawbody

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/condition"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
)

// header maps metadata keys to the header fields that a service may set of an
// HttpBody. It may set Cache-Control and ETag of every answer.
var header = map[string]string{
	"accept-ranges":       "Accept-Ranges",
	"content-disposition": "Content-Disposition",
	"content-encoding":    "Content-Encoding",
	"content-language":    "Content-Language",
	"last-modified":       "Last-Modified",
}

// Content returns the content of an HttpBody, generated or dynamic.
func Content(m proto.Message) (contentType string, data []byte) {
	if body, ok := m.(*httpbody.HttpBody); ok {
		return body.GetContentType(), body.GetData()
	}
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	return r.Get(fields.ByName("content_type")).String(), r.Get(fields.ByName("data")).Bytes()
}

// SetContent sets the content of an HttpBody.
func SetContent(r protoreflect.Message, contentType string, data []byte) {
	fields := r.Descriptor().Fields()
	r.Set(fields.ByName("content_type"), protoreflect.ValueOfString(contentType))
	r.Set(fields.ByName("data"), protoreflect.ValueOfBytes(data))
}

// A Request is the body of a request that is an HttpBody. Generated code passes
// it to the decoder.
type Request struct {
	io.Reader
	ContentType string
}

// Close implements io.Closer. It does nothing.
func (*Request) Close() error { return nil }

// Decode sets an HttpBody to the body.
func (b *Request) Decode(v any) error {
	data, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case **httpbody.HttpBody:
		*v = &httpbody.HttpBody{ContentType: b.ContentType, Data: data}
	case proto.Message:
		SetContent(v.ProtoReflect(), b.ContentType, data)
	default:
		return fmt.Errorf("a body of %T is not an HttpBody", v)
	}
	return nil
}

// An Answer is the answer of one call with an HttpBody.
type Answer struct {
	x          *exchange.Exchange
	conditions *condition.Conditions
	ranged     bool // the client asked for a range
}

// NewAnswer returns the answer of an exchange, and the context for its call: it
// has what the client asks for as metadata.
func NewAnswer(ctx context.Context, x *exchange.Exchange, conditions *condition.Conditions) (*Answer, context.Context) {
	a := &Answer{x: x, conditions: conditions}
	x.Bytes = true
	h := x.Request.Header
	// A service that knows that there will be no content need not open it.
	if x.Request.Method == http.MethodHead {
		ctx = metadata.AppendToOutgoingContext(ctx, "http-method", http.MethodHead)
	}
	if none := strings.Join(h["If-None-Match"], ","); none != "" && passes(none) {
		ctx = metadata.AppendToOutgoingContext(ctx, "if-none-match", none)
	}
	ask := h["Range"]
	if x.Request.Method != http.MethodGet || len(ask) != 1 || !passes(ask[0]) {
		return a, ctx
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "range", ask[0])
	if validator := h["If-Range"]; len(validator) == 1 && passes(validator[0]) {
		ctx = metadata.AppendToOutgoingContext(ctx, "if-range", validator[0])
	}
	a.ranged = true
	return a, ctx
}

// passes reports whether a value is passed to the service. RFC 9110 §14.2 allows to
// ignore any Range; the gateway evaluates If-None-Match itself.
func passes(value string) bool { return len(value) <= 512 && httpheader.IsPrintable(value) }

// contentRange matches Content-Range of a satisfied range, RFC 9110 §14.4.
var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$`)

// Header sets the header of the answer from metadata, and returns the number of
// bytes that follow, -1 if it is not known. With content-range the answer to a
// client that asked for a range is 206; for any other client, content-range must
// be the whole content and so gives its length. If the conditions of the request
// are not met, Header completes the answer.
func (a *Answer) Header(md metadata.MD) (length int64, err error) {
	x, h := a.x, a.x.Header()
	for key, name := range header {
		if values := md.Get(key); len(values) == 1 && httpheader.IsPrintable(values[0]) {
			h.Set(name, values[0])
		}
	}
	if a.precondition(md) {
		return -1, nil
	}
	values, sizes := md.Get("content-range"), md.Get("body-length")
	if len(values) == 0 {
		if len(sizes) == 0 {
			return -1, nil
		}
		length, err := strconv.ParseInt(sizes[0], 10, 64)
		if len(sizes) > 1 || err != nil || length < 0 {
			return -1, status.Errorf(codes.Internal, "body-length %q is not a number of bytes", sizes)
		}
		return length, nil
	}
	invalid := status.Errorf(codes.Internal, "content-range %q is not what was asked for", values)
	parts := contentRange.FindStringSubmatch(values[0])
	if len(values) > 1 || parts == nil {
		return -1, invalid
	}
	first, _ := strconv.ParseInt(parts[1], 10, 64) // the pattern admits only numbers
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
	case a.ranged:
		h.Set("Content-Range", values[0])
		x.Success = http.StatusPartialContent
	case first != 0 || !known || last+1 != size:
		return -1, invalid
	}
	return last - first + 1, nil
}

// Check sets the header of an answer that is one HttpBody and compares its length
// with the announced one.
func (a *Answer) Check(md metadata.MD, m proto.Message) error {
	length, err := a.Header(md)
	if _, data := Content(m); err == nil && length >= 0 && length != int64(len(data)) {
		err = status.Errorf(codes.Internal, "the header announces %d bytes, the answer has %d", length, len(data))
	}
	return err
}

// Refuse removes the header of an HttpBody from an error answer. If the range
// lies outside the content, it makes the error 416 and adds the length.
func (a *Answer) Refuse(refused *refusal.Refusal, md metadata.MD) {
	x, h := a.x, a.x.Header()
	for _, name := range header {
		h.Del(name)
	}
	h.Del("Content-Range")
	h.Del("Content-Length")
	x.Success = 0
	if !a.ranged || refused.Status.Code() != codes.OutOfRange {
		return
	}
	refused.HTTP = http.StatusRequestedRangeNotSatisfiable
	if values := md.Get("content-range"); len(values) == 1 {
		if size, ok := strings.CutPrefix(values[0], "bytes */"); ok && httpheader.Digits(size) != "" {
			refused.ContentRange = values[0]
		}
	}
}

// Stream writes a stream of HttpBody: the bytes and nothing else. The first
// message has the content type. Before the first byte, a failure is an ordinary
// error answer; later it cuts off the answer: over HTTP/1 the connection closes before
// the last chunk, over HTTP/2 the stream is reset.
func (a *Answer) Stream(ctx context.Context, f *flow.Flow, answers *upstream.Stream) {
	x := a.x
	md, _ := answers.Header() // has succeeded before
	length, written := int64(-1), int64(0)
	first, prepared := true, false
	for {
		m, err := answers.Receive()
		end := errors.Is(err, io.EOF)
		var data []byte
		if err == nil {
			var contentType string
			contentType, data = Content(m)
			if first {
				x.Header().Set("Content-Type", contentType)
			}
		}
		if !prepared && (end || len(data) > 0 || err == nil && first && a.bodiless()) {
			prepared = true
			var invalid error
			if length, invalid = a.Header(md); invalid != nil {
				err, end = invalid, false
			} else if x.Done { // 304, 412
				f.Cancel(nil)
				return
			} else if length >= 0 {
				x.Header()["Content-Length"] = []string{strconv.FormatInt(length, 10)}
			}
		}
		first = false
		head := x.Request.Method == http.MethodHead
		if head && prepared && (err == nil || end) {
			_ = f.Flush()
			f.Cancel(nil)
			return
		}
		written += int64(len(data))
		switch {
		case length >= 0 && (written > length || end && written < length):
			err, end = status.Errorf(codes.Internal, "the header announces %d bytes, the stream has others", length), false
		case end && written == 0 && length < 0:
			x.Header()["Content-Length"] = []string{"0"}
		}
		if err != nil && !end {
			if x.Begun() {
				x.Abort(ctx, refusal.StatusOf(ctx, err), err)
			}
			refused := x.RefusalOf(ctx, err)
			a.Refuse(refused, md)
			x.Refuse(refused)
			return
		}
		if len(data) > 0 || end {
			x.Begin()
			f.Write(data)
			_ = f.Flush() // a client that is gone ends the context
		}
		if end {
			return
		}
	}
}
