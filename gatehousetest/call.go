package gatehousetest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A Body is the body of a response.
type Body []byte

// String returns the body as text.
func (b Body) String() string { return string(b) }

// Decode reads the body into a Protobuf message, or into another value as package json does. The
// test fails if it has another form.
func (b Body) Decode(t testing.TB, into any) {
	t.Helper()
	var err error
	if m, ok := into.(proto.Message); ok {
		err = protojson.Unmarshal(b, m)
	} else {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("gatehousetest: decode a response: %v\n%s", err, b)
	}
}

// Call makes a request, such as "POST /api/notes", and returns the body of the response. If the
// status is not want, the test fails and goes on. The body of the request is JSON: a string or
// []byte as it is, a Protobuf message, or any other value as package json encodes it; nil means no
// body.
//
//	var note notesv1.Note
//	gatehousetest.Call(t, editor, "POST /api/notes", `{"text":"Buy milk"}`, http.StatusOK).Decode(t, &note)
//	gatehousetest.Call(t, reader, "DELETE /api/notes/"+note.GetId(), nil, http.StatusForbidden)
func Call(t testing.TB, client *http.Client, request string, body any, want int) Body {
	t.Helper()
	encoded, err := encode(body)
	if err != nil {
		t.Fatalf("gatehousetest: %s: encode the body: %v", request, err)
	}
	method, address, ok := strings.Cut(request, " ")
	if !ok {
		t.Fatalf("gatehousetest: %q is no request; write a method and an address, such as GET /api/notes", request)
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, address, bytes.NewReader(encoded))
	if err != nil {
		t.Fatalf("gatehousetest: %s: %v", request, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("gatehousetest: %s: %v", request, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("gatehousetest: %s: read the response: %v", request, err)
	}
	if resp.StatusCode != want {
		t.Errorf("%s: status %d, want %d: %.2000s", request, resp.StatusCode, want, got)
	}
	return got
}

// encode returns the JSON of a body; nil for none.
func encode(body any) ([]byte, error) {
	switch body := body.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(body), nil
	case []byte:
		return body, nil
	case proto.Message:
		return protojson.Marshal(body)
	}
	return json.Marshal(body)
}
