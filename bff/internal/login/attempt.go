package login

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
)

// attemptLifetime is how long a user may take at the provider.
const attemptLifetime = 15 * time.Minute

// An attempt is a login that has started. Each has a cookie of its own, so that
// parallel tabs do not overwrite each other (oauth2-proxy #611, #817).
//
// State, nonce and code verifier are derived from one seed, and the issuer is
// stored as a hash: in a cookie of 1 KB that leaves room for a long ReturnTo.
type attempt struct {
	Seed     string `json:"k"`
	Issuer   string `json:"i"` // hash of the provider to which the browser was sent (RFC 9700, mix-up)
	ReturnTo string `json:"r"`
	Started  int64  `json:"t"`           // seconds
	Number   int64  `json:"n,omitempty"` // in the order of logins and revocations; 0 in cookies of older versions
	MaxAge   *int64 `json:"m,omitempty"`
	ACR      string `json:"a,omitempty"` // acr_values, separated by spaces
	Silent   bool   `json:"s,omitempty"` // with prompt=none
}

func newAttempt(random io.Reader, now time.Time, issuer, to string) (*attempt, error) {
	seed := make([]byte, 32)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, err
	}
	return &attempt{
		Seed:     base64.RawURLEncoding.EncodeToString(seed),
		Issuer:   shortHash(issuer),
		ReturnTo: to,
		Started:  now.Unix(),
	}, nil
}

// shortHash returns 128 bits of the hash of a text.
func shortHash(text string) string { return hash(text, 16) }

// hash returns so many bytes of the SHA-256 hash of a text.
func hash(text string, size int) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:size])
}

func (a *attempt) state() string    { return a.derive("state") }
func (a *attempt) nonce() string    { return a.derive("nonce") }
func (a *attempt) verifier() string { return a.derive("code_verifier") }

// derive returns 256 bits that are independent of the other values derived from
// the seed: the state, which servers on the way see, tells nothing of the code
// verifier.
func (a *attempt) derive(purpose string) string {
	raw, err := hkdf.Expand(sha256.New, []byte(a.Seed), "gatehouse login "+purpose, 32)
	if err != nil {
		panic(err) // only for more than 8 KB
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// request returns what ties the authorization request to the attempt.
func (a *attempt) request() rp.Request {
	return rp.Request{State: a.state(), Nonce: a.nonce(), Verifier: a.verifier()}
}

// ends returns when the attempt can no longer be completed.
func (a *attempt) ends() time.Time { return time.Unix(a.Started, 0).Add(attemptLifetime) }
