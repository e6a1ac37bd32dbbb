package blobs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/server/blobs"
)

var (
	digits = "0123456789"
	wave   = "RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"
	flac   = "fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x0b\x00\x00\x00"
	page   = "<!DOCTYPE html><script>alert(1)</script>"
	old    = time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)
)

const oldText = "Sun, 01 Mar 2026 12:00:00 GMT"

func serve(f blobs.File) func(grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	return func(stream grpc.ServerStreamingServer[httpbody.HttpBody]) error { return blobs.Serve(stream, f) }
}

func fileOf(content string) blobs.File {
	return blobs.File{Open: blobs.Seeker(strings.NewReader(content)), Size: int64(len(content)), ETag: "v1", ModTime: old, Name: "a.bin"}
}

// TestRanges checks which part of a file a caller gets, and what its header says.
func TestRanges(t *testing.T) {
	t.Parallel()
	const whole = "body-length=10"
	for _, c := range []struct {
		name, ranges, ifRange string
		etag                  string // instead of v1
		want, says            string
	}{
		{name: "none", want: digits, says: whole},
		{name: "from the start", ranges: "bytes=0-3", want: "0123", says: "bytes 0-3/10"},
		{name: "in the middle", ranges: "bytes=4-5", want: "45", says: "bytes 4-5/10"},
		{name: "to the end", ranges: "bytes=7-", want: "789", says: "bytes 7-9/10"},
		{name: "all", ranges: "bytes=0-", want: digits, says: "bytes 0-9/10"},
		{name: "beyond the end", ranges: "bytes=7-99", want: "789", says: "bytes 7-9/10"},
		{name: "the last", ranges: "bytes=-3", want: "789", says: "bytes 7-9/10"},
		{name: "more than there are", ranges: "bytes=-99", want: digits, says: "bytes 0-9/10"},
		{name: "numbers beyond 64 bits", ranges: "bytes=3-99999999999999999999999", want: "3456789", says: "bytes 3-9/10"},
		{name: "last bytes beyond 64 bits", ranges: "bytes=-99999999999999999999999", want: digits, says: "bytes 0-9/10"},
		{name: "unit in capitals", ranges: "Bytes=1-1", want: "1", says: "bytes 1-1/10"},

		{name: "after the end", ranges: "bytes=10-", says: "bytes */10"},
		{name: "none of the last", ranges: "bytes=-0", says: "bytes */10"},
		{name: "start beyond 64 bits", ranges: "bytes=99999999999999999999999-", says: "bytes */10"},

		{name: "several", ranges: "bytes=0-1,3-4", want: digits, says: whole},
		{name: "backwards", ranges: "bytes=5-3", want: digits, says: whole},
		{name: "another unit", ranges: "lines=0-1", want: digits, says: whole},
		{name: "no number", ranges: "bytes=a-b", want: digits, says: whole},
		{name: "signs", ranges: "bytes=+1-+2", want: digits, says: whole},
		{name: "a dash", ranges: "bytes=-", want: digits, says: whole},
		{name: "two dashes", ranges: "bytes=--1", want: digits, says: whole},
		{name: "no set", ranges: "bytes=", want: digits, says: whole},
		{name: "no equals sign", ranges: "bytes", want: digits, says: whole},

		{name: "same tag", ranges: "bytes=1-2", ifRange: `"v1"`, want: "12", says: "bytes 1-2/10"},
		{name: "another tag", ranges: "bytes=1-2", ifRange: `"v2"`, want: digits, says: whole},
		{name: "another tag outside", ranges: "bytes=11-", ifRange: `"v2"`, want: digits, says: whole},
		{name: "the same tag as a weak one", ranges: "bytes=1-2", ifRange: `W/"v1"`, want: digits, says: whole},
		{name: "a weak tag of the file", ranges: "bytes=1-2", etag: `W/"v1"`, ifRange: `W/"v1"`, want: digits, says: whole},
		{name: "same date", ranges: "bytes=1-2", ifRange: oldText, want: "12", says: "bytes 1-2/10"},
		{name: "later date", ranges: "bytes=1-2", ifRange: "Sun, 01 Mar 2026 12:00:01 GMT", want: digits, says: whole},
		{name: "earlier date", ranges: "bytes=1-2", ifRange: "Sun, 01 Mar 2026 11:59:59 GMT", want: digits, says: whole},
		{name: "no validator", ranges: "bytes=1-2", ifRange: "v1", want: digits, says: whole},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var pairs []string
			if c.ranges != "" {
				pairs = append(pairs, "range", c.ranges)
			}
			if c.ifRange != "" {
				pairs = append(pairs, "if-range", c.ifRange)
			}
			f := fileOf(digits)
			if c.etag != "" {
				f.ETag = c.etag
			}
			got := download(t, serve(f), pairs...)
			says := strings.Join(got.header.Get("content-range"), " ")
			if length := got.header.Get("body-length"); length != nil {
				says += "body-length=" + strings.Join(length, " ")
			}
			if string(got.content) != c.want || says != c.says {
				t.Errorf("got %q, %q; want %q, %q", got.content, says, c.want, c.says)
			}
			wantCode := codes.OK
			if c.want == "" {
				wantCode = codes.OutOfRange
			}
			if code := status.Code(got.err); code != wantCode {
				t.Errorf("got error %v, want %v", got.err, wantCode)
			}
		})
	}
}

// TestEmptyFile checks that a range of an empty file is ignored, and that the file
// is not opened.
func TestEmptyFile(t *testing.T) {
	t.Parallel()
	f := blobs.File{Open: func(context.Context, int64, int64) (io.ReadCloser, error) { return nil, errors.New("opened") }, ContentType: "audio/wav"}
	got := download(t, serve(f), "range", "bytes=0-")
	if got.err != nil || len(got.content) > 0 || got.contentType != "audio/wav" || strings.Join(got.header.Get("body-length"), " ") != "0" {
		t.Errorf("got %q of type %q, header %v, error %v", got.content, got.contentType, got.header, got.err)
	}
}

// TestBodiless checks that a file is not opened for a caller that needs its header only.
func TestBodiless(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pairs  []string
		etag   string
		opened bool
	}{
		{[]string{"http-method", "HEAD"}, "v1", false},
		{[]string{"http-method", "GET"}, "v1", true},
		{[]string{"if-none-match", `"v1"`}, "v1", false},
		{[]string{"if-none-match", `"v0", W/"v1"`}, "v1", false},
		{[]string{"if-none-match", "*"}, "v1", false},
		{[]string{"if-none-match", `"v0"`}, "v1", true},
		{[]string{"if-none-match", `*`}, "", true},
	} {
		f, opened := fileOf(digits), false
		f.ETag = c.etag
		open := f.Open
		f.Open = func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
			opened = true
			return open(ctx, offset, length)
		}
		got := download(t, serve(f), c.pairs...)
		if opened != c.opened || (len(got.content) > 0) != c.opened || got.err != nil || got.header.Get("body-length") == nil {
			t.Errorf("%q with tag %q: opened %t, %d bytes, header %v, error %v; want opened %t", c.pairs, c.etag, opened, len(got.content), got.header, got.err, c.opened)
		}
	}
}

// TestPresentation checks that audio is detected by its content, and that everything
// else is an attachment.
func TestPresentation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, contentType, content string
		wantType, disposition      string
	}{
		{"wave", "audio/x-wav", wave, "audio/wav", "inline"},
		{"flac that is said to be mpeg", "audio/mpeg", flac, "audio/flac", "inline"},
		{"mpeg without tags", "audio/mpeg", "\xff\xfb\x90\x64\x00\x0f", "audio/mpeg", "inline"},
		{"a page that is said to be audio", "audio/mpeg", page, "application/octet-stream", "attachment"},
		{"audio that is said to be a page", "text/html", wave, "text/html", "attachment"},
		{"a page", "text/html; charset=utf-8", page, "text/html; charset=utf-8", "attachment"},
		{"an image", "image/png", "\x89PNG\r\n\x1a\n", "image/png", "attachment"},
		{"a script", "text/javascript", "alert(1)", "application/octet-stream", "attachment"},
		{"a script in capitals", "Application/X-JavaScript; charset=utf-8", "alert(1)", "application/octet-stream", "attachment"},
		{"a script by an old name", "text/ecmascript", "alert(1)", "application/octet-stream", "attachment"},
		{"a style sheet", "text/css", "* { color: red }", "application/octet-stream", "attachment"},
		{"PostScript", "application/postscript", "%!PS-Adobe", "application/postscript", "attachment"},
		{"WebAssembly", "application/wasm", "\x00asm\x01\x00\x00\x00", "application/octet-stream", "attachment"},
		{"no type", "", wave, "application/octet-stream", "attachment"},
		{"a type that is none", "audio/wav\r\nSet-Cookie: a=b", wave, "application/octet-stream", "attachment"},
		{"a type with a broken parameter", "text/plain; charset=\"\xff", "plain text", "application/octet-stream", "attachment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := fileOf(c.content)
			f.ContentType = c.contentType
			// A range has the type of the whole file.
			for _, ranges := range []string{"bytes=0-", "bytes=3-5"} {
				got := download(t, serve(f), "range", ranges)
				disposition, _, _ := strings.Cut(strings.Join(got.header.Get("content-disposition"), " "), ";")
				if got.err != nil || got.contentType != c.wantType || disposition != c.disposition {
					t.Errorf("%s: got %q, %q, error %v; want %q, %q", ranges, got.contentType, disposition, got.err, c.wantType, c.disposition)
				}
			}
		})
	}
}

// TestAttachment checks that no name breaks the header, leaves its directory, or
// looks like another one.
func TestAttachment(t *testing.T) {
	t.Parallel()
	const ext = "; filename*=UTF-8''"
	for name, want := range map[string]string{
		"mix.wav":                         `attachment; filename="mix.wav"`,
		"my mix (final).zip":              `attachment; filename="my mix (final).zip"`,
		"":                                `attachment`,
		".":                               `attachment`,
		"..":                              `attachment`,
		"/":                               `attachment`,
		"../../etc/passwd":                `attachment; filename="passwd"`,
		`C:\Windows\win.ini`:              `attachment; filename="win.ini"`,
		".bashrc":                         `attachment; filename="_bashrc"`,
		"a.exe. . ":                       `attachment; filename="a.exe"`,
		`a"; filename="b.exe`:             `attachment; filename="a_; filename=_b.exe"`,
		"a\r\nSet-Cookie: a=b":            `attachment; filename="aSet-Cookie_ a=b"`,
		"a\x00\x1b[2J.txt":                `attachment; filename="a[2J.txt"`,
		"100%41.txt":                      `attachment; filename="100_41.txt"` + ext + "100%2541.txt",
		"naïve café.wav":                  `attachment; filename="na_ve caf_.wav"` + ext + "na%C3%AFve%20caf%C3%A9.wav",
		"音.wav":                           `attachment; filename="_.wav"` + ext + "%E9%9F%B3.wav",
		"song\u202egnp.exe":               `attachment; filename="songgnp.exe"`, // would show as songexe.png
		"\u2066a\u2069\u200f.txt":         `attachment; filename="a.txt"`,
		"a\xff\xfe.txt":                   `attachment; filename="a__.txt"`,
		"a\u00a0b\u2028c.txt":             `attachment; filename="a bc.txt"`,
		strings.Repeat("x", 300) + ".wav": `attachment; filename="` + strings.Repeat("x", 251) + `.wav"`,
		strings.Repeat("é", 200) + ".wav": `attachment; filename="` + strings.Repeat("_", 125) + `.wav"` + ext + strings.Repeat("%C3%A9", 125) + ".wav",
		"a." + strings.Repeat("w", 300):   `attachment; filename="a.` + strings.Repeat("w", 253) + `"`,
	} {
		if got := blobs.Attachment(name); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

func FuzzAttachment(f *testing.F) {
	f.Add("a\"b\r\n\u202e/\\.wav")
	f.Add(strings.Repeat("é", 300))
	f.Fuzz(func(t *testing.T, name string) {
		got := blobs.Attachment(name)
		if strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) || strings.Count(got, `"`) > 2 || strings.ContainsAny(got, `\/`) || len(got) > 1100 {
			t.Errorf("%q: got %q", name, got)
		}
	})
}

// TestHeader checks the fields that do not depend on a range.
func TestHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		change    func(*blobs.File)
		key, want string
	}{
		{"tag without quotation marks", func(*blobs.File) {}, "etag", `"v1"`},
		{"tag with quotation marks", func(f *blobs.File) { f.ETag = `"v2"` }, "etag", `"v2"`},
		{"weak tag", func(f *blobs.File) { f.ETag = `W/"v2"` }, "etag", `W/"v2"`},
		{"tag that is none", func(f *blobs.File) { f.ETag = "a\"b" }, "etag", ""},
		{"tag with a line break", func(f *blobs.File) { f.ETag = "a\r\nb: c" }, "etag", ""},
		{"no tag", func(f *blobs.File) { f.ETag = "" }, "etag", ""},
		{"date", func(*blobs.File) {}, "last-modified", oldText},
		{"no date", func(f *blobs.File) { f.ModTime = time.Time{} }, "last-modified", ""},
		{"date that may be shared", func(f *blobs.File) { f.ModTime = time.Now() }, "last-modified", ""},
		{"date ahead", func(f *blobs.File) { f.ModTime = time.Now().Add(time.Hour) }, "last-modified", ""},
		{"caching", func(*blobs.File) {}, "cache-control", "private, no-cache"},
		{"caching by the service", func(f *blobs.File) { f.CacheControl = "no-store" }, "cache-control", "no-store"},
		{"ranges", func(*blobs.File) {}, "accept-ranges", "bytes"},
		{"name", func(*blobs.File) {}, "content-disposition", `attachment; filename="a.bin"`},
	} {
		f := fileOf(digits)
		c.change(&f)
		if got := strings.Join(download(t, serve(f)).header.Get(c.key), " "); got != c.want {
			t.Errorf("%s: got %s %q, want %q", c.name, c.key, got, c.want)
		}
	}
	if _, err := http.ParseTime(oldText); err != nil {
		t.Error(err)
	}
}

// TestChunks checks the length of messages.
func TestChunks(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	for set, want := range map[int]int{0: blobs.DefaultChunkBytes, 1 << 10: 1 << 10, 1 << 30: 1 << 20} {
		f := fileOf(string(content))
		f.ChunkBytes = set
		got := download(t, serve(f), "range", "bytes=1-")
		if got.longest != want || !bytes.Equal(got.content, content[1:]) {
			t.Errorf("ChunkBytes %d: the longest message has %d bytes, want %d; %d bytes in all, error %v", set, got.longest, want, len(got.content), got.err)
		}
	}
}

// TestBrokenFile checks that a file that cannot be read, or ends early, is an error.
func TestBrokenFile(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	for _, c := range []struct {
		name    string
		file    blobs.File
		content string
		code    codes.Code
	}{
		{"shorter than its size", blobs.File{Open: blobs.Seeker(strings.NewReader(digits)), Size: 11, ChunkBytes: 4}, "01234567", codes.DataLoss},
		{"cannot be opened", blobs.File{Open: func(context.Context, int64, int64) (io.ReadCloser, error) {
			return nil, status.Error(codes.NotFound, "gone")
		}, Size: 10}, "", codes.NotFound},
		{"audio that cannot be opened", blobs.File{Open: func(context.Context, int64, int64) (io.ReadCloser, error) { return nil, broken }, Size: 10, ContentType: "audio/wav"}, "", codes.Unknown},
		{"cannot be read", blobs.File{Open: func(context.Context, int64, int64) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(digits), failing{broken})), nil
		}, Size: 20, ChunkBytes: 4}, "01234567", codes.Unknown},
		{"no Open", blobs.File{Size: 10}, "", codes.Internal},
		{"negative size", blobs.File{Open: blobs.Seeker(strings.NewReader("")), Size: -1}, "", codes.Internal},
	} {
		got := download(t, serve(c.file))
		if string(got.content) != c.content || status.Code(got.err) != c.code {
			t.Errorf("%s: got %q, error %v; want %q, %v", c.name, got.content, got.err, c.content, c.code)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
