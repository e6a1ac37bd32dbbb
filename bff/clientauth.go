package bff

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientAuth is the way that is configured, or the one that goes with the
// credential that there is and with what the provider lists.
func (rp *relyingParty) clientAuth(md *oidc.Metadata) AuthMethod {
	supported := md.TokenEndpointAuthMethodsSupported
	switch {
	case rp.cfg.Client.Auth != "":
		return rp.cfg.Client.Auth
	case rp.keys != nil:
		return AuthPrivateKey
	case rp.cfg.Client.Secret == "":
		return AuthNone
	case len(supported) == 0 || slices.Contains(supported, string(AuthBasic)): // basic where nothing is said: Discovery section 3
		return AuthBasic
	case slices.Contains(supported, string(AuthPost)):
		return AuthPost
	}
	return AuthBasic
}

// authenticate adds to a form what proves who we are, or reports that it goes
// into the header.
func (rp *relyingParty) authenticate(md *oidc.Metadata, form url.Values) (basic bool, err error) {
	switch rp.clientAuth(md) {
	case AuthBasic:
		return true, nil
	case AuthPost:
		form.Set("client_secret", rp.cfg.Client.Secret)
	case AuthPrivateKey:
		audience := md.Issuer
		if rp.cfg.Client.AssertionAudience == AssertionForTokenEndpoint {
			audience = md.TokenEndpoint
		}
		assertion, err := rp.keys.Assertion(md, audience, rp.cfg.Client.ID, rp.cfg.Now(), rp.cfg.Rand)
		if err != nil {
			return false, fmt.Errorf("client assertion: %w", err)
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	form.Set("client_id", rp.cfg.Client.ID)
	return false, nil
}

// withOtherAudience is rp with the other audience of client assertions, with
// which it is found out that a provider refuses a client for that alone.
func (rp *relyingParty) withOtherAudience() *relyingParty {
	other := *rp
	if other.cfg.Client.AssertionAudience == AssertionForTokenEndpoint {
		other.cfg.Client.AssertionAudience = AssertionForIssuer
	} else {
		other.cfg.Client.AssertionAudience = AssertionForTokenEndpoint
	}
	return &other
}

// clientAuthMismatch reports a way of authentication that the provider does not
// list; "" for none. The remedy names only what both sides have.
func (rp *relyingParty) clientAuthMismatch(md *oidc.Metadata) (problem, remedy string) {
	method := rp.clientAuth(md)
	supported := md.TokenEndpointAuthMethodsSupported
	if len(supported) > 0 && !slices.Contains(supported, string(method)) {
		problem = fmt.Sprintf("the provider does not list the client authentication %s, but %s", method, strings.Join(supported, ", "))
		var ways []string
		if slices.Contains(supported, string(AuthBasic)) || slices.Contains(supported, string(AuthPost)) {
			switch {
			case rp.cfg.Client.Secret != "":
				ways = append(ways, "unset GATEHOUSE_OIDC_CLIENT_AUTH and GATEHOUSE_OIDC_CLIENT_KEY, so that GATEHOUSE_OIDC_CLIENT_SECRET is used")
			case rp.cfg.Client.Auth != "" || rp.cfg.Client.Key != "":
				ways = append(ways, "set GATEHOUSE_OIDC_CLIENT_SECRET instead of GATEHOUSE_OIDC_CLIENT_AUTH and GATEHOUSE_OIDC_CLIENT_KEY")
			default:
				ways = append(ways, "set GATEHOUSE_OIDC_CLIENT_SECRET")
			}
		}
		if slices.Contains(supported, string(AuthPrivateKey)) {
			ways = append(ways, "set GATEHOUSE_OIDC_CLIENT_KEY for private_key_jwt")
		}
		if slices.Contains(supported, string(AuthNone)) {
			ways = append(ways, "leave out secret and key, for a public client")
		}
		if ways == nil {
			return problem, fmt.Sprintf("allow one of %s, %s, %s and %s for the client there: Gatehouse has no other", AuthBasic, AuthPost, AuthPrivateKey, AuthNone)
		}
		return problem, strings.Join(ways, "; or ")
	}
	if method == AuthPrivateKey {
		if _, err := rp.keys.Algorithm(md.TokenEndpointAuthSigningAlgValues); err != nil {
			return "GATEHOUSE_OIDC_CLIENT_KEY: " + err.Error(), "give a key of another kind"
		}
	}
	return "", ""
}

// clientKeySet publishes the public halves of the client's keys, which the
// provider fetches to verify its assertions.
func (b *BFF) clientKeySet(w http.ResponseWriter, r *http.Request) {
	if b.rp.keys == nil {
		respond.Error(w, http.StatusNotFound, "this client has no keys")
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300") // the same for everybody
	_, _ = w.Write(b.rp.keys.PublicSet())                  // a provider that went away asks again
}
