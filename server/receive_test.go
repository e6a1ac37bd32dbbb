package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/server"
)

// unfinished opens streams on one connection, each with a message of which the last byte is missing,
// and returns a channel with the grpc-status of each stream that the server ends, or "reset".
func unfinished(t *testing.T, address, method, authorization string, streams, size int, more ...[2]string) <-chan string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, streams)
	read := make(chan struct{})
	go func() { // the windows are larger than what is sent below
		defer close(read)
		over := map[uint32]bool{}
		end := func(id uint32, how string) {
			if !over[id] {
				over[id] = true
				ended <- how
			}
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := frame.(type) {
			case *http2.MetaHeadersFrame:
				if !f.StreamEnded() {
					continue
				}
				code := ""
				for _, h := range f.Fields {
					if h.Name == "grpc-status" {
						code = h.Value
					}
				}
				end(f.StreamID, code)
			case *http2.RSTStreamFrame:
				end(f.StreamID, "reset")
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-read })
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(size))
	message = append(message, make([]byte, 4<<10)...)
	for i := range streams {
		header.Reset()
		for _, f := range append([][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", address},
			{"content-type", "application/grpc"}, {"te", "trailers"}, {"authorization", authorization},
		}, more...) {
			if f[1] == "" {
				continue
			}
			if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				t.Fatal(err)
			}
		}
		id := uint32(2*i + 1)
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: header.Bytes(), EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
		if err := framer.WriteData(id, false, message); err != nil {
			t.Fatal(err)
		}
	}
	return ended
}

// An unauthorized call is refused by its header; grpc-go would wait for the message and hold it.
func TestAuthenticatedBeforeTheMessage(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{unary: func(context.Context, string) (string, error) { return "", nil }}, nil)
	for name, authorization := range map[string]string{
		"no token":      "",
		"a broken one":  "Bearer x.y.z",
		"another's":     "Bearer " + s.issuer.Mint(map[string]any{"aud": "https://other.example"}),
		"another's kid": "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vbmUifQ.e30.AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const streams = 120
			ended := unfinished(t, s.address, echo, authorization, streams, 1<<20)
			for i := range streams {
				select {
				case got := <-ended:
					if got != "16" {
						t.Fatalf("stream %d: grpc-status %q, want 16 (UNAUTHENTICATED)", i, got)
					}
				case <-time.After(patience):
					t.Fatalf("%d of %d streams were refused; the others wait for their message", i, streams)
				}
			}
		})
	}
}

// Callers of a public method without a token hold a bounded number of messages and do not keep
// other callers out.
func TestUnfinishedMessages(t *testing.T) {
	t.Parallel()
	s := start(t, &probe{unary: func(_ context.Context, text string) (string, error) { return text, nil }},
		func(cfg *server.Config) { cfg.Limits.Timeout = time.Hour }) // none of them is late
	const streams = 240
	ended := unfinished(t, s.address, openEcho, "", streams, 1<<20)
	for i := range streams - 64 {
		select {
		case got := <-ended:
			if got != "14" {
				t.Fatalf("stream %d: grpc-status %q, want 14 (UNAVAILABLE)", i, got)
			}
		case <-time.After(patience):
			t.Fatalf("%d streams were refused; the server holds more than 64 messages", i)
		}
	}
	conn := s.dial(t)
	if got, err := invoke(s.authorized(t.Context(), nil), conn, echo, "signed in"); err != nil || got != "signed in" {
		t.Errorf("a caller with a token meanwhile: %q, %v", got, err)
	}
	deadline := time.Now().Add(patience)
	for {
		_, err := invoke(t.Context(), conn, openEcho, "public")
		if err == nil {
			break
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(deadline) {
			t.Fatalf("a caller of the public method meanwhile: %v", err)
		}
	}
}

// The time of a call counts from its header: the server's limit, or the caller's deadline if that is
// earlier.
func TestMessageThatNeverComes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		timeout time.Duration
		caller  [][2]string
	}{
		"the server's limit":                {time.Second, nil},
		"an earlier deadline of the caller": {time.Hour, [][2]string{{"grpc-timeout", "500m"}}},
		"a later deadline of the caller":    {time.Second, [][2]string{{"grpc-timeout", "1H"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, &probe{unary: func(context.Context, string) (string, error) { return "", nil }}, func(cfg *server.Config) { cfg.Limits.Timeout = tt.timeout })
			authorization := "Bearer " + s.issuer.Mint(map[string]any{"aud": audience})
			for _, seen := range []string{"a new token", "a token seen before"} {
				ended := unfinished(t, s.address, echo, authorization, 1, 1<<20, tt.caller...)
				select {
				case got := <-ended:
					// grpc-go resets a stream whose caller has stopped waiting.
					if got != "4" && !(got == "reset" && tt.timeout == time.Hour) {
						t.Errorf("%s: grpc-status %q, want 4 (DEADLINE_EXCEEDED)", seen, got)
					}
				case <-time.After(patience):
					t.Errorf("%s: the call still waits for its message", seen)
				}
			}
		})
	}
}
