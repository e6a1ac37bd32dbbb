package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// InspectorConfig configures an Inspector. Provider, Setting and Logger are required.
type InspectorConfig struct {
	Provider *oidc.Provider
	// Audience is the one that a server requires; "" for any.
	Audience string
	// Setting returns the name of the setting for a field: "Provider.Issuer", or one
	// of the next two.
	Setting func(field string) string
	// AudienceField and PermissionsField are those of the audience and of the claim
	// with permissions.
	AudienceField, PermissionsField string
	// IntrospectionField is that which turns token introspection on. Introspected says
	// that the server introspects opaque tokens, so that they are no problem.
	IntrospectionField string
	Introspected       bool
	Now                func() time.Time // nil means time.Now
	Logger             *slog.Logger
}

// An Inspector says what does not fit in the access tokens of a provider: once for
// each problem, when the first token shows it. It decides about no call. It is safe
// for concurrent use.
type Inspector struct {
	cfg  InspectorConfig
	rate *throttle.Log // of tokens that are inspected

	mu          sync.Mutex
	said        map[string]bool // by problem
	seen        bool            // a good token
	permissions string          // the claim in which policies look for permissions; "" if none does
}

// NewInspector returns an Inspector.
func NewInspector(cfg InspectorConfig) *Inspector {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Inspector{cfg: cfg, rate: throttle.Every(time.Second), said: map[string]bool{}}
}

// Require tells that policies look for permissions in a claim.
func (i *Inspector) Require(permissionsClaim string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.permissions = permissionsClaim
}

// What an Inspector finds unusual.
const (
	noticeableSkew = 5 * time.Second
	shortLifetime  = 2 * time.Minute
	longLifetime   = 24 * time.Hour
)

// Issued inspects a token that the provider has just issued. It may wait for the keys
// that verify it, as the verification of the ID token does.
func (i *Inspector) Issued(ctx context.Context, raw string) {
	if ok, _ := i.rate.Next(); !ok {
		return
	}
	t, err := split(raw, maxAccess)
	var c *Claims
	if err == nil {
		c, err = parseClaims(t.payload)
	}
	switch {
	case err == nil:
	case strings.Count(raw, ".") == 2:
		i.say(ctx, "form", "the provider issues access tokens that the server does not accept", "", "see the provider's page in docs/providers", "err", err)
		return
	case i.cfg.Introspected && !HasJWTForm(raw):
		return
	default:
		i.opaque(ctx, "the provider issues access tokens that are no JWTs", err)
		return
	}
	i.compare(ctx, c)
	if keys, err := i.cfg.Provider.Keys(ctx, t.header.kid); err == nil && t.signedBy(keys) == nil || errors.Is(err, oidc.ErrUnknownKey) {
		i.foreign(ctx, "the provider has issued an access token that is", t.header.kid)
	}
	i.accepted(ctx, c)
}

// refused inspects a token that a client has sent and that was refused. Only what is
// signed by the provider says something about it; anyone can send anything else.
func (i *Inspector) refused(ctx context.Context, raw string, cause error) {
	refusal, ok := errors.AsType[*Error](cause)
	if i == nil || !ok || refusal.Reason != ReasonInvalid && refusal.Reason != ReasonMalformed {
		return
	}
	if ok, _ := i.rate.Next(); !ok {
		return
	}
	t, err := split(raw, maxAccess)
	if err != nil {
		if dots := strings.Count(raw, "."); dots == 0 || dots == 4 { // a reference, or a JWE
			i.opaque(ctx, "a client sent an access token that is no JWT; if it is the provider's, its access tokens are opaque", err)
		}
		return
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		return
	}
	keys, err := i.cfg.Provider.KnownKeys(t.header.kid)
	switch {
	case errors.Is(err, oidc.ErrUnknownKey):
		if sameIssuer(c.Issuer, i.cfg.Provider.Issuer()) && slices.Contains(c.Audience, i.cfg.Audience) {
			i.foreign(ctx, "a client sent an access token for this API that is", t.header.kid)
		}
	case err == nil && t.signedBy(keys) != nil:
		i.compare(ctx, c)
		i.clock(ctx)
	}
}

// verified inspects the first token that was accepted.
func (i *Inspector) verified(ctx context.Context, c *Claims) {
	if i == nil {
		return
	}
	i.mu.Lock()
	first := !i.seen
	i.seen = true
	i.mu.Unlock()
	if first {
		i.accepted(ctx, c)
	}
}

// Introspected inspects the claims with which the provider has called an opaque token
// active; refused is why it is refused nevertheless.
func (i *Inspector) Introspected(ctx context.Context, c *Claims, refused error) {
	if i == nil {
		return
	}
	if refused == nil {
		i.verified(ctx, c)
	} else if ok, _ := i.rate.Next(); ok {
		i.compare(ctx, c)
		i.clock(ctx)
	}
}

// accepted looks for what is unusual in a token that is good.
func (i *Inspector) accepted(ctx context.Context, c *Claims) {
	i.clock(ctx)
	issued := c.IssuedAt
	if issued.IsZero() {
		issued = i.cfg.Now()
	}
	switch lifetime := c.Expiry.Sub(issued); {
	case c.introspected && (c.Expiry.IsZero() || lifetime > longLifetime): // a logout ends it
	case c.Expiry.IsZero():
		i.say(ctx, "expiry", "access tokens have no exp, and are refused", "", "let the provider issue access tokens with an end")
	case lifetime < shortLifetime:
		i.say(ctx, "lifetime", fmt.Sprintf("access tokens live for %v only, so that sessions are refreshed all the time", lifetime.Round(time.Second)), "",
			"let the provider issue access tokens for 5 minutes to an hour")
	case lifetime > longLifetime:
		i.say(ctx, "lifetime", fmt.Sprintf("access tokens live for %v, and are valid until their end also after a logout", lifetime.Round(time.Second)), "",
			"let the provider issue access tokens for 5 minutes to an hour")
	}
	i.mu.Lock()
	claim := i.permissions
	i.mu.Unlock()
	if claim != "" {
		if _, ok := c.Lookup(claim); !ok {
			i.say(ctx, "permissions", "the access token has no claim "+strconv.QuoteToASCII(claim)+", and methods need permissions: their callers are refused (403)", i.cfg.PermissionsField,
				"let the provider add permissions to access tokens, or name the claim that has them")
		}
	}
}

// clock compares the clocks.
func (i *Inspector) clock(ctx context.Context) {
	if ahead, known := i.cfg.Provider.ClockSkew(); known && ahead.Abs() > noticeableSkew {
		side := "behind"
		if ahead < 0 {
			side = "ahead of"
		}
		i.say(ctx, "clock", fmt.Sprintf("this machine's clock is %v %s the provider's (60 s are tolerated)", ahead.Abs().Round(time.Second), side), "",
			"synchronise this machine's clock (NTP), or the provider's")
	}
}

// compare compares issuer and audience with those that are required.
func (i *Inspector) compare(ctx context.Context, c *Claims) {
	issuer := i.cfg.Provider.Issuer()
	if md, err := i.cfg.Provider.Metadata(); err == nil {
		issuer = md.Issuer
	}
	if c.Issuer != issuer {
		what := "access tokens have the issuer %s, and the provider calls itself %s: they are refused"
		if sameIssuer(c.Issuer, issuer) {
			what = "access tokens have the issuer %s, and the provider's metadata %s: the slash at the end differs, so they are refused"
		}
		i.say(ctx, "issuer", fmt.Sprintf(what, quoted(c.Issuer), quoted(issuer)), "Provider.Issuer",
			"let the provider use one issuer everywhere (its public address), and give that one")
	}
	if i.cfg.Audience != "" && !slices.Contains(c.Audience, i.cfg.Audience) {
		i.say(ctx, "audience", fmt.Sprintf("access tokens have the audience %s, not %s: the server refuses them", quoted(c.Audience...), quoted(i.cfg.Audience)), i.cfg.AudienceField,
			"correct the setting, or the audience that the provider gives this client")
	}
}

func (i *Inspector) opaque(ctx context.Context, what string, err error) {
	remedy := "register the API " + quoted(i.cfg.Audience) + " with the provider, and have it issue JWTs for it"
	if i.cfg.IntrospectionField != "" {
		remedy += "; or set " + i.cfg.Setting(i.cfg.IntrospectionField) + ", so that the server asks the provider about them"
	}
	i.say(ctx, "opaque", what+" (opaque): the server cannot verify them", i.cfg.AudienceField, remedy, "err", err)
}

func (i *Inspector) foreign(ctx context.Context, what, kid string) {
	i.say(ctx, "key", what+" signed by the key "+quoted(kid)+", which is not in the provider's key set", "Provider.Issuer",
		"is it a token of another provider or realm, or the key set that of an old instance?")
}

// quoted returns texts of a token, shortened, for a log line.
func quoted(texts ...string) string {
	const most, longest = 4, 128
	var list []string
	for _, text := range texts[:min(len(texts), most)] {
		if len(text) > longest {
			text = strings.ToValidUTF8(text[:longest], "") + "…"
		}
		list = append(list, strconv.QuoteToASCII(text))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}

// say logs a problem once. field may be "".
func (i *Inspector) say(ctx context.Context, kind, problem, field, remedy string, attrs ...any) {
	i.mu.Lock()
	again := i.said[kind]
	i.said[kind] = true
	i.mu.Unlock()
	if again {
		return
	}
	attrs = append([]any{"problem", problem, "remedy", remedy}, attrs...)
	if field != "" {
		attrs = append([]any{"setting", i.cfg.Setting(field)}, attrs...)
	}
	i.cfg.Logger.WarnContext(ctx, "access tokens do not fit the configuration", attrs...)
}
