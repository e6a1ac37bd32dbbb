package gateway

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
)

// resource is the gateway as a protected resource (RFC 9728): refused clients
// learn from it which issuer's tokens they need. It exists if the audience is an
// https URL, and only for requests to the host of that URL, because clients
// compare the two (RFC 9728 §3.3).
type resource struct {
	host     string // as in the Host header
	path     string // of the metadata document
	url      string // of the metadata document
	document []byte
}

const wellKnown = "/.well-known/oauth-protected-resource"

func newResource(cfg ResourceConfig, routes []*route.Route) (*resource, error) {
	if cfg.Audience == "" {
		return nil, nil
	}
	u, err := url.Parse(cfg.Audience)
	isAddress := err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
	if !isAddress {
		return nil, nil // the audience is an identifier
	}
	document := map[string]any{
		"resource":                 cfg.Audience,
		"bearer_methods_supported": []string{"header"},
	}
	if issuers := cfg.issuers(); len(issuers) > 0 {
		document["authorization_servers"] = issuers
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

// issuers returns the issuers that clients may have tokens of, each once.
func (cfg ResourceConfig) issuers() (all []string) {
	for _, issuer := range append([]string{cfg.Issuer}, cfg.Issuers...) {
		if issuer != "" && !slices.Contains(all, issuer) {
			all = append(all, issuer)
		}
	}
	return all
}

// scopesOf returns the scopes in the policies of the routes' methods.
func scopesOf(routes []*route.Route) []string {
	var scopes []string
	for _, rt := range routes {
		scopes = append(scopes, rt.Scopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// reached reports whether a request was sent to the resource's host.
func (r *resource) reached(req *http.Request) bool {
	return r != nil && strings.EqualFold(req.Host, r.host)
}

// challenge adds the address of the metadata to a challenge (RFC 9728 §5.1).
func (r *resource) challenge(value string, req *http.Request) string {
	if value == "" || !r.reached(req) {
		return value
	}
	return value + ", resource_metadata=" + httpheader.Quote(r.url)
}

// serve answers with the document. It is public: pages of any origin may read it.
func (r *resource) serve(x *exchange.Exchange) {
	if !x.ReadOnly() {
		return
	}
	h := x.Header()
	h.Set("Content-Type", httpheader.JSON)
	h.Set("Content-Length", strconv.Itoa(len(r.document)))
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Access-Control-Allow-Origin", "*")
	_, _ = x.Write(r.document)
}
