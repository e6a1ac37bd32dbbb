package token

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// This file holds all that jwx does for us: one raw signature check, and one key at a time. Its jwt and jwk.Cache layers
// accept what must be refused (design §6), so nothing else of it is used.

const (
	minRSABits = 2048
	maxRSABits = 8192 // a larger key makes every verification slow, which is a gift to a flood
)

// verifySignature checks an RS256 signature over input.
func verifySignature(key *rsa.PublicKey, input string, signature []byte) error {
	sum := sha256.Sum256([]byte(input))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
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
	n, _ := base64.RawURLEncoding.DecodeString(f.N)
	e, _ := base64.RawURLEncoding.DecodeString(f.E)
	public := rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
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
