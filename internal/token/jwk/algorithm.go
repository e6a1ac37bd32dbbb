package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// The supported signature algorithms of tokens (RFC 7518 §3.1, RFC 8037 §3.1). HMAC
// and none never belong here: a key set is public.
const (
	RS256 = "RS256"
	PS256 = "PS256"
	ES256 = "ES256"
	EdDSA = "EdDSA" // with Ed25519
)

// Algorithms returns the supported algorithms.
func Algorithms() []string { return []string{RS256, PS256, ES256, EdDSA} }

// ValidAlgorithms returns what is wrong with the algorithms in a field of a
// configuration, nil if nothing is.
func ValidAlgorithms(field string, algorithms []string) error {
	for _, alg := range algorithms {
		if Canonical(alg) != "" {
			continue
		}
		remedy := "give one or more of " + strings.Join(Algorithms(), ", ")
		for _, name := range Algorithms() {
			if strings.EqualFold(alg, name) {
				remedy = "write " + name
			}
		}
		if len(algorithms) > 1 {
			return invalid.Field(field, strings.Join(algorithms, ","), "has "+alg+", which is no signature algorithm that is supported", remedy)
		}
		return invalid.Field(field, alg, "is no signature algorithm that is supported", remedy)
	}
	return nil
}

// Canonical returns the name under which an alg is supported, "" if it is not. Only
// Ed25519 has two names: EdDSA, and the one of RFC 9864.
func Canonical(alg string) string {
	switch alg {
	case RS256, PS256, ES256, EdDSA:
		return alg
	case "Ed25519":
		return EdDSA
	}
	return ""
}

// Fits reports whether a signature of a supported algorithm can be one of the key:
// by its type, and by its own alg, unless that is "".
func Fits(algorithm string, public crypto.PublicKey, alg string) bool {
	if alg != "" && Canonical(alg) != algorithm {
		return false
	}
	switch public.(type) {
	case *rsa.PublicKey:
		return algorithm == RS256 || algorithm == PS256
	case *ecdsa.PublicKey:
		return algorithm == ES256 // parse accepts no other curve
	case ed25519.PublicKey:
		return algorithm == EdDSA
	}
	return false
}
