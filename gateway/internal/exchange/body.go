package exchange

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// ReadBody returns the request body. It refuses one that is longer than
// MaxBodyBytes, one that does not arrive before the deadline, and any if too many
// bytes of bodies are arriving at once.
func (x *Exchange) ReadBody() ([]byte, *refusal.Refusal) {
	r := x.Request
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > x.server.cfg.MaxBodyBytes {
		return nil, x.tooLong()
	}
	controller := x.Controller()
	_ = controller.SetReadDeadline(x.Deadline()) // not every server supports it
	arriving := x.server.arriving.Begin(requestBytes, func() { _ = controller.SetReadDeadline(past) })
	if arriving == nil {
		return nil, x.overloaded()
	}
	content, err := io.ReadAll(&countedBody{http.MaxBytesReader(x.w, r.Body, x.server.cfg.MaxBodyBytes), arriving})
	arrived := arriving.Arrived()
	switch _, tooLong := errors.AsType[*http.MaxBytesError](err); {
	case err == nil && !arrived, errors.Is(err, errOverloaded):
		return nil, x.overloaded()
	case tooLong:
		return nil, x.tooLong()
	case err != nil:
		return nil, x.unread(err)
	}
	_ = controller.SetReadDeadline(time.Time{})
	return content, nil
}

const (
	// arrivingBytes limits the bodies of unary calls that are arriving, all
	// together: their callers have not been authenticated yet.
	arrivingBytes = 32 << 20
	// requestBytes is counted for the request itself: header, stream and buffers.
	requestBytes = 32 << 10
)

var (
	past          = time.Unix(1, 0) // a deadline in the past ends a read
	errOverloaded = errors.New("gateway: too many request bodies are arriving")
)

// A countedBody counts the bytes of a body that have arrived.
type countedBody struct {
	body     io.Reader
	arriving *arrival.Request
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if n > 0 && !c.arriving.Grow(int64(n)) {
		return n, errOverloaded
	}
	return n, err
}

// overloaded refuses a request because too many bodies are arriving. There may
// be thousands of such requests, so the log has their number once a minute.
func (x *Exchange) overloaded() *refusal.Refusal {
	x.Quiet = true
	x.server.cfg.Limited.Add(metrics.LimitArriving)
	if ok, held := x.server.overloads.Next(); ok {
		x.server.cfg.Logger.WarnContext(x.ctx, "request refused: too many bodies are arriving", "suppressed", held)
	}
	x.Header().Set("Connection", "close")
	refused := refusal.New(http.StatusServiceUnavailable, codes.Unavailable, "too many request bodies are arriving at once; try again")
	refused.RetryAfter = "1"
	return refused
}

func (x *Exchange) tooLong() *refusal.Refusal {
	x.Header().Set("Connection", "close") // the rest is not read
	return refusal.New(http.StatusRequestEntityTooLarge, codes.InvalidArgument, fmt.Sprintf("the request body is longer than %d bytes", x.server.cfg.MaxBodyBytes))
}

// NoBody refuses a request that has a body. It reads a byte if the length is not
// declared.
func (x *Exchange) NoBody() *refusal.Refusal {
	r := x.Request
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength < 0 {
		controller := x.Controller()
		_ = controller.SetReadDeadline(x.Deadline())
		n, err := io.ReadFull(r.Body, make([]byte, 1))
		if err != nil && !errors.Is(err, io.EOF) {
			return x.unread(err)
		}
		if n == 0 {
			_ = controller.SetReadDeadline(time.Time{})
			return nil
		}
	}
	return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "this route takes no request body")
}

// unread refuses a request whose body could not be read to its end.
func (x *Exchange) unread(err error) *refusal.Refusal {
	x.Header().Set("Connection", "close") // the rest may still arrive
	return BodyError(err)
}

// BodyError returns the answer to an error of reading a request body.
func BodyError(err error) *refusal.Refusal {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refusal.New(http.StatusRequestTimeout, codes.DeadlineExceeded, "the request body did not arrive in time")
	}
	return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the request body could not be read to its end")
}
