package gateway

import (
	"bytes"
	"io"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// strictJSON is the proto JSON mapping with unknown fields refused.
type strictJSON struct{ runtime.JSONPb }

// Marshal drops the spaces that protojson puts between tokens in some builds
// and not in others, so that an answer has the same bytes everywhere.
func (m *strictJSON) Marshal(v any) ([]byte, error) {
	if done, ok := v.(*rendered); ok {
		return *done, nil
	}
	if message, ok := v.(proto.Message); ok { // nearly always, and the runtime would copy it once more
		b, err := m.MarshalOptions.Marshal(message)
		return compact(b), err
	}
	b, err := m.JSONPb.Marshal(v)
	return compact(b), err
}

// NewDecoder decodes a body that is an HttpBody as it is.
func (m *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	if raw, ok := r.(*rawRequest); ok {
		return runtime.DecoderFunc(raw.decode)
	}
	return m.JSONPb.NewDecoder(r)
}

// compact removes, in place, the spaces outside strings from valid JSON.
func compact(b []byte) []byte {
	if !spacious {
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

// spacious says whether protojson is one that writes spaces in this build.
var spacious = func() bool {
	b, err := protojson.Marshal(&errdetails.ErrorInfo{Reason: "r", Domain: "d", Metadata: map[string]string{"a": "1", "b": "2"}})
	return err != nil || bytes.IndexByte(b, ' ') >= 0
}()
