package files

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

const (
	// folder is before all keys, so that a bucket can have other content.
	folder = "product-files/"
	// partBytes is the size of the parts in which S3 gets a file, and what an upload holds in
	// memory. 10,000 parts are the most, so a file there can have 78 GiB.
	partBytes = 8 << 20
	// probeWithin limits a probe.
	probeWithin = 15 * time.Second
)

// Open opens the bucket at "memory:", "dir:PATH" or a URL of gocloud.dev/blob whose driver is
// linked, such as "s3://NAME?region=REGION". A directory is created if it does not exist; one in the
// working directory, such as the default, with its first file, so that a process without files needs
// no place for them.
func Open(ctx context.Context, address string) (*blob.Bucket, error) {
	path, isDir := strings.CutPrefix(address, "dir:")
	switch {
	case address == "memory:":
		return memblob.OpenBucket(nil), nil
	case isDir:
		root, prefix := path, ""
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == path {
			root, prefix = ".", path+"/"
		}
		// Temporary files are in the directory, because a rename cannot leave its file system.
		bucket, err := fileblob.OpenBucket(root, &fileblob.Options{
			CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
		if err != nil {
			return nil, fmt.Errorf("the directory %s cannot be used: %w", path, err)
		}
		return blob.PrefixedBucket(bucket, prefix), nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || !blob.DefaultURLMux().ValidBucketScheme(u.Scheme):
		return nil, errors.New("no such store of files; give memory:, dir:PATH or s3://BUCKET?region=REGION")
	case u.User != nil: // the driver would ignore it
		return nil, fmt.Errorf("credentials in the address of bucket %s are not used; give them as the store's SDK takes them, such as by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", u.Host)
	}
	bucket, err := blob.DefaultURLMux().OpenBucketURL(ctx, u)
	if err != nil { // it quotes the address, of which a parameter may be a secret
		return nil, fmt.Errorf("bucket %s: %s", u.Host, strings.ReplaceAll(err.Error(), u.String(), u.Scheme+"://"+u.Host))
	}
	return bucket, nil
}

// Probe checks that files can be written, read and removed at an address, with a small file of its
// own.
func Probe(ctx context.Context, address string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	bucket, err := Open(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	key, content := folder+"probe-"+rand.Text(), []byte("gatehouse check")
	if err := bucket.WriteAll(ctx, key, content, writerOptions()); err != nil {
		return fmt.Errorf("a file cannot be written: %w", explain(err))
	}
	read, err := bucket.ReadAll(ctx, key)
	if err == nil && string(read) != string(content) {
		err = errors.New("it has other content")
	}
	if err != nil {
		err = fmt.Errorf("the file that was written cannot be read: %w", explain(err))
	}
	if removed := bucket.Delete(ctx, key); removed != nil {
		err = errors.Join(err, fmt.Errorf("the file %s cannot be removed: %w", key, explain(removed)))
	}
	return err
}

// explain says what the class of an error means. The drivers' own texts name requests and hosts,
// but no credentials.
func explain(err error) error {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return fmt.Errorf("the bucket does not exist: %w", err)
	case gcerrors.PermissionDenied:
		return fmt.Errorf("the credentials do not allow it: %w", err)
	}
	return err
}

func writerOptions() *blob.WriterOptions {
	return &blob.WriterOptions{
		// Never what a user says, should a bucket be served to the web by mistake.
		ContentType:                 "application/octet-stream",
		DisableContentTypeDetection: true,
		BufferSize:                  partBytes, MaxConcurrency: 1,
	}
}

// remove removes what is stored under a key, and what a process that ended during an upload has
// left there.
func remove(ctx context.Context, bucket *blob.Bucket, key string) error {
	found := bucket.List(&blob.ListOptions{Prefix: key})
	for {
		object, err := found.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = bucket.Delete(ctx, object.Key)
		}
		if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return err
		}
	}
}
