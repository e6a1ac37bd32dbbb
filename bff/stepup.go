package bff

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
)

// loginHeader tells a script of our pages where to send the person when the
// API has answered 401: to a login that leads back to the page.
const loginHeader = "Gatehouse-Login"

// stepUp returns what an API demands of the login when it finds the present
// one too old or too weak (RFC 9470): nil when no challenge says so.
func stepUp(h http.Header) url.Values {
	for _, header := range h["Www-Authenticate"] {
		params := challenge(header)
		if params["error"] != "insufficient_user_authentication" {
			continue
		}
		demand := url.Values{}
		for _, name := range []string{"acr_values", "max_age"} {
			if value := params[name]; value != "" {
				demand.Set(name, value)
			}
		}
		return demand
	}
	return nil
}

// challenge reads the parameters of the first Bearer challenge in a
// WWW-Authenticate header (RFC 9110 section 11.2), by lower-case name.
func challenge(header string) map[string]string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	params := map[string]string{}
	for {
		name, after, found := strings.Cut(rest, "=")
		name = strings.ToLower(strings.Trim(name, " \t,"))
		if !found || strings.ContainsAny(name, " \t,\"") { // another challenge begins
			return params
		}
		var value string
		value, rest = parameterValue(strings.TrimLeft(after, " \t"))
		if _, again := params[name]; !again {
			params[name] = value
		}
	}
}

// parameterValue reads a token or a quoted string, and returns what follows.
func parameterValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			return s, ""
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return "", ""
			}
		}
		b.WriteByte(s[i])
	}
	return "", "" // never closed
}

// loginFor is the login that answers a 401, and leads back to a page.
func loginFor(demand url.Values, to string) string {
	if len(demand) == 0 {
		return loginURL(to)
	}
	q := url.Values{}
	for name, values := range demand {
		q[name] = values
	}
	if to != "/" {
		q.Set("returnTo", to)
	}
	return loginPath + "?" + q.Encode()
}

// page is where the person is whose browser makes a request: for a navigation
// what is being opened, otherwise the page that asks.
func (b *BFF) page(r *http.Request) string {
	if respond.Navigation(r) {
		return returnTo(r.URL.RequestURI())
	}
	referer := r.Header.Get("Referer")
	if u, err := url.Parse(referer); err == nil && b.sameOrigin(referer) {
		return returnTo(u.RequestURI())
	}
	return "/"
}
