package bff

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A relyingParty is our side of OpenID Connect: the requests that we make of
// the provider, directly or through the browser, as one of its clients.
type relyingParty struct {
	cfg      Config
	callback string
	provider *oidc.Provider
	ids      *token.IDVerifier

	userinfos *token.UserinfoVerifier

	keys *token.ClientKeys // nil without private_key_jwt
	http *http.Client

	hintOmitted *sync.Once // the warning that logouts lack id_token_hint
}

func newRelyingParty(cfg Config, provider *oidc.Provider, base *url.URL) (*relyingParty, error) {
	var keys *token.ClientKeys
	if cfg.Client.Key != "" {
		var err error
		if keys, err = token.ParseClientKeys(cfg.Client.Key); err != nil {
			return nil, err
		}
	}
	ids, err := token.NewIDVerifier(token.IDConfig{Provider: provider, ClientID: cfg.Client.ID, Now: cfg.Now, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	userinfos, err := token.NewUserinfoVerifier(token.UserinfoConfig{Provider: provider, ClientID: cfg.Client.ID, Now: cfg.Now, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	client := *cfg.HTTPClient
	client.Timeout = 0 // each call has its own
	client.Transport = provider.Transport(client.Transport)
	// A redirect would carry the client's secret, or a token, elsewhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &relyingParty{cfg: cfg, callback: base.String() + route.Callback, provider: provider, ids: ids, userinfos: userinfos, keys: keys, http: &client, hintOmitted: new(sync.Once)}, nil
}

// metadata returns the provider's metadata, for which it waits while this
// process starts, and an error if they lack what a login needs.
func (rp *relyingParty) metadata(ctx context.Context) (*oidc.Metadata, error) {
	md, err := rp.provider.AwaitMetadata(ctx)
	if err != nil {
		return nil, err
	}
	return md, rp.fits(md)
}

// fits reports what is missing at the provider without which no login is
// possible, in words that name no address: /readyz shows them.
func (rp *relyingParty) fits(md *oidc.Metadata) error {
	needed := []struct{ name, endpoint string }{
		{"authorization_endpoint", md.AuthorizationEndpoint}, {"token_endpoint", md.TokenEndpoint},
	}
	if md.RequirePushedAuthorizationRequests {
		if rp.cfg.Login.OmitPAR {
			return errors.New("the provider requires pushed authorization requests (RFC 9126), and GATEHOUSE_OIDC_OMIT_PAR turns them off: unset it")
		}
		needed = append(needed, struct{ name, endpoint string }{"pushed_authorization_request_endpoint", md.PushedAuthorizationRequestEndpoint})
	}
	for _, n := range needed {
		if n.endpoint == "" {
			return fmt.Errorf("the provider's metadata has no %s: is its issuer an OpenID provider?", n.name)
		}
	}
	return nil
}
