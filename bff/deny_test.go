package bff_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// A back-channel logout names the session, or else the person and the moment.
// Where the tokens could not be revoked, the session ends all the same, and
// the provider is asked to say it again.
func TestBackchannelLogoutRevokes(t *testing.T) {
	t.Parallel()
	for name, claims := range map[string]map[string]any{"by sid": nil, "by sub": {"sid": tokentest.Absent}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told []bff.Revocation
			answer := errors.New("the denylist is away")
			s := start(t, func(cfg *bff.Config) {
				cfg.Revoke = func(_ context.Context, r bff.Revocation) error {
					told = append(told, r)
					return answer
				}
			})
			laptop := s.browser().signIn()
			form := url.Values{"logout_token": {s.idp.logoutToken(claims)}}

			first := tell(s, form)
			wantStatus(t, first, http.StatusServiceUnavailable)
			if first.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			if laptop.signedIn() {
				t.Error("the session goes on")
			}
			answer = nil
			wantStatus(t, tell(s, form), http.StatusOK)
			wantStatus(t, tell(s, form), http.StatusBadRequest) // once is enough

			if len(told) != 2 {
				t.Fatalf("told %d times, want twice", len(told))
			}
			for _, r := range told {
				bySID := r.SessionID != ""
				if r.Issuer == "" || r.TokenID != "" || bySID != (claims == nil) || r.Subject == "" || r.At.IsZero() {
					t.Errorf("told %+v", r)
				}
			}
		})
	}
}

// A token without a jti has no name to be refused by: the person signs out
// all the same, and nobody is told an empty name.
func TestLogoutOfANamelessToken(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) {
		cfg.Revoke = func(_ context.Context, r bff.Revocation) error {
			t.Errorf("told %+v", r)
			return nil
		}
	})
	b := s.browser().signIn()
	wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
	if b.signedIn() {
		t.Error("still signed in")
	}
}
