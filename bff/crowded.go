package bff

import (
	"net/http"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
)

// maxCookieBytes bounds the cookies of a request, all together. Ours take 7 KB
// at most, unless many logins begin at the same moment; a front-end server on Node.js refuses a header of 16 KB.
const maxCookieBytes = 12 << 10

// refuseCrowded answers a browser that brings more cookies than anybody behind
// us would take. Whoever holds a sibling subdomain can plant 180 of 4 KB each
// (a cookie bomb), and a server that only answers 431 then has locked the
// person out for as long as the cookies last. So the answer also has the
// browser throw them away, ours among them: signing in again is a click, a
// locked door is not. A browser that does not know the header
// (Clear-Site-Data, W3C) is told what to do.
func (b *BFF) refuseCrowded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if length(r.Header["Cookie"]) <= maxCookieBytes {
			next.ServeHTTP(w, r)
			return
		}
		if kept := b.withoutLogins(r.Header["Cookie"]); length(kept) <= maxCookieBytes {
			if r.URL.Path != route.Callback && r.URL.Path != route.Login { // which need them, and clear up
				r.Header["Cookie"] = kept
			}
			next.ServeHTTP(w, r)
			return
		}
		b.logger.WarnContext(r.Context(), "more cookies than anybody takes; the browser was told to drop them", "bytes", length(r.Header["Cookie"]))
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		w.Header().Set("Cache-Control", "no-store")
		again := "/"
		if r.Method == http.MethodGet {
			again = route.ReturnTo(r.URL.RequestURI())
		}
		b.respond.Problem(w, r, web.Problem{
			Status:  http.StatusRequestHeaderFieldsTooLarge,
			Title:   "Your browser sends too many cookies",
			Message: "Another site of this domain has left so many in your browser that nothing else fits in. They were removed just now, and you may have to sign in again. If this page comes back, delete the cookies of this site in your browser's settings.",
			Action:  web.Link{Label: "Go on", Href: again},
		})
	})
}

func length(lines []string) (n int) {
	for _, line := range lines {
		n += len(line)
	}
	return n
}
