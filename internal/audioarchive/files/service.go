// Package files owns the files of products: it implements ProductFileService, and stores contents
// in a bucket of gocloud.dev/blob. It leaves what is known about a file to package productdb, and
// the transport of bytes to server/blobs.
//
// A content is written under a key of its own, and never changed. Replacing a file is a change of
// the product's row, so it happens as a whole. Before a content is written its key is recorded as
// stale in the future; only the change of the product removes the record. What has become stale is
// removed once a minute, by each process that has the database open. So neither an upload that
// breaks off nor a process that crashes leaves anything for long.
package files

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"
	"gocloud.dev/blob"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
	"github.com/gatehouse-dev/gatehouse/server/blobs"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// Reasons of errors, in google.rpc.ErrorInfo.reason.
const (
	ReasonNoFile         = "FILE_NOT_FOUND"    // the product has no file yet
	ReasonNotBuyer       = "NOT_BUYER"         // only the seller and buyers may download it
	ReasonTooManyUploads = "TOO_MANY_UPLOADS"  // of one caller at the same time
	ReasonUploadExpired  = "UPLOAD_EXPIRED"    // it took more than a day
	ReasonUnavailable    = "FILES_UNAVAILABLE" // the store of files does not answer
)

const (
	// DefaultMaxBytes is the maximum size of a file.
	DefaultMaxBytes = 2 << 30
	// defaultMaxUploadsEach limits the memory that one caller can use.
	defaultMaxUploadsEach = 4
	// maxNameBytes is the maximum of a file name, as in product_file.proto.
	maxNameBytes = 200
	// sweepInterval is the interval at which stale contents are removed.
	sweepInterval = time.Minute
	// cleanWithin limits what follows an upload that failed.
	cleanWithin = 5 * time.Second
	// headBytes is how much of a content tells its type.
	headBytes = 3072
)

// Config configures the service. DB and Bucket are required; the caller closes them.
type Config struct {
	DB     *productdb.DB
	Bucket *blob.Bucket
	// MaxBytes limits the size of a file; 0 means DefaultMaxBytes.
	MaxBytes int64
	// MaxUploadsEach limits the uploads of one caller at the same time; 0 means 4.
	MaxUploadsEach int
	// Logger is told when the bucket stops answering, and when it answers again; nil for none.
	Logger *slog.Logger
}

// Service implements audioarchive.v1.ProductFileService. It is safe for concurrent use.
type Service struct {
	audioarchivev1.UnimplementedProductFileServiceServer
	db       *productdb.DB
	bucket   *blob.Bucket
	maxBytes int64
	outage   *outage.Monitor

	mu        sync.Mutex
	uploading map[string]int // uploads by caller
	each      int

	stop     context.CancelFunc
	sweeping sync.WaitGroup
}

// New returns the service. It removes stale contents until Close.
func New(cfg Config) *Service {
	s := &Service{
		db: cfg.DB, bucket: cfg.Bucket, maxBytes: cmp.Or(cfg.MaxBytes, DefaultMaxBytes),
		outage:    outage.New(outage.Config{Name: "store of files", Logger: cfg.Logger, Settle: time.Second}),
		uploading: map[string]int{}, each: cmp.Or(cfg.MaxUploadsEach, defaultMaxUploadsEach),
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.sweeping.Go(func() {
		ticker := time.NewTicker(sweepInterval)
		defer ticker.Stop()
		for {
			_ = s.Sweep(ctx) // the next one tries again, and outages are logged
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return s
}

// Close ends the removal of stale contents.
func (s *Service) Close() error {
	s.stop()
	s.sweeping.Wait()
	return nil
}

// Sweep removes contents that no product has.
func (s *Service) Sweep(ctx context.Context) error {
	keys, err := s.db.Stale(ctx)
	for _, key := range keys {
		failed := s.answered(ctx, remove(ctx, s.bucket, key))
		if failed == nil {
			failed = s.db.Removed(ctx, key)
		}
		err = errors.Join(err, failed)
	}
	return err
}

// UploadProductFile implements audioarchive.v1.ProductFileService.
func (s *Service) UploadProductFile(stream grpc.ClientStreamingServer[audioarchivev1.UploadProductFileRequest, audioarchivev1.Product]) error {
	ctx := stream.Context()
	caller, err := catalog.CallerID(ctx)
	if err != nil {
		return err
	}
	req, upload, err := blobs.Receive(stream, (*audioarchivev1.UploadProductFileRequest).GetContent, s.maxBytes)
	if err != nil {
		return err
	}
	id, err := catalog.ProductID("name", req.GetName())
	if err != nil {
		return err
	}
	if err := s.valid(req); err != nil {
		return err
	}
	writable := func(p productdb.Product) error { return catalog.Writable(p, caller, req.GetEtag()) }
	p, err := s.db.Get(ctx, id)
	if err == nil {
		err = writable(p)
	}
	if err != nil {
		return catalog.Failed(ctx, err)
	}
	if req.GetValidateOnly() {
		return stream.SendAndClose(catalog.Message(p))
	}
	if !s.enter(caller) {
		return catalog.Refuse(codes.ResourceExhausted, ReasonTooManyUploads,
			fmt.Sprintf("you have %d uploads under way; wait until one has ended", s.each), retryLater())
	}
	defer s.leave(caller)
	p, err = s.replace(ctx, id, req.GetFileName(), req.GetSizeBytes(), upload, writable)
	if err != nil {
		return err
	}
	return stream.SendAndClose(catalog.Message(p))
}

// An upload is the content of a file, as blobs.Upload has it.
type upload interface {
	io.Reader
	Size() int64
	SHA256() []byte
	AudioType() string
}

// replace stores a content and makes it the file of a product. An error leaves nothing.
func (s *Service) replace(ctx context.Context, id, name string, size int64, content upload, writable func(productdb.Product) error) (productdb.Product, error) {
	key := folder + rand.Text()
	if err := s.db.BeginUpload(ctx, key); err != nil {
		return productdb.Product{}, catalog.Failed(ctx, err)
	}
	p, err := s.store(ctx, key, id, name, size, content, writable)
	if err != nil {
		// The caller may be gone. What cannot be abandoned now becomes stale later.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
		defer cancel()
		_ = s.db.AbandonUpload(ctx, key)
	}
	return p, err
}

func (s *Service) store(ctx context.Context, key, id, name string, size int64, content upload, writable func(productdb.Product) error) (none productdb.Product, _ error) {
	head, err := s.write(ctx, key, content)
	if err != nil {
		return none, err
	}
	switch {
	case content.Size() == 0:
		return none, validate.Field("content", "is empty; a file has at least one byte")
	case size > 0 && size != content.Size():
		return none, validate.Field("size_bytes", "says %d, but the file has %d bytes", size, content.Size())
	}
	f := productdb.File{
		Key: key, Name: name, Size: content.Size(), SHA256: hex.EncodeToString(content.SHA256()),
		Type: cmp.Or(content.AudioType(), mimetype.Detect(head).String()),
	}
	p, err := catalog.Retry(func() (productdb.Product, error) { return s.db.SetFile(ctx, id, f, writable) })
	if errors.Is(err, productdb.ErrUploadExpired) {
		return none, catalog.Refuse(codes.Aborted, ReasonUploadExpired, "the upload took too long; upload the file again")
	}
	if err != nil {
		return none, catalog.Failed(ctx, err)
	}
	return p, nil
}

// write writes a content under a key, and returns its beginning.
func (s *Service) write(ctx context.Context, key string, content io.Reader) ([]byte, error) {
	writing, cancel := context.WithCancel(ctx)
	defer cancel()
	source := &source{from: content, cancel: cancel}
	err := s.bucket.Upload(writing, key, source, writerOptions())
	if source.err != nil {
		return nil, source.err
	}
	return source.head, s.answered(ctx, err)
}

// A source is a content that is being written. Its first error cancels the writing: a bucket would
// take what it has got for the whole.
type source struct {
	from   io.Reader
	cancel context.CancelFunc
	head   []byte
	err    error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if missing := headBytes - len(s.head); missing > 0 {
		s.head = append(s.head, p[:min(n, missing)]...)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		s.cancel()
	}
	return n, err
}

// DownloadProductFile implements audioarchive.v1.ProductFileService.
func (s *Service) DownloadProductFile(req *audioarchivev1.DownloadProductFileRequest, stream grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	ctx := stream.Context()
	id, err := catalog.ProductID("name", req.GetName())
	if err != nil {
		return err
	}
	caller, err := catalog.CallerID(ctx)
	if err != nil {
		return err
	}
	f, err := s.find(ctx, id, caller)
	if err != nil {
		return catalog.Failed(ctx, err)
	}
	return blobs.Serve(stream, blobs.File{
		Name: f.Name, Size: f.Size, ContentType: f.Type, ETag: f.SHA256, ModTime: f.Uploaded,
		Open: func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
			content, err := s.bucket.NewRangeReader(ctx, f.Key, offset, length, nil)
			if err := s.answered(ctx, err); err != nil {
				return nil, err
			}
			return content, nil
		},
	})
}

// find returns the file of a product for a caller who may have it.
func (s *Service) find(ctx context.Context, id, caller string) (productdb.File, error) {
	p, deleted, err := s.db.FileOf(ctx, id)
	if err != nil {
		return p.File, err
	}
	if p.Seller != caller {
		_, err := s.db.OrderFor(ctx, caller, id)
		switch {
		case errors.Is(err, productdb.ErrNoOrder) && deleted:
			return p.File, productdb.ErrNotFound // it exists for its buyers only
		case errors.Is(err, productdb.ErrNoOrder):
			return p.File, catalog.Refuse(codes.PermissionDenied, ReasonNotBuyer, "only buyers of the product may download its file; buy it first")
		case err != nil:
			return p.File, err
		}
	}
	if p.File.Key == "" {
		return p.File, catalog.Refuse(codes.NotFound, ReasonNoFile, "the product has no file yet")
	}
	return p.File, nil
}

// answered turns an error of the bucket into a status, and records whether the bucket answers.
func (s *Service) answered(ctx context.Context, err error) error {
	switch {
	case err == nil:
		s.outage.OK(ctx)
		return nil
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	s.outage.Fail(ctx, err)
	return catalog.Refuse(codes.Unavailable, ReasonUnavailable, "files cannot be stored or read at the moment; try again", retryLater())
}

func retryLater() *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(5 * time.Second)}
}

// valid checks the fields of an upload.
func (s *Service) valid(req *audioarchivev1.UploadProductFileRequest) error {
	if problem := nameProblem(req.GetFileName()); problem != "" {
		return validate.Field("file_name", "%s", problem)
	}
	if kind, _, _ := strings.Cut(req.GetContent().GetContentType(), "/"); strings.EqualFold(kind, "multipart") {
		return validate.Field("content", "is a form; send the file alone as the body, as curl --data-binary @FILE does")
	}
	switch size := req.GetSizeBytes(); {
	case size < 0:
		return validate.Field("size_bytes", "must not be negative")
	case size > s.maxBytes:
		return reason.Status(codes.InvalidArgument, fmt.Sprintf("the file has %d bytes, and %d are the most", size, s.maxBytes),
			&errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ContentTooLong, Metadata: map[string]string{"max_bytes": strconv.FormatInt(s.maxBytes, 10)}}).Err()
	}
	return nil
}

// nameProblem says what is wrong with a file name; "" for nothing.
func nameProblem(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "is missing; give the name under which buyers save the file"
	case len(name) > maxNameBytes:
		return fmt.Sprintf("has %d bytes, and %d are the most", len(name), maxNameBytes)
	case !utf8.ValidString(name), strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) && !unicode.Is(unicode.Zs, c) }): // Zs: macOS writes U+202F
		return "must be one line of printable characters"
	case strings.ContainsAny(name, `/\`), strings.Trim(name, ". ") == "":
		return "must be a name and no path"
	}
	return ""
}

func (s *Service) enter(caller string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploading[caller] >= s.each {
		return false
	}
	s.uploading[caller]++
	return true
}

func (s *Service) leave(caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploading[caller]--; s.uploading[caller] == 0 {
		delete(s.uploading, caller)
	}
}
