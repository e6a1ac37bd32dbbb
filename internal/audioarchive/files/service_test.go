package files_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/filestest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var reason = filestest.Reason

// onEach runs a test with both databases.
func onEach(t *testing.T, cfg files.Config, test func(t *testing.T, s *filestest.System)) {
	t.Helper()
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "products.db") },
		"postgres": func() string { return pgtest.New(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, filestest.New(t, url(), "memory:", cfg))
		})
	}
}

// upload uploads a file of a product.
func upload(s *filestest.System, subject, product, name, content string) (*audioarchivev1.Product, error) {
	return s.Upload(s.As(subject), &audioarchivev1.UploadProductFileRequest{Name: product, FileName: name}, strings.NewReader(content))
}

func buy(t *testing.T, s *filestest.System, subject, product string) {
	t.Helper()
	if _, err := s.Orders.CreateOrder(s.As(subject), &audioarchivev1.CreateOrderRequest{Order: &audioarchivev1.Order{Product: product}}); err != nil {
		t.Fatal(err)
	}
}

// TestBuckets runs the tests of buckets with a directory and with memory. That with S3 is in e2e.
func TestBuckets(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(testing.TB) string{
		"directory": func(t testing.TB) string { return "dir:" + filepath.Join(t.TempDir(), "files ä", "new") },
		"memory":    func(testing.TB) string { return "memory:" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			filestest.Bucket(t, address)
		})
	}
}

// TestAccess checks who gets a file: its seller and its buyers, these also after the product was
// deleted, and always the latest.
func TestAccess(t *testing.T) {
	t.Parallel()
	onEach(t, files.Config{}, func(t *testing.T, s *filestest.System) {
		p := s.Offer(t, "sofia", "One").GetName()
		get := func(subject, want string) {
			t.Helper()
			got, err := s.Download(s.As(subject), p)
			if text := string(got.Content); text != want && reason(err) != want {
				t.Errorf("%s: got %q, %v; want %q", subject, text, err, want)
			}
		}
		get("sofia", "NotFound FILE_NOT_FOUND")
		if _, err := s.Orders.CreateOrder(s.As("ben"), &audioarchivev1.CreateOrderRequest{Order: &audioarchivev1.Order{Product: p}}); reason(err) != "FailedPrecondition PRODUCT_HAS_NO_FILE" {
			t.Errorf("bought without a file: %v", err)
		}
		if _, err := upload(s, "sofia", p, "one", "first"); err != nil {
			t.Fatal(err)
		}
		get("sofia", "first")
		get("ben", "PermissionDenied NOT_BUYER")
		get("stranger", "PermissionDenied NOT_BUYER")
		buy(t, s, "ben", p)
		get("ben", "first")
		if _, err := upload(s, "sofia", p, "two", "second"); err != nil {
			t.Fatal(err)
		}
		get("ben", "second")
		if _, err := s.Products.DeleteProduct(s.As("sofia"), &audioarchivev1.DeleteProductRequest{Name: p}); err != nil {
			t.Fatal(err)
		}
		get("ben", "second")
		get("sofia", "second")
		get("stranger", "NotFound PRODUCT_NOT_FOUND")
		if _, err := s.Download(t.Context(), p); reason(err) != "Unauthenticated TOKEN_MISSING" {
			t.Errorf("without a token: %v", err)
		}
	})
}

// TestUploadRefusals checks that an upload that is refused changes nothing.
func TestUploadRefusals(t *testing.T) {
	t.Parallel()
	s := filestest.New(t, "memory:", "memory:", files.Config{MaxBytes: 1000})
	p := s.Offer(t, "sofia", "One")
	if _, err := upload(s, "sofia", p.GetName(), "kept", "kept"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, as, want string
		change         func(*audioarchivev1.UploadProductFileRequest)
		content        string
	}{
		{"another seller", "stranger", "PermissionDenied NOT_SELLER", nil, ""},
		{"not a seller", "ben", "PermissionDenied PERMISSION_MISSING", nil, ""},
		{"no such product", "sofia", "NotFound PRODUCT_NOT_FOUND", func(r *audioarchivev1.UploadProductFileRequest) { r.Name = "products/" + strings.Repeat("a", 26) }, ""},
		{"no name of a product", "sofia", "InvalidArgument name", func(r *audioarchivev1.UploadProductFileRequest) { r.Name = "../x" }, ""},
		{"old etag", "sofia", "Aborted ETAG_MISMATCH", func(r *audioarchivev1.UploadProductFileRequest) { r.Etag = p.GetEtag() }, ""},
		{"no file name", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = " " }, ""},
		{"path", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = "../../etc/passwd" }, ""},
		{"path of Windows", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = `C:\a.wav` }, ""},
		{"dots", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = ".." }, ""},
		{"line break", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = "a\r\nSet-Cookie: b" }, ""},
		{"direction of text", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = "a\u202evaw.exe" }, ""},
		{"long name", "sofia", "InvalidArgument file_name", func(r *audioarchivev1.UploadProductFileRequest) { r.FileName = strings.Repeat("a", 201) }, ""},
		{"announced too large", "sofia", "InvalidArgument CONTENT_TOO_LONG", func(r *audioarchivev1.UploadProductFileRequest) { r.SizeBytes = 1001 }, ""},
		{"negative size", "sofia", "InvalidArgument size_bytes", func(r *audioarchivev1.UploadProductFileRequest) { r.SizeBytes = -1 }, ""},
		{"too large", "sofia", "InvalidArgument CONTENT_TOO_LONG", nil, strings.Repeat("x", 1001)},
		{"another size", "sofia", "InvalidArgument size_bytes", func(r *audioarchivev1.UploadProductFileRequest) { r.SizeBytes = 3 }, "four"},
		{"empty", "sofia", "InvalidArgument content", nil, ""},
		{"a form", "sofia", "InvalidArgument content", func(r *audioarchivev1.UploadProductFileRequest) {
			r.Content = &httpbody.HttpBody{ContentType: "multipart/form-data; boundary=x"}
		}, "--x"},
		{"a space of macOS", "sofia", "OK", func(r *audioarchivev1.UploadProductFileRequest) {
			r.FileName, r.ValidateOnly = "Take at 9.41\u202fAM.wav", true
		}, ""},
		{"validated only", "sofia", "OK", func(r *audioarchivev1.UploadProductFileRequest) { r.ValidateOnly = true; r.SizeBytes = 1000 }, ""},
	} {
		req := &audioarchivev1.UploadProductFileRequest{Name: p.GetName(), FileName: "a.wav"}
		if c.change != nil {
			c.change(req)
		}
		if _, err := s.Upload(s.As(c.as), req, strings.NewReader(c.content)); reason(err) != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, reason(err), err, c.want)
		}
	}
	if got, err := s.Download(s.As("sofia"), p.GetName()); err != nil || string(got.Content) != "kept" {
		t.Errorf("then: %q, %v", got.Content, err)
	}
	// The bucket has not taken a part of the file that is too large for the whole of it.
	if keys := s.Keys(t); len(keys) != 3 { // kept, and the stale ones of another size and empty
		t.Errorf("before a sweep: %q", keys)
	}
	if err := s.Service.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if keys := s.Keys(t); len(keys) != 1 {
		t.Errorf("left: %q", keys)
	}
}

// TestTypes checks that the content tells the type, and that only audio is inline.
func TestTypes(t *testing.T) {
	t.Parallel()
	s := filestest.New(t, "memory:", "memory:", files.Config{})
	for content, want := range map[string]string{
		"<!doctype html><script>alert(1)</script>":                                                 "text/html; charset=utf-8 attachment",
		"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>":                "image/svg+xml attachment",
		"fLaC\x00\x00\x00\x22 not much of a song":                                                  "audio/flac inline",
		"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00": "audio/wav inline",
		"PK\x03\x04":     "application/zip attachment",
		"MZ any program": "application/vnd.microsoft.portable-executable attachment",
	} {
		p := s.Offer(t, "sofia", "One").GetName()
		if _, err := upload(s, "sofia", p, "song.mp3", content); err != nil {
			t.Fatal(err)
		}
		got, err := s.Download(s.As("sofia"), p)
		disposition, _, _ := strings.Cut(strings.Join(got.Header.Get("content-disposition"), ""), ";")
		if typ := got.ContentType + " " + disposition; err != nil || typ != want {
			t.Errorf("%.20q: got %q, %v; want %q", content, typ, err, want)
		}
	}
}

// TestConcurrentUploads checks that of several uploads to one product one is whole, and that nothing
// of the others remains.
func TestConcurrentUploads(t *testing.T) {
	t.Parallel()
	onEach(t, files.Config{}, func(t *testing.T, s *filestest.System) {
		p := s.Offer(t, "sofia", "One").GetName()
		var group sync.WaitGroup
		for n := range 4 {
			group.Go(func() {
				content := bytes.Repeat([]byte{byte('a' + n)}, 100_000+n)
				if _, err := upload(s, "sofia", p, fmt.Sprint(n), string(content)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		got, err := s.Download(s.As("sofia"), p)
		if err != nil || len(got.Content) < 100_000 || len(bytes.Trim(got.Content, string(got.Content[:1]))) != 0 || len(got.Content) != 100_000+int(got.Content[0]-'a') {
			t.Errorf("%d bytes, %v", len(got.Content), err)
		}
	})
}

// TestProbeRefusals checks that a place that cannot be used is reported with what to do.
func TestProbeRefusals(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"dir:" + file:       "the directory " + file + " cannot be used",
		"gopher://archive":  "give memory:, dir:PATH or s3://BUCKET",
		"dir:/proc/nothing": "the directory /proc/nothing cannot be used",
	} {
		if err := files.Probe(t.Context(), address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

// TestOpenHidesSecrets checks that no error quotes what may be a credential in an address.
func TestOpenHidesSecrets(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"mem://files?secret_key=hidden":   `bucket files: open bucket mem://files: invalid query parameter "secret_key"`,
		"mem://key:hidden@files?region=x": "credentials in the address of bucket files are not used",
		"none://key:hidden@files":         "no such store of files",
		"mem://key:hidden@fi les":         "no such store of files",
	} {
		_, err := files.Open(t.Context(), address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: got %v, want %s", address, err, want)
		}
	}
}

// TestDirectoryIsMadeWithItsFirstFile: a container with a read-only file system starts without a
// place for files.
func TestDirectoryIsMadeWithItsFirstFile(t *testing.T) { // not parallel: it changes the working directory
	t.Chdir(t.TempDir())
	for i := range 2 { // the second finds the directory
		bucket, err := files.Open(t.Context(), "dir:sold")
		if err != nil {
			t.Fatal(err)
		}
		if exists(t, "sold") != (i == 1) {
			t.Errorf("start %d: the directory exists: %v", i+1, i == 0)
		}
		if found, err := bucket.Exists(t.Context(), "products/a"); err != nil || found != exists(t, "sold/products/a") {
			t.Errorf("the file exists: %v, %v", found, err)
		}
		if err := bucket.WriteAll(t.Context(), "products/a", []byte("tone"), nil); err != nil {
			t.Error(err)
		}
		if err := bucket.Close(); err != nil {
			t.Error(err)
		}
		if !exists(t, "sold/products/a") || exists(t, "products") {
			t.Error("the file is not in the directory")
		}
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	return err == nil
}
