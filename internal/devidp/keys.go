package devidp

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	jose "github.com/go-jose/go-jose/v4"
	oidccrypto "github.com/zitadel/oidc/v3/pkg/crypto"
)

// The typ headers of the three kinds of token (RFC 8725 §3.11).
const (
	typeAccessToken jose.ContentType = "at+jwt" // RFC 9068 §2.1
	typeIDToken     jose.ContentType = "JWT"
	typeLogoutToken jose.ContentType = "logout+jwt" // OpenID Connect Back-Channel Logout §2.4
)

// A signingKey signs tokens.
type signingKey struct {
	public  jose.JSONWebKey
	private crypto.Signer
}

func generateKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// newSigningKey returns a key of an algorithm. The function generates those of RSA.
func newSigningKey(alg jose.SignatureAlgorithm, generate func() (*rsa.PrivateKey, error)) (*signingKey, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case jose.RS256, jose.PS256:
		private, err = generate()
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("unknown algorithm %q", alg)
	}
	if err != nil {
		return nil, err
	}
	public := jose.JSONWebKey{Key: private.Public(), Algorithm: string(alg), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return &signingKey{public: public, private: private}, nil
}

// sign returns claims as a compact JWS.
func (k *signingKey) sign(claims any, typ jose.ContentType) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.public.Algorithm), Key: jose.JSONWebKey{Key: k.private, KeyID: k.public.KeyID}},
		(&jose.SignerOptions{}).WithType(typ),
	)
	if err != nil {
		return "", err
	}
	return oidccrypto.Sign(claims, signer)
}

// A keyPair has the keys of one time, which are one if the algorithms are.
type keyPair struct {
	access *signingKey
	id     *signingKey // of ID tokens and logout tokens
}

// signingKeys are the published keys; the last pair signs. They are safe for
// concurrent use.
type signingKeys struct {
	accessAlg, idAlg jose.SignatureAlgorithm
	generate         func() (*rsa.PrivateKey, error)
	all              atomic.Pointer[[]keyPair]
}

// newSigningKeys returns the first keys, of the algorithms of access tokens and of other
// tokens; "" means RS256. The function generates those of RSA; nil means generateKey.
func newSigningKeys(accessAlg, idAlg string, generate func() (*rsa.PrivateKey, error)) (*signingKeys, error) {
	if generate == nil {
		generate = generateKey
	}
	k := &signingKeys{
		accessAlg: jose.SignatureAlgorithm(cmp.Or(accessAlg, string(jose.RS256))), idAlg: jose.SignatureAlgorithm(cmp.Or(idAlg, string(jose.RS256))),
		generate: generate,
	}
	k.all.Store(new([]keyPair))
	return k, k.add()
}

// add adds new keys, which sign from now on.
func (k *signingKeys) add() error {
	var pair keyPair
	var err error
	if pair.access, err = newSigningKey(k.accessAlg, k.generate); err != nil {
		return err
	}
	if pair.id = pair.access; k.idAlg != k.accessAlg {
		if pair.id, err = newSigningKey(k.idAlg, k.generate); err != nil {
			return err
		}
	}
	for {
		before := k.all.Load()
		after := append(slices.Clone(*before), pair)
		if k.all.CompareAndSwap(before, &after) {
			return nil
		}
	}
}

// withdraw removes all keys but those that sign.
func (k *signingKeys) withdraw() {
	for {
		before := k.all.Load()
		after := (*before)[len(*before)-1:]
		if k.all.CompareAndSwap(before, &after) {
			return
		}
	}
}

func (k *signingKeys) sign(claims any, typ jose.ContentType) (string, error) {
	all := *k.all.Load()
	key := all[len(all)-1].access
	if typ == typeIDToken || typ == typeLogoutToken {
		key = all[len(all)-1].id
	}
	return key.sign(claims, typ)
}

// names returns the algorithms, for people.
func (k *signingKeys) names() string {
	if k.accessAlg == k.idAlg {
		return string(k.accessAlg)
	}
	return string(k.accessAlg) + " access and " + string(k.idAlg) + " ID"
}

// published returns the key set.
func (k *signingKeys) published() *jose.JSONWebKeySet {
	set := new(jose.JSONWebKeySet)
	for _, pair := range *k.all.Load() {
		set.Keys = append(set.Keys, pair.access.public)
		if pair.id != pair.access {
			set.Keys = append(set.Keys, pair.id.public)
		}
	}
	return set
}

// VerifySignature implements oidc.KeySet, for ID tokens in id_token_hint.
func (k *signingKeys) VerifySignature(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	header := jws.Signatures[0].Header
	keys := k.published().Key(header.KeyID)
	if len(keys) == 0 || header.ExtraHeaders["typ"] != string(typeIDToken) {
		return nil, errors.New("not an ID token of this run of the provider")
	}
	return jws.Verify(keys[0].Key)
}

// newSecret returns an identifier of at least 128 random bits.
func newSecret() string { return rand.Text() }
