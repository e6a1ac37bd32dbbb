package bff

import (
	"net/http"
	"net/http/httputil"
	"net/netip"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/bff/internal/account"
	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
)

// LocalPath reports whether a returnTo is accepted.
func LocalPath(raw string) bool { return route.Local(raw) }

// Device is the description of a User-Agent in the list of sessions.
func Device(userAgent string) string { return account.Device(userAgent, catalog.English()) }

// Lasts reports whether answers of a media type end with their session.
func Lasts(contentType string) bool { return forward.Lasts(http.Header{"Content-Type": {contentType}}) }

// LoginStarts is the limit of login starts, and the number of remembered
// addresses.
func LoginStarts(perMinute int, now func() time.Time) (admit func(netip.Addr) time.Duration, size func() int) {
	rate := login.NewRate(perMinute, now)
	admit = func(address netip.Addr) time.Duration {
		wait, _ := rate.Allow(address)
		return wait
	}
	return admit, rate.Len
}

// StepUpLogin is the login address for a challenge of the API.
func StepUpLogin(challenge, to string) string {
	return route.LoginFor(route.StepUp(http.Header{"Www-Authenticate": {challenge}}), to)
}

// AnswerWithin sets how long a proxy waits for the header of an answer.
func AnswerWithin(proxy http.Handler, d time.Duration) {
	proxy.(*httputil.ReverseProxy).Transport.(*http.Transport).ResponseHeaderTimeout = d
}
