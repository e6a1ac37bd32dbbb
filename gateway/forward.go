package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// forward answers with a stream. The runtime calls it, as a response option,
// before the first message, and would then write the stream itself: with a line
// break after each part of a file, with failures of its own that it tells
// stderr, and without a way to cut an answer off. It finds the stream at its end.
func (g *Gateway) forward(ctx context.Context, w http.ResponseWriter, m proto.Message) error {
	x, ok := w.(*exchange)
	if !ok || m != nil || x.flow == nil || x.flow.answers == nil {
		return nil
	}
	g.run(ctx, x.flow)
	return nil
}

// run writes what the server sends until it ends.
func (g *Gateway) run(ctx context.Context, f *flow) {
	defer func() { f.answers.ended = true }()
	if f.format == nil {
		g.runRaw(ctx, f)
		return
	}
	// The server has let the caller in, who would otherwise not know before
	// the first message that it is connected.
	if err := f.begin(g.heartbeat); err != nil {
		g.fail(ctx, f, err)
		return
	}
	if f.x.request.Method == http.MethodHead {
		return
	}
	for {
		m := f.answers.output.New().Interface()
		err := f.answers.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			f.end()
			return
		}
		var data []byte
		if err == nil {
			data, err = g.marshalAnswer(f.x.route, m)
		}
		if err != nil {
			g.fail(ctx, f, err)
			return
		}
		var b bytes.Buffer
		f.format.message(&b, m, data)
		f.write(b.Bytes())
		if err := f.flush(); err != nil {
			g.fail(ctx, f, err)
			return
		}
	}
}

// fail ends a stream of JSON whose header has been sent with what went wrong.
func (g *Gateway) fail(ctx context.Context, f *flow, err error) {
	f.failed()
	st := g.refusalOf(ctx, f.x.route.RPC, err).status
	data, err := g.json.Marshal(st.Proto())
	if err != nil { // public leaves nothing that cannot be written
		st = internalError.status
		data = []byte(`{"code":13,"message":"internal error","details":[]}`)
	}
	var b bytes.Buffer
	f.format.failure(&b, st, data)
	f.write(b.Bytes())
	_ = f.flush() // a client that is gone misses it
}

// rendered is an answer as it is to be written.
type rendered []byte

// render writes a unary answer before the runtime does, which would tell
// stderr of one that cannot be written.
func (g *Gateway) render(ctx context.Context, m proto.Message) (any, error) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	switch {
	case !ok:
		return m, nil
	case x.complete: // 304, 412
		return &x.rendered, nil
	case x.route.raw:
		_, x.rendered = httpBody(m)
		return &x.rendered, nil
	}
	data, err := g.marshalAnswer(x.route, m)
	if err != nil {
		x.refuse(g.refusalOf(ctx, x.route.RPC, err))
		x.complete = true
	}
	x.rendered = data
	return &x.rendered, nil
}

// marshalAnswer writes a message of an answer as JSON, or the field of it that
// response_body names.
func (g *Gateway) marshalAnswer(rt *route, m proto.Message) ([]byte, error) {
	part := rt.part
	if part == nil {
		return g.json.Marshal(m)
	}
	if part.Message() != nil && !part.IsList() && !part.IsMap() {
		return g.json.Marshal(m.ProtoReflect().Get(part).Message().Interface())
	}
	whole, err := g.json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(whole, &members); err != nil {
		return nil, err
	}
	return members[part.JSONName()], nil
}

// runRaw writes a stream of google.api.HttpBody: the bytes, and nothing else.
// The first message says their type. Until there is a byte, a failure is an
// answer like any other; later there is only one way to say that what has
// arrived is not the whole.
func (g *Gateway) runRaw(ctx context.Context, f *flow) {
	x := f.x
	header, _ := f.answers.Header() // asked before
	length, written := int64(-1), int64(0)
	first, begun := true, false
	begin := func() error {
		begun = true
		var err error
		length, err = x.rawHeader(header)
		if err == nil && x.status == 0 && length >= 0 {
			x.Header()["Content-Length"] = []string{fmt.Sprint(length)}
		}
		return err
	}
	for {
		m := f.answers.output.New().Interface()
		err := f.answers.RecvMsg(m)
		end := errors.Is(err, io.EOF)
		var data []byte
		if err == nil {
			var contentType string
			contentType, data = httpBody(m)
			if first {
				x.Header().Set("Content-Type", contentType)
			}
			first = false
		}
		if (end || len(data) > 0) && !begun {
			if failed := begin(); failed != nil {
				err, end = failed, false
			} else if x.status != 0 { // 304
				return
			}
		}
		written += int64(len(data))
		switch {
		case length >= 0 && (written > length || end && written < length):
			err, end = status.Errorf(codes.Internal, "content-range announces %d bytes, the stream has others", length), false
		case end && x.request.Method != http.MethodHead && written == 0 && length < 0:
			x.Header()["Content-Length"] = []string{"0"}
		}
		if x.request.Method == http.MethodHead && begun && x.status == 0 && (err == nil || end) {
			_ = f.flush()
			f.cancel(nil) // nothing more is going to be read
			return
		}
		if err != nil && !end {
			g.abort(ctx, x, header, err)
			return
		}
		if begun && x.status == 0 {
			x.WriteHeader(x.okStatus())
		}
		f.write(data)
		if begun {
			_ = f.flush() // a client that is gone ends the context
		}
		if end {
			return
		}
	}
}

// abort answers a call of HttpBody that has failed, with an error while there
// is no byte, and later by cutting the answer off: over HTTP/1 the connection
// closes before the last chunk, over HTTP/2 the stream is reset.
func (g *Gateway) abort(ctx context.Context, x *exchange, header metadata.MD, err error) {
	if x.status == 0 {
		refused := g.refusalOf(ctx, x.route.RPC, err)
		x.unranged(refused, header)
		x.refuse(refused)
		return
	}
	if x.request.Context().Err() == nil {
		st := statusOf(ctx, err)
		g.log.LogAttrs(ctx, slog.LevelWarn, "answer cut off", slog.String("rpc", x.route.RPC),
			slog.String("code", st.Code().String()), slog.Any("err", err))
	}
	panic(http.ErrAbortHandler)
}
