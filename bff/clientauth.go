package bff

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// The values of Config.ClientAuth: the ways in which a client authenticates
// at the provider's endpoints, as OpenID Connect Core section 9 names them.
const (
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"
	AuthNone       = "none" // a public client: PKCE alone protects the code
)

// The values of Config.AssertionAudience, the audience of a client assertion.
const (
	// AssertionForIssuer is the default: the issuer, as RFC 9126 section 2 and
	// FAPI 2.0 have it.
	AssertionForIssuer = "issuer"
	// AssertionForTokenEndpoint is for providers that accept no other audience,
	// among them Ory Hydra, Okta and Entra. A client that uses its key at several
	// providers must not use it: one of them could name another's token endpoint
	// as its own, and authenticate there as the client.
	AssertionForTokenEndpoint = "token_endpoint"
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// CheckClientAuth reports what is wrong with Config.ClientAuth beside the
// credentials that there are: one that is missing, or would not be used.
func CheckClientAuth(method, secret, key string) error {
	switch {
	case !slices.Contains([]string{"", AuthBasic, AuthPost, AuthPrivateKey, AuthNone}, method):
		return fmt.Errorf("none of %s, %s, %s and %s", AuthBasic, AuthPost, AuthPrivateKey, AuthNone)
	case method == "" && secret != "" && key != "":
		return errors.New("there are a client secret and a client key, and nothing says which of them is used")
	case (method == AuthBasic || method == AuthPost) && secret == "":
		return errors.New("needs a client secret")
	case method == AuthPrivateKey && key == "":
		return errors.New("needs a client key")
	case method == AuthNone && secret+key != "":
		return errors.New("there is a client secret or a client key, which would not be used")
	}
	return nil
}

// CheckClientKey reports what is wrong with Config.ClientKey, and shows
// nothing of it.
func CheckClientKey(key string) error {
	if key == "" {
		return nil
	}
	_, err := token.ParseClientKeys(key)
	return err
}

func clientKeys(method, secret, key string) (*token.ClientKeys, error) {
	if err := CheckClientAuth(method, secret, key); err != nil {
		return nil, fmt.Errorf("client authentication %q: %w", method, err)
	}
	if key == "" {
		return nil, nil
	}
	keys, err := token.ParseClientKeys(key)
	if err != nil {
		return nil, fmt.Errorf("client key: %w", err)
	}
	return keys, nil
}

// clientAuth is the way that is configured, or the one that goes with the
// credential that there is and with what the provider lists.
func (rp *relyingParty) clientAuth(md *oidc.Metadata) string {
	supported := md.TokenEndpointAuthMethodsSupported
	switch {
	case rp.cfg.ClientAuth != "":
		return rp.cfg.ClientAuth
	case rp.keys != nil:
		return AuthPrivateKey
	case rp.cfg.ClientSecret == "":
		return AuthNone
	case len(supported) == 0 || slices.Contains(supported, AuthBasic): // basic where nothing is said: Discovery section 3
		return AuthBasic
	case slices.Contains(supported, AuthPost):
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
		form.Set("client_secret", rp.cfg.ClientSecret)
	case AuthPrivateKey:
		audience := md.Issuer
		if rp.cfg.AssertionAudience == AssertionForTokenEndpoint {
			audience = md.TokenEndpoint
		}
		assertion, err := rp.keys.Assertion(md, audience, rp.cfg.ClientID, rp.cfg.Now(), rp.cfg.Rand)
		if err != nil {
			return false, fmt.Errorf("client assertion: %w", err)
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	form.Set("client_id", rp.cfg.ClientID)
	return false, nil
}

// withOtherAudience is rp with the other audience of client assertions, with
// which it is found out that a provider refuses a client for that alone.
func (rp *relyingParty) withOtherAudience() *relyingParty {
	other := *rp
	if other.cfg.AssertionAudience == AssertionForTokenEndpoint {
		other.cfg.AssertionAudience = AssertionForIssuer
	} else {
		other.cfg.AssertionAudience = AssertionForTokenEndpoint
	}
	return &other
}

// clientAuthMismatch reports a way of authentication that the provider does not
// list; "" for none. The remedy names only what both sides have.
func (rp *relyingParty) clientAuthMismatch(md *oidc.Metadata) (problem, remedy string) {
	method := rp.clientAuth(md)
	supported := md.TokenEndpointAuthMethodsSupported
	if len(supported) > 0 && !slices.Contains(supported, method) {
		problem = fmt.Sprintf("the provider does not list the client authentication %s, but %s", method, strings.Join(supported, ", "))
		var ways []string
		if slices.Contains(supported, AuthBasic) || slices.Contains(supported, AuthPost) {
			switch {
			case rp.cfg.ClientSecret != "":
				ways = append(ways, "unset GATEHOUSE_OIDC_CLIENT_AUTH and GATEHOUSE_OIDC_CLIENT_KEY, so that GATEHOUSE_OIDC_CLIENT_SECRET is used")
			case rp.cfg.ClientAuth != "" || rp.cfg.ClientKey != "":
				ways = append(ways, "set GATEHOUSE_OIDC_CLIENT_SECRET instead of GATEHOUSE_OIDC_CLIENT_AUTH and GATEHOUSE_OIDC_CLIENT_KEY")
			default:
				ways = append(ways, "set GATEHOUSE_OIDC_CLIENT_SECRET")
			}
		}
		if slices.Contains(supported, AuthPrivateKey) {
			ways = append(ways, "set GATEHOUSE_OIDC_CLIENT_KEY for private_key_jwt")
		}
		if slices.Contains(supported, AuthNone) {
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
