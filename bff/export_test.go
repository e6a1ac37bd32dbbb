package bff

import (
	"net/http"
	"net/http/httputil"
	"net/netip"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/account"
	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
)

// LocalPath is what decides about every returnTo.
func LocalPath(raw string) bool { return route.Local(raw) }

// Device is what the list of a person's sessions says of a User-Agent.
func Device(userAgent string) string { return account.Device(userAgent) }

// Lasts tells whether answers of a media type end with their session.
func Lasts(contentType string) bool { return forward.Lasts(http.Header{"Content-Type": {contentType}}) }

// LoginStarts is the limit of login starts, and how many clients it remembers.
func LoginStarts(perMinute int, now func() time.Time) (admit func(netip.Addr) time.Duration, size func() int) {
	rate := login.NewRate(perMinute, now)
	admit = func(address netip.Addr) time.Duration {
		wait, _ := rate.Allow(address)
		return wait
	}
	return admit, rate.Len
}

// StepUpLogin is the login to which an API's challenge leads.
func StepUpLogin(challenge, to string) string {
	return route.LoginFor(route.StepUp(http.Header{"Www-Authenticate": {challenge}}), to)
}

// AnswerWithin has a proxy wait so long for the header of an answer.
func AnswerWithin(proxy http.Handler, d time.Duration) {
	proxy.(*httputil.ReverseProxy).Transport.(*http.Transport).ResponseHeaderTimeout = d
}
