package devidp

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"

	jose "github.com/go-jose/go-jose/v4"
	oidccrypto "github.com/zitadel/oidc/v3/pkg/crypto"
)

// The typ headers of the three kinds of token (RFC 8725 §3.11).
const (
	typeAccessToken jose.ContentType = "at+jwt" // RFC 9068 §2.1
	typeIDToken     jose.ContentType = "JWT"
	typeLogoutToken jose.ContentType = "logout+jwt" // OpenID Connect Back-Channel Logout §2.4
)

// A signingKey signs all tokens and verifies ID tokens in id_token_hint.
type signingKey struct {
	public  jose.JSONWebKey
	private *rsa.PrivateKey
}

func newSigningKey() (*signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
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

// VerifySignature implements oidc.KeySet.
func (k *signingKey) VerifySignature(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	if header := jws.Signatures[0].Header; header.KeyID != k.public.KeyID || header.ExtraHeaders["typ"] != string(typeIDToken) {
		return nil, errors.New("not an ID token of this run of the provider")
	}
	return jws.Verify(k.public.Key)
}

// newSecret returns an identifier of at least 128 random bits.
func newSecret() string { return rand.Text() }
