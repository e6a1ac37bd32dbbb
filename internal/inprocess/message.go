package inprocess

import (
	"math"
	"sync"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encodeWithin encodes a message within the sender's limit. So what cannot be sent over
// a network, such as a string that is not UTF-8, cannot be sent here either. The errors
// have the text of grpc-go.
func encodeWithin(m any, limit int) ([]byte, error) { return appendWithin(nil, m, limit) }

func appendWithin(to []byte, m any, limit int) ([]byte, error) {
	if m == nil { // for grpc-go an empty message
		return nil, nil
	}
	pm := message(m)
	if pm == nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: proto: failed to marshal, message is %T, want proto.Message", m)
	}
	raw, err := proto.MarshalOptions{}.MarshalAppend(to, pm)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	return raw, withinSendLimit(len(raw), limit)
}

// scratch has memory for encodings that are not read.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch bounds the bytes that are kept of each.
const maxScratch = 64 << 10

// checkWithin returns the error of encodeWithin, and otherwise that of a receiver with a limit.
func checkWithin(m any, send, receive int) error {
	memory := scratch.Get().(*[]byte)
	defer scratch.Put(memory)
	raw, err := appendWithin((*memory)[:0], m, send)
	if err != nil {
		return err
	}
	if 0 < cap(raw) && cap(raw) <= maxScratch {
		*memory = raw
	}
	return withinLimit(raw, receive)
}

// copyTo sets a message to what it would be decoded to from the encoding of m, which has been
// checked. Both ends have their own memory, but for strings, which do not change.
func copyTo(to, m any, failed string) error {
	from, pm := message(m), message(to)
	if from == nil || pm == nil || from.ProtoReflect().Descriptor() != pm.ProtoReflect().Descriptor() {
		raw, err := encodeWithin(m, math.MaxInt)
		if err != nil {
			return err
		}
		return decode(raw, to, failed)
	}
	proto.Reset(pm)
	proto.Merge(pm, from)
	return nil
}

func withinSendLimit(size, limit int) error {
	if size > limit {
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", size, limit)
	}
	return nil
}

// A packet is an encoded message of a stream. Its memory is used again: a stream of
// bytes would otherwise fill the heap faster than it is collected.
type packet struct {
	raw    []byte
	pooled *[]byte // nil for a short one
}

// pack encodes a message as encodeWithin does.
func pack(m any, limit int) (packet, error) {
	pm := message(m)
	if pm == nil {
		raw, err := encodeWithin(m, limit)
		return packet{raw: raw}, err
	}
	size := proto.Size(pm)
	if mem.IsBelowBufferPoolingThreshold(size) || size > limit {
		raw, err := encodeWithin(m, limit)
		return packet{raw: raw}, err
	}
	p := packet{pooled: mem.DefaultBufferPool().Get(size)}
	raw, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*p.pooled)[:0], pm)
	if err != nil {
		p.free()
		return packet{}, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	p.raw = raw
	return p, nil
}

// unpack decodes the message within the receiver's limit. The packet is not used
// afterwards. With reuse the data of an HttpBody, or of one in a field, keeps its
// memory.
func (p packet) unpack(m any, limit int, reuse bool) error {
	defer p.free()
	if err := withinLimit(p.raw, limit); err != nil {
		return err
	}
	if reuse && p.pooled != nil && decodeBytes(p.raw, m) {
		return nil
	}
	return decode(p.raw, m, "failed to unmarshal the received message")
}

func (p packet) free() {
	if p.pooled != nil {
		mem.DefaultBufferPool().Put(p.pooled)
	}
}

// decodeBytes decodes a message that is, or has in its only field, an HttpBody with
// data and nothing else. It reports whether it could, and otherwise changes nothing.
func decodeBytes(raw []byte, m any) bool {
	pm := message(m)
	if body, ok := pm.(*httpbody.HttpBody); ok {
		data, ok := only(raw, dataField)
		if ok {
			kept := append(body.Data[:0], data...)
			proto.Reset(body)
			body.Data = kept
		}
		return ok
	}
	number, _, n := protowire.ConsumeTag(raw)
	if pm == nil || n < 0 {
		return false
	}
	inner, ok := only(raw, number)
	field := pm.ProtoReflect().Descriptor().Fields().ByNumber(number)
	if !ok || field == nil || field.Kind() != protoreflect.MessageKind || field.Cardinality() == protoreflect.Repeated || field.ContainingOneof() != nil {
		return false
	}
	body, ok := pm.ProtoReflect().Get(field).Message().Interface().(*httpbody.HttpBody)
	if _, plain := only(inner, dataField); !ok || !plain {
		return false
	}
	if body == nil {
		body = new(httpbody.HttpBody)
	}
	decodeBytes(inner, body)
	proto.Reset(pm)
	pm.ProtoReflect().Set(field, protoreflect.ValueOfMessage(body.ProtoReflect()))
	return true
}

// dataField is the number of the field data of an HttpBody.
const dataField = 2

// only returns the value of a field of bytes that is the only one in a message.
func only(raw []byte, field protowire.Number) ([]byte, bool) {
	number, kind, n := protowire.ConsumeTag(raw)
	if n < 0 || number != field || kind != protowire.BytesType {
		return nil, false
	}
	value, size := protowire.ConsumeBytes(raw[n:])
	return value, size == len(raw)-n
}

func decode(raw []byte, m any, failed string) error {
	pm := message(m)
	if pm == nil {
		return status.Errorf(codes.Internal, "grpc: %s: failed to unmarshal, message is %T, want proto.Message", failed, m)
	}
	if err := proto.Unmarshal(raw, pm); err != nil {
		return status.Errorf(codes.Internal, "grpc: %s: %v", failed, err)
	}
	return nil
}

func withinLimit(raw []byte, limit int) error {
	if len(raw) > limit {
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", len(raw), limit)
	}
	return nil
}

func message(m any) proto.Message {
	switch m := m.(type) {
	case proto.Message:
		return m
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(m)
	}
	return nil
}
