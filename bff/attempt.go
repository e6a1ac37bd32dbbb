package bff

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// attemptLifetime is how long a person may take at the provider.
	attemptLifetime = 15 * time.Minute
	// maxAttempts is how many logins one browser may have under way: a
	// browser that opens many tabs at once must not pile up cookies until the
	// server refuses the header (oauth2-proxy #2163, nextjs-auth0 #1917).
	maxAttempts = 5
	// maxAttemptBytes bounds one attempt's cookie, attributes included: browsers
	// take 4096 bytes.
	maxAttemptBytes = 4096
	// maxAttemptsBytes bounds the cookies of all attempts together, as a browser
	// sends them.
	maxAttemptsBytes = 6 << 10

	attemptPurpose = "login attempt"
)

// An attempt is one login under way. Each has a cookie of its own, so that
// parallel tabs do not overwrite each other (oauth2-proxy #611, #817).
//
// State, nonce and code verifier are derived from one seed, and of the issuer
// a hash is kept: in a cookie of 1 KB that leaves room for a long ReturnTo.
type attempt struct {
	Seed     string `json:"k"`
	Issuer   string `json:"i"` // hash of whom the browser was sent to (RFC 9700, mix-up)
	ReturnTo string `json:"r"`
	Started  int64  `json:"t"`           // seconds
	Number   int64  `json:"n,omitempty"` // in the order of logins and revocations; 0 in cookies of older versions
	MaxAge   *int64 `json:"m,omitempty"`
	ACR      string `json:"a,omitempty"` // acr_values, separated by spaces
	Silent   bool   `json:"s,omitempty"` // with prompt=none, so that a refusal is no news
}

func (b *BFF) newAttempt(issuer, to string) (*attempt, error) {
	seed := make([]byte, 32)
	if _, err := io.ReadFull(b.rand, seed); err != nil {
		return nil, err
	}
	return &attempt{
		Seed:     base64.RawURLEncoding.EncodeToString(seed),
		Issuer:   issuerHash(issuer),
		ReturnTo: to,
		Started:  b.now().Unix(),
	}, nil
}

// issuerHash is 128 bits of an issuer identifier's hash.
func issuerHash(issuer string) string {
	sum := sha256.Sum256([]byte(issuer))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func (a *attempt) state() string    { return a.derive("state") }
func (a *attempt) nonce() string    { return a.derive("nonce") }
func (a *attempt) verifier() string { return a.derive("code_verifier") }

// derive returns 256 bits that are independent of the seed's other values: who
// sees the state, as servers on the way do, knows nothing of the verifier.
func (a *attempt) derive(purpose string) string {
	raw, err := hkdf.Expand(sha256.New, []byte(a.Seed), "gatehouse login "+purpose, 32)
	if err != nil {
		panic(err) // only for more than 8 KB
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// challenge is the PKCE code challenge, method S256 (RFC 7636 section 4.2).
func (a *attempt) challenge() string {
	sum := sha256.Sum256([]byte(a.verifier()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (b *BFF) attemptPrefix() string {
	return b.cookiePrefix() + "-login-"
}

// cookiePrefix begins the names of our cookies: two instances on one host, of
// which browsers keep cookies together on all ports, have different
// ones.
func (b *BFF) cookiePrefix() string { return b.sessions.CookieName() }

// attemptName names an attempt's cookie by a hash of its state, so that the
// callback finds it and the name gives nothing away.
func (b *BFF) attemptName(state string) string {
	return b.attemptPrefix() + stateHash(state)
}

func stateHash(state string) string {
	sum := sha256.Sum256([]byte(state))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func (b *BFF) attemptCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: b.secure, SameSite: http.SameSiteLaxMode,
	}
}

// errAttemptSize says that an attempt does not fit its cookie.
var errAttemptSize = fmt.Errorf("the login attempt does not fit a cookie of %d bytes", maxAttemptBytes)

// sealAttempt makes the attempt's cookie. Where it does not fit, the person
// comes back to the home page: better than not to sign in.
func (b *BFF) sealAttempt(a *attempt) (*http.Cookie, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // six bytes for each "&" of an address
	if err := encoder.Encode(a); err != nil {
		return nil, err
	}
	name := b.attemptName(a.state())
	sealed, err := b.keys.Seal(attemptPurpose, []byte(name), plain.Bytes())
	if err != nil {
		return nil, err
	}
	cookie := b.attemptCookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(attemptLifetime/time.Second))
	switch {
	case len(cookie.String()) <= maxAttemptBytes:
		return cookie, nil
	case a.ReturnTo == "/":
		return nil, errAttemptSize
	}
	a.ReturnTo = "/"
	return b.sealAttempt(a)
}

// keepAttempt sets the attempt's cookie, and drops the oldest of those that
// the browser has beyond maxAttempts and maxAttemptsBytes.
func (b *BFF) keepAttempt(w http.ResponseWriter, r *http.Request, a *attempt) error {
	cookie, err := b.sealAttempt(a)
	if err != nil {
		return err
	}
	type old struct {
		name            string
		started, number int64
		size            int
	}
	var others []old
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, b.attemptPrefix()) {
			o := old{name: c.Name, size: sentBytes(c)}
			switch a, err := b.openAttempt(r.Context(), c); {
			case err == nil:
				o.started, o.number = a.Started, a.Number
			case !errors.Is(err, errAttempt): // another node may open it
				o.started = b.now().Unix()
			}
			others = append(others, o)
		}
	}
	// Newest first; of one second, in the order in which browsers send them,
	// which is oldest first.
	slices.Reverse(others)
	slices.SortStableFunc(others, func(x, y old) int {
		return cmp.Or(cmp.Compare(y.started, x.started), cmp.Compare(y.number, x.number))
	})
	total := sentBytes(cookie)
	for i, o := range others {
		total += o.size
		if i >= maxAttempts-1 || o.started == 0 || total > maxAttemptsBytes {
			http.SetCookie(w, b.attemptCookie(o.name, "", -1))
		}
	}
	http.SetCookie(w, cookie)
	return nil
}

// sentBytes is what a cookie adds to a request's header.
func sentBytes(c *http.Cookie) int { return len(c.Name) + len("=") + len(c.Value) + len("; ") }

var errNoAttempt = errors.New("no login of this browser is under way for this state")

// findAttempt returns the attempt that a callback belongs to. Its cookie stays
// until the login has come to an end: callbacks that a browser makes several
// times at once, or again since it has seen no answer, all bring it. An error
// other than errNoAttempt says that another node may open it.
func (b *BFF) findAttempt(r *http.Request, state string) (*attempt, error) {
	cookies := r.CookiesNamed(b.attemptName(state))
	if len(cookies) != 1 { // several: one was planted by a sibling domain
		return nil, errNoAttempt
	}
	a, err := b.openAttempt(r.Context(), cookies[0])
	if err != nil && !errors.Is(err, errAttempt) {
		return nil, err
	}
	if err != nil || a.state() != state || !b.now().Before(a.ends()) {
		return nil, errNoAttempt
	}
	return a, nil
}

// ends returns when the attempt cannot be completed any more.
func (a *attempt) ends() time.Time { return time.Unix(a.Started, 0).Add(attemptLifetime) }

// dropAttempt removes the cookies of an attempt that has come to an end.
func (b *BFF) dropAttempt(w http.ResponseWriter, r *http.Request, state string) {
	for _, name := range []string{b.attemptName(state), b.formName(state)} {
		if len(r.CookiesNamed(name)) > 0 {
			http.SetCookie(w, b.attemptCookie(name, "", -1))
		}
	}
}

// errAttempt says that a cookie holds no attempt.
var errAttempt = errors.New("the cookie holds no login attempt")

// openAttempt opens an attempt's cookie. An error other than errAttempt says
// that another node may open it.
func (b *BFF) openAttempt(ctx context.Context, c *http.Cookie) (*attempt, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return nil, errAttempt
	}
	plain, err := b.keys.Open(attemptPurpose, []byte(c.Name), sealed)
	if err != nil {
		return nil, cmp.Or(b.sessions.Elsewhere(ctx, sealed), errAttempt)
	}
	a := new(attempt)
	if err := json.Unmarshal(plain, a); err != nil {
		return nil, errAttempt
	}
	return a, nil
}
