package token

import (
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
	skew       = 60 * time.Second // that clocks may differ, at most, in exp, nbf and iat
	maxAccess  = 16 << 10         // bytes of an access token
	maxIDToken = 64 << 10         // bytes of an ID or logout token, whose claims may be many
)

// profile is what distinguishes the kinds of token before their own checks.
type profile struct {
	kind     string // for the log
	maxLen   int
	audience string
	types    []string // accepted typ values in lower case (media types have no case); "" is an absent typ
	check    func(*Claims, time.Time) error
	partial  bool          // iss, aud and exp may be absent, and are checked where they are there
	lifetime time.Duration // of a token without exp, from its iat; 0 where exp is required
}

// verifier is the engine under the public ones.
type verifier struct {
	profile
	provider *oidc.Provider
	now      func() time.Time
	log      *slog.Logger
}

func newVerifier(p *oidc.Provider, pr profile, now func() time.Time, log *slog.Logger) (*verifier, error) {
	if p == nil {
		return nil, fmt.Errorf("token: %s verifier: Provider is nil; give it the provider that issues the tokens", pr.kind)
	}
	v := &verifier{profile: pr, provider: p, now: now, log: log}
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	return v, nil
}

// verify takes a token through everything but the caller's own checks. The order is that of cost and of consequence: what
// needs no decoding, what needs no key, what needs no signature; a key is looked up, let alone fetched, only for a token
// that names our issuer.
func (v *verifier) verify(ctx context.Context, raw string) (*Claims, *oidc.Key, error) {
	c, key, err := v.run(ctx, raw)
	if err == nil {
		return c, key, nil // not a nil *Error in a non-nil error
	}
	return nil, nil, v.refuse(ctx, err)
}

// refuse logs why, and returns err as an error.
func (v *verifier) refuse(ctx context.Context, err *Error) error {
	v.log.DebugContext(ctx, "token refused", "kind", v.kind, "reason", err.Reason.String(), "error", err.Err)
	return err
}

func (v *verifier) run(ctx context.Context, raw string) (*Claims, *oidc.Key, *Error) {
	if raw == "" {
		return nil, nil, &Error{ReasonMissing, errors.New("no token")}
	}
	t, err := split(raw, v.maxLen)
	if err != nil {
		return nil, nil, &Error{ReasonMalformed, err}
	}
	if !slices.Contains(v.types, strings.ToLower(t.header.typ)) {
		return nil, nil, invalid("typ %.128q is no %s", t.header.typ, v.kind)
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
	if err := v.check(c, now); err != nil {
		return nil, nil, &Error{ReasonInvalid, err}
	}
	// Only the metadata tells how the issuer is spelt, and nothing but a token that is good so far is worth waiting for them.
	m, err := v.provider.AwaitReady(ctx)
	if err != nil {
		return nil, nil, &Error{ReasonUnavailable, err}
	}
	if hasIssuer && c.Issuer != m.Issuer {
		return nil, nil, invalid("iss %.128q is not %q", c.Issuer, m.Issuer)
	}
	// Expired is a public reason, so it is told of authentic tokens only. An expired token is not worth a fetch, though:
	// the clients of yesterday would spend the budget on keys that were withdrawn in the night.
	expired := !c.Expiry.IsZero() && !now.Before(c.Expiry.Add(skew))
	keys, err := v.keys(ctx, t.header.kid, expired)
	if errors.Is(err, oidc.ErrUnavailable) {
		return nil, nil, &Error{ReasonUnavailable, err}
	} else if err != nil {
		return nil, nil, &Error{ReasonInvalid, err}
	}
	var signer *oidc.Key
	for _, k := range keys {
		if verifySignature(k.Public, t.input, t.signature) == nil {
			signer = k
			break
		}
	}
	if signer == nil {
		return nil, nil, invalid("the signature does not verify with key %.128q", t.header.kid)
	}
	if expired {
		return nil, nil, &Error{ReasonExpired, fmt.Errorf("exp was %s", c.Expiry.UTC().Format(time.RFC3339))}
	}
	c.Issuer = m.Issuer // one string for all, instead of one a token
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
