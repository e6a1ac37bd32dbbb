package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// assertionLifetime is short, since an assertion is made for one request.
const assertionLifetime = time.Minute

// ClientKeys are the private keys of a client for private_key_jwt (OpenID Connect
// Core §9). The first one signs; the public keys of all are published. It is
// immutable.
type ClientKeys struct {
	keys   []*clientKey
	public []byte
}

// A clientKey signs with one algorithm. An RSA key without alg signs with RS256 or
// PS256, whichever the provider supports.
type clientKey struct {
	id      string
	algs    []string
	private crypto.Signer
}

// ParseClientKeys reads one or more private keys: PEM blocks (PKCS #8, PKCS #1,
// SEC 1), a JWK or a JWK set. RSA keys of 2048 to 8192 bits sign with RS256 and
// PS256, keys on P-256 with ES256. The default kid is the thumbprint (RFC 7638).
// Errors contain no part of a key.
func ParseClientKeys(text string) (*ClientKeys, error) {
	parse := parsePEM
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		parse = parsePrivateJWKs
	}
	keys, err := parse([]byte(text))
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no private key; give a PEM block such as openssl genpkey writes, or a JWK")
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{}
	seen := map[string]bool{}
	for i, k := range keys {
		public, err := k.complete()
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if seen[k.id] {
			return nil, fmt.Errorf("key %d: the kid %.128q is used twice", i+1, k.id)
		}
		seen[k.id] = true
		set.Keys = append(set.Keys, public)
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	return &ClientKeys{keys: keys, public: body}, nil
}

// parsePEM reads private keys and skips other blocks, such as certificates.
func parsePEM(text []byte) ([]*clientKey, error) {
	var keys []*clientKey
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return keys, nil
		}
		text = rest
		var private any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			err = errors.New("encrypted")
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %s cannot be parsed; give an unencrypted one", len(keys)+1, block.Type)
		}
		signer, ok := private.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("key %d: not for signing; give an RSA key, or one on P-256", len(keys)+1)
		}
		keys = append(keys, &clientKey{private: signer})
	}
}

func parsePrivateJWKs(text []byte) ([]*clientKey, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &doc) != nil {
		return nil, errors.New("neither PEM nor a JSON Web Key")
	}
	if doc.Keys == nil {
		doc.Keys = []json.RawMessage{bytes.TrimSpace(text)}
	}
	var keys []*clientKey
	for i, raw := range doc.Keys {
		parsed, err := jwk.ParsePrivate(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		k := &clientKey{id: parsed.ID, private: parsed.Signer}
		if parsed.Algorithm != "" {
			k.algs = []string{parsed.Algorithm}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// complete sets the algorithms and the kid of a key, and returns its public key.
func (k *clientKey) complete() (public json.RawMessage, err error) {
	var able []string
	switch private := k.private.(type) {
	case *rsa.PrivateKey:
		if bits := private.N.BitLen(); bits < jwk.MinRSABits || bits > jwk.MaxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits; give one of %d to %d", bits, jwk.MinRSABits, jwk.MaxRSABits)
		}
		able = []string{"RS256", "PS256"}
	case *ecdsa.PrivateKey:
		if private.Curve != elliptic.P256() {
			return nil, fmt.Errorf("on the curve %s; give one on P-256, or an RSA key", private.Curve.Params().Name)
		}
		able = []string{"ES256"}
	default:
		return nil, errors.New("neither RSA nor ECDSA")
	}
	switch {
	case k.algs == nil:
		k.algs = able
	case !slices.Contains(able, k.algs[0]):
		return nil, fmt.Errorf("alg %.128q does not fit the key; use %s, or leave it out", k.algs[0], strings.Join(able, " or "))
	}
	alg := ""
	if len(k.algs) == 1 {
		alg = k.algs[0]
	}
	k.id, public, err = jwk.MarshalPublic(k.private.Public(), k.id, alg)
	return public, err
}

// PublicSet returns the JWK set of the public keys, for the provider to fetch.
func (k *ClientKeys) PublicSet() []byte { return bytes.Clone(k.public) }

// Algorithm returns the algorithm of assertions for a provider that supports those
// offered (token_endpoint_auth_signing_alg_values_supported), or any if there are
// none.
func (k *ClientKeys) Algorithm(offered []string) (string, error) {
	able := k.keys[0].algs
	for _, alg := range able {
		if len(offered) == 0 || slices.Contains(offered, alg) {
			return alg, nil
		}
	}
	return "", fmt.Errorf("the client key signs with %s, the provider supports %s", strings.Join(able, " or "), strings.Join(offered, ", "))
}

// Assertion returns a JWT with which clientID authenticates at the provider, once.
// The audience should be the issuer: a client of several providers that uses an
// endpoint could be made to sign an assertion for another provider (audience
// injection, OpenID Foundation notice of January 2025). It is a parameter because
// some providers accept their token endpoint only.
func (k *ClientKeys) Assertion(md *oidc.Metadata, audience, clientID string, now time.Time, random io.Reader) (string, error) {
	alg, err := k.Algorithm(md.TokenEndpointAuthSigningAlgValues)
	if err != nil {
		return "", err
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(random, id); err != nil {
		return "", err
	}
	head, err := json.Marshal(map[string]any{"alg": alg, "typ": "JWT", "kid": k.keys[0].id})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": base64.RawURLEncoding.EncodeToString(id),
		"iat": now.Unix(), "exp": now.Add(assertionLifetime).Unix(),
	})
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := sign(alg, k.keys[0].private, input)
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// Another returns a new key with the algorithm and kid of the first, which a
// provider that verifies signatures refuses.
func (k *ClientKeys) Another(random io.Reader) (*ClientKeys, error) {
	var private crypto.Signer
	var err error
	if _, ok := k.keys[0].private.(*rsa.PrivateKey); ok {
		private, err = rsa.GenerateKey(random, jwk.MinRSABits)
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), random)
	}
	if err != nil {
		return nil, err
	}
	return &ClientKeys{keys: []*clientKey{{id: k.keys[0].id, algs: k.keys[0].algs, private: private}}}, nil
}
