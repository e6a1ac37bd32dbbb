package blobs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gatehouse-dev/gatehouse/server/blobs"
)

// TestReceive checks that a complete upload has an end, and every other one an error.
func TestReceive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		announce string
		messages []string
		breaks   bool // after the messages
		max      int64

		want  string
		code  codes.Code
		error string
	}{
		{name: "whole", messages: []string{"01234", "", "56789"}, max: 10, want: digits},
		{name: "whole with its length", announce: "10", messages: []string{digits}, max: 10, want: digits},
		{name: "empty", messages: []string{""}, max: 10},
		{name: "empty with its length", announce: "0", messages: []string{""}, max: 0},
		{name: "no message", max: 10, code: codes.InvalidArgument, error: "no request message"},
		{name: "broken off", messages: []string{"01234"}, breaks: true, max: 10, want: "01234", code: codes.Canceled},
		{name: "broken off before the first byte", messages: []string{""}, breaks: true, max: 10, code: codes.Canceled},
		{name: "broken off before the first message", breaks: true, max: 10, code: codes.Canceled},
		{name: "a byte too long", messages: []string{"01234", "567890"}, max: 10, want: "01234", code: codes.InvalidArgument, error: "longer than 10 bytes"},
		{name: "announced too long", announce: "11", messages: []string{"0"}, max: 10, code: codes.InvalidArgument, error: "longer than 10 bytes"},
		{name: "shorter than announced", announce: "10", messages: []string{"01234"}, max: 10, want: "01234", code: codes.DataLoss, error: "5 bytes, 10 were announced"},
		{name: "longer than announced", announce: "4", messages: []string{"01234"}, max: 10, want: "01234", code: codes.DataLoss, error: "5 bytes, 4 were announced"},
		{name: "announced without sense", announce: "-1", messages: []string{digits}, max: 10, want: digits},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.announce != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "body-length", c.announce)
			}
			var got []byte
			err := upload(ctx, t, func(stream grpc.ClientStreamingServer[httpbody.HttpBody, emptypb.Empty]) error {
				first, u, err := blobs.Receive(stream, blobs.Body, c.max)
				if err != nil {
					return err
				}
				got, err = io.ReadAll(u)
				if first == nil || u.ContentType != "a/b" || u.Size() != int64(len(got)) {
					t.Errorf("got %v, type %q, size %d", first, u.ContentType, u.Size())
				}
				if sum := sha256.Sum256(got); hex.EncodeToString(u.SHA256()) != hex.EncodeToString(sum[:]) {
					t.Errorf("got hash %x, want %x", u.SHA256(), sum)
				}
				if _, again := u.Read(make([]byte, 1)); err != nil && again != err {
					t.Errorf("a second read returns %v, the first %v", again, err)
				}
				return err
			}, func(stream grpc.ClientStream) {
				for i, data := range c.messages {
					m := &httpbody.HttpBody{Data: []byte(data)}
					if i == 0 {
						m.ContentType = "a/b"
					}
					if stream.SendMsg(m) != nil {
						return
					}
				}
				if c.breaks {
					cancel()
				} else if err := stream.CloseSend(); err != nil {
					t.Error(err)
				}
			})
			// What was sent just before a stream breaks off may be lost with it.
			if string(got) != c.want && !(c.breaks && strings.HasPrefix(c.want, string(got))) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if code := status.Code(err); code != c.code && !(c.breaks && err != nil) || err != nil && !strings.Contains(err.Error(), c.error) {
				t.Errorf("got error %v, want %v %q", err, c.code, c.error)
			}
		})
	}
}

// TestUploadedAudio checks that audio is detected by what has been read.
func TestUploadedAudio(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{wave: "audio/wav", flac: "audio/flac", page: "", "": "", strings.Repeat("x", 1<<14): ""} {
		err := upload(t.Context(), t, func(stream grpc.ClientStreamingServer[httpbody.HttpBody, emptypb.Empty]) error {
			_, u, err := blobs.Receive(stream, blobs.Body, 1<<20)
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, u); err != nil {
				return err
			}
			if got := u.AudioType(); got != want {
				t.Errorf("%.20q: got %q, want %q", content, got, want)
			}
			return nil
		}, func(stream grpc.ClientStream) {
			for part := range strings.SplitSeq(content, "") { // a byte a message
				if stream.SendMsg(&httpbody.HttpBody{Data: []byte(part)}) != nil {
					return
				}
			}
			if content == "" && stream.SendMsg(&httpbody.HttpBody{}) != nil {
				return
			}
			_ = stream.CloseSend()
		})
		if err != nil {
			t.Errorf("%.20q: %v", content, err)
		}
	}
}
