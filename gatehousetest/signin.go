package gatehousetest

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
)

// The addresses of the bff at which a sign-in begins and ends.
const (
	loginPath    = "/api/auth/login"
	callbackPath = "/api/auth/callback"
)

// SignIn signs a user of the development provider in, by the user's key, and returns a client with
// the session's cookies: through login, provider and callback, as a browser does. Addresses without
// a host are those below BaseURL:
//
//	resp, err := app.SignIn(t, "editor").Get("/api/notes")
func (s *System) SignIn(t testing.TB, user string) *http.Client {
	t.Helper()
	s.user(t, user)
	client := s.Client("")
	login := *client
	login.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		if via[len(via)-1].URL.Path == callbackPath {
			return http.ErrUseLastResponse // signed in
		}
		return nil
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, s.SignInURL(user, "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := login.Do(r)
	if err != nil {
		t.Fatalf("gatehousetest: sign in %q: %v", user, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("gatehousetest: sign in %q: status %d at %s:\n%.2000s", user, resp.StatusCode, resp.Request.URL.Path, body)
	}
	return client
}

// SignInURL returns the address that signs a user in when a browser opens it, and then leads to
// returnTo, a path below BaseURL.
func (s *System) SignInURL(user, returnTo string) string {
	return s.BaseURL + loginPath + "?" + url.Values{"login_hint": {"as:" + user}, "returnTo": {returnTo}}.Encode()
}

// Cookies returns the cookies of a user who has signed in, for a browser that opens BaseURL.
func (s *System) Cookies(t testing.TB, user string) []*http.Cookie {
	t.Helper()
	base, err := url.Parse(s.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := s.SignIn(t, user).Jar.Cookies(base)
	for _, c := range cookies {
		c.Domain, c.Path, c.HttpOnly, c.SameSite = base.Hostname(), "/", true, http.SameSiteLaxMode
	}
	return cookies
}

// Client returns a client without a session. For the token "" addresses without a host are those
// below BaseURL, as for a browser. For another one they are those below GatewayURL, and requests to
// them carry the token, as those of a program.
func (s *System) Client(token string) *http.Client {
	base := s.BaseURL
	if token != "" {
		base = s.GatewayURL
	}
	at, _ := url.Parse(base)     // made by url.URL.String or of host and port
	jar, _ := cookiejar.New(nil) // no error without options
	return &http.Client{
		Transport: &transport{base: at, token: token, next: s.transport}, Jar: &relativeJar{jar, at},
	}
}

// A transport completes addresses without a host.
type transport struct {
	base  *url.URL
	token string
	next  http.RoundTripper
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL = tr.base.ResolveReference(r.URL)
	if tr.token != "" && r.URL.Host == tr.base.Host && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+tr.token)
	}
	return tr.next.RoundTrip(r)
}

// A relativeJar has the cookies of addresses without a host, too.
type relativeJar struct {
	*cookiejar.Jar
	base *url.URL
}

func (j *relativeJar) Cookies(u *url.URL) []*http.Cookie {
	return j.Jar.Cookies(j.base.ResolveReference(u))
}

func (j *relativeJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.Jar.SetCookies(j.base.ResolveReference(u), cookies)
}
