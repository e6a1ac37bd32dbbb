package gateway_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestStreamFailures checks that a stream that fails reports it in each format,
// after no, one and several messages, and with any text or message.
func TestStreamFailures(t *testing.T) {
	t.Parallel()
	const good = `{"id":"1","detail":null}`
	message := func(text string) proto.Message { return answerOf("WatchDetailed", text) }
	unknown := message(`id: "1"`)
	field := unknown.ProtoReflect().Descriptor().Fields().ByName("detail")
	packed := unknown.ProtoReflect().Mutable(field).Message()
	packed.Set(packed.Descriptor().Fields().ByName("type_url"), protoString("type.googleapis.com/unknown.v1.This"))
	packed.Set(packed.Descriptor().Fields().ByName("value"), protoBytes("\x0a\x01x"))

	info := &errdetails.ErrorInfo{Domain: "things", Reason: "MOVED"}
	withDetails, err := status.New(codes.Aborted, "moved").WithDetails(info)
	if err != nil {
		t.Fatal(err)
	}
	unreadable := withDetails.Proto()
	unreadable.Details = append(unreadable.Details, &anypb.Any{TypeUrl: "type.googleapis.com/unknown.v1.This", Value: []byte{1}},
		&anypb.Any{TypeUrl: "type.googleapis.com/google.rpc.ErrorInfo", Value: []byte("\x0a\x02\xff\xfe")})

	for _, c := range []struct {
		name   string
		err    error
		text   string // the part that the client gets
		code   codes.Code
		reason string // in details
	}{
		{"text", status.Error(codes.InvalidArgument, "bad input"), "bad input", codes.InvalidArgument, ""},
		{"text that is not UTF-8", status.Error(codes.InvalidArgument, "bad \xff\xfe bytes"), "bad \uFFFD", codes.InvalidArgument, ""},
		{"text cut within a character", status.Error(codes.FailedPrecondition, "caf\xc3"), "caf\uFFFD", codes.FailedPrecondition, ""},
		{"text with line breaks", status.Error(codes.InvalidArgument, "a\n\ndata: {}\r\n"), "a", codes.InvalidArgument, ""},
		{"details", withDetails.Err(), "moved", codes.Aborted, "MOVED"},
		{"details of an unknown type", status.FromProto(unreadable).Err(), "moved", codes.Aborted, "MOVED"},
		{"internal error", status.Error(codes.Internal, "pq: \xff"), "internal error", codes.Internal, ""},
		{"gRPC's own limit", status.Error(codes.ResourceExhausted, "grpc: received message larger than max (9 vs. 8)"), "internal error", codes.Internal, ""},
		{"the service's limit", status.Error(codes.ResourceExhausted, "too many at a time"), "too many at a time", codes.ResourceExhausted, ""},
		{"a message that cannot be marshaled", nil, "internal error", codes.Unknown, ""},
	} {
		for _, before := range []int{0, 1, 3} {
			answer := func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
				for range before {
					if err := stream.SendMsg(message(`id: "1"`)); err != nil {
						return nil, err
					}
				}
				if c.err == nil {
					return unknown, nil
				}
				return nil, c.err
			}
			code := c.code
			for _, way := range []struct {
				name, method, target string
				header               []string
				body                 string
				frame                func(string) string // of a message
			}{
				{"NDJSON", "GET", "/api/detailed:watch", nil, "", func(m string) string { return `{"result":` + m + "}\n" }},
				{"SSE", "GET", "/api/detailed:watch", []string{"Accept: text/event-stream"}, "", func(m string) string { return "data: " + m + "\n\n" }},
				{"Connect", "POST", things + "/WatchDetailed", []string{connectStream, version1}, envelope(0, "{}"), func(string) string { return envelope(0, `{"id":"1"}`) }},
				{"gRPC-Web", "POST", things + "/WatchDetailed", []string{grpcWeb}, envelope(0, "{}"), func(string) string { return envelope(0, `{"id":"1"}`) }},
			} {
				t.Run(c.name+"/"+way.name+"/after "+string(rune('0'+before)), func(t *testing.T) {
					t.Parallel()
					log := &logLines{}
					g := start(t, gateway.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))}, &backend{answer: answer})
					response := send(g, way.method, way.target, way.header, way.body)
					got := strings.ReplaceAll(read(t, response), `": "`, `":"`)
					rest, ok := strings.CutPrefix(got, strings.Repeat(way.frame(good), before))
					if !ok {
						t.Fatalf("got %q, want %d messages first", got, before)
					}
					plain := before == 0 && c.err != nil // an error answer, not a stream
					switch way.name {
					case "NDJSON", "SSE":
						object := `{"code":` + itoa(code) + `,"message":"` + c.text
						want := object
						switch {
						case plain:
							if response.StatusCode == http.StatusOK {
								t.Errorf("status 200 for %q", rest)
							}
						case way.name == "NDJSON":
							want = `{"error":` + object
						default:
							want = "event: error\ndata: " + object
						}
						if !strings.HasPrefix(rest, want) {
							t.Errorf("the end is %q, want %q", rest, want)
						}
						if way.name == "SSE" && !plain && strings.Count(rest, "\n") != 3 {
							t.Errorf("more than one event at the end: %q", rest)
						}
					case "Connect":
						if want := `"message":"` + c.text; !strings.HasPrefix(rest, "\x02") || !strings.Contains(rest, want) {
							t.Errorf("the end is %q, want one with %q", rest, want)
						}
					case "gRPC-Web":
						trailer := rest + "\ngrpc-status: " + response.Header.Get("Grpc-Status") + "\ngrpc-message: " + response.Header.Get("Grpc-Message")
						encoded := strings.NewReplacer("\uFFFD", "%EF%BF%BD").Replace(c.text)
						connectCode := code
						if c.err == nil {
							connectCode = codes.Internal
						}
						if !strings.Contains(trailer, "grpc-status: "+itoa(connectCode)) || !strings.Contains(trailer, "grpc-message: "+encoded) {
							t.Errorf("the end is %q, want status %d and %q", trailer, connectCode, encoded)
						}
					}
					if c.reason != "" && !strings.Contains(got, c.reason) && !strings.Contains(got, base64.RawStdEncoding.EncodeToString([]byte("\n\x05MOVED"))[:8]) && !strings.Contains(got, "grpc-status-details-bin: ") && response.Header.Get("Grpc-Status-Details-Bin") == "" {
						t.Errorf("%q lacks the details", got)
					}
					if c.text == "internal error" && !strings.Contains(log.String(), `"err"`) {
						t.Errorf("the log lacks the cause: %s", log)
					}
				})
			}
		}
	}
}

// TestUnaryFailures is TestStreamFailures for unary calls.
func TestUnaryFailures(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		name   string
		answer answerFunc
		status int
		want   string
	}{
		{"text that is not UTF-8", fails(status.Error(codes.InvalidArgument, "bad \xff\xfe bytes")), 400, "bad \uFFFD"},
		{"an answer of the maximum length", answers(thing(`title: "` + long[:3900] + `"`)), 200, long[:3900]},
		{"an answer that is too long", answers(thing(`title: "` + long + `"`)), 500, "internal error"},
		{"the service's limit, in gRPC's code", fails(status.Error(codes.ResourceExhausted, "slow down")), 429, "slow down"},
		{"a limit of the server's transport", fails(status.Error(codes.ResourceExhausted, "trying to send message larger than max (5000 vs. 4000)")), 500, "internal error"},
		{"a stream reset by the transport", fails(status.Error(codes.ResourceExhausted, "stream terminated by RST_STREAM with error code: ENHANCE_YOUR_CALM")), 500, "internal error"},
		{"a message too long after decompression", fails(status.Error(codes.ResourceExhausted, "grpc: received message after decompression larger than max 4000")), 500, "internal error"},
		{"a request too long for the server", fails(status.Error(codes.ResourceExhausted, "grpc: received message larger than max (3 vs. 2)")), 413, "too long for the service"},
	} {
		for _, way := range []struct {
			name, target string
			method       string
			header       []string
			body         string
		}{
			{"REST", "/api/things/1", "GET", nil, ""},
			{"Connect", things + "/GetThing", "POST", []string{connectJSON, version1}, `{"id":"1"}`},
			{"gRPC-Web", things + "/GetThing", "POST", []string{grpcWeb}, envelope(0, `{"id":"1"}`)},
		} {
			t.Run(c.name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				log := &logLines{}
				g := start(t, gateway.Config{Limits: gateway.LimitsConfig{MaxResponseBytes: 4000}, Logger: slog.New(slog.NewJSONHandler(log, nil))}, &backend{answer: c.answer})
				response := send(g, way.method, way.target, way.header, way.body)
				got := read(t, response) + response.Header.Get("Grpc-Message")
				want := c.want
				if way.name == "gRPC-Web" {
					want = strings.ReplaceAll(want, "\uFFFD", "%EF%BF%BD")
				} else if response.StatusCode != c.status {
					t.Errorf("status %d, want %d", response.StatusCode, c.status)
				}
				if !strings.Contains(got, want) {
					t.Errorf("got %.300q, want %.100q", got, want)
				}
				if logged := strings.Contains(log.String(), `"level":"WARN"`); logged != (c.status == 500) {
					t.Errorf("got log %s", log)
				}
			})
		}
	}
}

func itoa(code codes.Code) string { return strconv.Itoa(int(code)) }

func protoString(s string) protoreflect.Value { return protoreflect.ValueOfString(s) }

func protoBytes(s string) protoreflect.Value { return protoreflect.ValueOfBytes([]byte(s)) }
