package login

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

const (
	historyPurpose = "login trail"
	// loopLogins is the number of logins to one page within loopWindow that make
	// a loop. No user signs in that often by hand; a page that sends the browser
	// back to the login does, until its tab is closed.
	loopLogins = 5
	loopWindow = time.Minute
	// maxHistoryTo bounds loginHistory.To, in bytes: browsers send all cookies
	// with each request of a login.
	maxHistoryTo = 512
)

// A loginHistory is the recent logins of a browser that led to one page. It has
// a cookie of its own: in a loop the session does not last, so it cannot be kept
// there.
type loginHistory struct {
	Page  string  `json:"p"` // hash of the returnTo
	Ended []int64 `json:"t"` // seconds
	// Last is a hash of the state of the last login, and To where it led, if
	// that is short.
	Last string `json:"s,omitempty"`
	To   string `json:"r,omitempty"`
}

// history returns the login history of a browser, which may be about any page.
func (j *jar) history(r *http.Request) (lh loginHistory) {
	cookies := r.CookiesNamed(j.historyName())
	if len(cookies) != 1 {
		return loginHistory{}
	}
	plain, _, err := j.open(cookies[0], historyPurpose, nil)
	if err != nil || json.Unmarshal(plain, &lh) != nil {
		return loginHistory{}
	}
	return lh
}

// recentLogins returns the recent logins of a browser that led to a page.
func (j *jar) recentLogins(r *http.Request, to string) loginHistory {
	lh, stored := loginHistory{Page: shortHash(to)}, j.history(r)
	if stored.Page != lh.Page {
		return lh
	}
	for _, ended := range stored.Ended {
		if j.now().Sub(time.Unix(ended, 0)) < loopWindow {
			lh.Ended = append(lh.Ended, ended)
		}
	}
	return lh
}

// ledTo returns where the browser's last login led, if it had this state, and ""
// otherwise.
func (j *jar) ledTo(r *http.Request, state string) string {
	if lh := j.history(r); lh.Last == shortHash(state) {
		return lh.To
	}
	return ""
}

// addLogin adds a login that has ended, successful or not, to the history. state
// is "" for one without an attempt.
func (j *jar) addLogin(w http.ResponseWriter, r *http.Request, state, to string) {
	lh := j.recentLogins(r, to)
	if state != "" && len(to) <= maxHistoryTo {
		lh.Last, lh.To = shortHash(state), to
	}
	lh.Ended = append(lh.Ended, j.now().Unix())
	if len(lh.Ended) > loopLogins {
		lh.Ended = lh.Ended[len(lh.Ended)-loopLogins:]
	}
	plain, err := json.Marshal(lh)
	if err != nil {
		return
	}
	// Without a history no loop is found, and no login refused.
	if cookie, err := j.seal(j.historyName(), historyPurpose, nil, plain, loopWindow); err == nil {
		http.SetCookie(w, cookie)
	}
}

// ForgetHistory removes the login history of a browser: after a logout, or when
// a loop was stopped.
func (h *Handlers) ForgetHistory(w http.ResponseWriter, r *http.Request) {
	h.jar.remove(w, r, h.jar.historyName())
}

// stopsLoop reports whether a login would continue a loop. It then has answered
// with an explanation.
func (h *Handlers) stopsLoop(w http.ResponseWriter, r *http.Request, to string, silent bool) bool {
	if len(h.jar.recentLogins(r, to).Ended) < loopLogins {
		return false
	}
	h.ForgetHistory(w, r)
	t := h.cfg.Respond.Texts(r)
	p := h.tryAgain(r, to, "login_loop", http.StatusBadRequest, t.Text("login.loop-title"))
	var reason string
	_, err := h.cfg.Sessions.Load(r.Context(), r)
	switch {
	case silent:
		reason = "a page tries to sign in without asking at each visit"
		p.Message = t.Text("login.loop-silent")
		p.Action.Label = t.Text("action.sign-in")
	case err == nil:
		reason = "the session is there; what it opens asks for another login each time"
		p.Message = t.Text("login.loop-demand")
		p.Action = web.Link{Label: t.Text("action.home"), Href: "/"}
		p.Secondary = nil
	case len(r.CookiesNamed(h.cfg.Sessions.CookieName())) == 0:
		reason = "the browser does not send the session cookie back"
		p.Message = t.Text("login.loop-no-cookie")
	default:
		reason = "the session of the cookie is not found: do all bffs share one store?"
		p.Message = t.Text("login.loop-unknown")
	}
	h.cfg.Logger.WarnContext(r.Context(), "login loop stopped", "logins", loopLogins, "interval", loopWindow.Seconds(), "reason", reason)
	h.cfg.Respond.Problem(w, r, p)
	return true
}
