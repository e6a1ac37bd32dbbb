package route

import (
	"net/http"
	"net/url"
	"strings"
)

// LoginHeader is the header of a 401 with the address of a login that returns
// to the page, for scripts.
const LoginHeader = "Gatehouse-Login"

// StepUp returns the parameters that an API demands of a login because the
// present one is too old or too weak (RFC 9470). It returns nil if no challenge
// in h says so.
func StepUp(h http.Header) url.Values {
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

// challenge returns the parameters of the first Bearer challenge in a
// WWW-Authenticate header (RFC 9110 §11.2), by lower-case name.
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

// parameterValue returns a leading token or quoted string, and what follows it.
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
