package token

import (
	"crypto"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// jwx checks and makes one signature at a time here, and package jwk has it
// parse one key at a time. Its jwt and jwk.Cache layers accept tokens that must
// be refused.

var rs256 = func() jws.Verifier {
	v, err := jws.NewVerifier(jwa.RS256)
	if err != nil {
		panic(err) // the library was built without RS256
	}
	return v
}()

// verifySignature checks an RS256 signature over input.
func verifySignature(key crypto.PublicKey, input string, signature []byte) error {
	return rs256.Verify([]byte(input), signature, key)
}

// sign returns the signature of a client assertion.
func sign(alg string, key crypto.Signer, input string) ([]byte, error) {
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, err
	}
	return signer.Sign([]byte(input), key)
}
