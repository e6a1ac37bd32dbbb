package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// AssetPrefix is the path under which the pages' styles, scripts and icon lie.
// It is below /api/auth/, which the bff serves itself whatever the front end.
const AssetPrefix = "/api/auth/assets/"

// contentTypes is a list of our own: mime.TypeByExtension also reads the
// machine's tables, and a wrong entry there plus nosniff means no style at all.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

type asset struct {
	body        []byte
	contentType string
	etag        string
}

// assets are the files under assets/ of every section, below one directory that is named by a
// hash of them all: modules may import each other by relative paths, and a
// page of one release never mixes files of two.
type assets struct {
	hash  string
	files map[string]asset
}

func loadAssets(sections ...fs.FS) (*assets, error) {
	a := &assets{files: make(map[string]asset)}
	all := sha256.New()
	for _, fsys := range sections {
		if _, err := fs.Stat(fsys, "assets"); errors.Is(err, fs.ErrNotExist) {
			continue // a section of templates alone
		}
		if err := a.load(fsys, all); err != nil {
			return nil, fmt.Errorf("web: assets: %w", err)
		}
	}
	a.hash = hex.EncodeToString(all.Sum(nil)[:8])
	return a, nil
}

// load reads the files under assets/ of one section, and adds them to the hash.
func (a *assets) load(fsys fs.FS, all io.Writer) error {
	// WalkDir goes in lexical order, so the same files give the same hash.
	return fs.WalkDir(fsys, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		ct, ok := contentTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("no content type for %s: add its extension to contentTypes", name)
		}
		body, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		rel := strings.TrimPrefix(name, "assets/")
		if a.has(rel) {
			return fmt.Errorf("two sections have a file %s: rename one", name)
		}
		a.files[rel] = asset{body, ct, `"` + hex.EncodeToString(sum[:16]) + `"`}
		fmt.Fprintf(all, "%s %x\n", rel, sum)
		return nil
	})
}

func (a *assets) has(name string) bool {
	_, ok := a.files[name]
	return ok
}

// url is the address of a file, for templates. A name that is not embedded is
// an error there, not a broken link in the page.
func (a *assets) url(name string) (string, error) {
	if !a.has(name) {
		return "", fmt.Errorf("no asset %q", name)
	}
	return AssetPrefix + a.hash + "/" + name, nil
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, AssetPrefix), "/")
	file, ok := a.files[name]
	if !ok {
		plain(w, http.StatusNotFound, "Not found.")
		return
	}
	h := w.Header()
	setHeaders(h)
	if hash == a.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		// While a release rolls out, the page may come from one version and
		// this request reach another. A style that is a release off beats
		// none, as long as nobody keeps it under the wrong name.
		h.Set("Cache-Control", "no-store")
	}
	h.Set("Content-Type", file.contentType)
	h.Set("ETag", file.etag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file.body))
}
