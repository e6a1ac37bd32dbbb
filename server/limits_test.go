package server_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/server"
)

// A method is served only by its exact name. Another spelling that reached the method
// would not find its policy (CVE-2026-33186).
func TestPath(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{unary: func(context.Context, string) (string, error) { return "reached", nil }}, nil)
	good := s.issuer.Mint(map[string]any{"aud": audience})
	for _, path := range []string{
		"probe.v1.Probe/Scoped", "//probe.v1.Probe/Scoped", "/probe.v1.Probe//Scoped", "/probe.v1.Probe/Scoped/", "/probe.v1.Probe/scoped",
		"/x/probe.v1.Probe/Scoped", "/probe.v1.Probe", "/probe.v1.Probe/", "/", "*", "/probe.v1.Probe/%53coped", "/probe.v1.Probe/Scoped?", "/probe.v1.Probe/Unknown",
		"http://127.0.0.1/probe.v1.Probe/Scoped",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			answer := raw(t, s.address, path, "Bearer "+good)
			if code := answer["grpc-status"]; code == "0" || code == "" && answer[":status"] == "200" {
				t.Errorf("network: got the answer %v, want a refusal", answer)
			}
			if path == "/probe.v1.Probe/Scoped" {
				return
			}
			_, err := invoke(withToken(t.Context(), good), s.Conn(), path, "")
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("in process: %v, want Unimplemented", err)
			}
			_, err = s.Conn().NewStream(withToken(t.Context(), good), &grpc.StreamDesc{}, path)
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("in process, as a stream: %v, want Unimplemented", err)
			}
		})
	}
	t.Run("in process, empty", func(t *testing.T) {
		t.Parallel()
		if _, err := invoke(t.Context(), s.Conn(), "", ""); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v, want Unimplemented", err)
		}
	})
	t.Run("the way it is written", func(t *testing.T) {
		t.Parallel()
		able := s.issuer.Mint(map[string]any{"aud": audience, "scope": "write"})
		if answer := raw(t, s.address, scoped, "Bearer "+able); answer["grpc-status"] != "0" {
			t.Errorf("the raw client gets %v for a valid call, so the checks above prove nothing", answer)
		}
		if answer := raw(t, s.address, scoped, "Bearer "+good); answer["grpc-status"] != "7" {
			t.Errorf("without the scope: %v", answer)
		}
		if answer := raw(t, s.address, scoped, "Bearer "+able, "Bearer "+good); answer["grpc-status"] != "16" {
			t.Errorf("with two authorization values: %v", answer)
		}
	})
}

// raw makes a unary call with a path that no gRPC client sends. It returns header and
// trailer of the answer, empty if the stream or the connection was reset.
func raw(t *testing.T, address, path string, authorization ...string) map[string]string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	field := func(name, value string) {
		if err := encoder.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	field(":method", "POST")
	field(":scheme", "http")
	field(":path", path)
	field(":authority", address)
	field("content-type", "application/grpc")
	field("te", "trailers")
	for _, value := range authorization {
		field("authorization", value)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header.Bytes(), EndHeaders: true})
	if err == nil {
		err = framer.WriteData(1, true, make([]byte, 5)) // one empty message
	}
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return got // refused by its size before it was read
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return got
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				got[h.Name] = h.Value
			}
			if f.StreamEnded() {
				return got
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return got
		}
	}
}

// Messages and headers that are too large are refused; the connection stays usable.
func TestSizes(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{unary: func(_ context.Context, text string) (string, error) { return text[:min(len(text), 3)], nil }}, nil)
	conn := s.dial(t)
	ctx := s.authorized(t.Context(), nil)
	if _, err := invoke(ctx, conn, echo, strings.Repeat("a", server.DefaultMaxRequestBytes)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message above the limit: %v", err)
	}
	if _, err := invoke(ctx, conn, echo, strings.Repeat("a", server.DefaultMaxRequestBytes-1<<10)); err != nil {
		t.Errorf("a message of nearly the limit: %v", err)
	}
	huge := metadata.AppendToOutgoingContext(ctx, "x-padding", strings.Repeat("a", 40<<10))
	if _, err := invoke(huge, conn, echo, "x"); err == nil {
		t.Error("metadata above 32 KiB was accepted")
	}
	large := metadata.AppendToOutgoingContext(ctx, "x-padding", strings.Repeat("a", 20<<10))
	if _, err := invoke(large, conn, echo, "x"); err != nil {
		t.Errorf("metadata of 20 KiB: %v", err)
	}
	// The client has no limit of its own.
	answer := raw(t, s.address, echo, "Bearer "+strings.Repeat("a", 60<<10))
	if code := answer["grpc-status"]; code == "0" || code == "" && answer[":status"] == "200" {
		t.Errorf("metadata of 60 KiB: got the answer %v", answer)
	}
	if _, err := invoke(ctx, conn, echo, "x"); err != nil {
		t.Errorf("a call afterwards: %v", err)
	}
}

// The number of concurrent calls of one connection is limited; grpc-go sets no limit
// (CVE-2023-44487).
func TestManyStreams(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", start(t, &probe{}, nil).address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("the server sent no limit: %v", err)
		}
		settings, ok := frame.(*http2.SettingsFrame)
		if !ok || settings.IsAck() {
			continue
		}
		if limit, ok := settings.Value(http2.SettingMaxConcurrentStreams); !ok || limit != 250 {
			t.Errorf("the limit is %d, %v; want 250", limit, ok)
		}
		return
	}
}

// Messages within the limits arrive, on the network and in process, and larger ones are
// refused.
func TestMessageLimits(t *testing.T) {
	t.Parallel()
	const request, response = 10_000, 5 << 20
	s := start(t, &probe{
		unary: func(_ context.Context, text string) (string, error) {
			if size, ok := strings.CutPrefix(text, "answer "); ok {
				n, err := strconv.Atoi(size)
				return strings.Repeat("x", n), err
			}
			return strconv.Itoa(len(text)), nil
		},
		stream: func(ss grpc.ServerStream) error {
			var in wrapperspb.StringValue
			if err := ss.RecvMsg(&in); err != nil {
				return err
			}
			n, err := strconv.Atoi(in.GetValue())
			if err != nil {
				return err
			}
			return ss.SendMsg(wrapperspb.String(strings.Repeat("x", n)))
		},
	}, func(cfg *server.Config) { cfg.Limits.MaxRequestBytes, cfg.Limits.MaxResponseBytes = request, response })
	const overhead = 5 // of a field
	for way, conn := range s.ways {
		ctx := s.authorized(t.Context(), nil)
		call := func(method, text string) error {
			var out wrapperspb.StringValue
			return conn.Invoke(ctx, method, wrapperspb.String(text), &out, grpc.MaxCallRecvMsgSize(64<<20))
		}
		streamed := func(size int) error {
			cs, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watch, grpc.MaxCallRecvMsgSize(64<<20))
			if err != nil {
				return err
			}
			if err := errors.Join(cs.SendMsg(wrapperspb.String(strconv.Itoa(size))), cs.CloseSend()); err != nil {
				return err
			}
			return cs.RecvMsg(new(wrapperspb.StringValue))
		}
		for _, c := range []struct {
			name string
			err  error
			code codes.Code
		}{
			{"request within", call(echo, strings.Repeat("x", request-overhead)), codes.OK},
			{"request beyond", call(echo, strings.Repeat("x", request)), codes.ResourceExhausted},
			{"answer of more than gRPC's 4 MiB", call(echo, "answer "+strconv.Itoa(response-overhead)), codes.OK},
			{"answer beyond", call(echo, "answer "+strconv.Itoa(response)), codes.ResourceExhausted},
			{"message of a stream within", streamed(response - overhead), codes.OK},
			{"message of a stream beyond", streamed(response), codes.ResourceExhausted},
		} {
			if status.Code(c.err) != c.code {
				t.Errorf("%s, %s: %v, want %v", way, c.name, c.err, c.code)
			}
		}
	}
	t.Run("a request that grows when it is unpacked", func(t *testing.T) {
		t.Parallel()
		var out wrapperspb.StringValue
		err := s.dial(t).Invoke(s.authorized(t.Context(), nil), echo, wrapperspb.String(strings.Repeat("x", 1<<20)), &out, grpc.UseCompressor(grpcgzip.Name))
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want ResourceExhausted", err)
		}
	})
	t.Run("text of a status that is not UTF-8", func(t *testing.T) {
		t.Parallel()
		bad, err := status.New(codes.InvalidArgument, "bad \xff bytes").WithDetails(&errdetails.ErrorInfo{Reason: "BAD"})
		if err != nil {
			t.Fatal(err)
		}
		s := start(t, &probe{
			unary:  func(context.Context, string) (string, error) { return "", bad.Err() },
			stream: func(grpc.ServerStream) error { return bad.Err() },
		}, nil)
		for way, conn := range s.ways {
			ctx := s.authorized(t.Context(), nil)
			_, unary := invoke(ctx, conn, echo, "")
			_, streamed := receive(open(ctx, t, conn, watch))
			for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
				if status.Convert(err).Message() != "bad \uFFFD bytes" || reason(err) != "BAD" {
					t.Errorf("%s, %s: %v with reason %q", way, kind, err, reason(err))
				}
			}
		}
	})
}
