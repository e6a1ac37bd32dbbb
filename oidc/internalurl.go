package oidc

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Transport returns base, or a transport on top of it that makes every request at the internal URL, if there is one: scheme,
// host and port are replaced, path and query stay. Host header and TLS server name are those of the internal URL. A nil base is
// http.DefaultTransport.
func (p *Provider) Transport(base http.RoundTripper) http.RoundTripper {
	if p.internal == nil {
		return base
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return &internalTransport{base, p.internal}
}

type internalTransport struct {
	base http.RoundTripper
	to   *url.URL
}

func (t *internalTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	inner := r.Clone(r.Context())
	inner.URL.Scheme, inner.URL.Host, inner.Host = t.to.Scheme, t.to.Host, ""
	res, err := t.base.RoundTrip(inner)
	if err != nil {
		return nil, fmt.Errorf("at %s: %w", t.to, err)
	}
	res.Request = r
	return res, nil
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t *internalTransport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// An IssuerMismatchError says that the metadata at the configured issuer are another issuer's (OpenID Connect Discovery §4.3).
type IssuerMismatchError struct {
	Configured, Published string
}

// InternalURL is what Config.InternalURL may have to be: the origin of the configured issuer, where the published one
// differs in nothing but its origin, as when a provider inside a cluster is reached by another name; "" where not.
func (e *IssuerMismatchError) InternalURL() string {
	configured, err := url.Parse(e.Configured)
	if err != nil {
		return ""
	}
	published, err := url.Parse(e.Published)
	if err != nil || published.Host == "" || strings.TrimSuffix(configured.Path, "/") != strings.TrimSuffix(published.Path, "/") ||
		configured.Scheme == published.Scheme && configured.Host == published.Host {
		return ""
	}
	return configured.Scheme + "://" + configured.Host
}

// Error names both issuers, and the remedy.
func (e *IssuerMismatchError) Error() string {
	text := fmt.Sprintf("issuer mismatch: the configured issuer is %q, its metadata says %.128q; configure the latter if that is the provider you mean",
		e.Configured, e.Published)
	if internal := e.InternalURL(); internal != "" {
		text += fmt.Sprintf(", and %s as its internal URL if it can be reached only there", internal)
	}
	return text
}
