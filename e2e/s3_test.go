package e2e

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	_ "gocloud.dev/blob/s3blob"

	shopfiles "github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/filestest"
)

// startS3 starts a server with the protocol of S3 and an empty bucket, and returns its URL for
// files-url.
func startS3(t testing.TB) string {
	backend := s3mem.New()
	if err := backend.CreateBucket("archive"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	return "s3://archive?" + url.Values{"region": {"us-east-1"}, "endpoint": {srv.URL}, "use_path_style": {"true"}, "anonymous": {"true"}}.Encode()
}

// TestS3 runs the tests of buckets with a bucket of S3.
func TestS3(t *testing.T) {
	t.Parallel()
	filestest.Bucket(t, startS3)
	t.Run("no such bucket", func(t *testing.T) {
		at, err := url.Parse(startS3(t))
		if err != nil {
			t.Fatal(err)
		}
		at.Host = "missing"
		if err := shopfiles.Probe(t.Context(), at.String()); err == nil || !strings.Contains(err.Error(), "the bucket does not exist") {
			t.Errorf("the probe says %v", err)
		}
	})
}
