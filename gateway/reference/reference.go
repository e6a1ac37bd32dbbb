package reference

import (
	"bytes"
	"cmp"
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

	"github.com/swaggest/swgui/v5/static" // Swagger UI

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
)

// Config configures a page. Path and Document are required.
type Config struct {
	// Title is the name of the API, for the heading.
	Title string
	// Path is the path of the page, such as "/api/docs". Its files are below it.
	Path string
	// Document is the path of the OpenAPI document, on the same origin.
	Document string
	// BaseURL is the origin of a bff, where users can sign in and then use the
	// page with their session. Default: the page links to no sign-in.
	BaseURL string
	// Brand is the look of the page's header. Default: none.
	Brand Brand
}

// A Brand is the look of an application.
type Brand struct {
	// Name is the name of the application.
	Name string
	// Logo is its image, of the type "image/svg+xml" or "image/png".
	Logo     []byte
	LogoType string
	// Accent and DarkAccent are the colors of links, as #rrggbb, on light and dark
	// screens.
	Accent, DarkAccent string
}

// The accents of a page without a brand.
const (
	defaultAccent     = "#0a58a8"
	defaultDarkAccent = "#8ec1f5"
)

//go:embed assets
var assets embed.FS

// Page is the handler of the page and its files. It is safe for concurrent use.
type Page struct {
	path  string
	page  []byte
	files map[string]*file // by path
}

// file is an asset in one of its forms: plain, or compressed with gzip. The other form
// is nil.
type file struct {
	contentType   string
	plain, zipped []byte
}

// contentSecurityPolicy allows the files of the page and requests to its origin.
// Swagger UI needs neither inline scripts nor eval; the images in its style sheet
// are data URLs.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// New returns a page. An error is a defect of the build: an embedded file is
// missing or the page's template is not valid.
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
		if asset.name == "reference.css" {
			f.plain = append(cfg.Brand.colors(), f.plain...)
			sum = hash(f.plain)
		}
		// The path changes with the content, so that caches may keep it forever.
		links[asset.name] = cfg.Path + "/" + sum + "/" + asset.name
		p.files[links[asset.name]] = f
	}
	logo := ""
	if len(cfg.Brand.Logo) > 0 {
		logo = cfg.Path + "/" + hash(cfg.Brand.Logo) + "/logo"
		p.files[logo] = &file{contentType: cfg.Brand.LogoType, plain: cfg.Brand.Logo}
	}
	t, err := template.ParseFS(assets, "assets/page.html")
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	var page bytes.Buffer
	err = t.Execute(&page, map[string]any{
		"Title": cfg.Title, "Document": cfg.Document, "Link": links, "Name": cfg.Brand.Name, "Logo": logo, "LogoType": cfg.Brand.LogoType,
		"BaseURL": strings.TrimSuffix(cfg.BaseURL, "/"), "Path": cfg.Path,
	})
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	p.page = page.Bytes()
	return p, nil
}

// load reads an asset of this package or of Swagger UI, which are compressed.
func load(name string) (f *file, sum string, err error) {
	f = &file{}
	if f.plain, err = assets.ReadFile("assets/" + name); err != nil {
		if f.zipped, err = static.FS.ReadFile(name + ".gz"); err != nil {
			return nil, "", err
		}
	}
	return f, hash(append(f.plain, f.zipped...)), nil
}

// hash returns the part of a path that changes with the content.
func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}

// colors returns the style sheet's custom properties.
func (b Brand) colors() []byte {
	return fmt.Appendf(nil, ":root { --accent: %s; }\n@media (prefers-color-scheme: dark) { :root { --accent: %s; } }\n",
		cmp.Or(b.Accent, defaultAccent), cmp.Or(b.DarkAccent, defaultDarkAccent))
}

// ServeHTTP serves the page at its path, its files below it, and 404 otherwise. It
// does not look at the request's method.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, path := w.Header(), r.URL.Path
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
	if strings.HasPrefix(f.contentType, "image/") { // a user who opens it sees it as a document
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox")
	}
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if f.zipped == nil {
		h.Set("Content-Length", strconv.Itoa(len(f.plain)))
		_, _ = w.Write(f.plain)
		return
	}
	h.Add("Vary", "Accept-Encoding")
	if httpheader.AcceptsGzip(r.Header["Accept-Encoding"]) {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(f.zipped)))
		_, _ = w.Write(f.zipped)
		return
	}
	plain, err := gzip.NewReader(bytes.NewReader(f.zipped))
	if err == nil {
		_, _ = io.Copy(w, plain) // only the client can fail
	}
}
