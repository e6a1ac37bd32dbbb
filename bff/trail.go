package bff

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
)

const (
	trailPurpose = "login trail"
	// loopLogins is how many logins that lead to one page may end within
	// loopWindow. Nobody signs in that often by hand; a page that sends the
	// browser back to the login at once does, until somebody closes the tab
	// (and an application has locked a tenant out by it).
	loopLogins = 5
	loopWindow = time.Minute
)

// A trail is the logins of a browser that have just ended, and where they led
// to. It lies in a cookie of its own: a loop goes round precisely because the
// session does not stick, so it cannot be kept there.
type trail struct {
	Page  string  `json:"p"` // hash of the returnTo
	Ended []int64 `json:"t"` // seconds
	// Last is the attempt of the last of them, a hash of its state, and To where it led to, if that is short.
	Last string `json:"s,omitempty"`
	To   string `json:"r,omitempty"`
}

// maxTrailTo bounds trail.To in bytes: browsers send all cookies with each request of a login.
const maxTrailTo = 512

func (b *BFF) trailName() string {
	return b.cookiePrefix() + "-trail"
}

// kept returns the trail that the browser has, which may be of any page.
func (b *BFF) kept(r *http.Request) (t trail) {
	cookies := r.CookiesNamed(b.trailName())
	if len(cookies) != 1 {
		return trail{}
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil {
		return trail{}
	}
	plain, err := b.keys.Open(trailPurpose, nil, sealed)
	if err != nil || json.Unmarshal(plain, &t) != nil {
		return trail{}
	}
	return t
}

// trail returns the recent logins of the browser that led to a page.
func (b *BFF) trail(r *http.Request, to string) trail {
	t, kept := trail{Page: issuerHash(to)}, b.kept(r)
	if kept.Page != t.Page {
		return t
	}
	for _, ended := range kept.Ended {
		if b.now().Sub(time.Unix(ended, 0)) < loopWindow {
			t.Ended = append(t.Ended, ended)
		}
	}
	return t
}

// ledTo is where the browser's last login led to, if that was the attempt of a
// state; otherwise "".
func (b *BFF) ledTo(r *http.Request, state string) string {
	if t := b.kept(r); t.Last == issuerHash(state) {
		return t.To
	}
	return ""
}

// leaveTrail notes that the login of a state has ended, well or not, and leads
// to a page.
func (b *BFF) leaveTrail(w http.ResponseWriter, r *http.Request, state, to string) {
	t := b.trail(r, to)
	if state != "" && len(to) <= maxTrailTo {
		t.Last, t.To = issuerHash(state), to
	}
	t.Ended = append(t.Ended, b.now().Unix())
	if len(t.Ended) > loopLogins {
		t.Ended = t.Ended[len(t.Ended)-loopLogins:]
	}
	var plain bytes.Buffer
	if json.NewEncoder(&plain).Encode(t) != nil {
		return
	}
	sealed, err := b.keys.Seal(trailPurpose, nil, plain.Bytes())
	if err != nil {
		return // without a trail no loop is seen, and no login is refused
	}
	http.SetCookie(w, b.attemptCookie(b.trailName(), base64.RawURLEncoding.EncodeToString(sealed), int(loopWindow/time.Second)))
}

// dropTrail forgets the logins so far: after a logout, or when a loop was
// stopped and the person tries again.
func (b *BFF) dropTrail(w http.ResponseWriter, r *http.Request) {
	if len(r.CookiesNamed(b.trailName())) > 0 {
		http.SetCookie(w, b.attemptCookie(b.trailName(), "", -1))
	}
}

// stopsLoop reports whether a login that is asked for would be one more round
// of a loop, which it has ended with an explanation then.
func (b *BFF) stopsLoop(w http.ResponseWriter, r *http.Request, to string, silent bool) bool {
	if len(b.trail(r, to).Ended) < loopLogins {
		return false
	}
	b.dropTrail(w, r)
	pr := web.Problem{
		Status:    http.StatusBadRequest,
		Title:     "You are being sent in circles",
		Detail:    respond.Detail(r),
		Action:    web.Link{Label: "Try again", Href: route.LoginURL(to)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	}
	cause := ""
	_, err := b.sessions.Load(r.Context(), r)
	switch {
	case silent:
		cause = "a page tries to sign in without asking at each visit"
		pr.Message = "The page that you want tries again and again to sign you in without asking, and the sign-in service does not know you in this browser. Sign in yourself, or go on elsewhere."
		pr.Action.Label = "Sign in"
	case err == nil:
		cause = "the session is there; what it opens asks for another login each time"
		pr.Message = "You are signed in, and the page that you want asked for another sign-in each time. It may want more than the sign-in service gives. Please tell the people who run this application."
		pr.Action = web.Link{Label: "Go to the home page", Href: "/"}
		pr.Secondary = nil
	case len(r.CookiesNamed(b.sessions.CookieName())) == 0:
		cause = "the browser does not send the session cookie back"
		pr.Message = "You have signed in several times, but your browser does not keep the cookie that says so. Allow cookies for this site, or turn off what blocks them, and try again."
	default:
		cause = "the session of the cookie is not found: do all bffs share one store?"
		pr.Message = "You have signed in several times, and each time this application did not know you afterwards. That is not your fault. Please tell the people who run it."
	}
	b.logger.WarnContext(r.Context(), "login loop stopped", "logins", loopLogins, "within", loopWindow, "cause", cause)
	b.respond.Problem(w, r, pr)
	return true
}

// sentNoCookies reports whether a browser seems to keep none for this site.
func sentNoCookies(r *http.Request) bool {
	return strings.Join(r.Header["Cookie"], "") == ""
}
