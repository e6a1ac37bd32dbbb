// Package jwk owns the reading and writing of JSON Web Keys. Its key types are
// those of the standard library. It leaves the fetching of key sets to package
// oidc, and signatures to package token.
package jwk

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/edwards25519"
	jwxjwk "github.com/lestrrat-go/jwx/v2/jwk"
)

// The sizes of RSA keys that are used.
const (
	MinRSABits = 2048
	MaxRSABits = 8192 // larger keys make each verification slow, which helps a flood
)

// MaxID is the longest kid, in bytes: it is opaque, but goes into maps and logs.
const MaxID = 256

const (
	maxKeys   = 256 // members of a key set; Entra, the largest known, has about 20
	maxSameID = 4   // keys with one kid, each of which is tried for a token
)

// A Key is a public key for verifying signatures.
type Key struct {
	ID        string // kid; "" if there is none
	Algorithm string // alg; "" if there is none
	Public    crypto.PublicKey
}

// same reports whether k does all that other does.
func (k *Key) same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && (k.Algorithm == "" || k.Algorithm == other.Algorithm) && public.Equal(other.Public)
}

// ParseSet reads a key set, key by key, so that an unusable key does not spoil
// the others. skipped says, for the log, which keys were left out and why. A set
// without a usable key is an error.
func ParseSet(body []byte) (keys []Key, skipped string, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, "", errors.New("the response is not a key set")
	}
	if len(doc.Keys) > maxKeys {
		return nil, "", fmt.Errorf("%d keys, more than the %d that are accepted", len(doc.Keys), maxKeys)
	}
	var reasons []string
	skip := func(i int, why string) {
		if len(reasons) < 8 { // a log line, not a dump
			reasons = append(reasons, fmt.Sprintf("key %d: %s", i, why))
		}
	}
	sameID := map[string]int{}
	for i, raw := range doc.Keys {
		k, err := parse(raw)
		if err != nil {
			skip(i, err.Error())
			continue
		}
		if slices.ContainsFunc(keys, func(have Key) bool { return have.same(&k) }) {
			continue // the same key twice
		}
		// Two keys should not share a kid (RFC 7517 section 4.5), but some do.
		if k.ID != "" && sameID[k.ID] == maxSameID {
			skip(i, "too many keys with one kid")
			continue
		}
		sameID[k.ID]++
		keys = append(keys, k)
	}
	skipped = strings.Join(reasons, "; ")
	if len(keys) == 0 {
		if skipped == "" {
			return nil, "", errors.New("the key set is empty")
		}
		return nil, "", fmt.Errorf("no usable key in the set: %s", skipped)
	}
	return keys, skipped, nil
}

// fields are the members of a key that are used. Pointers tell absent from empty.
type fields struct {
	Type  string    `json:"kty"`
	Use   *string   `json:"use"`
	Ops   *[]string `json:"key_ops"`
	Alg   *string   `json:"alg"`
	ID    *string   `json:"kid"`
	N     string    `json:"n"` // RSA
	E     string    `json:"e"`
	Curve string    `json:"crv"` // EC and OKP
	X     string    `json:"x"`
	Y     string    `json:"y"`

	// Private members, of all types (RFC 7518 §6, RFC 8037 §2).
	D any `json:"d"`
	P any `json:"p"`
	Q any `json:"q"`
}

// parse returns the key in a member of a key set, or why it cannot be used.
func parse(raw json.RawMessage) (Key, error) {
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil {
		return Key{}, errors.New("malformed")
	}
	var read func(*fields) (crypto.PublicKey, error)
	switch f.Type {
	case "RSA":
		read = parseRSA
	case "EC":
		read = parseEC
	case "OKP":
		read = parseOKP
	default:
		return Key{}, fmt.Errorf("kty %.128q", f.Type) // above all oct, a shared secret made public (CVE-2016-10555)
	}
	switch {
	case f.Use != nil && *f.Use != "sig":
		return Key{}, fmt.Errorf("use %.128q", *f.Use)
	case f.Alg != nil && Canonical(*f.Alg) == "":
		return Key{}, fmt.Errorf("alg %.128q", *f.Alg)
	case f.Ops != nil && !slices.Contains(*f.Ops, "verify"):
		return Key{}, errors.New("key_ops without verify")
	case f.D != nil || f.P != nil || f.Q != nil:
		return Key{}, errors.New("a private key, which has been published and so is compromised")
	case f.ID != nil && (*f.ID == "" || len(*f.ID) > MaxID):
		return Key{}, errors.New("kid empty or too long")
	}
	public, err := read(&f)
	if err != nil {
		return Key{}, err
	}
	k := Key{Public: public}
	if f.ID != nil {
		k.ID = *f.ID
	}
	if f.Alg != nil {
		k.Algorithm = *f.Alg
		if !Fits(Canonical(k.Algorithm), public, k.Algorithm) {
			return Key{}, fmt.Errorf("alg %q of another type of key", k.Algorithm)
		}
	}
	return k, nil
}

func parseRSA(f *fields) (crypto.PublicKey, error) {
	// jwx truncates a long exponent silently. crypto/rsa accepts four bytes.
	if e, err := base64.RawURLEncoding.DecodeString(f.E); err != nil || len(bytes.TrimLeft(e, "\x00")) > 4 {
		return nil, errors.New("exponent malformed or too large")
	}
	// Only kty, n and e are passed to jwx, so that a malformed x5c or an unknown
	// member does not make a key unusable.
	bare, err := json.Marshal(map[string]string{"kty": f.Type, "n": f.N, "e": f.E})
	if err != nil {
		return nil, errors.New("malformed")
	}
	parsed, err := jwxjwk.ParseKey(bare)
	if err != nil {
		return nil, errors.New("malformed RSA key")
	}
	var public rsa.PublicKey
	if err := parsed.Raw(&public); err != nil {
		return nil, errors.New("malformed RSA key")
	}
	switch bits := public.N.BitLen(); {
	case bits < MinRSABits:
		return nil, fmt.Errorf("RSA key of %d bits, fewer than %d", bits, MinRSABits)
	case bits > MaxRSABits:
		return nil, fmt.Errorf("RSA key of %d bits, more than %d", bits, MaxRSABits)
	case public.N.Bit(0) == 0, public.E < 3, public.E&1 == 0:
		return nil, errors.New("not an RSA key: modulus or exponent is even")
	}
	return &public, nil
}

// parseEC reads a key on P-256. A coordinate has its full length (RFC 7518 §6.2.1.2).
func parseEC(f *fields) (crypto.PublicKey, error) {
	if f.Curve != "P-256" {
		return nil, fmt.Errorf("crv %.128q", f.Curve)
	}
	x, xerr := coordinate(f.X)
	y, yerr := coordinate(f.Y)
	if xerr != nil || yerr != nil {
		return nil, errors.New("malformed EC key: x and y must have 32 bytes each")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("not a point on P-256")
	}
	return public, nil
}

// parseOKP reads an Ed25519 key (RFC 8037 §2). With a public key of small order, one
// signature would verify for many messages, so that anyone could make tokens.
func parseOKP(f *fields) (crypto.PublicKey, error) {
	if f.Curve != "Ed25519" {
		return nil, fmt.Errorf("crv %.128q", f.Curve)
	}
	x, err := coordinate(f.X)
	if err != nil || f.Y != "" {
		return nil, errors.New("malformed Ed25519 key: x must have 32 bytes, and there is no y")
	}
	point, err := new(edwards25519.Point).SetBytes(x)
	if err != nil || !bytes.Equal(point.Bytes(), x) { // RFC 8032 §5.1.3
		return nil, errors.New("not a point on Ed25519")
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errors.New("a point of small order on Ed25519")
	}
	return ed25519.PublicKey(x), nil
}

// coordinate decodes a coordinate of a 256-bit curve.
func coordinate(text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil && len(b) != 32 {
		err = errors.New("not 32 bytes")
	}
	return b, err
}

// A PrivateKey is a key for making signatures.
type PrivateKey struct {
	ID        string // kid; "" if there is none
	Algorithm string // alg; "" if there is none
	Signer    crypto.Signer
}

// ParsePrivate reads a private key for signing. Its errors contain no part of
// the key.
func ParsePrivate(raw json.RawMessage) (*PrivateKey, error) {
	parsed, err := jwxjwk.ParseKey(raw)
	if err != nil {
		return nil, errors.New("not a JSON Web Key")
	}
	if use := parsed.KeyUsage(); use != "" && use != string(jwxjwk.ForSignature) {
		return nil, fmt.Errorf("use %.128q; give a key for signing", use)
	}
	var private any
	if err := parsed.Raw(&private); err != nil {
		return nil, errors.New("an incomplete JSON Web Key")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a private key; give one with d")
	}
	return &PrivateKey{ID: parsed.KeyID(), Algorithm: parsed.Algorithm().String(), Signer: signer}, nil
}

// MarshalPublic returns a public key as a member of a key set. An empty id is
// replaced by the thumbprint (RFC 7638), which is returned as kid; an empty alg
// is left out.
func MarshalPublic(public crypto.PublicKey, id, alg string) (kid string, raw json.RawMessage, err error) {
	key, err := jwxjwk.FromRaw(public)
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
	members := map[string]any{jwxjwk.KeyIDKey: id, jwxjwk.KeyUsageKey: jwxjwk.ForSignature}
	if alg != "" {
		members[jwxjwk.AlgorithmKey] = alg
	}
	for member, value := range members {
		if err := key.Set(member, value); err != nil {
			return "", nil, err
		}
	}
	raw, err = json.Marshal(key)
	return id, raw, err
}
