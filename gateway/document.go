package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
	"github.com/gatehouse-dev/gatehouse/gateway/reference"
)

// Where the API describes itself.
const (
	documentPath  = "/api/openapi.json"
	referencePath = "/api/docs"
)

// description is the API as it describes itself; nil where it does not.
type description struct {
	document, zipped []byte
	etag             string // without quotation marks
	page             *reference.Page
}

func newDescription(cfg Config, routes []*route) (*description, error) {
	if cfg.Document.Off {
		return nil, nil
	}
	described := make([]openapi.Route, len(routes))
	for i, rt := range routes {
		if rt.template.shape == documentPath || rt.template.under(referencePath) {
			return nil, fmt.Errorf("%s (%s) lies where the API describes itself: choose another path, or turn that off with Document.Off", rt, rt.RPC)
		}
		described[i] = openapi.Route{
			Method: rt.Method, Pattern: rt.Pattern, Body: rt.body, RPC: rt.method,
			TakesETag: rt.takesETag(), GivesETag: rt.tagged, Resumable: rt.resumable,
		}
	}
	d := &description{}
	var err error
	d.document, err = openapi.Document(openapi.Config{
		Title: cfg.Document.Title, Version: cfg.Document.Version, Issuer: cfg.Resource.Issuer, Cookie: sessionCookie(cfg.Access.BaseURL), Routes: described, Comments: cfg.Document.Comments,
	})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(d.document)
	d.etag = hex.EncodeToString(sum[:8])
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	if _, err = w.Write(d.document); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	d.zipped = buffer.Bytes()
	d.page, err = reference.New(reference.Config{Title: cfg.Document.Title, Path: referencePath, Document: documentPath, BaseURL: cfg.Access.BaseURL})
	return d, err
}

// sessionCookie is the name of the cookie at the bff's address: the gateway
// does not read it, it only tells of it.
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

// OpenAPI returns the document that is served at /api/openapi.json, nil if none
// is.
func (g *Gateway) OpenAPI() []byte {
	if g.description == nil {
		return nil
	}
	return slices.Clone(g.description.document)
}

// describes reports whether a path belongs to the description, so that a
// wildcard route cannot answer there.
func (d *description) describes(path string) bool {
	if d == nil {
		return false
	}
	rest, ok := strings.CutPrefix(path, referencePath)
	return path == documentPath || ok && (rest == "" || rest[0] == '/')
}

// serve answers with the document, or a part of the page.
func (d *description) serve(x *exchange, r *http.Request) {
	if !x.readOnly() {
		return
	}
	zipped := acceptsGzip(r.Header["Accept-Encoding"])
	if r.URL.Path != documentPath {
		x.own = referencePath
		d.page.Serve(x, r.URL.Path, zipped)
		return
	}
	x.own = documentPath
	h := x.Header()
	h.Set("Content-Type", typeJSON)
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept-Encoding")
	content, etag := d.document, d.etag
	if zipped { // another representation, so another entity tag (RFC 9110 §8.8.3.3)
		content, etag = d.zipped, d.etag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Etag", `"`+etag+`"`)
	http.ServeContent(x, r, "", time.Time{}, bytes.NewReader(content))
}
