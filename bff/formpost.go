package bff

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
)

const (
	formPurpose = "form_post answer"
	// formLifetime is how long the answer waits for the browser to come back
	// with its cookies, which it does at once.
	formLifetime = time.Minute
	// maxFormAnswer bounds the form, in bytes; what is kept of it has to fit a
	// cookie, of which browsers take 4096 bytes.
	maxFormAnswer = 64 << 10
	maxFormCookie = 4096
	// maxFormAnswers is how many may wait in one browser, beyond the one that
	// is being taken: strangers can post forms too, and must not fill it.
	maxFormAnswers = 4
)

// formParameters are what is kept of a form.
var formParameters = []string{"state", "code", "iss", "error", "error_description"}

// postsForm reports whether a request is a provider's answer in a form, which
// is the one request that may come from another site, change something here,
// and carry no cookie: browsers withhold them from a cross-site POST.
func (b *BFF) postsForm(r *http.Request) bool {
	return b.rp.cfg.Login.ResponseMode == ModeFormPost && r.Method == http.MethodPost && r.URL.Path == route.Callback
}

// keepForm puts the provider's answer into a cookie and sends the browser back
// here by GET, with its cookies, where everything is checked. Nobody is signed
// in by a form: it may be anybody's.
func (b *BFF) keepForm(w http.ResponseWriter, r *http.Request) {
	kept := url.Values{}
	if err := forward.ReadForm(w, r, maxFormAnswer); err == nil {
		for _, name := range formParameters {
			if values := r.PostForm[name]; len(values) > 0 {
				kept[name] = values // all of them: several are refused later
			}
		}
		if reason := kept.Get("error_description"); reason != "" {
			kept.Set("error_description", printable(reason)) // for the log
		}
	}
	state := kept.Get("state")
	if state == "" || len(state) > maxParameter {
		respond.SeeOther(w, route.Callback) // which says that no login is under way
		return
	}
	name := b.formName(state)
	plain := strconv.FormatInt(b.now().Unix(), 10) + " " + kept.Encode()
	sealed, err := b.keys.Seal(formPurpose, []byte(name), []byte(plain))
	if err != nil {
		b.respond.InternalError(w, r, err)
		return
	}
	cookie := b.attemptCookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(formLifetime/time.Second))
	if len(cookie.String()) > maxFormCookie {
		b.logger.WarnContext(r.Context(), "the answer in the form is too large for a cookie", "bytes", len(plain),
			"remedy", "leave GATEHOUSE_OIDC_RESPONSE_MODE out")
	} else {
		http.SetCookie(w, cookie)
	}
	respond.SeeOther(w, route.Callback+"?"+url.Values{"state": {state}}.Encode())
}

func (b *BFF) formPrefix() string {
	return b.cookiePrefix() + "-answer-"
}

func (b *BFF) formName(state string) string {
	return b.formPrefix() + stateHash(state)
}

// answer returns the provider's answer: what is in the address, or, where that
// has the state alone, the form that was kept for it. The form's cookie stays
// as long as the attempt's.
func (b *BFF) answer(w http.ResponseWriter, r *http.Request) url.Values {
	query := r.URL.Query()
	if b.rp.cfg.Login.ResponseMode != ModeFormPost || query.Has("code") || query.Has("error") {
		return query
	}
	name := b.formName(query.Get("state"))
	var others []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, b.formPrefix()) && c.Name != name {
			others = append(others, c.Name)
		}
	}
	if len(others) > maxFormAnswers {
		for _, other := range others {
			http.SetCookie(w, b.attemptCookie(other, "", -1))
		}
	}
	cookies := r.CookiesNamed(name)
	if len(cookies) == 0 {
		return query
	}
	if kept, ok := b.openForm(cookies[0]); ok && len(cookies) == 1 {
		return kept
	}
	return query
}

// withoutLogins are the cookies of a request without those of logins in
// progress. A browser that opens many tabs at once has many attempts, and any
// site can post forms and close the window on the way back: what is left for
// minutes must not pass for a cookie bomb.
func (b *BFF) withoutLogins(lines []string) []string {
	var kept []string
	for pair := range strings.SplitSeq(strings.Join(lines, ";"), ";") {
		if pair = strings.TrimSpace(pair); !strings.HasPrefix(pair, b.formPrefix()) && !strings.HasPrefix(pair, b.attemptPrefix()) {
			kept = append(kept, pair)
		}
	}
	return []string{strings.Join(kept, "; ")}
}

func (b *BFF) openForm(c *http.Cookie) (url.Values, bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return nil, false
	}
	plain, err := b.keys.Open(formPurpose, []byte(c.Name), sealed)
	if err != nil {
		return nil, false
	}
	at, form, _ := strings.Cut(string(plain), " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || b.now().Sub(time.Unix(seconds, 0)) > formLifetime {
		return nil, false
	}
	kept, err := url.ParseQuery(form)
	return kept, err == nil
}
