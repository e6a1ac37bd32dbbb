package bff_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestRPPlanFormPost is oidcc-client-formpost-basic-certification-test-plan:
// the basic plan with answers in forms, and the module of the comprehensive
// plan that belongs to it.
func TestRPPlanFormPost(t *testing.T) {
	t.Parallel()
	run(t, append(slices.Clip(basicPlan), module{"oidcc-client-test-form-post-error", formPostError}), byForm, formPost)
}

// "max_age=0 and prompt=none, which results in the test suite returning an
// error […]. The client is expected to consume the HTML form post
// authorization error response." The suite wants an error screen; a login with
// prompt=none leads back instead, and one without it shows the screen.
func formPostError(t *testing.T, s *system, _ signIn) {
	refused := func(q url.Values) { q.Del("code"); q.Set("error", "login_required") }
	b := s.browser()
	location := b.navigate("/api/auth/login?prompt=none&max_age=0&returnTo=/public").location()
	if u, _ := url.Parse(location); u.Query().Get("prompt") != "none" || u.Query().Get("max_age") != "0" || u.Query().Get("response_mode") != "form_post" {
		t.Errorf("asked for %v", u.Query())
	}
	res := b.posts(s.idp.authorize(location, refused))
	if res.StatusCode != http.StatusSeeOther || res.location() != "/public" || b.signedIn() {
		t.Errorf("silent: status %d, to %q", res.StatusCode, res.location())
	}
	res = b.posts(s.idp.authorize(b.navigate("/api/auth/login?max_age=0").location(), refused))
	wantStatus(t, res, http.StatusUnauthorized)
	if !strings.Contains(res.body, "You need to sign in") || b.signedIn() {
		t.Errorf("%s", res.body)
	}
}
