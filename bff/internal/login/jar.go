package login

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	// maxAttempts bounds the attempts of one browser. A browser that opens many
	// tabs at once must not collect cookies until a server refuses the header
	// (oauth2-proxy #2163, nextjs-auth0 #1917).
	maxAttempts = 5
	// maxAttemptBytes bounds an attempt's cookie with its attributes, as browsers
	// do.
	maxAttemptBytes = 4096
	// maxAttemptsBytes bounds the cookies of all attempts of a browser together,
	// as they are sent.
	maxAttemptsBytes = 6 << 10

	attemptPurpose = "login attempt"
)

// A jar names, seals and opens the cookies of logins.
type jar struct {
	sessions *session.Manager
	secure   bool
	now      func() time.Time
}

// The names of the cookies begin with that of the session cookie: browsers send
// cookies to all ports of a host, and instances there have different ones.
func (j *jar) attemptPrefix() string { return j.sessions.CookieName() + "-login-" }
func (j *jar) formPrefix() string    { return j.sessions.CookieName() + "-answer-" }
func (j *jar) historyName() string   { return j.sessions.CookieName() + "-trail" }

// The cookies of an attempt are named by a hash of its state, by which the
// callback finds them.
func (j *jar) attemptName(state string) string { return j.attemptPrefix() + hash(state, 9) }
func (j *jar) formName(state string) string    { return j.formPrefix() + hash(state, 9) }

func (j *jar) cookie(name, value string, lifetime time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(lifetime / time.Second),
		HttpOnly: true, Secure: j.secure, SameSite: http.SameSiteLaxMode,
	}
}

// remove removes a cookie if the request has it.
func (j *jar) remove(w http.ResponseWriter, r *http.Request, names ...string) {
	for _, name := range names {
		if len(r.CookiesNamed(name)) > 0 {
			http.SetCookie(w, j.cookie(name, "", -time.Second))
		}
	}
}

// seal returns a cookie with a sealed value.
func (j *jar) seal(name, purpose string, salt, plain []byte, lifetime time.Duration) (*http.Cookie, error) {
	sealed, err := j.sessions.Seal(purpose, salt, plain)
	if err != nil {
		return nil, err
	}
	return j.cookie(name, base64.RawURLEncoding.EncodeToString(sealed), lifetime), nil
}

// open opens the value of a cookie.
func (j *jar) open(c *http.Cookie, purpose string, salt []byte) (plain, sealed []byte, err error) {
	if sealed, err = base64.RawURLEncoding.DecodeString(c.Value); err != nil {
		return nil, nil, err
	}
	plain, err = j.sessions.Open(purpose, salt, sealed)
	return plain, sealed, err
}

// errAttemptSize means that an attempt does not fit into its cookie.
var errAttemptSize = fmt.Errorf("the login attempt does not fit a cookie of %d bytes", maxAttemptBytes)

// sealAttempt returns the attempt's cookie. An attempt that is too large returns
// to the home page instead.
func (j *jar) sealAttempt(a *attempt) (*http.Cookie, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // six bytes for each "&" of an address
	if err := encoder.Encode(a); err != nil {
		return nil, err
	}
	name := j.attemptName(a.state())
	cookie, err := j.seal(name, attemptPurpose, []byte(name), plain.Bytes(), attemptLifetime)
	switch {
	case err != nil:
		return nil, err
	case len(cookie.String()) <= maxAttemptBytes:
		return cookie, nil
	case a.ReturnTo == "/":
		return nil, errAttemptSize
	}
	a.ReturnTo = "/"
	return j.sealAttempt(a)
}

// keep sets the attempt's cookie, and removes the oldest of the browser's other
// attempts beyond maxAttempts and maxAttemptsBytes.
func (j *jar) keep(w http.ResponseWriter, r *http.Request, a *attempt) error {
	cookie, err := j.sealAttempt(a)
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
		if strings.HasPrefix(c.Name, j.attemptPrefix()) {
			o := old{name: c.Name, size: sentBytes(c)}
			switch a, err := j.openAttempt(r.Context(), c); {
			case err == nil:
				o.started, o.number = a.Started, a.Number
			case !errors.Is(err, errAttempt): // another node may open it
				o.started = j.now().Unix()
			}
			others = append(others, o)
		}
	}
	// Newest first. Browsers send cookies of the same second oldest first.
	slices.Reverse(others)
	slices.SortStableFunc(others, func(x, y old) int {
		return cmp.Or(cmp.Compare(y.started, x.started), cmp.Compare(y.number, x.number))
	})
	total := sentBytes(cookie)
	for i, o := range others {
		total += o.size
		if i >= maxAttempts-1 || o.started == 0 || total > maxAttemptsBytes {
			j.remove(w, r, o.name)
		}
	}
	http.SetCookie(w, cookie)
	return nil
}

// sentBytes returns what a cookie adds to a request's header.
func sentBytes(c *http.Cookie) int { return len(c.Name) + len("=") + len(c.Value) + len("; ") }

var (
	errNoAttempt = errors.New("no login of this browser is under way for this state")
	errAttempt   = errors.New("the cookie holds no login attempt")
)

// find returns the attempt of a callback. Its cookie stays until the login has
// ended, so that callbacks which a browser makes at the same time, or repeats,
// find it. An error other than errNoAttempt means that another node may find
// it.
func (j *jar) find(r *http.Request, state string) (*attempt, error) {
	cookies := r.CookiesNamed(j.attemptName(state))
	if len(cookies) != 1 { // several: a sibling domain has set one of them
		return nil, errNoAttempt
	}
	a, err := j.openAttempt(r.Context(), cookies[0])
	if err != nil && !errors.Is(err, errAttempt) {
		return nil, err
	}
	if err != nil || a.state() != state || !j.now().Before(a.ends()) {
		return nil, errNoAttempt
	}
	return a, nil
}

// drop removes the cookies of an attempt that has ended.
func (j *jar) drop(w http.ResponseWriter, r *http.Request, state string) {
	j.remove(w, r, j.attemptName(state), j.formName(state))
}

// openAttempt opens an attempt's cookie. An error other than errAttempt means
// that another node may open it.
func (j *jar) openAttempt(ctx context.Context, c *http.Cookie) (*attempt, error) {
	plain, sealed, err := j.open(c, attemptPurpose, []byte(c.Name))
	switch {
	case err != nil && sealed == nil:
		return nil, errAttempt
	case err != nil:
		return nil, cmp.Or(j.sessions.Elsewhere(ctx, sealed), errAttempt)
	}
	a := new(attempt)
	if err := json.Unmarshal(plain, a); err != nil {
		return nil, errAttempt
	}
	return a, nil
}

// withoutLogins returns Cookie headers without the cookies of logins that have
// started.
func (j *jar) withoutLogins(lines []string) []string {
	var kept []string
	for pair := range strings.SplitSeq(strings.Join(lines, ";"), ";") {
		if pair = strings.TrimSpace(pair); !strings.HasPrefix(pair, j.formPrefix()) && !strings.HasPrefix(pair, j.attemptPrefix()) {
			kept = append(kept, pair)
		}
	}
	return []string{strings.Join(kept, "; ")}
}
