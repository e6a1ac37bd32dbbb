package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// An Upload is the content of an upload, as an io.Reader. Its fields and methods
// are not safe for concurrent use.
type Upload struct {
	// ContentType is what the caller says of the content, "" if it says nothing.
	ContentType string
	// Length is the length of the content in bytes that the caller has announced,
	// -1 if it has not. A caller with gRPC may announce anything.
	Length int64

	next func() (*httpbody.HttpBody, error)
	max  int64
	rest []byte // received, and not read yet
	size int64
	hash hash.Hash
	head []byte
	err  error
}

// A Stream is a stream of requests, as generated code declares it: that of a method
// with (stream M), with or without a stream of answers.
type Stream[M any] interface {
	Recv() (*M, error)
	Context() context.Context
}

// Body returns a message that is an HttpBody itself, for [Receive].
func Body(b *httpbody.HttpBody) *httpbody.HttpBody { return b }

// Receive returns the first message of an upload, which has the fields of the
// request's path and query, and its content. content returns the content in a
// message: the getter of the field, or [Body]. An upload of more than maxBytes has
// an error that becomes 413, at once if the caller has announced its length.
//
// After the first, messages may be received into the same memory: an interceptor that
// keeps one must copy it.
//
//	first, upload, err := blobs.Receive(stream, (*filev1.UploadFileRequest).GetContent, 2<<30)
func Receive[M any](stream Stream[M], content func(*M) *httpbody.HttpBody, maxBytes int64) (first *M, _ *Upload, err error) {
	u := &Upload{Length: -1, max: maxBytes, hash: sha256.New()}
	md, _ := metadata.FromIncomingContext(stream.Context())
	if values := md.Get("body-length"); len(values) == 1 {
		if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && n >= 0 {
			u.Length = n
		}
	}
	first, err = stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, nil, status.Error(codes.InvalidArgument, "the call has no request message")
	}
	if err != nil {
		return nil, nil, err
	}
	if u.Length > maxBytes {
		return nil, nil, u.tooLong()
	}
	body := content(first)
	u.ContentType, u.rest = body.GetContentType(), body.GetData()
	u.next = func() (*httpbody.HttpBody, error) {
		m, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		return content(m), nil
	}
	if receiver, ok := stream.(interface{ RecvMsg(any) error }); ok && inprocess.ReuseReceived(stream.Context()) {
		m := new(M) // the data of each message is read before the next one is received
		u.next = func() (*httpbody.HttpBody, error) {
			if err := receiver.RecvMsg(m); err != nil {
				return nil, err
			}
			return content(m), nil
		}
	}
	return first, u, nil
}

// Read reads the content. It returns io.EOF at the end of a complete upload only.
// Every other error is a status that the method can return: a stream that broke
// off, or content that is too long.
func (u *Upload) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(u.rest) == 0 && u.err == nil {
		body, err := u.next()
		switch {
		case errors.Is(err, io.EOF):
			u.err = io.EOF
			if u.Length >= 0 && u.size != u.Length {
				u.err = status.Errorf(codes.DataLoss, "the upload has %d bytes, %d were announced", u.size, u.Length)
			}
		case err != nil:
			u.err = err
		}
		u.rest = body.GetData()
	}
	if u.err == nil && u.size+int64(len(u.rest)) > u.max {
		u.err, u.rest = u.tooLong(), nil
	}
	if u.err != nil {
		return 0, u.err
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	u.size += int64(n)
	u.hash.Write(p[:n])
	if missing := headBytes - len(u.head); missing > 0 {
		u.head = append(u.head, p[:min(n, missing)]...)
	}
	return n, nil
}

// Size returns how many bytes have been read.
func (u *Upload) Size() int64 { return u.size }

// SHA256 returns the hash of the bytes that have been read.
func (u *Upload) SHA256() []byte { return u.hash.Sum(nil) }

// AudioType returns the media type of audio content, "" for everything else, as the
// function of this name does. It needs 3,072 bytes, or all, to have been read.
func (u *Upload) AudioType() string { return AudioType(u.head) }

// tooLong returns an error that the gateway answers with 413.
func (u *Upload) tooLong() error {
	return reason.Status(codes.InvalidArgument, fmt.Sprintf("the content is longer than %d bytes", u.max),
		&errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ContentTooLong, Metadata: map[string]string{"max_bytes": strconv.FormatInt(u.max, 10)}}).Err()
}
