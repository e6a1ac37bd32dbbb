package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	skew       = 60 * time.Second // permitted difference of clocks, for exp, nbf and iat
	maxAccess  = 16 << 10         // bytes of an access token
	maxIDToken = 64 << 10         // bytes of an ID token or logout token
)

// A profile is what the kinds of token differ in.
type profile struct {
	kind     string // for the log
	maxLen   int
	audience string
	types    []string // accepted typ values in lower case; "" is an absent typ
	check    func(*Claims) error
	partial  bool          // iss, aud and exp are checked only if present
	lifetime time.Duration // from iat, of a token without exp; 0 if exp is required
}

// A verifier verifies tokens of one profile.
type verifier struct {
	profile
	provider   *oidc.Provider
	algorithms []string
	setting    string // that has the algorithms, for the log
	notice     *algorithmNotice
	now        func() time.Time
	log        *slog.Logger
}

func newVerifier(p *oidc.Provider, pr profile, algorithms []string, setting string, now func() time.Time, log *slog.Logger) (*verifier, error) {
	if p == nil {
		return nil, fmt.Errorf("token: %s verifier: Provider is missing; give the provider that issues the tokens", pr.kind)
	}
	set, err := algorithmSet(algorithms)
	if err != nil {
		return nil, fmt.Errorf("token: %s verifier: %w", pr.kind, err)
	}
	v := &verifier{profile: pr, provider: p, algorithms: set, setting: cmp.Or(setting, "Algorithms"), notice: newAlgorithmNotice(), now: now, log: log}
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	return v, nil
}

// ClientConfig configures a verifier of tokens for one client. Provider and ClientID
// are required.
type ClientConfig struct {
	Provider *oidc.Provider
	ClientID string // must be an audience, and the azp of an ID token that has one
	// Algorithms are those of signatures that are accepted: RS256, PS256, ES256 and
	// EdDSA. Nil means RS256.
	Algorithms []string
	// AlgorithmsSetting is the name of the setting for Algorithms, for the log.
	AlgorithmsSetting string
	Now               func() time.Time // nil means time.Now
	// Logger gets the refused tokens' reasons at debug level, and a warning if the
	// provider signs with another algorithm; nil discards.
	Logger *slog.Logger
}

// A ClientVerifier verifies the tokens of one kind for one client. It is safe for
// concurrent use.
type ClientVerifier struct {
	*verifier
}

func newClientVerifier(cfg ClientConfig, pr profile) (*ClientVerifier, error) {
	if cfg.ClientID == "" {
		return nil, fmt.Errorf("token: %s verifier: ClientID is missing; give the client's id", pr.kind)
	}
	pr.maxLen, pr.audience = maxIDToken, cfg.ClientID
	v, err := newVerifier(cfg.Provider, pr, cfg.Algorithms, cfg.AlgorithmsSetting, cfg.Now, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return &ClientVerifier{v}, nil
}

// Verify returns the claims of a valid token. Every error is an *Error.
func (v *ClientVerifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	c, _, err := v.verify(ctx, raw)
	return c, err
}

// verify checks everything that the profile prescribes. It returns the claims and
// the key that verified the signature.
func (v *verifier) verify(ctx context.Context, raw string) (*Claims, *oidc.Key, error) {
	c, key, err := v.run(ctx, raw)
	if err == nil {
		return c, key, nil // a nil *Error is not a nil error
	}
	return nil, nil, v.refuse(ctx, err)
}

// refuse logs the cause and returns err as an error.
func (v *verifier) refuse(ctx context.Context, err *Error) error {
	v.log.DebugContext(ctx, "token refused", "kind", v.kind, "reason", err.Reason.String(), "err", err.Err)
	return err
}

// run makes the cheap checks first. Keys are looked up only for a token of our
// issuer that is otherwise valid.
func (v *verifier) run(ctx context.Context, raw string) (*Claims, *oidc.Key, *Error) {
	if raw == "" {
		return nil, nil, &Error{ReasonMissing, errors.New("no token")}
	}
	t, err := split(raw, v.maxLen)
	if err != nil {
		return nil, nil, &Error{ReasonMalformed, err}
	}
	if err := v.allowed(ctx, &t); err != nil {
		return nil, nil, err
	}
	if !slices.Contains(v.types, strings.ToLower(t.header.typ)) {
		return nil, nil, invalid("typ %.128q is not accepted for kind %q", t.header.typ, v.kind)
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		return nil, nil, invalid("payload: %w", err)
	}
	c.Type = t.header.typ
	hasIssuer := !v.partial || c.has("iss")
	if hasIssuer && !sameIssuer(c.Issuer, v.provider.Issuer()) {
		return nil, nil, invalid("iss %.128q is not %q", c.Issuer, v.provider.Issuer())
	}
	if (!v.partial || c.has("aud")) && !slices.Contains(c.Audience, v.audience) {
		return nil, nil, invalid("aud does not contain %q", v.audience)
	}
	now := v.now()
	if v.lifetime > 0 && c.Expiry.IsZero() && !c.IssuedAt.IsZero() {
		c.Expiry = c.IssuedAt.Add(v.lifetime)
	}
	switch {
	case c.Expiry.IsZero() && !v.partial:
		return nil, nil, invalid("exp is missing")
	case c.NotBefore.After(now.Add(skew)):
		return nil, nil, invalid("nbf is in the future")
	case c.IssuedAt.After(now.Add(skew)):
		return nil, nil, invalid("iat is in the future")
	}
	if err := v.check(c); err != nil {
		return nil, nil, &Error{ReasonInvalid, err}
	}
	// The metadata has the exact issuer. Only a token that is valid so far waits
	// for it.
	m, err := v.provider.AwaitReady(ctx)
	if err != nil {
		return nil, nil, &Error{ReasonUnavailable, err}
	}
	if hasIssuer && c.Issuer != m.Issuer {
		return nil, nil, invalid("iss %.128q is not %q", c.Issuer, m.Issuer)
	}
	// Expired is a public reason, so the signature is checked first. An expired
	// token leads to no fetch: clients with old tokens would use up the budget for
	// keys that were withdrawn since.
	expired := !c.Expiry.IsZero() && !now.Before(c.Expiry.Add(skew))
	keys, err := v.keys(ctx, t.header.kid, expired)
	if errors.Is(err, oidc.ErrUnavailable) {
		return nil, nil, &Error{ReasonUnavailable, err}
	} else if err != nil {
		return nil, nil, &Error{ReasonInvalid, err}
	}
	signer := t.signedBy(keys)
	if signer == nil {
		return nil, nil, invalid("the %s signature does not verify with key %.128q", t.header.alg, t.header.kid)
	}
	if expired {
		return nil, nil, &Error{ReasonExpired, fmt.Errorf("exp was %s", c.Expiry.UTC().Format(time.RFC3339))}
	}
	c.Issuer = m.Issuer // share one string among all tokens
	return c, signer, nil
}

// keys returns the keys that may have signed a token.
func (v *verifier) keys(ctx context.Context, kid string, expired bool) ([]*oidc.Key, error) {
	if expired {
		return v.provider.KnownKeys(kid)
	}
	return v.provider.Keys(ctx, kid)
}

// sameIssuer reports whether two issuers are equal but for a slash at the end.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

func invalid(format string, args ...any) *Error {
	return &Error{ReasonInvalid, fmt.Errorf(format, args...)}
}
