package reference

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/swaggest/swgui/v5/static" // Swagger UI as a Go module, so that it is neither copied nor fetched
)

// Config says what the page shows and where it is.
type Config struct {
	// Title is the API's name.
	Title string
	// Path is the page's, /api/docs; its assets lie below it.
	Path string
	// Document is the path of the OpenAPI document.
	Document string
	// BaseURL is the bff's origin, where a person can sign in and then try
	// the API as themselves. Empty: the page does not offer it.
	BaseURL string
}

//go:embed assets
var assets embed.FS

// Page serves the page and its assets. It is safe for concurrent use.
type Page struct {
	path  string
	page  []byte
	files map[string]*file // by path
}

// file is an asset, kept as it comes: plain or zipped.
type file struct {
	contentType   string
	plain, zipped []byte
}

// contentSecurityPolicy allows the page's own files and requests to its own
// origin. Swagger UI needs neither inline scripts nor eval; images in its style
// sheet are data URLs.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// New makes the page. It fails only if the embedded files are not what they
// are expected to be, which is a defect of the build.
func New(cfg Config) (*Page, error) {
	p := &Page{path: cfg.Path, files: map[string]*file{}}
	links := map[string]string{}
	for _, asset := range []struct{ name, contentType string }{
		{"swagger-ui.css", "text/css; charset=utf-8"},
		{"swagger-ui-bundle.js", "text/javascript; charset=utf-8"},
		{"reference.css", "text/css; charset=utf-8"},
		{"reference.js", "text/javascript; charset=utf-8"},
	} {
		f, sum, err := load(asset.name)
		if err != nil {
			return nil, fmt.Errorf("reference: %s: %w", asset.name, err)
		}
		f.contentType = asset.contentType
		// The name changes with the content, so that it can be kept for good.
		links[asset.name] = cfg.Path + "/" + sum + "/" + asset.name
		p.files[links[asset.name]] = f
	}
	t, err := template.ParseFS(assets, "assets/page.html")
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	var page bytes.Buffer
	err = t.Execute(&page, map[string]any{
		"Title": cfg.Title, "Document": cfg.Document, "Link": links,
		"BaseURL": strings.TrimSuffix(cfg.BaseURL, "/"), "Path": cfg.Path,
	})
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	p.page = page.Bytes()
	return p, nil
}

// load reads an asset of ours, or else one of Swagger UI, which come zipped.
func load(name string) (f *file, sum string, err error) {
	f = &file{}
	if f.plain, err = assets.ReadFile("assets/" + name); err != nil {
		if f.zipped, err = static.FS.ReadFile(name + ".gz"); err != nil {
			return nil, "", err
		}
	}
	hash := sha256.Sum256(append(f.plain, f.zipped...))
	return f, hex.EncodeToString(hash[:8]), nil
}

// Serve answers with what is at a path: the page, one of its assets, or 404;
// zipped where it has that and the client takes it.
func (p *Page) Serve(w http.ResponseWriter, path string, zipped bool) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if path == p.path {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Length", strconv.Itoa(len(p.page)))
		_, _ = w.Write(p.page)
		return
	}
	f, ok := p.files[path]
	if !ok {
		http.Error(w, "there is nothing at this path", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if f.zipped == nil {
		h.Set("Content-Length", strconv.Itoa(len(f.plain)))
		_, _ = w.Write(f.plain)
		return
	}
	h.Add("Vary", "Accept-Encoding")
	if zipped {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(f.zipped)))
		_, _ = w.Write(f.zipped)
		return
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(f.zipped))
	if err == nil {
		_, _ = io.Copy(w, unzipped) // embedded, so that only the client can fail
	}
}
