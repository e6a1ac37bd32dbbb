package login

import (
	"net/http"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// maxCookieBytes bounds the cookies of a request together. Those of the bff have
// at most 7 KB, unless many logins start at the same moment. A front-end server
// on Node.js refuses a header of 16 KB.
const maxCookieBytes = 12 << 10

// LimitCookies answers requests with more cookies than the servers behind
// accept. A sibling subdomain can set 180 of 4 KB each (a cookie bomb), and with
// a plain 431 its user could not sign in as long as they last. So the answer
// also has the browser remove all cookies of the site (Clear-Site-Data, W3C),
// and the page tells users of other browsers what to do.
//
// Cookies of logins that have started are removed from the request first: a
// browser that opens many tabs at once has many, and any site can have forms
// stored.
func (h *Handlers) LimitCookies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if length(r.Header["Cookie"]) <= maxCookieBytes {
			next.ServeHTTP(w, r)
			return
		}
		if kept := h.jar.withoutLogins(r.Header["Cookie"]); length(kept) <= maxCookieBytes {
			if r.URL.Path != route.Callback && r.URL.Path != route.Login { // which need them, and remove them
				r.Header["Cookie"] = kept
			}
			next.ServeHTTP(w, r)
			return
		}
		h.cfg.Limited.Add(metrics.LimitCookies)
		h.cfg.Audit.RecordSampled(r.Context(), audit.Event{Action: audit.RateLimited, Setting: metrics.LimitCookies})
		h.cfg.Logger.InfoContext(r.Context(), "too many cookies; the browser was told to remove them", "bytes", length(r.Header["Cookie"]))
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		w.Header().Set("Cache-Control", "no-store")
		again := "/"
		if r.Method == http.MethodGet {
			again = route.ReturnTo(r.URL.RequestURI())
		}
		t := h.cfg.Respond.Texts(r)
		h.cfg.Respond.Problem(w, r, web.Problem{
			Code: "too_many_cookies", Status: http.StatusRequestHeaderFieldsTooLarge,
			Title:   t.Text("problem.cookies-title"),
			Message: t.Text("problem.cookies"),
			Action:  web.Link{Label: t.Text("action.continue"), Href: again},
		})
	})
}

func length(lines []string) (n int) {
	for _, line := range lines {
		n += len(line)
	}
	return n
}
