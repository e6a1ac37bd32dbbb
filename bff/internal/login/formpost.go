package login

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
)

const (
	formPurpose = "form_post answer"
	// formLifetime is how long the response waits for the browser to return with
	// its cookies, which it does at once.
	formLifetime = time.Minute
	// maxForm bounds the form, in bytes. maxFormCookie bounds the cookie for it,
	// as browsers do.
	maxForm       = 64 << 10
	maxFormCookie = 4096
	// maxForms bounds the forms that wait in one browser, beyond the current
	// one: any site can post forms, and must not fill the browser's cookies.
	maxForms = 4
)

// formParameters are the stored parameters of a form.
var formParameters = []string{"state", "code", "iss", "error", "error_description"}

// IsFormPost reports whether a request is an authorization response in a form.
// It comes from another site and has no cookie: browsers withhold them from a
// cross-site POST.
func (h *Handlers) IsFormPost(r *http.Request) bool {
	return h.cfg.FormPost && r.Method == http.MethodPost && r.URL.Path == route.Callback
}

// FormPost stores an authorization response in a cookie and redirects the
// browser to the callback by GET, with its cookies. There the response is
// checked: any site can post a form, and a form alone signs no user in.
func (h *Handlers) FormPost(w http.ResponseWriter, r *http.Request) {
	kept := url.Values{}
	if err := rp.ReadForm(w, r, maxForm); err == nil {
		for _, name := range formParameters {
			if values := r.PostForm[name]; len(values) > 0 {
				kept[name] = values // all of them: several are refused later
			}
		}
		if reason := kept.Get("error_description"); reason != "" {
			kept.Set("error_description", clientauth.Printable(reason)) // for the log
		}
	}
	state := kept.Get("state")
	if state == "" || len(state) > MaxParameter {
		respond.SeeOther(w, route.Callback) // which answers that no login is under way
		return
	}
	name := h.jar.formName(state)
	plain := strconv.FormatInt(h.cfg.Now().Unix(), 10) + " " + kept.Encode()
	cookie, err := h.jar.seal(name, formPurpose, []byte(name), []byte(plain), formLifetime)
	if err != nil {
		h.cfg.Respond.InternalError(w, r, err)
		return
	}
	if len(cookie.String()) > maxFormCookie {
		h.cfg.Logger.WarnContext(r.Context(), "the authorization response is too large for a cookie", "bytes", len(plain),
			"remedy", "leave "+h.cfg.Setting("Login.ResponseMode")+" out")
	} else {
		http.SetCookie(w, cookie)
	}
	respond.SeeOther(w, route.Callback+"?"+url.Values{"state": {state}}.Encode())
}

// response returns the authorization response: the query or, if that has the
// state alone, the form that was stored for it. The form's cookie stays as long
// as the attempt's.
func (h *Handlers) response(w http.ResponseWriter, r *http.Request) url.Values {
	query := r.URL.Query()
	if !h.cfg.FormPost || query.Has("code") || query.Has("error") {
		return query
	}
	name := h.jar.formName(query.Get("state"))
	var others []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, h.jar.formPrefix()) && c.Name != name {
			others = append(others, c.Name)
		}
	}
	if len(others) > maxForms {
		h.jar.remove(w, r, others...)
	}
	if cookies := r.CookiesNamed(name); len(cookies) == 1 {
		if form, ok := h.jar.openForm(cookies[0]); ok {
			return form
		}
	}
	return query
}

func (j *jar) openForm(c *http.Cookie) (url.Values, bool) {
	plain, _, err := j.open(c, formPurpose, []byte(c.Name))
	if err != nil {
		return nil, false
	}
	at, form, _ := strings.Cut(string(plain), " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || j.now().Sub(time.Unix(seconds, 0)) > formLifetime {
		return nil, false
	}
	kept, err := url.ParseQuery(form)
	return kept, err == nil
}
