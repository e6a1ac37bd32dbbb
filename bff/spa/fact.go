package spa

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A fact is what is known of a file with this size and modification time.
type fact struct {
	size     int64
	modified time.Time
	etag     string   // a hash of the content, so that all nodes agree
	scripts  []string // the hashes of a page's inline scripts
}

// maxFacts bounds the cache. A build with more files has them read more often.
const maxFacts = 20_000

// facts is a cache of facts by file name.
type facts struct {
	mu     sync.Mutex
	byName map[string]fact
}

// open opens a file and returns its fact. It reads the file only if its size or
// modification time has changed.
func (k *facts) open(files fs.FS, name string) (io.ReadSeekCloser, fact, error) {
	opened, err := files.Open(name)
	if err != nil {
		return nil, fact{}, err
	}
	f, ok := opened.(io.ReadSeekCloser)
	info, err := opened.Stat()
	if err != nil || !ok {
		_ = opened.Close() // nothing was written
		return nil, fact{}, errors.Join(err, errors.New("spa: file cannot be read"))
	}
	k.mu.Lock()
	known, ok := k.byName[name]
	k.mu.Unlock()
	if ok && known.size == info.Size() && known.modified.Equal(info.ModTime()) {
		return f, known, nil
	}
	known = fact{size: info.Size(), modified: info.ModTime()}
	hash := sha256.New()
	var page bytes.Buffer
	target := io.Writer(hash)
	if path.Ext(name) == ".html" {
		target = io.MultiWriter(hash, &page)
	}
	if _, err = io.Copy(target, f); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fact{}, err
	}
	known.etag = `"` + base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:16]) + `"`
	known.scripts = inlineScripts(&page)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byName == nil || len(k.byName) >= maxFacts {
		k.byName = map[string]fact{}
	}
	k.byName[name] = known
	return f, known, nil
}

// unchanging are folders of build tools whose files never change.
var unchanging = []string{"_next/static/", "_app/immutable/"}

// buildFolders are the folders of other tools. Most files in them have a hash of
// their content in the name.
var buildFolders = []string{"assets/", "_astro/", "_nuxt/", "static/js/", "static/css/", "static/media/"}

var (
	// hexadecimal matches a hash with a usual number of digits, in any folder.
	hexadecimal = regexp.MustCompile(`[-._]([0-9a-f]{8}|[0-9a-f]{10}|[0-9a-f]{16}|[0-9a-f]{20}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})(\.[a-z]+)?\.[a-z0-9]+$`)
	// mixed matches a hash of Rollup or esbuild, in a build folder.
	mixed = regexp.MustCompile(`[-._]([A-Za-z0-9_-]{8})(\.[a-z]+)?\.[a-z0-9]+$`)
)

// immutable reports whether a file's name changes with its content. A wrong true
// would keep an old file in browsers for a year, a wrong false costs a
// revalidation: so that the hash must be neither a word nor a number.
func immutable(name string) bool {
	has := strings.ContainsAny
	const digits, upper = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	inFolder := func(folder string) bool { return strings.HasPrefix(name, folder) }
	if slices.ContainsFunc(unchanging, inFolder) {
		return true
	}
	base := path.Base(name)
	if m := hexadecimal.FindStringSubmatch(base); m != nil && has(m[1], digits) && has(m[1], "abcdef") {
		return true
	}
	if m := mixed.FindStringSubmatch(base); m != nil && slices.ContainsFunc(buildFolders, inFolder) {
		return has(m[1], digits) && has(m[1], upper)
	}
	return false
}
