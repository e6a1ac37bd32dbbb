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
	kind          string // for the log
	maxLen        int
	audiences     []string // of which a token must have one
	audienceClaim string   // "" for aud
	types         []string // accepted typ values in lower case; "" is an absent typ
	check         func(*Claims) error
	partial       bool          // iss, aud and exp are checked only if present
	lifetime      time.Duration // from iat, of a token without exp; 0 if exp is required
}

// A verifier verifies tokens of one profile.
type verifier struct {
	profile
	provider   *oidc.Provider
	algorithms []string
	setting    string // that has the algorithms, for the log
	notice     *algorithmNotice
	waiting    chan struct{} // has one element for each token that may wait for keys; nil for no limit
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
	p.AllowAlgorithms(set...)
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
	pr.maxLen, pr.audiences = maxIDToken, []string{cfg.ClientID}
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
	t, err := read(raw, v.maxLen)
	if err == nil {
		err = v.head(ctx, t)
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := t.claims()
	if err != nil {
		return nil, nil, err
	}
	key, err := v.judge(ctx, t, c)
	return c, key, err
}

// read parses a token and does not verify it.
func read(raw string, maxLen int) (*compact, *Error) {
	if raw == "" {
		return nil, &Error{ReasonMissing, errors.New("no token")}
	}
	t, err := split(raw, maxLen)
	if err != nil {
		return nil, &Error{ReasonMalformed, err}
	}
	return &t, nil
}

// claims parses the payload.
func (t *compact) claims() (*Claims, *Error) {
	c, err := parseClaims(t.payload)
	if err != nil {
		return nil, invalid("payload: %w", err)
	}
	c.Type = t.header.typ
	return c, nil
}

// head checks the header.
func (v *verifier) head(ctx context.Context, t *compact) *Error {
	if err := v.allowed(ctx, t); err != nil {
		return err
	}
	if !slices.Contains(v.types, strings.ToLower(t.header.typ)) {
		return invalid("typ %.128q is not accepted for kind %q", t.header.typ, v.kind)
	}
	return nil
}

// addressed returns an error unless the token is for one of the audiences.
func (v *verifier) addressed(c *Claims) *Error {
	names := func(audiences []string) bool {
		return slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(v.audiences, a) })
	}
	if v.audienceClaim != "" {
		if texts, _ := c.Texts(v.audienceClaim); !names(texts) {
			return invalid("%s contains none of %q", v.audienceClaim, v.audiences)
		}
		if !c.has("aud") {
			return nil
		}
	}
	switch {
	case names(c.Audience):
		return nil
	case len(v.audiences) == 1:
		return invalid("aud does not contain %q", v.audiences[0])
	}
	return invalid("aud contains none of %q", v.audiences)
}

// judge checks the claims and the signature, and returns the key that verified it.
func (v *verifier) judge(ctx context.Context, t *compact, c *Claims) (*oidc.Key, *Error) {
	if (!v.partial || c.has("iss")) && !sameIssuer(c.Issuer, v.provider.Issuer()) {
		return nil, invalid("iss %.128q is not %q", c.Issuer, v.provider.Issuer())
	}
	if !v.partial || c.has("aud") {
		if err := v.addressed(c); err != nil {
			return nil, err
		}
	}
	now := v.now()
	if v.lifetime > 0 && c.Expiry.IsZero() && !c.IssuedAt.IsZero() {
		c.Expiry = c.IssuedAt.Add(v.lifetime)
	}
	switch {
	case c.Expiry.IsZero() && !v.partial:
		return nil, invalid("exp is missing")
	case c.NotBefore.After(now.Add(skew)):
		return nil, invalid("nbf is in the future")
	case c.IssuedAt.After(now.Add(skew)):
		return nil, invalid("iat is in the future")
	}
	if err := v.check(c); err != nil {
		return nil, &Error{ReasonInvalid, err}
	}
	// Expired is a public reason, so the signature is checked first. An expired
	// token leads to no fetch: clients with old tokens would use up the budget for
	// keys that were withdrawn since.
	expired := !c.Expiry.IsZero() && !now.Before(c.Expiry.Add(skew))
	issuer, keys, refused := v.keys(ctx, t, c, expired)
	if refused != nil {
		return nil, refused
	}
	signer := t.signedBy(keys)
	if signer == nil {
		return nil, invalid("the %s signature does not verify with key %.128q", t.header.alg, t.header.kid)
	}
	if expired {
		return nil, &Error{ReasonExpired, fmt.Errorf("exp was %s", c.Expiry.UTC().Format(time.RFC3339))}
	}
	c.Issuer = issuer // share one string among all tokens
	return signer, nil
}

// keys returns the keys that may have signed a token, and the issuer as it calls itself,
// which the token must have, byte for byte.
func (v *verifier) keys(ctx context.Context, t *compact, c *Claims, expired bool) (issuer string, keys []*oidc.Key, refused *Error) {
	if v.waiting != nil {
		// A token whose keys are at hand does not wait, and is no victim of those that do.
		if _, err := v.provider.KnownKeys(t.header.kid); err != nil {
			if !v.wait() {
				return "", nil, &Error{ReasonUnavailable, errWaiting}
			}
			defer v.done()
		}
	}
	// The metadata has the exact issuer. Only a token that is valid so far waits
	// for it.
	m, err := v.provider.AwaitReady(ctx)
	if err != nil {
		return "", nil, &Error{ReasonUnavailable, err}
	}
	if (!v.partial || c.has("iss")) && c.Issuer != m.Issuer {
		return "", nil, invalid("iss %.128q is not %q", c.Issuer, m.Issuer)
	}
	if expired {
		keys, err = v.provider.KnownKeys(t.header.kid)
	} else {
		keys, err = v.provider.Keys(ctx, t.header.kid)
	}
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		return "", nil, &Error{ReasonUnavailable, err}
	case err != nil:
		return "", nil, &Error{ReasonInvalid, err}
	}
	return m.Issuer, keys, nil
}

// sameIssuer reports whether two issuers are equal but for a slash at the end.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

func invalid(format string, args ...any) *Error {
	return &Error{ReasonInvalid, fmt.Errorf(format, args...)}
}
