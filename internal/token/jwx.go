package token

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// This file holds all that jwx does for us: one raw signature, checked or made, and one key at a time. Its jwt and
// jwk.Cache layers accept what must be refused (design §6), so nothing else of it is used.

const (
	minRSABits = 2048
	maxRSABits = 8192 // a larger key makes every verification slow, which is a gift to a flood
)

var rs256 = func() jws.Verifier {
	v, err := jws.NewVerifier(jwa.RS256)
	if err != nil {
		panic(err) // the library was built without RS256
	}
	return v
}()

// verifySignature checks an RS256 signature over input.
func verifySignature(key *rsa.PublicKey, input string, signature []byte) error {
	return rs256.Verify([]byte(input), signature, key)
}

// jwkFields are the members that decide whether a key is of use here. Pointers tell absent from empty.
type jwkFields struct {
	Type   string    `json:"kty"`
	Use    *string   `json:"use"`
	Ops    *[]string `json:"key_ops"`
	Alg    *string   `json:"alg"`
	ID     *string   `json:"kid"`
	N      string    `json:"n"`
	E      string    `json:"e"`
	Secret any       `json:"d"`
}

// parseKey returns the key that a member of a key set holds, or why it is of no use here.
func parseKey(raw json.RawMessage) (*signingKey, error) {
	var f jwkFields
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, errors.New("malformed")
	}
	switch {
	case f.Type != "RSA":
		return nil, fmt.Errorf("kty %s", quote(f.Type)) // oct above all: a public "shared" secret (CVE-2016-10555)
	case f.Use != nil && *f.Use != "sig":
		return nil, fmt.Errorf("use %s", quote(*f.Use))
	case f.Alg != nil && *f.Alg != "RS256":
		return nil, fmt.Errorf("alg %s", quote(*f.Alg))
	case f.Ops != nil && !slices.Contains(*f.Ops, "verify"):
		return nil, errors.New("key_ops without verify")
	case f.Secret != nil:
		return nil, errors.New("a published private key, with which anybody can sign")
	case f.ID != nil && (*f.ID == "" || len(*f.ID) > maxKeyID):
		return nil, errors.New("kid empty or too long")
	}
	// jwx narrows a long exponent without a word; four bytes are what crypto/rsa takes.
	if e, err := base64.RawURLEncoding.DecodeString(f.E); err != nil || len(bytes.TrimLeft(e, "\x00")) > 4 {
		return nil, errors.New("exponent malformed or too large")
	}
	// Only what makes the key goes to jwx: a broken x5c or an unknown member is no reason to lose a good key.
	bare, err := json.Marshal(map[string]string{"kty": f.Type, "n": f.N, "e": f.E})
	if err != nil {
		return nil, errors.New("malformed")
	}
	parsed, err := jwk.ParseKey(bare)
	if err != nil {
		return nil, errors.New("malformed RSA key")
	}
	var public rsa.PublicKey
	if err := parsed.Raw(&public); err != nil {
		return nil, errors.New("malformed RSA key")
	}
	switch bits := public.N.BitLen(); {
	case bits < minRSABits:
		return nil, fmt.Errorf("RSA key of %d bits, fewer than %d", bits, minRSABits)
	case bits > maxRSABits:
		return nil, fmt.Errorf("RSA key of %d bits, more than %d", bits, maxRSABits)
	case public.N.Bit(0) == 0, public.E < 3, public.E&1 == 0:
		return nil, errors.New("no RSA key at all: modulus or exponent is even")
	}
	k := &signingKey{public: &public}
	if f.ID != nil {
		k.id, k.hasID = *f.ID, true
	}
	return k, nil
}

// sign makes the signature of a client assertion.
func sign(alg string, key crypto.Signer, input string) ([]byte, error) {
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, err
	}
	return signer.Sign([]byte(input), key)
}

// parsePrivateJWK reads a private key for signing. Its errors show nothing of it.
func parsePrivateJWK(raw json.RawMessage) (*clientKey, error) {
	parsed, err := jwk.ParseKey(raw)
	if err != nil {
		return nil, errors.New("no JSON Web Key that can be read")
	}
	if use := parsed.KeyUsage(); use != "" && use != string(jwk.ForSignature) {
		return nil, fmt.Errorf("use %s; give a key for signing", quote(use))
	}
	var private any
	if err := parsed.Raw(&private); err != nil {
		return nil, errors.New("a JSON Web Key without what makes a key")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("no private key; give one that has d")
	}
	k := &clientKey{id: parsed.KeyID(), private: signer}
	if alg := parsed.Algorithm().String(); alg != "" {
		k.algs = []string{alg}
	}
	return k, nil
}

// publicJWK writes a public key for a key set, with its thumbprint where it has no name, and no alg where that is open.
func publicJWK(public crypto.PublicKey, id, alg string) (name string, raw json.RawMessage, err error) {
	key, err := jwk.FromRaw(public)
	if err != nil {
		return "", nil, err
	}
	if id == "" {
		sum, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			return "", nil, err
		}
		id = base64.RawURLEncoding.EncodeToString(sum)
	}
	members := map[string]any{jwk.KeyIDKey: id, jwk.KeyUsageKey: jwk.ForSignature}
	if alg != "" {
		members[jwk.AlgorithmKey] = alg
	}
	for member, value := range members {
		if err := key.Set(member, value); err != nil {
			return "", nil, err
		}
	}
	raw, err = json.Marshal(key)
	return id, raw, err
}
