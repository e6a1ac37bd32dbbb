package blobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// DefaultChunkBytes is the maximum of a file that one message holds, unless
// [File.ChunkBytes] says otherwise. The message fits into 32 KiB, above which gRPC
// takes buffers of 1 MiB.
const DefaultChunkBytes = 32<<10 - 512

// maxChunkBytes leaves room for the rest of a message within the 4 MiB that gRPC
// clients accept by default.
const maxChunkBytes = 1 << 20

// A File is what [Serve] sends.
type File struct {
	// Open returns length bytes of the content, from offset on. It is called with
	// the context of the call, and not at all for an empty file. Required.
	// [Seeker] makes one of an io.ReadSeeker.
	Open func(ctx context.Context, offset, length int64) (io.ReadCloser, error)
	// Size is the length of the content, in bytes.
	Size int64
	// Name is the name to save the file under. It may come from a user: what a file
	// system or a header field could misread is replaced. Default: none, and the
	// browser makes one of the address.
	Name string
	// ContentType is the type that the file was stored with, and may come from a
	// user too. Default: application/octet-stream. An audio type makes the file
	// playable in a page and at its address, if the content begins as that of an
	// audio file does; the type that the caller gets is then the one that was
	// detected. Everything else is an attachment, and types of scripts and style sheets
	// become the default.
	ContentType string
	// ETag is the entity tag of the content (RFC 9110 §8.8.3), with or without
	// quotation marks. It must change with the content. It allows browsers to
	// resume a download (If-Range) and to keep a copy (If-None-Match).
	ETag string
	// ModTime is when the content last changed. The zero time means unknown.
	ModTime time.Time
	// CacheControl is the value of Cache-Control. Default: "private, no-cache",
	// which allows the browser a copy that it asks about before each use.
	CacheControl string
	// ChunkBytes is the maximum of the content in a message. Default:
	// [DefaultChunkBytes]. At most 1 MiB.
	ChunkBytes int
}

// Seeker returns a File.Open for content that can seek. The reader that it returns
// does not close r.
func Seeker(r io.ReadSeeker) func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	return func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		if _, err := r.Seek(offset, io.SeekStart); err != nil {
			return nil, err
		}
		return io.NopCloser(io.LimitReader(r, length)), nil
	}
}

// Serve sends a file, or the range of it that the caller asks for, and returns the
// error that the method must return. The caller asks by metadata "range" and
// "if-range", which the gateway makes of the header of a GET. Several ranges are
// answered with the whole file, as RFC 9110 §14.2 allows; a range outside the
// file is OUT_OF_RANGE. A caller with "if-none-match" or with "http-method" of HEAD
// gets no content that it does not need. Serve must be the first to send on the
// stream. All messages have their data in the same memory: an interceptor that keeps
// one after it was sent must copy it.
func Serve(stream grpc.ServerStreamingServer[httpbody.HttpBody], f File) error {
	if f.Open == nil || f.Size < 0 || f.ChunkBytes < 0 {
		return status.Errorf(codes.Internal, "blobs: a File needs Open, and a Size and ChunkBytes that are not negative, not %d and %d", f.Size, f.ChunkBytes)
	}
	f.ETag = quoteTag(f.ETag)
	if time.Since(f.ModTime) < time.Second {
		f.ModTime = time.Time{} // it may change again within its second, RFC 9110 §8.8.2.2
	}
	asked, _ := metadata.FromIncomingContext(stream.Context())
	part, err := f.part(asked)
	if err != nil {
		// Part of the answer 416, RFC 9110 §15.5.17. The error matters more than its header.
		_ = stream.SetHeader(metadata.Pairs("content-range", "bytes */"+strconv.FormatInt(f.Size, 10)))
		return err
	}
	contentType, disposition, err := f.presentation(stream.Context())
	if err != nil {
		return err
	}
	if err := stream.SendHeader(f.header(part, disposition)); err != nil {
		return err
	}
	if err := stream.Send(&httpbody.HttpBody{ContentType: contentType}); err != nil || part.length == 0 || f.bodiless(asked) {
		return err
	}
	return f.send(stream, part)
}

// bodiless reports whether the caller needs no content: it asks for the header, or has
// the content already. The gateway answers with 304 then.
func (f *File) bodiless(md metadata.MD) bool {
	if method := md.Get("http-method"); len(method) == 1 && method[0] == http.MethodHead {
		return true
	}
	for _, list := range md.Get("if-none-match") {
		for tag := range strings.SplitSeq(list, ",") { // a tag with a comma never matches, which is safe
			tag = strings.TrimSpace(tag)
			if f.ETag != "" && (tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(f.ETag, "W/")) {
				return true
			}
		}
	}
	return false
}

// send sends the content of a part.
func (f *File) send(stream grpc.ServerStreamingServer[httpbody.HttpBody], part span) error {
	content, err := f.Open(stream.Context(), part.offset, part.length)
	if err != nil {
		return fmt.Errorf("blobs: open %d bytes at %d: %w", part.length, part.offset, err)
	}
	defer content.Close() // nothing was written
	chunk := int64(min(cmp.Or(f.ChunkBytes, DefaultChunkBytes), maxChunkBytes))
	buffer := make([]byte, min(chunk, part.length))
	for sent := int64(0); sent < part.length; {
		data := buffer[:min(chunk, part.length-sent)]
		n, err := io.ReadFull(content, data)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return status.Errorf(codes.DataLoss, "blobs: the content ends after %d of %d bytes", sent+int64(n), part.length)
			}
			return fmt.Errorf("blobs: read at %d: %w", part.offset+sent+int64(n), err)
		}
		if err := stream.Send(&httpbody.HttpBody{Data: data}); err != nil {
			return err
		}
		sent += int64(n)
	}
	return nil
}

// header returns the header of an answer. The keys are those that the gateway knows.
func (f *File) header(part span, disposition string) metadata.MD {
	md := metadata.Pairs("accept-ranges", "bytes", "content-disposition", disposition,
		"cache-control", cmp.Or(f.CacheControl, "private, no-cache"))
	if part.ranged {
		md.Set("content-range", fmt.Sprintf("bytes %d-%d/%d", part.offset, part.offset+part.length-1, f.Size))
	} else {
		md.Set("body-length", strconv.FormatInt(part.length, 10))
	}
	if f.ETag != "" {
		md.Set("etag", f.ETag)
	}
	if !f.ModTime.IsZero() {
		md.Set("last-modified", f.ModTime.UTC().Format(http.TimeFormat))
	}
	return md
}

// quoteTag returns an entity tag in quotation marks, "" for what cannot be one.
func quoteTag(tag string) string {
	opaque := strings.TrimPrefix(tag, "W/")
	weak := tag[:len(tag)-len(opaque)]
	if len(opaque) >= 2 && opaque[0] == '"' && opaque[len(opaque)-1] == '"' {
		opaque = opaque[1 : len(opaque)-1]
	}
	if opaque == "" || strings.ContainsFunc(opaque, func(c rune) bool { return c <= ' ' || c == '"' || c > '~' }) {
		return ""
	}
	return weak + `"` + opaque + `"`
}
