package gateway

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// resource is the gateway as a protected resource (RFC 9728): where a client
// that was refused can learn who issues the tokens. It exists where the
// audience is an https URL, and shows itself to requests for that URL's host
// alone, since RFC 9728 §3.3 has clients compare the two.
type resource struct {
	host     string // as the Host header has it
	path     string // of the metadata document
	url      string // of the metadata document
	document []byte
}

const wellKnown = "/.well-known/oauth-protected-resource"

func newResource(cfg ResourceConfig, routes []*route) (*resource, error) {
	if cfg.Audience == "" {
		return nil, nil
	}
	u, err := url.Parse(cfg.Audience)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, nil // an identifier that is no address
	}
	document := map[string]any{
		"resource":                 cfg.Audience,
		"bearer_methods_supported": []string{"header"},
	}
	if cfg.Issuer != "" {
		document["authorization_servers"] = []string{cfg.Issuer}
	}
	if scopes := scopesOf(routes); len(scopes) > 0 {
		document["scopes_supported"] = scopes
	}
	content, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	// RFC 9728 §3.1: the well-known part goes between host and path.
	r := &resource{host: strings.ToLower(u.Host), path: wellKnown + strings.TrimSuffix(u.Path, "/"), document: content}
	r.url = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: r.path}).String()
	return r, nil
}

// scopesOf collects the scopes that the policies of the routes' methods name.
func scopesOf(routes []*route) []string {
	var scopes []string
	for _, rt := range routes {
		scopes = append(scopes, rt.scopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// reached reports whether a request came to the resource's own address.
func (r *resource) reached(req *http.Request) bool {
	return r != nil && strings.EqualFold(req.Host, r.host)
}

// challenge adds where to learn more (RFC 9728 §5.1).
func (r *resource) challenge(value string, req *http.Request) string {
	if value == "" || !r.reached(req) {
		return value
	}
	return value + ", resource_metadata=" + quoted(r.url)
}

// serve answers with the document, which is public: any page may read it.
func (r *resource) serve(x *exchange) {
	if !x.readOnly() {
		return
	}
	h := x.Header()
	h.Set("Content-Type", typeJSON)
	h.Set("Content-Length", strconv.Itoa(len(r.document)))
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Access-Control-Allow-Origin", "*")
	_, _ = x.Write(r.document)
}
