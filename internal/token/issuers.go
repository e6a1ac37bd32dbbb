package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// AccessIssuer has the rules for the access tokens of one issuer. Provider, Audiences
// and Principal are required.
type AccessIssuer[P any] struct {
	Provider *oidc.Provider
	// Audiences are those of which a token must have one.
	Audiences []string
	// AudienceClaim is the claim with the audience; "" and "aud" mean aud. A token that has aud
	// besides must have one of Audiences there, too (RFC 7519 §4.1.3).
	AudienceClaim string
	// Algorithms and AlgorithmsSetting are as in AccessConfig.
	Algorithms        []string
	AlgorithmsSetting string
	// Types are the accepted values of the header's typ in any case; "at+jwt" stands for
	// application/at+jwt as well. Nil means JWT, at+jwt and none.
	Types []string
	// IDTokenClients and InsecureIDTokenShape are as in AccessConfig.
	IDTokenClients       []string
	InsecureIDTokenShape bool
	// Check makes further checks before keys are looked up, and may correct ClientID and
	// Scopes. Nil makes none.
	Check func(*Claims) error
	// Principal is as in AccessConfig.
	Principal func(*Claims) (P, error)
}

// maxWaiting is how many tokens of an issuer may wait for its keys at a time, if there
// are several issuers. Anyone can send tokens of an issuer that hangs, and each of them
// would hold a stream of the gateway's connection for 2 seconds.
const maxWaiting = 64

var errWaiting = errors.New("too many tokens wait for the issuer's keys")

// An issuer verifies the access tokens of one issuer.
type issuer[P any] struct {
	*verifier
	principal func(*Claims) (P, error)
}

func newIssuer[P any](rules AccessIssuer[P], cfg *AccessConfig[P]) (*issuer[P], error) {
	if len(rules.Audiences) == 0 || slices.Contains(rules.Audiences, "") {
		return nil, errors.New("token: access token verifier: Audience is missing; give the API's identifier")
	}
	if rules.Principal == nil {
		return nil, errors.New("token: access token verifier: Principal is missing; give a function from claims to a principal")
	}
	pr := profile{
		kind:          "access token",
		maxLen:        maxAccess,
		audiences:     slices.Clone(rules.Audiences),
		audienceClaim: rules.AudienceClaim,
		types:         []string{"", "jwt", "at+jwt", "application/at+jwt"},
	}
	if pr.audienceClaim == "aud" {
		pr.audienceClaim = ""
	}
	if len(rules.Types) > 0 {
		pr.types = nil
		for _, typ := range rules.Types {
			if typ = strings.ToLower(typ); slices.Contains(accessTypes, typ) {
				pr.types = append(pr.types, accessTypes...)
			} else {
				pr.types = append(pr.types, typ)
			}
		}
	}
	kind := &accessProfile{idTokenClients: slices.Clone(rules.IDTokenClients), idTokenShape: rules.InsecureIDTokenShape}
	pr.check = func(c *Claims) error {
		if rules.Check != nil {
			if err := rules.Check(c); err != nil {
				return err
			}
		}
		return kind.check(c)
	}
	v, err := newVerifier(rules.Provider, pr, rules.Algorithms, rules.AlgorithmsSetting, cfg.Now, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return &issuer[P]{v, rules.Principal}, nil
}

// addIssuers adds the primary issuer and those of cfg.Issuers, one of which may have the
// rules of the primary one.
func (v *AccessVerifier[P]) addIssuers(primary AccessIssuer[P], cfg AccessConfig[P]) error {
	for _, rules := range cfg.Issuers {
		if rules.Provider == cfg.Provider {
			primary = rules
		}
	}
	var err error
	if v.issuer, err = newIssuer(primary, &cfg); err != nil {
		return err
	}
	for _, rules := range cfg.Issuers {
		if rules.Provider == cfg.Provider {
			continue
		}
		added, err := newIssuer(rules, &cfg)
		if err != nil {
			return err
		}
		name := rules.Provider.Issuer()
		if v.pick(name) != nil {
			return fmt.Errorf("token: access token verifier: the issuer %q is there twice", name)
		}
		if v.further == nil {
			v.further = map[string]*issuer[P]{}
		}
		v.further[strings.TrimSuffix(name, "/")] = added
	}
	if v.further != nil {
		v.waiting = make(chan struct{}, maxWaiting)
		for _, i := range v.further {
			i.waiting = make(chan struct{}, maxWaiting)
		}
	}
	return nil
}

// pick returns the rules for an issuer, nil if there are none. That the spelling is the
// issuer's own is checked with its rules, before a key is looked up.
func (v *AccessVerifier[P]) pick(iss string) *issuer[P] {
	if sameIssuer(iss, v.provider.Issuer()) {
		return v.issuer
	}
	return v.further[strings.TrimSuffix(iss, "/")] // may be a nil map
}

// verifyAny verifies a token by the rules of the issuer that it names. Until a signature
// has been verified, nothing but those rules is chosen by it. by is nil if the token has
// none of the issuers.
func (v *AccessVerifier[P]) verifyAny(ctx context.Context, raw string) (c *Claims, key *oidc.Key, by *issuer[P], err error) {
	c, key, by, refused := v.runAny(ctx, raw)
	if refused == nil {
		return c, key, by, nil
	}
	return nil, nil, by, v.refuse(ctx, refused)
}

func (v *AccessVerifier[P]) runAny(ctx context.Context, raw string) (*Claims, *oidc.Key, *issuer[P], *Error) {
	t, refused := read(raw, maxAccess)
	if refused != nil {
		return nil, nil, nil, refused
	}
	c, refused := t.claims()
	if refused != nil {
		return nil, nil, nil, refused
	}
	by := v.pick(c.Issuer)
	switch {
	case by != nil:
	case v.further == nil:
		return nil, nil, nil, invalid("iss %.128q is not %q", c.Issuer, v.provider.Issuer())
	default:
		return nil, nil, nil, invalid("iss %.128q is none of the issuers", c.Issuer)
	}
	if refused := by.head(ctx, t); refused != nil {
		return nil, nil, by, refused
	}
	key, refused := by.judge(ctx, t, c)
	return c, key, by, refused
}

// wait counts a token that may wait for keys. done must be called if it returns true.
func (v *verifier) wait() bool {
	select {
	case v.waiting <- struct{}{}:
		return true
	default:
		return false
	}
}

func (v *verifier) done() { <-v.waiting }
