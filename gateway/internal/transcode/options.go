package transcode

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// checkOptions refuses options of the application that would have no effect although it
// must rely on them: error handlers. An error of the gateway has a challenge, no cause,
// and one form, which its own handlers give it.
func checkOptions(options []runtime.ServeMuxOption) error {
	for i, option := range options {
		if option == nil {
			return invalid.Field("MuxOptions", i, "is nil", "give an option, or leave the element out")
		}
	}
	var calls, routing bool
	mux := runtime.NewServeMux(append([]runtime.ServeMuxOption{
		runtime.WithErrorHandler(func(context.Context, *runtime.ServeMux, runtime.Marshaler, http.ResponseWriter, *http.Request, error) {
			calls = true
		}),
		runtime.WithRoutingErrorHandler(func(context.Context, *runtime.ServeMux, runtime.Marshaler, http.ResponseWriter, *http.Request, int) {
			routing = true
		}),
	}, options...)...)
	request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}, Body: http.NoBody}
	try(func() {
		runtime.HTTPError(context.Background(), mux, discarding{}, &probe{}, request, status.Error(codes.Internal, "option"))
	})
	try(func() { mux.ServeHTTP(&probe{}, request) })
	if !calls || !routing {
		return &invalid.Error{Field: "MuxOptions", Problem: "replaces the handler of errors, which the gateway needs for challenges and for what clients must not see",
			Remedy: "return a status with details from the service, or change it in an interceptor of the server"}
	}
	return nil
}

// try calls f, and ignores its panic: it has called a handler of the application.
func try(f func()) {
	defer func() { _ = recover() }()
	f()
}

// discarding is a marshaler that a replaced handler may call.
type discarding struct{}

func (discarding) Marshal(any) ([]byte, error) { return nil, nil }
func (discarding) Unmarshal([]byte, any) error { return errors.ErrUnsupported }
func (discarding) NewDecoder(io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(any) error { return io.EOF })
}
func (discarding) NewEncoder(io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(any) error { return nil })
}
func (discarding) ContentType(any) string { return "application/json" }
