package server_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// Each call has one line, with method, outcome and duration, and without credentials or
// messages.
func TestLog(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"in process", "network"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := start(t, &probe{
				unary:  func(context.Context, string) (string, error) { return "answer-message", nil },
				stream: func(ss grpc.ServerStream) error { return nil },
			}, nil)
			conn := s.ways[way]
			good := s.issuer.Mint(map[string]any{"aud": audience})
			expired := s.issuer.Mint(map[string]any{"aud": audience, "exp": 1})
			ids := map[string]string{}
			call := func(id, method, raw string) {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", id)
				if raw != "" {
					ctx = withToken(ctx, raw)
				}
				if method == watch {
					_, _ = receive(open(ctx, t, conn, method))
				} else {
					_, _ = invoke(ctx, conn, method, "request-message")
				}
				ids[id] = method
			}
			call("good", echo, good)
			call("stream", watch, good)
			call("missing", echo, "")
			call("expired", echo, expired)
			call("forged", watch, good[:len(good)-10]+"0123456789")
			stop(t, s)

			calls := map[string][]string{}
			for _, line := range s.log.lines(t) {
				id, _ := line["request_id"].(string)
				if line["msg"] != "request" {
					if line["msg"] != "token refused" || id != "expired" && id != "forged" || line["err"] == nil {
						t.Errorf("unexpected line: %v", line)
					}
					continue
				}
				calls[id] = append(calls[id], line["code"].(string))
				if method := line["rpc"]; method != ids[id] {
					t.Errorf("the line of a call of %s has the method %s", ids[id], method)
				}
				allowed := []string{"time", "level", "msg", "request_id", "rpc", "code", "err", "duration", "client"}
				for key := range maps.Keys(line) {
					if !slices.Contains(allowed, key) {
						t.Errorf("a line has the field %s: %v", key, line)
					}
				}
			}
			for id, code := range map[string]string{"good": "OK", "stream": "OK", "missing": "Unauthenticated", "expired": "Unauthenticated", "forged": "Unauthenticated"} {
				if len(calls[id]) != 1 || calls[id][0] != code {
					t.Errorf("call %s: the log has the codes %v, want %s, once", id, calls[id], code)
				}
			}
			log := s.log.String()
			for _, secret := range []string{"answer-message", "request-message"} {
				if strings.Contains(log, secret) {
					t.Errorf("the log has a message: %s", secret)
				}
			}
			for _, raw := range []string{good, expired} {
				for i, segment := range strings.Split(raw, ".") {
					if strings.Contains(log, segment[:40]) {
						t.Errorf("the log has segment %d of a token", i)
					}
				}
			}
			if strings.Contains(strings.ToLower(log), "bearer ey") || strings.Contains(log, "eyJ") {
				t.Error("the log has a token, or a part of one")
			}
		})
	}
}

// The outcome of a call in process is added to the line of its request, or gets a line
// of its own if that has been written already.
func TestLogOfARequest(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := start(t, &probe{
		unary:  func(context.Context, string) (string, error) { return "", errors.New("the cause") },
		stream: func(grpc.ServerStream) error { <-release; return status.Error(codes.NotFound, "no such thing") },
	}, nil)
	request := &logBuffer{}
	logger := slog.New(slog.NewJSONHandler(request, nil))
	for _, method := range []string{echo, watch} {
		ctx, line := accesslog.Begin(s.authorized(t.Context(), nil), logger, false)
		if method == echo {
			_, _ = invoke(ctx, s.Conn(), method, "")
			line.Write(ctx, logger, slog.LevelInfo)
			continue
		}
		cs := open(ctx, t, s.Conn(), method)
		line.Write(ctx, logger, slog.LevelInfo) // the client has gone
		close(release)
		_, _ = receive(cs)
	}
	stop(t, s)
	lines, own := request.lines(t), s.log.lines(t)
	if len(lines) != 2 || lines[0]["code"] != "Unknown" || lines[0]["err"] != "the cause" || lines[0]["level"] != "WARN" {
		t.Errorf("the lines of the requests are %v", lines)
	}
	if len(own) != 1 || own[0]["code"] != "NotFound" || own[0]["rpc"] != watch || own[0]["level"] != "INFO" {
		t.Errorf("the lines of the server are %v", own)
	}
}

// The id of a caller is kept if it is safe to log.
func TestRequestID(t *testing.T) {
	t.Parallel()
	ids := make(chan string, 1)
	s := start(t, &probe{
		unary:  func(ctx context.Context, _ string) (string, error) { ids <- requestid.FromContext(ctx); return "", nil },
		stream: func(ss grpc.ServerStream) error { ids <- requestid.FromContext(ss.Context()); return nil },
	}, nil)
	fresh := regexp.MustCompile(`^[A-Z2-7]{26}$`)
	for way, conn := range s.ways {
		for _, c := range []struct {
			name string
			sent []string
			kept bool
		}{
			{"none", nil, false},
			{"good", []string{"7f3e-2.x_y:z"}, true},
			{"empty", []string{""}, false},
			{"too long", []string{strings.Repeat("a", 65)}, false},
			{"forging a line", []string{`a" level=ERROR`}, false},
			{"two", []string{"a", "b"}, false},
		} {
			ctx := s.authorized(t.Context(), nil)
			for _, id := range c.sent {
				ctx = metadata.AppendToOutgoingContext(ctx, "X-Request-Id", id)
			}
			if _, err := invoke(ctx, conn, echo, ""); err != nil {
				t.Fatalf("%s: %s: %v", way, c.name, err)
			}
			unary := <-ids
			_, _ = receive(open(ctx, t, conn, watch))
			streamed := <-ids
			for _, got := range []string{unary, streamed} {
				if c.kept && got != c.sent[0] || !c.kept && !fresh.MatchString(got) {
					t.Errorf("%s: %s: sent %q, the handler has %q", way, c.name, c.sent, got)
				}
			}
			if !c.kept && unary == streamed {
				t.Errorf("%s: %s: two calls have the same id", way, c.name)
			}
		}
	}
}
