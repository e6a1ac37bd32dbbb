// Package spa owns serving a built front end, a single-page application or a
// static export, from a directory: which file answers which path, and how
// long it may be kept. Who may see it is left to the bff.
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
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// Config describes a front end. Dir is required.
type Config struct {
	// Dir is the directory that the build wrote. It has an index.html.
	Dir string
	// ContentSecurityPolicy is sent with every page; "" for one that fits most
	// builds: scripts of the application's own files and those that its pages
	// bring inline, images from anywhere over https, and requests to its own
	// origin alone. "none" sends none. Whatever it says, the bff forbids that
	// others frame a page.
	ContentSecurityPolicy string
	// Logger gets what goes wrong with files; nil for none.
	Logger *slog.Logger
}

// App is an http.Handler that serves the files of a directory:
//
//   - a file by its path, a folder by the index.html in it, a page "name.html"
//     by "/name". Each page has one address: others are redirected, so that a
//     rule that protects a page finds it;
//   - any other path, unless its last segment has an extension, by the
//     index.html at the top, so that the application's own router sees it.
//
// Pages are not stored by anybody, for which scripts they name changes with
// each build; files with a hash in their name are kept for good; for all
// others the browser asks whether they have changed. A file that lies there
// compressed (.br, .zst, .gz) is sent so to whoever takes it. Files outside
// the directory are out of reach, also through links, and so are those whose
// name begins with a dot (.env, .git), /.well-known apart.
//
// The directory may be built anew while it is served. An App is safe for
// concurrent use.
type App struct {
	dir        string
	policy     string
	log        *slog.Logger
	known      facts
	compressed http.Handler // for what lies there uncompressed
}

// New looks whether there is a front end in the directory.
func New(cfg Config) (*App, error) {
	a := &App{dir: cfg.Dir, policy: cfg.ContentSecurityPolicy, log: cfg.Logger}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if strings.ContainsAny(a.policy, "\r\n") {
		return nil, fmt.Errorf("content security policy %q: has a line break; write it on one line", a.policy)
	}
	info, err := os.Stat(a.dir)
	switch {
	case err != nil || !info.IsDir():
		return nil, fmt.Errorf("front end %q: no such directory; build the front end first, or correct the path", a.dir)
	}
	if info, err := os.Stat(path.Join(a.dir, index)); err != nil || info.IsDir() {
		return nil, fmt.Errorf("front end %q: there is no %s in it; give the directory that the build writes, often dist, build or out", a.dir, index)
	}
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.SuffixETag("-gzip")) // less fits one packet anyway
	if err != nil {
		return nil, err
	}
	a.compressed = wrap(http.HandlerFunc(a.serve))
	return a, nil
}

const index = "index.html"

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.compressed.ServeHTTP(w, r) }

// Sessionless says that an answer depends on the path and the directory alone,
// so that a bff looks up no session for files that need none.
func (a *App) Sessionless() {}

func (a *App) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this address answers GET and HEAD only")
		return
	}
	root, err := os.OpenRoot(a.dir)
	if err != nil { // it was there at the start: a build may be under way
		a.log.ErrorContext(r.Context(), "the front end's directory cannot be read", "cause", err)
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "the front end is not there at the moment")
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

// place is what stands behind a path: a file, another path where it is to be
// asked for, or nothing.
type place struct{ name, elsewhere string }

// find says what a path means. It is the only place where paths become names.
func find(files fs.FS, urlPath string) place {
	clean := path.Clean("/" + urlPath)
	folder := strings.HasSuffix(urlPath, "/") && clean != "/"
	if urlPath != clean && urlPath != clean+"/" || strings.ContainsAny(urlPath, "\\\x00") {
		return place{} // a second name for something
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
		return place{} // a missing script is no page
	}
	return place{name: index}
}

func hidden(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(segment, ".") && segment != ".well-known" {
			return true
		}
	}
	return false
}

// send answers with a file, or with what lies beside it compressed.
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
			a.log.ErrorContext(r.Context(), "a file of the front end cannot be read", "file", name+suffix, "cause", err)
			refuse(w, http.StatusInternalServerError, "this file cannot be read")
			return
		}
		refuse(w, http.StatusNotFound, "no such file") // it went between two looks
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
	// The time that a file carries is no validator: builds that can be
	// repeated give every file the same.
	http.ServeContent(w, r, "", time.Time{}, f)
}

func (a *App) setPolicy(h http.Header, files fs.FS, name string, known fact) {
	switch {
	case a.policy == "none":
		return
	case a.policy != "":
		h.Add("Content-Security-Policy", a.policy)
		return
	}
	hashes := known.scripts
	if h.Get("Content-Encoding") != "" { // the hashes are those of the page itself
		if f, plain, err := a.known.open(files, name); err == nil {
			_ = f.Close() // read already
			hashes = plain.scripts
		}
	}
	h.Add("Content-Security-Policy", policy(hashes))
}

// contentType does not depend on what is installed where, as package mime's
// answers do for some of these.
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
	_, _ = fmt.Fprintln(w, text) // the browser may be gone
}
