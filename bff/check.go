package bff

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// Check asks the provider what a login would find out later: that it knows
// this client and takes its secret, and that it offers what a login needs. It
// returns what is good, as sentences, and the error of what is not, with the
// remedy.
func (b *BFF) Check(ctx context.Context) (good []string, err error) {
	md, err := b.provider.Discover(ctx)
	if err != nil {
		return nil, err
	}
	if methods := md.CodeChallengeMethodsSupported; len(methods) > 0 && !slices.Contains(methods, "S256") {
		return good, fmt.Errorf("the provider does not offer PKCE with S256 (it lists %v), which every login here uses; turn it on there", methods)
	}
	if err := b.checkClient(ctx, b.rp); err != nil {
		return good, err
	}
	good = append(good, fmt.Sprintf("client %s is known to the provider, and its secret is right", b.rp.cfg.ClientID))
	if _, offline := b.rp.scope(md); offline {
		good = append(good, "offline access is offered: sessions outlive their first access token")
	} else {
		good = append(good, "no offline access: a session lasts as long as its first access token, then the person signs in again")
	}
	if b.rp.endSessionURL(md, b.base.String(), "", "") == "" {
		good = append(good, "no end-session endpoint: logging out here leaves the person signed in at the provider")
	}
	return good, nil
}

// checkClient redeems a code that nobody issued: a provider that knows the
// client says that the code is bad.
func (b *BFF) checkClient(ctx context.Context, rp *relyingParty) error {
	md, err := rp.metadata()
	if err != nil {
		return err
	}
	_, err = rp.tokens(ctx, md, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {"gatehouse-check"},
		"redirect_uri":  {rp.callback},
		"code_verifier": {"gatehouse-check-gatehouse-check-gatehouse-check"},
	})
	refusal, ok := errors.AsType[*oauthError](err)
	switch {
	case err == nil:
		return fmt.Errorf("the token endpoint %s gave a token for a code that nobody issued; it must not be trusted", md.TokenEndpoint)
	case !ok:
		return fmt.Errorf("the token endpoint %s did not answer as one: %w", md.TokenEndpoint, err)
	case refusal.code == "invalid_grant":
		return nil
	case refusal.code == "invalid_client" || refusal.status == http.StatusUnauthorized:
		return fmt.Errorf("the provider refuses client %s (%s): correct GATEHOUSE_OIDC_CLIENT_ID and GATEHOUSE_OIDC_CLIENT_SECRET, or its way of authentication with GATEHOUSE_OIDC_CLIENT_AUTH", rp.cfg.ClientID, refusal.code)
	case refusal.code == "unauthorized_client":
		return fmt.Errorf("the provider does not allow client %s the authorization code grant: allow it there", rp.cfg.ClientID)
	}
	return nil // an error about the made-up code, in words of the provider's own
}
