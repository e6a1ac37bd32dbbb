package oidc

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// Transport returns a transport that sends every request to Config.InternalURL,
// if there is one, by way of base, and makes a span for it, if there is a
// Config.TracerProvider. A nil base means http.DefaultTransport. It is for further
// requests to the provider, such as those to its token endpoint.
func (p *Provider) Transport(base http.RoundTripper) http.RoundTripper {
	if p.internal != nil {
		if base == nil {
			base = http.DefaultTransport
		}
		base = &internalTransport{base, p.internal}
	}
	return p.TracingTransport(base)
}

// TracingTransport is Transport for requests to addresses other than the provider's
// own: it ignores Config.InternalURL.
func (p *Provider) TracingTransport(base http.RoundTripper) http.RoundTripper {
	return &tracing.Transport{Base: base, Tracer: p.tracer}
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

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (t *internalTransport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// An IssuerMismatchError says that the metadata at the configured issuer has
// another issuer (OpenID Connect Discovery §4.3).
type IssuerMismatchError struct {
	Configured string // Config.Issuer
	Published  string // in the metadata
}

// InternalURL returns the origin of the configured issuer if the published one
// differs in its origin only, as it does for a provider that is reached by
// another name inside a cluster. Config.InternalURL may then have to be this
// origin. Otherwise it returns "".
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

// Error returns a text with both issuers and the remedy.
func (e *IssuerMismatchError) Error() string {
	text := fmt.Sprintf("issuer mismatch: the configured issuer is %q, the issuer in its metadata is %.128q; configure the latter if that is the provider",
		e.Configured, e.Published)
	if internal := e.InternalURL(); internal != "" {
		text += fmt.Sprintf(", and %s as its internal URL if it can be reached only there", internal)
	}
	return text
}
