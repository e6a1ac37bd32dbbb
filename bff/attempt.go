package bff

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
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
	// maxAttemptBytes bounds one attempt's cookie.
	maxAttemptBytes = 1024

	attemptPurpose = "login attempt"
)

// An attempt is one login under way. Each has a cookie of its own, so that
// parallel tabs do not overwrite each other (oauth2-proxy #611, #817).
type attempt struct {
	State    string   `json:"s"`
	Nonce    string   `json:"n"`
	Verifier string   `json:"v"` // PKCE code verifier
	Issuer   string   `json:"i"` // whom the browser was sent to (RFC 9700, mix-up)
	ReturnTo string   `json:"r"`
	Started  int64    `json:"t"` // seconds
	MaxAge   *int64   `json:"m,omitempty"`
	ACR      []string `json:"a,omitempty"`
}

func (b *BFF) newAttempt(issuer, to string) (*attempt, error) {
	a := &attempt{Issuer: issuer, ReturnTo: to, Started: b.now().Unix()}
	for _, secret := range []*string{&a.State, &a.Nonce, &a.Verifier} {
		raw := make([]byte, 32)
		if _, err := io.ReadFull(b.rand, raw); err != nil {
			return nil, err
		}
		*secret = base64.RawURLEncoding.EncodeToString(raw)
	}
	return a, nil
}

// challenge is the PKCE code challenge, method S256 (RFC 7636 section 4.2).
func (a *attempt) challenge() string {
	sum := sha256.Sum256([]byte(a.Verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (b *BFF) attemptPrefix() string {
	if b.secure {
		return "__Host-gatehouse-login-"
	}
	return "gatehouse-login-"
}

// attemptName names an attempt's cookie by a hash of its state, so that the
// callback finds it and the name gives nothing away.
func (b *BFF) attemptName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return b.attemptPrefix() + base64.RawURLEncoding.EncodeToString(sum[:9])
}

func (b *BFF) attemptCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: b.secure, SameSite: http.SameSiteLaxMode,
	}
}

// keepAttempt sets the attempt's cookie, and drops the oldest of those that
// the browser has beyond maxAttempts.
func (b *BFF) keepAttempt(w http.ResponseWriter, r *http.Request, a *attempt) error {
	plain, err := json.Marshal(a)
	if err != nil {
		return err
	}
	name := b.attemptName(a.State)
	sealed, err := b.keys.Seal(attemptPurpose, []byte(name), plain)
	if err != nil {
		return err
	}
	cookie := b.attemptCookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(attemptLifetime/time.Second))
	if len(cookie.String()) > maxAttemptBytes {
		return errors.New("the login attempt does not fit a cookie")
	}
	type old struct {
		name    string
		started int64
	}
	var others []old
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, b.attemptPrefix()) {
			o := old{name: c.Name}
			if a, err := b.openAttempt(c); err == nil {
				o.started = a.Started
			}
			others = append(others, o)
		}
	}
	slices.SortFunc(others, func(x, y old) int { return int(y.started - x.started) }) // newest first
	for i, o := range others {
		if i >= maxAttempts-1 || o.started == 0 {
			http.SetCookie(w, b.attemptCookie(o.name, "", -1))
		}
	}
	http.SetCookie(w, cookie)
	return nil
}

var errNoAttempt = errors.New("no login of this browser is under way for this state")

// takeAttempt finds the attempt that a callback belongs to, and removes its
// cookie: it ends one login, successful or not.
func (b *BFF) takeAttempt(w http.ResponseWriter, r *http.Request, state string) (*attempt, error) {
	name := b.attemptName(state)
	cookies := r.CookiesNamed(name)
	if len(cookies) == 0 {
		return nil, errNoAttempt
	}
	http.SetCookie(w, b.attemptCookie(name, "", -1))
	if len(cookies) > 1 { // planted by a sibling domain: which is ours, nobody knows
		return nil, errNoAttempt
	}
	a, err := b.openAttempt(cookies[0])
	if err != nil || a.State != state || b.now().Sub(time.Unix(a.Started, 0)) > attemptLifetime {
		return nil, errNoAttempt
	}
	return a, nil
}

func (b *BFF) openAttempt(c *http.Cookie) (*attempt, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return nil, err
	}
	plain, err := b.keys.Open(attemptPurpose, []byte(c.Name), sealed)
	if err != nil {
		return nil, err
	}
	a := new(attempt)
	return a, json.Unmarshal(plain, a)
}
