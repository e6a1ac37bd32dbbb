// Package spa owns serving a built front end, a single-page application or a
// static export, from a directory: the file for each path, its headers, and how
// long browsers may store it. It leaves access to pages to the bff.
package spa

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// Config configures an App. Dir is required.
type Config struct {
	// Dir is the output directory of the build. It has an index.html.
	Dir string
	// ContentSecurityPolicy is sent with every page. "none" sends no policy. The
	// default suits most builds: it allows scripts from files and the inline
	// scripts of the pages, by their hashes, images from any https address, and
	// requests to the own origin. With any policy, the bff forbids other sites
	// to frame a page.
	ContentSecurityPolicy string
	// Logger gets errors of reading files. The default discards them.
	Logger *slog.Logger
}

// Validate returns an [invalid.Error] for each field that New would refuse. It
// reads the directory.
func (cfg Config) Validate() error {
	var errs []error
	if info, err := os.Stat(cfg.Dir); err != nil || !info.IsDir() {
		errs = append(errs, invalid.Field("Dir", cfg.Dir, "is not a directory", "build the front end first, or correct the path"))
	} else if info, err := os.Stat(path.Join(cfg.Dir, index)); err != nil || info.IsDir() {
		errs = append(errs, invalid.Field("Dir", cfg.Dir, "has no "+index, "give the output directory of the build, often dist, build or out"))
	}
	if strings.ContainsAny(cfg.ContentSecurityPolicy, "\r\n") {
		errs = append(errs, invalid.Field("ContentSecurityPolicy", cfg.ContentSecurityPolicy, "has a line break", "write it on one line"))
	}
	return errors.Join(errs...)
}

// App is an http.Handler that serves the files of a directory:
//
//   - a file at its path, a folder's index.html at the folder's path, a page
//     "name.html" at "/name". Each page has one address, to which others are
//     redirected, so that a rule for a page applies to it;
//   - index.html at any other path, unless its last segment has an extension,
//     for the application's own router.
//
// Caches do not store pages, because each build changes the names of their
// scripts. Files with a hash in their name are stored for a year, all others
// are revalidated. If a file has a compressed version beside it (.br, .zst,
// .gz), browsers that accept the encoding get that. Files outside the directory
// are not served, also not through links, nor are those whose name begins with
// a dot (.env, .git), except /.well-known.
//
// The directory may be built again while it is served. An App is safe for
// concurrent use.
type App struct {
	cfg        Config
	known      facts
	compressed http.Handler // serve, with compression of other files
}

// New returns an App. Its errors are those of [Config.Validate].
func New(cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("spa: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{cfg: cfg}
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.SuffixETag("-gzip")) // less fits into one packet
	if err != nil {
		return nil, err
	}
	a.compressed = wrap(http.HandlerFunc(a.serve))
	return a, nil
}

const index = "index.html"

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.compressed.ServeHTTP(w, r) }

// Sessionless marks a handler whose answers do not depend on the session: the
// bff looks up none for its public files.
func (a *App) Sessionless() {}

func (a *App) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this address answers GET and HEAD only")
		return
	}
	root, err := os.OpenRoot(a.cfg.Dir)
	if err != nil { // a build may be under way
		a.cfg.Logger.ErrorContext(r.Context(), "front-end directory not readable", "err", err)
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "the front end is not available at the moment")
		return
	}
	defer root.Close()
	found := find(root.FS(), r.URL.Path)
	switch {
	case found.elsewhere != "":
		target := url.URL{Path: found.elsewhere, RawQuery: r.URL.RawQuery}
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Location", target.String())
		w.WriteHeader(http.StatusPermanentRedirect)
	case found.name == "":
		refuse(w, http.StatusNotFound, "no such file")
	default:
		a.send(w, r, root.FS(), found.name)
	}
}

// A place is what a path stands for: the file name, a redirect to the path
// elsewhere, or neither.
type place struct{ name, elsewhere string }

// find returns what a path stands for. Only here paths become file names.
func find(files fs.FS, urlPath string) place {
	clean := path.Clean("/" + urlPath)
	folder := strings.HasSuffix(urlPath, "/") && clean != "/"
	if urlPath != clean && urlPath != clean+"/" || strings.ContainsAny(urlPath, "\\\x00") {
		return place{} // a second name of a file
	}
	name := strings.TrimPrefix(clean, "/")
	if hidden(name) {
		return place{}
	}
	is := func(name string) bool {
		info, err := fs.Stat(files, name)
		return err == nil && info.Mode().IsRegular()
	}
	switch base := path.Base(name); {
	case name == "":
		return place{name: index}
	case base == index && is(name):
		return place{elsewhere: strings.TrimSuffix(clean, index)}
	case path.Ext(base) == ".html" && is(name):
		return place{elsewhere: strings.TrimSuffix(clean, ".html")}
	case is(name):
		if folder {
			return place{}
		}
		return place{name: name}
	case is(name + "/" + index):
		if !folder {
			return place{elsewhere: clean + "/"}
		}
		return place{name: name + "/" + index}
	case is(name + ".html"):
		if folder {
			return place{elsewhere: clean}
		}
		return place{name: name + ".html"}
	case path.Ext(base) != "":
		return place{} // a missing script, for example
	}
	return place{name: index}
}

func hidden(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(segment string) bool {
		return strings.HasPrefix(segment, ".") && segment != ".well-known"
	})
}

// send answers with a file, or with a compressed version of it.
func (a *App) send(w http.ResponseWriter, r *http.Request, files fs.FS, name string) {
	page := path.Ext(name) == ".html"
	h := w.Header()
	encoding, suffix, some := negotiate(files, name, r.Header.Values("Accept-Encoding"))
	if some {
		h.Add("Vary", "Accept-Encoding")
	}
	f, known, err := a.known.open(files, name+suffix)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.cfg.Logger.ErrorContext(r.Context(), "front-end file not readable", "file", name+suffix, "err", err)
			refuse(w, http.StatusInternalServerError, "this file cannot be read")
			return
		}
		refuse(w, http.StatusNotFound, "no such file") // removed since find
		return
	}
	defer f.Close()
	h.Set("Content-Type", contentType(name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Etag", known.etag)
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	switch {
	case page:
		h.Set("Cache-Control", "no-store")
		a.setPolicy(h, files, name, known)
	case immutable(name):
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	default:
		h.Set("Cache-Control", "no-cache")
	}
	// Without the modification time, which reproducible builds set to the same
	// value for every file.
	http.ServeContent(w, r, "", time.Time{}, f)
}

// setPolicy sets the Content-Security-Policy of a page.
func (a *App) setPolicy(h http.Header, files fs.FS, name string, known fact) {
	switch a.cfg.ContentSecurityPolicy {
	case "none":
		return
	case "":
	default:
		h.Add("Content-Security-Policy", a.cfg.ContentSecurityPolicy)
		return
	}
	hashes := known.scripts
	if h.Get("Content-Encoding") != "" { // the hashes are of the uncompressed page
		if f, plain, err := a.known.open(files, name); err == nil {
			_ = f.Close() // nothing was written
			hashes = plain.scripts
		}
	}
	h.Add("Content-Security-Policy", policy(hashes))
}

// contentType returns the media type of a file. For these extensions, package
// mime's answers depend on the machine.
func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	return cmp.Or(map[string]string{
		".css":         "text/css; charset=utf-8",
		".html":        "text/html; charset=utf-8",
		".ico":         "image/x-icon",
		".js":          "text/javascript; charset=utf-8",
		".json":        "application/json",
		".map":         "application/json",
		".mjs":         "text/javascript; charset=utf-8",
		".otf":         "font/otf",
		".svg":         "image/svg+xml",
		".ttf":         "font/ttf",
		".txt":         "text/plain; charset=utf-8",
		".wasm":        "application/wasm",
		".webmanifest": "application/manifest+json",
		".woff":        "font/woff",
		".woff2":       "font/woff2",
		".xml":         "application/xml",
	}[ext], mime.TypeByExtension(ext), "application/octet-stream")
}

func refuse(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // an error means that the browser closed the connection
}
