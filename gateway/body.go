package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// body reads the body of a request and checks that it is what the route takes:
// one JSON value, labelled as such, or nothing.
func (g *Gateway) body(x *exchange, rt *route, deadline time.Time) (io.ReadCloser, *refusal) {
	r := x.request
	if rt.body == "" {
		return http.NoBody, refuseBody(x, deadline)
	}
	if rt.takesRaw {
		label, refused := rawContentType(r.Header)
		if refused != nil {
			return nil, refused
		}
		content, refused := g.readBody(x, deadline)
		if refused != nil {
			return nil, refused
		}
		return &rawRequest{bytes.NewReader(content), label}, nil
	}
	if refused := contentType(r.Header); refused != nil {
		return nil, refused
	}
	content, refused := g.readBody(x, deadline)
	if refused != nil {
		return nil, refused
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, refuse(http.StatusBadRequest, codes.InvalidArgument, emptyBody)
	}
	if problem := notJSON(content); problem != "" {
		return nil, refuse(http.StatusBadRequest, codes.InvalidArgument, "the request body is not exactly one JSON value: "+problem)
	}
	x.body = content
	return io.NopCloser(bytes.NewReader(content)), nil
}

// notJSON says why a body is not one JSON value in UTF-8, "" if it is one.
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

// readBody reads a body to its end, if that is near and comes soon enough.
func (g *Gateway) readBody(x *exchange, deadline time.Time) ([]byte, *refusal) {
	r := x.request
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > g.maxBody {
		return nil, g.tooLong(x)
	}
	controller := http.NewResponseController(x.w)
	_ = controller.SetReadDeadline(deadline) // a server that cannot has its own limits, or none
	arriving := g.arriving.Begin(requestBytes, func() { _ = controller.SetReadDeadline(past) })
	if arriving == nil {
		return nil, g.crowded(x)
	}
	content, err := io.ReadAll(&countedBody{http.MaxBytesReader(x.w, r.Body, g.maxBody), arriving})
	if !arriving.Arrived() && err == nil {
		err = errCrowded
	}
	if err != nil {
		if errors.Is(err, errCrowded) {
			return nil, g.crowded(x)
		}
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, g.tooLong(x)
		}
		return nil, x.unread(err)
	}
	_ = controller.SetReadDeadline(time.Time{})
	return content, nil
}

const (
	// arrivingBytes is what the bodies of unary calls may hold while they arrive, all together.
	// Whose calls they are is not known yet.
	arrivingBytes = 32 << 20
	// requestBytes is counted for a request itself: its header, its stream, what is buffered of it.
	requestBytes = 32 << 10
)

var (
	past       = time.Unix(1, 0)
	errCrowded = errors.New("gateway: no room for bodies that arrive")
)

// A countedBody counts what has arrived of a body.
type countedBody struct {
	body     io.Reader
	arriving *arrival.Request
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if n > 0 && !c.arriving.Grow(int64(n)) {
		return n, errCrowded
	}
	return n, err
}

// crowded refuses a request for which there is no room. Such requests come by the thousand: the log
// tells their number once a second.
func (g *Gateway) crowded(x *exchange) *refusal {
	x.quiet = true
	if ok, held := g.crowds.Next(); ok {
		g.log.WarnContext(x.request.Context(), "request refused: too many bodies are arriving", "suppressed", held)
	}
	x.Header().Set("Connection", "close")
	refused := refuse(http.StatusServiceUnavailable, codes.Unavailable, "too many request bodies are arriving at once; try again")
	refused.retryAfter = "1"
	return refused
}

func (g *Gateway) tooLong(x *exchange) *refusal {
	x.Header().Set("Connection", "close") // do not wait for the rest of it
	return refuse(http.StatusRequestEntityTooLarge, codes.InvalidArgument, fmt.Sprintf("the request body is longer than %d bytes", g.maxBody))
}

const emptyBody = "the request body is empty; it must be one JSON value"

// refuseBody refuses a request that has a body, reading a byte where its length
// is not declared.
func refuseBody(x *exchange, deadline time.Time) *refusal {
	r := x.request
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength < 0 {
		controller := http.NewResponseController(x.w)
		_ = controller.SetReadDeadline(deadline)
		n, err := io.ReadFull(r.Body, make([]byte, 1))
		if err != nil && !errors.Is(err, io.EOF) {
			return x.unread(err)
		}
		if n == 0 {
			_ = controller.SetReadDeadline(time.Time{})
			return nil
		}
	}
	return refuse(http.StatusBadRequest, codes.InvalidArgument, "this route takes no request body")
}

// unread refuses a request whose body was not read to its end.
func (x *exchange) unread(err error) *refusal {
	x.Header().Set("Connection", "close") // the rest may come or not
	return unread(err)
}

func unread(err error) *refusal {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refuse(http.StatusRequestTimeout, codes.DeadlineExceeded, "the request body did not arrive in time")
	}
	return refuse(http.StatusBadRequest, codes.InvalidArgument, "the request body could not be read to its end")
}

// contentType checks how a body is labelled. A page on another site can send
// text/plain or a form without asking first (CORS "simple requests"), so they
// are not read as JSON.
func contentType(h http.Header) *refusal {
	unsupported := func(message string) *refusal {
		return refuse(http.StatusUnsupportedMediaType, codes.InvalidArgument, message)
	}
	if encoding := h.Values("Content-Encoding"); len(encoding) > 0 && !slices.Equal(encoding, []string{"identity"}) {
		return unsupported("a request body must come without Content-Encoding")
	}
	values := h.Values("Content-Type")
	if len(values) == 1 && values[0] == "application/json" {
		return nil
	}
	const wanted = "the Content-Type must be application/json, in UTF-8"
	if len(values) != 1 {
		return unsupported(wanted)
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err != nil || mediaType != "application/json" {
		return unsupported(wanted)
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return unsupported(wanted)
		}
	}
	return nil
}
