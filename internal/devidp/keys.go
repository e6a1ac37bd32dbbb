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

// The `typ` headers tell the three kinds of token apart, as RFC 8725, section 3.11, advises.
const (
	typeAccessToken jose.ContentType = "at+jwt" // RFC 9068, section 2.1
	typeIDToken     jose.ContentType = "JWT"
	typeLogoutToken jose.ContentType = "logout+jwt" // OpenID Connect Back-Channel Logout, section 2.4
)

// signingKey signs everything, and checks the provider's own ID tokens when they come back as a hint.
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

// sign makes a compact RS256 JWS of claims.
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

// newSecret is an identifier that cannot be guessed: at least 128 random bits.
func newSecret() string { return rand.Text() }
