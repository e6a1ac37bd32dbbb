package bff_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// refreshPlan are the modules of oidcc-client-refreshtoken-test-plan. The
// plan uses the new access token at the userinfo endpoint; ours goes to the
// API.
var refreshPlan = []module{
	{"oidcc-client-test-refresh-token", func(t *testing.T, s *system, signIn signIn) {
		b := accepts(t, s, signIn)
		first := b.access()
		s.clock.Advance(6 * time.Minute)
		if second := b.access(); second == first || second == "" || !b.signedIn() {
			t.Error("no new access token")
		}
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	}},
	{"oidcc-client-test-refresh-token-invalid-issuer", func(t *testing.T, s *system, signIn signIn) {
		refreshRejects(t, s, signIn, "iss", issuerURL+"/1")
	}},
	{"oidcc-client-test-refresh-token-invalid-sub", func(t *testing.T, s *system, signIn signIn) {
		refreshRejects(t, s, signIn, "sub", "user-1invalid")
	}},
	// Not in the plan, and of OpenID Connect Core section 12.2 too.
	{"aud of another client", func(t *testing.T, s *system, signIn signIn) { refreshRejects(t, s, signIn, "aud", "other") }},
	{"azp of another client", func(t *testing.T, s *system, signIn signIn) { refreshRejects(t, s, signIn, "azp", "other") }},
	{"nonce of another login", func(t *testing.T, s *system, signIn signIn) { refreshRejects(t, s, signIn, "nonce", "another") }},
	{"iat missing", func(t *testing.T, s *system, signIn signIn) { refreshRejects(t, s, signIn, "iat", tokentest.Absent) }},
}

// refreshRejects checks that a refresh with an ID token about something else
// ends the session, and that the new tokens are revoked.
func refreshRejects(t *testing.T, s *system, signIn signIn, claim string, value any) {
	t.Helper()
	b := accepts(t, s, signIn)
	s.idp.change(func(p *provider) { p.id[claim] = value })
	s.clock.Advance(6 * time.Minute)
	if got := b.access(); got != "" {
		t.Error("the API got a token of the answer")
	}
	if b.signedIn() {
		t.Error("still signed in")
	}
	if revoked := s.idp.revoked(); len(revoked) != 1 || len(s.idp.good()) != 0 || slices.Contains(revoked, "") {
		t.Errorf("%d revoked, %d refresh tokens still good", len(revoked), len(s.idp.good()))
	}
}

// TestRPPlanRefreshToken is oidcc-client-refreshtoken-test-plan.
func TestRPPlanRefreshToken(t *testing.T) {
	t.Parallel()
	run(t, refreshPlan, byQuery)
}
