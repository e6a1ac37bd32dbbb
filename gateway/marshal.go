package gateway

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// marshaler writes google.api.HttpBody as it is and everything else as JSON.
type marshaler struct{ runtime.HTTPBodyMarshaler }

// StreamContentType labels a stream: JSON values, each on a line of its own.
func (m *marshaler) StreamContentType(v any) string {
	if t := m.ContentType(v); t != typeJSON {
		return t
	}
	return typeNDJSON
}

// Delimiter ends each message of a stream.
func (m *marshaler) Delimiter() []byte { return []byte("\n") }

// strictJSON is the proto JSON mapping with unknown fields refused.
type strictJSON struct{ runtime.JSONPb }

// Marshal drops the spaces that protojson puts between tokens in some builds
// and not in others, so that an answer has the same bytes everywhere.
func (m *strictJSON) Marshal(v any) ([]byte, error) {
	if message, ok := v.(proto.Message); ok { // nearly always, and the runtime would copy it once more
		b, err := m.MarshalOptions.Marshal(message)
		return compact(b), err
	}
	b, err := m.JSONPb.Marshal(v)
	return compact(b), err
}

// NewDecoder makes the message of a decoding error readable: protojson varies
// it from build to build, so that nobody depends on it.
func (m *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	d := m.JSONPb.NewDecoder(r)
	return runtime.DecoderFunc(func(v any) error {
		err := d.Decode(v)
		if err == nil || errors.Is(err, io.EOF) {
			return err
		}
		message := strings.ReplaceAll(err.Error(), "\u00a0", " ")
		return errors.New("request body: " + strings.TrimPrefix(message, "proto: "))
	})
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
