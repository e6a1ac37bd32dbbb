package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// Metadata is the metadata of a provider (OpenID Connect Discovery 1.0 §3, RFC
// 8414 §2), as far as it is used. It is shared and must not be changed.
//
// Endpoints are https URLs, or http URLs on loopback; "" if the provider has none.
// With Config.InternalURL, those that browsers are not sent to may be any http URLs.
// The lists are nil if the provider publishes none.
type Metadata struct {
	Issuer                             string   `json:"issuer"` // as published; the "iss" of tokens is equal byte for byte
	AuthorizationEndpoint              string   `json:"authorization_endpoint"`
	TokenEndpoint                      string   `json:"token_endpoint"`
	UserinfoEndpoint                   string   `json:"userinfo_endpoint"`
	JWKSURI                            string   `json:"jwks_uri"`
	EndSessionEndpoint                 string   `json:"end_session_endpoint"`                  // RP-Initiated Logout
	RevocationEndpoint                 string   `json:"revocation_endpoint"`                   // RFC 7009
	PushedAuthorizationRequestEndpoint string   `json:"pushed_authorization_request_endpoint"` // RFC 9126
	IntrospectionEndpoint              string   `json:"introspection_endpoint"`                // RFC 7662
	ScopesSupported                    []string `json:"scopes_supported"`
	ResponseTypesSupported             []string `json:"response_types_supported"`
	ResponseModesSupported             []string `json:"response_modes_supported"`
	GrantTypesSupported                []string `json:"grant_types_supported"`
	IDTokenSigningAlgValuesSupported   []string `json:"id_token_signing_alg_values_supported"`
	TokenEndpointAuthMethodsSupported  []string `json:"token_endpoint_auth_methods_supported"` // nil means client_secret_basic
	TokenEndpointAuthSigningAlgValues  []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	CodeChallengeMethodsSupported      []string `json:"code_challenge_methods_supported"` // RFC 7636

	// Nil means that those of the token endpoint are tried.
	IntrospectionEndpointAuthMethodsSupported []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionEndpointAuthSigningAlgValues []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`

	AuthorizationResponseIssParameterSupported bool `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	RequirePushedAuthorizationRequests         bool `json:"require_pushed_authorization_requests"`          // RFC 9126
}

// parseMetadata reads a metadata document fetched for issuer. With internal, our
// requests go to an internal URL, so that their endpoints may be http URLs: some
// providers name them after the address of the request.
func parseMetadata(body []byte, issuer string, internal bool) (*Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(body, &m); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("metadata: %s is a JSON %s", wrong.Field, wrong.Value)
		}
		return nil, errors.New("metadata: the response is not a JSON object")
	}
	// OpenID Connect Discovery §4.3: otherwise one provider could impersonate
	// another.
	if !sameIssuer(m.Issuer, issuer) {
		return nil, &IssuerMismatchError{issuer, m.Issuer}
	}
	if m.JWKSURI == "" {
		return nil, errors.New("metadata: jwks_uri is missing")
	}
	for _, endpoint := range []struct {
		name, value string
		browser     bool // browsers are sent there; this process sends no request
	}{
		{"jwks_uri", m.JWKSURI, false},
		{"authorization_endpoint", m.AuthorizationEndpoint, true},
		{"token_endpoint", m.TokenEndpoint, false},
		{"userinfo_endpoint", m.UserinfoEndpoint, false},
		{"end_session_endpoint", m.EndSessionEndpoint, true},
		{"revocation_endpoint", m.RevocationEndpoint, false},
		{"pushed_authorization_request_endpoint", m.PushedAuthorizationRequestEndpoint, false},
		{"introspection_endpoint", m.IntrospectionEndpoint, false},
	} {
		if endpoint.value == "" {
			continue
		}
		u, err := url.Parse(endpoint.value)
		if err != nil {
			return nil, fmt.Errorf("metadata: %s is not a URL", endpoint.name)
		}
		if internal && !endpoint.browser && u.Scheme == "http" {
			u.Scheme = "https" // replaced by that of the internal URL
		}
		if err := checkURL(u); err != nil {
			return nil, fmt.Errorf("metadata: %s %.128q: %w", endpoint.name, endpoint.value, err)
		}
	}
	return &m, nil
}

// sameIssuer reports whether two issuers are equal except for a trailing slash.
func sameIssuer(issuer, configured string) bool {
	return strings.TrimSuffix(issuer, "/") == strings.TrimSuffix(configured, "/")
}

// checkURL accepts https, and http on loopback.
func checkURL(u *url.URL) error {
	switch {
	case u.Opaque != "" || u.Hostname() == "":
		return errors.New("not an absolute URL with a host")
	case u.User != nil:
		return errors.New("a URL with a user name or password is not accepted; leave it out")
	case u.Scheme == "https", u.Scheme == "http" && loopback.Host(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("http is accepted on loopback only; use https")
	}
	return fmt.Errorf("scheme %.128q is not accepted; use https", u.Scheme)
}
