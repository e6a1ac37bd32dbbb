// Package rp owns the relying party's side of OpenID Connect: every request to
// the provider as one of its clients, directly or through the browser. It
// leaves sessions, cookies and answers to browsers to its callers.
package rp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Config configures a Party. The comments of bff.Config say what the fields
// mean.
type Config struct {
	Provider *oidc.Provider
	// BaseURL is the origin of the bff, Callback the redirect URI.
	BaseURL, Callback string
	Client            clientauth.Config

	Scope, DefaultScope         string
	Audience                    string
	OpaqueTokens                bool
	Resources                   []string // for which refresh tokens must serve too
	OmitAudience, OmitResource  bool
	ConsentAlways, ConsentNever bool
	ResponseMode                string // "" for the provider's default
	OmitPAR                     bool
	IDTokenAlgorithms           []string
	// RefreshTimeout is how long an answer to a refresh may take, in addition
	// to ConnectTimeout.
	RefreshTimeout time.Duration

	HTTPClient *http.Client
	// Setting returns the name of the setting for a field of bff.Config.
	Setting func(field string) string
	Now     func() time.Time
	Rand    io.Reader
	Logger  *slog.Logger
	// Requests measures requests to the provider, nil for none.
	Requests *metrics.Histogram
}

// tokens returns the configuration of the verifiers of tokens for the client.
func (cfg Config) tokens() token.ClientConfig {
	return token.ClientConfig{
		Provider: cfg.Provider, ClientID: cfg.Client.ID,
		Algorithms: cfg.IDTokenAlgorithms, AlgorithmsSetting: cfg.Setting("Login.IDTokenAlgorithms"),
		Now: cfg.Now, Logger: cfg.Logger,
	}
}

// LogoutTokens returns a verifier of logout tokens for the client.
func (p *Party) LogoutTokens() (*token.ClientVerifier, error) {
	return token.NewLogoutVerifier(p.cfg.tokens())
}

// IDTokenAlgorithms returns the algorithms of ID tokens that are accepted.
func (p *Party) IDTokenAlgorithms() []string { return p.ids.Algorithms() }

// Ready returns why ID tokens cannot be verified at the moment, nil if they can.
func (p *Party) Ready() error { return p.ids.Ready() }

// A Party is a relying party of one provider. It is safe for concurrent use.
type Party struct {
	cfg       Config
	client    atomic.Pointer[clientauth.Client]
	ids       *token.IDVerifier
	userinfos *token.ClientVerifier
	inspector *token.Inspector // nil without an audience: tokens are not for a server of ours
	http      *http.Client

	refused     atomic.Pointer[Error] // the client, by the last request that it made
	hintOmitted sync.Once             // the warning that logouts lack id_token_hint
}

// New returns a Party.
func New(cfg Config) (*Party, error) {
	client, err := clientauth.New(cfg.Client, cfg.Now, cfg.Rand)
	if err != nil {
		return nil, err
	}
	ids, err := token.NewIDVerifier(cfg.tokens())
	if err != nil {
		return nil, err
	}
	userinfos, err := token.NewUserinfoVerifier(cfg.tokens())
	if err != nil {
		return nil, err
	}
	own := *cfg.HTTPClient
	own.Timeout = 0 // each call has its own
	own.Transport = cfg.Provider.Transport(own.Transport)
	// A redirect would send the client's secret, or a token, elsewhere.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := &Party{cfg: cfg, ids: ids, userinfos: userinfos, http: &own}
	p.client.Store(client)
	if cfg.Audience != "" {
		p.inspector = token.NewInspector(token.InspectorConfig{
			Provider: cfg.Provider, Audience: cfg.Audience, Setting: cfg.Setting, AudienceField: "Login.Audience",
			IntrospectionField: "Introspection.Endpoint", Introspected: cfg.OpaqueTokens,
			Now: cfg.Now, Logger: cfg.Logger,
		})
	}
	return p, nil
}

// Config returns the configuration.
func (p *Party) Config() Config { return p.cfg }

// Client returns the client as which the Party authenticates.
func (p *Party) Client() *clientauth.Client { return p.client.Load() }

// SetCredential replaces the client's secret and key.
func (p *Party) SetCredential(secret, key string) error {
	cfg := p.cfg.Client
	cfg.Secret, cfg.Key = secret, key
	client, err := clientauth.New(cfg, p.cfg.Now, p.cfg.Rand)
	if err == nil {
		p.client.Store(client)
		p.refused.Store(nil) // that was the other one
	}
	return err
}

// VerifyID verifies an ID token of the provider for this client.
func (p *Party) VerifyID(ctx context.Context, raw string, checks token.IDChecks) (*token.Claims, error) {
	return p.ids.Verify(ctx, raw, checks)
}

// Metadata returns the provider's metadata. It waits for the first fetch of
// them, and returns an error if a login is not possible with them.
func (p *Party) Metadata(ctx context.Context) (*oidc.Metadata, error) {
	md, err := p.cfg.Provider.AwaitMetadata(ctx)
	if err != nil {
		return nil, err
	}
	return md, p.Fits(md)
}

// Fits returns an error if the provider lacks what a login needs. The error
// names no address, because /readyz shows it.
func (p *Party) Fits(md *oidc.Metadata) error {
	needed := []struct{ name, endpoint string }{
		{"authorization_endpoint", md.AuthorizationEndpoint}, {"token_endpoint", md.TokenEndpoint},
	}
	if md.RequirePushedAuthorizationRequests {
		if p.cfg.OmitPAR {
			return errors.New("the provider requires pushed authorization requests (RFC 9126), and " + p.cfg.Setting("Login.OmitPAR") + " turns them off: unset it")
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
