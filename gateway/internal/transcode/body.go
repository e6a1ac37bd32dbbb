package transcode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/rawbody"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
)

// readBody returns the body of a request and checks that it is what the route
// takes: one JSON value, an HttpBody, or nothing.
func (c *call) readBody() (io.ReadCloser, *refusal.Refusal) {
	rt, header := c.route, c.Request.Header
	if rt.Body == "" {
		return http.NoBody, c.NoBody()
	}
	if rt.RawBody {
		label, refused := sanitize.ContentType(header)
		if refused != nil {
			return nil, refused
		}
		content, refused := c.ReadBody()
		if refused != nil {
			return nil, refused
		}
		return &rawbody.Request{Reader: bytes.NewReader(content), ContentType: label}, nil
	}
	if refused := sanitize.JSONContentType(header); refused != nil {
		return nil, refused
	}
	content, refused := c.ReadBody()
	if refused != nil {
		return nil, refused
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the request body is empty; it must be one JSON value")
	}
	if problem := notJSON(content); problem != "" {
		return nil, refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the request body is not exactly one JSON value: "+problem)
	}
	c.body = content
	return io.NopCloser(bytes.NewReader(content)), nil
}

// notJSON returns why a body is not one JSON value in UTF-8, "" if it is one.
func notJSON(content []byte) string {
	if json.Valid(content) { // trailing data excluded
		if utf8.Valid(content) {
			return ""
		}
		return "it is not UTF-8"
	}
	d := json.NewDecoder(bytes.NewReader(content)) // for the place
	err := d.Decode(new(json.RawMessage))
	if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("it goes wrong at byte %d", wrong.Offset)
	}
	if err != nil {
		return "it ends too early"
	}
	return fmt.Sprintf("more follows after byte %d", d.InputOffset())
}
