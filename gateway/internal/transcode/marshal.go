package transcode

import (
	"bytes"
	"io"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/rawbody"
)

// strictJSON is the Protobuf JSON mapping. It refuses unknown fields.
type strictJSON struct{ runtime.JSONPb }

// append appends a message to b, which is empty. It removes the spaces that protojson writes
// between tokens in some builds, so that an answer has the same bytes in all builds.
func (m *strictJSON) append(b []byte, message proto.Message) ([]byte, error) {
	b, err := m.MarshalOptions.MarshalAppend(b, message)
	return compact(b), err
}

// Marshal marshals like append.
func (m *strictJSON) Marshal(v any) ([]byte, error) {
	if done, ok := v.(*rendered); ok {
		return *done, nil
	}
	if message, ok := v.(proto.Message); ok { // the runtime would copy it
		return m.append(nil, message)
	}
	b, err := m.JSONPb.Marshal(v)
	return compact(b), err
}

// NewDecoder returns a decoder for JSON, or for an HttpBody as it is.
func (m *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	if raw, ok := r.(*rawbody.Request); ok {
		return runtime.DecoderFunc(raw.Decode)
	}
	return m.JSONPb.NewDecoder(r)
}

// compact removes the spaces outside strings from valid JSON, in place.
func compact(b []byte) []byte {
	if !writesSpaces {
		return b
	}
	kept, inString := b[:0], false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inString && c == '\\':
			kept = append(kept, c)
			i++
			c = b[i]
		case c == '"':
			inString = !inString
		case !inString && c == ' ':
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

// writesSpaces reports whether protojson writes spaces in this build.
var writesSpaces = func() bool {
	b, err := protojson.Marshal(&errdetails.ErrorInfo{Reason: "r", Domain: "d", Metadata: map[string]string{"a": "1", "b": "2"}})
	return err != nil || bytes.IndexByte(b, ' ') >= 0
}()
