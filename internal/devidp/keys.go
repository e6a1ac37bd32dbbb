package devidp

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
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
	private *rsa.PrivateKey
}

func generateKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

func newSigningKey(generate func() (*rsa.PrivateKey, error)) (*signingKey, error) {
	private, err := generate()
	if err != nil {
		return nil, err
	}
	public := jose.JSONWebKey{Key: &private.PublicKey, Algorithm: string(jose.RS256), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return &signingKey{public: public, private: private}, nil
}

// sign returns claims as a compact JWS with RS256.
func (k *signingKey) sign(claims any, typ jose.ContentType) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.public.KeyID}},
		(&jose.SignerOptions{}).WithType(typ),
	)
	if err != nil {
		return "", err
	}
	return oidccrypto.Sign(claims, signer)
}

// signingKeys are the published keys; the last one signs. They are safe for
// concurrent use.
type signingKeys struct {
	generate func() (*rsa.PrivateKey, error)
	all      atomic.Pointer[[]*signingKey]
}

// newSigningKeys returns one key. The function generates all; nil means generateKey.
func newSigningKeys(generate func() (*rsa.PrivateKey, error)) (*signingKeys, error) {
	if generate == nil {
		generate = generateKey
	}
	k := &signingKeys{generate: generate}
	k.all.Store(new([]*signingKey))
	return k, k.add()
}

// add adds a new key, which signs from now on.
func (k *signingKeys) add() error {
	key, err := newSigningKey(k.generate)
	if err != nil {
		return err
	}
	for {
		before := k.all.Load()
		after := append(slices.Clone(*before), key)
		if k.all.CompareAndSwap(before, &after) {
			return nil
		}
	}
}

// withdraw removes all keys but the one that signs.
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
	return all[len(all)-1].sign(claims, typ)
}

// published returns the key set.
func (k *signingKeys) published() *jose.JSONWebKeySet {
	set := new(jose.JSONWebKeySet)
	for _, key := range *k.all.Load() {
		set.Keys = append(set.Keys, key.public)
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
