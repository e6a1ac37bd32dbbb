package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/client/browser"
)

// AssetPrefix is the path prefix of the pages' styles, scripts and icon. It is
// below /api/auth/, which the bff serves itself with any front end.
const AssetPrefix = "/api/auth/assets/"

// contentTypes replaces mime.TypeByExtension, which also reads the tables of the
// machine: a wrong entry there, together with nosniff, disables the styles.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	".png": "image/png",
}

type asset struct {
	body        []byte
	contentType string
	etag        string
}

// sessionScript is the npm package gatehouse-browser as one module, which the
// pages' scripts import.
const sessionScript = "gatehouse-browser.js"

// assets are the files under assets/ of every section, and sessionScript. They
// are served from one directory, named by a hash of all files: modules can import
// each other by relative paths, and a page of one release has no files of another.
type assets struct {
	hash  string
	files map[string]asset
}

// loadAssets returns the assets of the brand and of all sections. A file of the
// brand takes the place of one of this package.
func loadAssets(b *brand, sections ...fs.FS) (*assets, error) {
	a := &assets{files: make(map[string]asset)}
	all := sha256.New()
	core, err := browser.Files.ReadFile("dist/gatehouse-browser.min.js")
	if err != nil {
		return nil, fmt.Errorf("web: assets: %w", err)
	}
	if err := a.add(sessionScript, core, all); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		if err := a.add(name, b.files[name], all); err != nil {
			return nil, err
		}
	}
	for _, fsys := range sections {
		if _, err := fs.Stat(fsys, "assets"); errors.Is(err, fs.ErrNotExist) {
			continue // a section without assets
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
	// WalkDir walks in lexical order, so that equal files give an equal hash.
	return fs.WalkDir(fsys, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel := strings.TrimPrefix(name, "assets/")
		if a.has(rel) && fsys == fs.FS(files) {
			return nil // the brand has its own
		}
		body, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return a.add(rel, body, all)
	})
}

// add adds a file under a name below assets/, also to the hash.
func (a *assets) add(name string, body []byte, all io.Writer) error {
	ct, ok := contentTypes[path.Ext(name)]
	if !ok {
		return fmt.Errorf("no content type for assets/%s: only .css, .js, .svg and .png files are served", name)
	}
	if a.has(name) {
		return fmt.Errorf("two sections have a file assets/%s: rename one", name)
	}
	sum := sha256.Sum256(body)
	a.files[name] = asset{body, ct, `"` + hex.EncodeToString(sum[:16]) + `"`}
	fmt.Fprintf(all, "%s %x\n", name, sum)
	return nil
}

func (a *assets) has(name string) bool {
	_, ok := a.files[name]
	return ok
}

// url returns the address of a file, for templates. An unknown name is an error,
// not a broken link in the page.
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
		// During a rollout, the page may come from one release and this
		// request reach another. The style of another release is better than
		// none, if no cache keeps it under this name.
		h.Set("Cache-Control", "no-store")
	}
	h.Set("Content-Type", file.contentType)
	if strings.HasPrefix(file.contentType, "image/") {
		// A user who opens an image sees it as a document.
		h.Set("Content-Security-Policy", imageSecurityPolicy)
	}
	h.Set("ETag", file.etag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file.body))
}
