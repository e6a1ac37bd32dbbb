package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
	"github.com/gatehouse-dev/gatehouse/gateway/reference"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

// Paths of the description.
const (
	documentPath  = "/api/openapi.json"
	referencePath = "/api/docs"
)

// description serves the description of the API. It is nil if there is none.
type description struct {
	// made returns what the first call has made: a start does not wait for it.
	made func() (*documents, error)
	log  *slog.Logger
}

// documents are the OpenAPI document in its two representations and the page.
type documents struct {
	plain, zipped []byte
	etag          string // without quotation marks
	page          *reference.Page
}

func newDescription(cfg Config, routes []*route.Route) (*description, error) {
	if cfg.Document.Off {
		return nil, nil
	}
	described := make([]openapi.Route, len(routes))
	for i, rt := range routes {
		if rt.Template.Shape == documentPath || rt.Template.Under(referencePath) {
			return nil, fmt.Errorf("%s (%s) lies where the API describes itself: choose another path, or turn that off with Document.Off", rt, rt.RPC)
		}
		described[i] = openapi.Route{
			Method: rt.Method, Pattern: rt.Pattern, Body: rt.Body, RPC: rt.Descriptor,
			TakesETag: rt.ETag != nil, GivesETag: rt.Tagged, Resumable: rt.Resumable,
		}
	}
	document, err := openapi.Prepare(openapi.Config{
		Title: cfg.Document.Title, Version: cfg.Document.Version, Issuer: cfg.Resource.Issuer, Cookie: sessionCookie(cfg.Access.BaseURL), Routes: described, Comments: cfg.Document.Comments,
	})
	if err != nil {
		return nil, err
	}
	page := reference.Config{Title: cfg.Document.Title, Path: referencePath, Document: documentPath, BaseURL: cfg.Access.BaseURL, Brand: cfg.Document.Brand}
	return &description{log: logs.Logger(cfg.Logger), made: sync.OnceValues(func() (*documents, error) {
		content, err := document()
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		_, _ = w.Write(content) // a buffer does not fail
		_ = w.Close()
		d := &documents{plain: content, zipped: zipped.Bytes(), etag: hex.EncodeToString(sum[:8])}
		d.page, err = reference.New(page)
		return d, err
	})}, nil
}

// sessionCookie returns the default name of the bff's session cookie. The gateway
// does not read the cookie; the document mentions it.
func sessionCookie(base string) string {
	u, err := url.Parse(base)
	switch {
	case base == "" || err != nil:
		return ""
	case u.Scheme == "https":
		return "__Host-gatehouse"
	}
	return "gatehouse"
}

// OpenAPI returns a copy of the document at /api/openapi.json, nil if Document.Off
// is set.
func (g *Gateway) OpenAPI() []byte {
	if g.description == nil {
		return nil
	}
	made, err := g.description.made()
	if err != nil { // a defect of the build, which tests find
		g.log.Error("no description of the API", "err", err)
		return nil
	}
	return slices.Clone(made.plain)
}

// describes reports whether a path belongs to the description. A wildcard route
// must not answer there.
func (d *description) describes(path string) bool {
	return d != nil && (path == documentPath || route.Within(path, referencePath))
}

// serve answers with the document, the page or one of its files.
func (d *description) serve(x *exchange.Exchange, r *http.Request) {
	if !x.ReadOnly() {
		return
	}
	made, err := d.made()
	if err != nil { // a defect of the build, which tests find
		d.log.ErrorContext(x.Context(), "no description of the API", "err", err)
		x.Refuse(refusal.Internal())
		return
	}
	if r.URL.Path != documentPath {
		x.Pattern = referencePath
		made.page.ServeHTTP(x, r)
		return
	}
	x.Pattern = documentPath
	h := x.Header()
	h.Set("Content-Type", httpheader.JSON)
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept-Encoding")
	content, etag := made.plain, made.etag
	if httpheader.AcceptsGzip(r.Header["Accept-Encoding"]) { // another representation needs another entity tag (RFC 9110 §8.8.3.3)
		content, etag = made.zipped, made.etag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Etag", `"`+etag+`"`)
	http.ServeContent(x, r, "", time.Time{}, bytes.NewReader(content))
}
