package authn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// ErrRevoked is the error that a Denylist returns or wraps for a revoked token.
var ErrRevoked = errors.New("authn: the token has been revoked")

// A RevocationKey has the claims by which a token can be revoked. Strings are empty
// and times zero if the token lacks the claim.
type RevocationKey struct {
	Issuer    string    // claim "iss"
	Subject   string    // claim "sub"
	ClientID  string    // claim "client_id", or "azp"
	SessionID string    // claim "sid"
	ID        string    // claim "jti"
	IssuedAt  time.Time // claim "iat"
	Expiry    time.Time // claim "exp"; the token is accepted for another 60 s
}

// A Verifier turns access tokens into principals. It is safe for concurrent use.
type Verifier struct {
	provider         *oidc.Provider
	further          []*oidc.Provider // of Config.Issuers, without the one above
	access           *token.AccessVerifier[*Principal]
	opaque           *introspect.Verifier[*Principal] // nil: opaque tokens are refused
	endpoint         *introspect.Endpoint             // that of opaque
	inspector        *token.Inspector
	permissionsClaim string
	watch            *watch // of open streams
	audit            *auditlog.Recorder
	unfit            atomic.Bool // Ready has logged it
	now              func() time.Time
	logger           *slog.Logger
}

// NewVerifier returns a verifier. It contacts nothing; [Verifier.Run] does.
func NewVerifier(cfg Config) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("authn: %w", err)
	}
	v := &Verifier{provider: cfg.Provider, watch: newWatch(changed(cfg.Denylist)), now: cfg.Now, logger: cfg.Logger}
	if v.now == nil {
		v.now = time.Now
	}
	if v.logger == nil {
		v.logger = slog.New(slog.DiscardHandler)
	}
	v.audit = auditlog.New(auditlog.Config{
		Handler: cfg.Audit, Part: "server", Now: v.now, Logger: v.logger, MeterProvider: cfg.MeterProvider,
	})
	claim := cmp.Or(cfg.PermissionsClaim, defaultPermissionsClaim)
	audience, audienceField := cfg.Audience, "Audience"
	if primary := cfg.primary(); primary != nil {
		claim = cmp.Or(primary.PermissionsClaim, defaultPermissionsClaim)
		audience, audienceField = "", "Issuers"
	}
	name := cfg.SettingName
	if name == nil {
		name = func(field string) string { return field }
	}
	v.permissionsClaim = claim
	v.inspector = token.NewInspector(token.InspectorConfig{
		Provider: v.provider, Audience: audience, Setting: name, AudienceField: audienceField, PermissionsField: "PermissionsClaim",
		IntrospectionField: "Introspection.Endpoint", Introspected: cfg.Introspection != nil,
		Now: v.now, Logger: v.logger,
	})
	access, err := token.NewAccessVerifier(token.AccessConfig[*Principal]{
		Provider:     v.provider,
		Audience:     cfg.Audience,
		Algorithms:   cfg.Algorithms,
		RequireATJWT: cfg.Profile.RequireATJWT,

		AlgorithmsSetting:    name("Algorithms"),
		IDTokenClients:       cfg.Profile.IDTokenClients,
		InsecureIDTokenShape: cfg.Profile.InsecureIDTokenShape,

		Principal: func(c *token.Claims) (*Principal, error) { return newPrincipal(c, claim) },
		Issuers:   v.issuers(cfg, name),
		Revoked:   revoked(cfg.Denylist),
		Verified:  counted(cfg),
		Inspector: v.inspector,
		CacheSize: cfg.CacheSize,
		Now:       cfg.Now,
		Logger:    v.logger,
	})
	if err != nil {
		return nil, err
	}
	v.access = access
	v.opaque, v.endpoint, err = newIntrospector(cfg, v, name)
	return v, err
}

// counted returns the function that counts verifications, nil if nothing is collected.
func counted(cfg Config) func(string, token.Reason, bool) {
	issuers := []string{cfg.Provider.Issuer()}
	for _, c := range cfg.Issuers {
		if c.Provider != cfg.Provider {
			issuers = append(issuers, c.issuer())
		}
	}
	counter := metrics.NewCounter(cfg.MeterProvider, metrics.TokenVerifications.With(metrics.KeyIssuer, issuers...))
	if counter == nil {
		return nil
	}
	return func(issuer string, refused token.Reason, cached bool) {
		result, cache := metrics.TokenOK, metrics.CacheMiss
		if refused != 0 {
			result = refused.String()
		}
		if cached {
			cache = metrics.CacheHit
		}
		counter.Add(result, cache, issuer)
	}
}

// changed returns the method Changed of a denylist, nil if it has none.
func changed(list Denylist) func() <-chan struct{} {
	if l, ok := list.(interface{ Changed() <-chan struct{} }); ok {
		return l.Changed
	}
	return nil
}

// revoked adapts a denylist to internal/token, whose types importers cannot name.
func revoked(list Denylist) func(context.Context, *token.RevocationKey) error {
	if list == nil {
		return nil
	}
	return func(ctx context.Context, key *token.RevocationKey) error {
		err := list.Revoked(ctx, (*RevocationKey)(key))
		if errors.Is(err, ErrRevoked) {
			return &token.Error{Reason: token.ReasonRevoked, Err: err}
		}
		if err != nil {
			return &token.Error{Reason: token.ReasonUnavailable, Err: err}
		}
		return nil
	}
}

// Run runs the providers, which keep their metadata and keys fresh, until the context
// ends.
func (v *Verifier) Run(ctx context.Context) error {
	defer v.audit.Flush()
	var further sync.WaitGroup
	defer further.Wait()
	for _, p := range v.further {
		further.Go(func() { _ = p.Run(ctx) }) // returns nil when the context ends
	}
	return v.provider.Run(ctx)
}

// Ready returns why tokens of Config.Provider cannot be verified at the moment, nil if
// they can. Those of Config.Issuers do not matter: without keys of one, the tokens of the
// others are verified as ever. Ready logs, once, that the provider's keys are for
// algorithms that Config does not allow: that does not pass as an outage does.
func (v *Verifier) Ready() error {
	err := v.access.Ready()
	_, unfit := errors.AsType[*token.KeysError](err)
	if v.unfit.Swap(unfit) != unfit && unfit {
		v.logger.Warn("not ready", "err", err)
	}
	return err
}

// Verify returns the principal of an access token in compact serialization. The
// error is a gRPC status with an ErrorInfo (see the Reason constants):
// Unauthenticated, or Unavailable if the token cannot be verified at the moment.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Principal, error) {
	var p *Principal
	var err error
	if v.introspects(raw) {
		p, err = v.opaque.Verify(ctx, raw)
	} else {
		p, _, err = v.access.Verify(ctx, raw)
	}
	if err != nil {
		return nil, v.refuse(ctx, err).Err()
	}
	return p, nil
}

// open is Verify for a stream. refusal returns why the token is no longer accepted,
// apart from its expiry.
func (v *Verifier) open(ctx context.Context, raw string) (p *Principal, refusal func() *status.Status, err error) {
	verify := v.access.Open
	if v.introspects(raw) {
		verify = v.opaque.Open
	}
	p, check, err := verify(ctx, raw)
	if err != nil {
		return nil, nil, v.refuse(ctx, err).Err()
	}
	return p, func() *status.Status {
		if err := check(ctx); err != nil && ctx.Err() == nil { // otherwise the stream has ended
			return v.refuse(ctx, err)
		}
		return nil
	}, nil
}

// Known reports whether an authorization value is a bearer token that was verified
// before and has not expired since. The token may have been revoked, so this must
// not decide about a call. Known never blocks.
func (v *Verifier) Known(authorization string) bool {
	scheme, raw, _ := strings.Cut(authorization, " ")
	return strings.EqualFold(scheme, "Bearer") && (v.access.Known(raw) || v.opaque != nil && v.opaque.Known(raw))
}

// refuse adds the private cause to the line of the call, and returns the public refusal.
func (v *Verifier) refuse(ctx context.Context, err error) *status.Status {
	st := statusInvalid
	if e, ok := errors.AsType[*token.Error](err); ok {
		switch e.Reason {
		case token.ReasonMissing:
			st = statusMissing
		case token.ReasonExpired:
			st = statusExpired
		case token.ReasonRevoked:
			st = statusRevoked
		case token.ReasonUnavailable:
			st = statusUnknown // the provider logs its outage
		}
	}
	if !accesslog.FromContext(ctx).AddMissing(slog.LevelInfo, slog.String("err", err.Error())) {
		v.logger.InfoContext(ctx, "token refused", "err", err)
	}
	return st
}

// defaultPermissionsClaim is the claim with the permissions, unless another is configured.
const defaultPermissionsClaim = "permissions"

func newPrincipal(c *token.Claims, permissionsClaim string) (*Principal, error) {
	permissions, ok := c.Strings(permissionsClaim)
	if _, present := c.Lookup(permissionsClaim); present && !ok {
		return nil, fmt.Errorf("claim %s is neither a list of strings nor a string", permissionsClaim)
	}
	p := principal(c)
	p.Scopes, p.Permissions = c.Scopes, permissions
	return p, nil
}

// principal returns a principal of the claims that may do nothing.
func principal(c *token.Claims) *Principal {
	return &Principal{
		Issuer:    c.Issuer,
		Subject:   c.Subject,
		ClientID:  c.ClientID,
		SessionID: c.SessionID,
		TokenID:   c.ID,
		ACR:       c.ACR,
		AuthTime:  c.AuthTime,
		IssuedAt:  c.IssuedAt,
		ExpiresAt: c.Expiry,
		claims:    c,
	}
}
