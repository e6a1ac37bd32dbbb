package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// Errors of the provider lead to our own messages. Of its text only error codes
// are shown.
func TestProviderErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code   string
		status int
		shows  string
	}{
		{"access_denied", http.StatusForbidden, "cancelled"},
		{"login_required", http.StatusUnauthorized, "need to sign in"},
		{"consent_required", http.StatusUnauthorized, "need to sign in"},
		{"temporarily_unavailable", http.StatusServiceUnavailable, "busy"},
		{"server_error", http.StatusServiceUnavailable, "busy"},
		{"invalid_scope", http.StatusBadRequest, "Error: invalid_scope"},
		{"", http.StatusBadRequest, "Request "},
		{"<script>alert(1)</script>", http.StatusBadRequest, "Request "},
		{"call 0900-12345 now, your account is locked", http.StatusBadRequest, "Request "},
		{strings.Repeat("a", 65), http.StatusBadRequest, "Request "},
		{"a\r\nSet-Cookie: x=y", http.StatusBadRequest, "Request "},
	} {
		s := start(t)
		b := s.browser()
		res := b.back(s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location(), func(q url.Values) {
			q.Set("error", c.code)
			q.Set("error_description", "call <b>0900-54321</b>")
			q.Set("error_uri", "https://evil.example")
		}))
		wantStatus(t, res, c.status)
		if !strings.Contains(res.body, c.shows) || !strings.Contains(res.body, "returnTo=%2Fprivate") {
			t.Errorf("%q: %s", c.code, res.body)
		}
		for _, hostile := range []string{"<script>a", "0900", "evil.example", "aaaaaaaaaaaaaaaaaaaaaa", "Set-Cookie"} {
			if strings.Contains(res.body, hostile) {
				t.Errorf("%q: the page shows %q", c.code, hostile)
			}
		}
		// An error with a code is still an error.
		if len(s.idp.called("/token")) != 0 || b.session() != "" {
			t.Errorf("%q: the code was redeemed", c.code)
		}
	}
}

// RFC 6749 §3.1: a parameter comes once. Otherwise two parsers could use
// different values.
func TestCallbackParametersTwice(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"state", "code", "error", "error_description", "iss"} {
		s := start(t)
		b := s.browser()
		res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location(), func(q url.Values) {
			q[name] = []string{q.Get(name), "another"}
		}))
		wantStatus(t, res, http.StatusBadRequest)
		if b.session() != "" || len(s.idp.called("/token")) != 0 {
			t.Errorf("%s: the code was redeemed", name)
		}
	}
}

// A response in a form, or with another method, does not sign in.
func TestCallbackByPost(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	_, query, _ := strings.Cut(callback, "?")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodHead} {
		res := b.do(method, "/api/auth/callback?"+query, strings.NewReader(query), header("Content-Type", "application/x-www-form-urlencoded"), site("cross-site"))
		if res.StatusCode < 400 || b.session() != "" || len(s.idp.called("/token")) != 0 {
			t.Errorf("%s: status %d", method, res.StatusCode)
		}
	}
	wantStatus(t, b.back(callback), http.StatusSeeOther) // and does not use up the attempt
}

// A node that has just started does not know the provider yet. The response
// stays valid: after a reload the login goes on.
func TestCallbackWhileTheProviderIsAway(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	known := s.BFF
	unfollowed(t, s)
	res := b.back(callback)
	wantStatus(t, res, http.StatusServiceUnavailable)
	if strings.Contains(res.body, "code-") {
		t.Error("the page holds the code")
	}
	s.BFF = known
	wantStatus(t, b.back(callback), http.StatusSeeOther)
}

// Requested auth_time and acr are required (OpenID Connect Core §3.1.3.7).
func TestStepUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		query  string
		id     map[string]any
		status int
	}{
		{"max_age kept", "max_age=600", map[string]any{"auth_time": time.Now().Unix() - 30}, http.StatusSeeOther},
		{"max_age exceeded", "max_age=60", map[string]any{"auth_time": time.Now().Unix() - 600}, http.StatusForbidden},
		{"max_age 0 exceeded", "max_age=0", map[string]any{"auth_time": time.Now().Unix() - 600}, http.StatusForbidden},
		{"auth_time missing", "max_age=60", nil, http.StatusForbidden},
		{"acr reached", "acr_values=urn:one+urn:two", map[string]any{"acr": "urn:two"}, http.StatusSeeOther},
		{"acr lower", "acr_values=urn:two", map[string]any{"acr": "urn:one"}, http.StatusForbidden},
		{"acr missing", "acr_values=urn:two", nil, http.StatusForbidden},
		{"nothing asked for", "", nil, http.StatusSeeOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.idp.id = c.id
			b := s.browser()
			wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login?"+c.query).location())), c.status)
		})
	}
}

// A hanging provider costs a browser 5 seconds at the token endpoint and 5 at
// userinfo. A request ends within 10.
func TestCallbackWithAHungProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.idp.instead["/token"] = hang
		b := s.browser()
		began := time.Now()
		wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login").location())), http.StatusBadGateway)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		s.idp.instead = map[string]http.HandlerFunc{"/userinfo": hang}
		s.idp.id["email"] = tokentest.Absent
		began = time.Now()
		b.signIn() // the login does not fail without userinfo
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A store outage at the end of a login is 503, and not an error of the provider.
func TestCallbackWithoutStore(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.store.change(func(s *store) { s.create = outage })
	b := s.browser()
	res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
	wantStatus(t, res, http.StatusServiceUnavailable)
	if res.Header.Get("Retry-After") == "" || b.session() != "" {
		t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
	}
}
