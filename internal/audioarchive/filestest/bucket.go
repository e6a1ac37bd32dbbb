package filestest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
)

// random returns bytes that are the same in each run.
func random(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{15}).Read(content) // has no errors
	return content
}

// Bucket tests that a bucket holds files: each test of it begins with an empty one.
func Bucket(t *testing.T, address func(testing.TB) string) {
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		s := New(t, "memory:", address(t), files.Config{})
		p := s.Offer(t, "sofia", "One")
		content := random(9<<20 + 7) // more than a part of S3
		uploaded, err := s.Upload(s.As("sofia"), &audioarchivev1.UploadProductFileRequest{Name: p.GetName(), FileName: "One ä.bin"}, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if f := uploaded.GetFile(); f.GetFileName() != "One ä.bin" || f.GetSizeBytes() != int64(len(content)) || f.GetSha256() != hex.EncodeToString(sum[:]) ||
			f.GetContentType() != "application/octet-stream" || !f.GetUploadTime().IsValid() {
			t.Errorf("the product's file is %v", f)
		}
		got, err := s.Download(s.As("sofia"), p.GetName())
		if err != nil || !bytes.Equal(got.Content, content) || got.ContentType != "application/octet-stream" {
			t.Errorf("download: %d bytes of type %q, %v", len(got.Content), got.ContentType, err)
		}
		got, err = s.Download(s.As("sofia"), p.GetName(), "range", "bytes=9000000-9000009")
		if err != nil || !bytes.Equal(got.Content, content[9000000:9000010]) || got.Header.Get("content-range")[0] != "bytes 9000000-9000009/9437191" {
			t.Errorf("range: %x, %v, %v", got.Content, got.Header, err)
		}
	})
	t.Run("replacement and deletion", func(t *testing.T) {
		t.Parallel()
		s := New(t, "memory:", address(t), files.Config{})
		p := s.Offer(t, "sofia", "One")
		for _, content := range []string{"first", "second"} {
			if _, err := s.Upload(s.As("sofia"), &audioarchivev1.UploadProductFileRequest{Name: p.GetName(), FileName: content}, bytes.NewReader([]byte(content))); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Download(s.As("sofia"), p.GetName()); err != nil || string(got.Content) != content {
				t.Errorf("got %q, %v; want %q", got.Content, err, content)
			}
		}
		if keys := s.Keys(t); len(keys) != 2 {
			t.Errorf("before the grace is over: %q", keys)
		}
	})
	t.Run("broken off", func(t *testing.T) {
		t.Parallel()
		s := New(t, "memory:", address(t), files.Config{MaxUploadsEach: 1})
		p := s.Offer(t, "sofia", "One")
		req := func() *audioarchivev1.UploadProductFileRequest {
			return &audioarchivev1.UploadProductFileRequest{Name: p.GetName(), FileName: "a"}
		}
		broken := io.MultiReader(bytes.NewReader(random(9<<20)), iotest.ErrReader(errors.New("the cable is gone")))
		if _, err := s.Upload(s.As("sofia"), req(), broken); err == nil {
			t.Fatal("an upload that breaks off succeeded")
		}
		var err error
		for _, err = s.Upload(s.As("sofia"), req(), bytes.NewReader(nil)); Reason(err) == "ResourceExhausted TOO_MANY_UPLOADS"; { // until the handler has ended
			_, err = s.Upload(s.As("sofia"), req(), bytes.NewReader(nil))
		}
		if Reason(err) != "InvalidArgument content" {
			t.Errorf("an empty file: %v", err)
		}
		// The bucket has not taken the part for the whole: only the empty file is left until a sweep.
		if keys := s.Keys(t); len(keys) > 1 {
			t.Errorf("before a sweep: %q", keys)
		}
		if err := s.Service.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if keys := s.Keys(t); len(keys) != 0 {
			t.Errorf("left: %q", keys)
		}
		if now, err := s.Products.GetProduct(t.Context(), &audioarchivev1.GetProductRequest{Name: p.GetName()}); err != nil || now.GetFile() != nil || now.GetEtag() != p.GetEtag() {
			t.Errorf("the product is %v, %v", now, err)
		}
	})
	t.Run("probe", func(t *testing.T) {
		t.Parallel()
		at := address(t)
		if err := files.Probe(t.Context(), at); err != nil {
			t.Error(err)
		}
		s := New(t, "memory:", at, files.Config{})
		if keys := s.Keys(t); len(keys) != 0 {
			t.Errorf("left: %q", keys)
		}
	})
}
