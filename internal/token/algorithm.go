package token

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// defaultAlgorithms are those of a verifier that is not told any.
var defaultAlgorithms = []string{jwk.RS256}

// algorithmSet returns the set for valid names; the default for none.
func algorithmSet(names []string) ([]string, error) {
	if len(names) == 0 {
		return defaultAlgorithms, nil
	}
	if err := jwk.ValidAlgorithms("Algorithms", names); err != nil {
		return nil, err
	}
	set := make([]string, 0, len(names))
	for _, name := range names {
		if name = jwk.Canonical(name); !slices.Contains(set, name) {
			set = append(set, name)
		}
	}
	return set, nil
}

// An AlgorithmError says that a token has an algorithm that is not allowed.
type AlgorithmError struct {
	Algorithm string
	Allowed   []string
	Setting   string // that has Allowed
}

// Error returns problem and setting.
func (e *AlgorithmError) Error() string {
	return fmt.Sprintf("alg %s is not one of %s (%s)", e.Algorithm, strings.Join(e.Allowed, ", "), e.Setting)
}

// Remedy returns what to change if the provider has signed the token.
func (e *AlgorithmError) Remedy() string {
	return fmt.Sprintf("set %s=%s,%s", e.Setting, strings.Join(e.Allowed, ","), e.Algorithm)
}

// A KeysError says that the provider's keys are for algorithms that are not allowed.
type KeysError struct {
	Have, Allowed []string
	Setting       string // that has Allowed
}

// Error returns problem and remedy.
func (e *KeysError) Error() string {
	return fmt.Sprintf("the provider has %s keys only; %s", strings.Join(e.Have, ", "), e.Remedy())
}

// Remedy returns what to change.
func (e *KeysError) Remedy() string {
	return fmt.Sprintf("set %s=%s (now %s)", e.Setting, strings.Join(e.Have, ","), strings.Join(e.Allowed, ","))
}

// KeysFit returns a *KeysError if the provider has keys, and none for these algorithms
// (nil: RS256). setting is the name of the setting that has them.
func KeysFit(p *oidc.Provider, algorithms []string, setting string) error {
	set, err := algorithmSet(algorithms)
	have := p.KeyAlgorithms()
	if err != nil || len(have) == 0 || slices.ContainsFunc(have, func(alg string) bool { return slices.Contains(set, alg) }) {
		return err
	}
	return &KeysError{have, set, setting}
}

// verifySignature checks a signature over input with a key that fits the algorithm.
// The standard library does it, and the salt of PS256 has the length of the hash (RFC
// 7518 §3.5), which jwx leaves open.
func verifySignature(algorithm string, key crypto.PublicKey, input string, signature []byte) bool {
	switch public := key.(type) {
	case *rsa.PublicKey:
		sum := sha256.Sum256([]byte(input))
		if algorithm == jwk.RS256 {
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
		}
		return algorithm == jwk.PS256 && rsa.VerifyPSS(public, crypto.SHA256, sum[:], signature,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case *ecdsa.PublicKey:
		// r and s of 32 bytes each, not DER (RFC 7518 §3.4).
		const half = 32
		if algorithm != jwk.ES256 || len(signature) != 2*half {
			return false
		}
		sum := sha256.Sum256([]byte(input))
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		return ecdsa.Verify(public, sum[:], r, s) // refuses 0 (CVE-2022-21449)
	case ed25519.PublicKey:
		return algorithm == jwk.EdDSA && ed25519.Verify(public, []byte(input), signature)
	}
	return false
}

// signedBy returns the first of the keys that fits a token's algorithm and verifies
// its signature, nil if none does.
func (t *compact) signedBy(keys []*oidc.Key) *oidc.Key {
	for _, k := range keys {
		if jwk.Fits(t.header.alg, k.Public, k.Algorithm) && verifySignature(t.header.alg, k.Public, t.input, t.signature) {
			return k
		}
	}
	return nil
}

// claimHash returns the hash function of at_hash in an ID token that the key has
// signed: that of the algorithm (OpenID Connect Core §3.1.3.6). For Ed25519 this is
// SHA-512, by a decision of the working group (openid/connect issue 1125).
func claimHash(key *oidc.Key) hash.Hash {
	if _, ok := key.Public.(ed25519.PublicKey); ok {
		return sha512.New()
	}
	return sha256.New()
}

// An algorithmNotice tells, once, that the provider signs with an algorithm that is
// not allowed.
type algorithmNotice struct {
	said atomic.Bool
	rate *throttle.Log // of signatures that are verified for this
}

// note logs that a token has been refused for its algorithm, if the provider has
// signed it: anyone can send other tokens.
func (n *algorithmNotice) note(ctx context.Context, v *verifier, t *compact, cause *AlgorithmError) {
	if n.said.Load() {
		return
	}
	if ok, _ := n.rate.Next(); !ok {
		return
	}
	keys, err := v.provider.KnownKeys(t.header.kid)
	if err != nil || t.signedBy(keys) == nil || n.said.Swap(true) {
		return
	}
	v.log.WarnContext(ctx, "the provider signs with an algorithm that is not allowed", "kind", v.kind,
		"problem", cause.Error(), "setting", cause.Setting, "remedy", cause.Remedy())
}

func newAlgorithmNotice() *algorithmNotice {
	return &algorithmNotice{rate: throttle.Every(time.Second)}
}

// allowed returns an error for a token with an algorithm that is not allowed.
func (v *verifier) allowed(ctx context.Context, t *compact) *Error {
	if slices.Contains(v.algorithms, t.header.alg) {
		return nil
	}
	cause := &AlgorithmError{t.header.alg, v.algorithms, v.setting}
	v.notice.note(ctx, v, t, cause)
	return &Error{ReasonMalformed, cause}
}

// sign returns the signature of a client assertion.
func sign(alg string, key crypto.Signer, input string) ([]byte, error) {
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, err
	}
	return signer.Sign([]byte(input), key)
}

// Algorithms returns the algorithms of tokens that are accepted.
func (v *verifier) Algorithms() []string { return v.algorithms }

// Ready returns why tokens cannot be verified at the moment, nil if they can.
func (v *verifier) Ready() error {
	// A set without keys for the algorithms is the reason why the provider is not ready.
	return cmp.Or(KeysFit(v.provider, v.algorithms, v.setting), v.provider.Ready())
}
