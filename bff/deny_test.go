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

// A back-channel logout denies the tokens of the session, or of the user up to
// its time. If that fails, the session ends and the answer is 503, so that the
// provider retries.
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
				t.Error("the session has not ended")
			}
			answer = nil
			wantStatus(t, tell(s, form), http.StatusOK)
			wantStatus(t, tell(s, form), http.StatusBadRequest) // used

			if len(told) != 2 {
				t.Fatalf("Config.Revoke was called %d times, want twice", len(told))
			}
			for _, r := range told {
				bySID := r.SessionID != ""
				if r.Issuer == "" || r.TokenID != "" || bySID != (claims == nil) || r.Subject == "" || r.At.IsZero() {
					t.Errorf("revoked %+v", r)
				}
			}
		})
	}
}

// DenyIn of no denylist is the value of Config.Revoke for none.
func TestDenyInNil(t *testing.T) {
	t.Parallel()
	if bff.DenyIn(nil) != nil {
		t.Error("DenyIn(nil) is not nil")
	}
}

// A logout succeeds although the access token has no jti. Config.Revoke gets no
// empty id.
func TestLogoutWithoutTokenID(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) {
		cfg.Revoke = func(_ context.Context, r bff.Revocation) error {
			t.Errorf("revoked %+v", r)
			return nil
		}
	})
	b := s.browser().signIn()
	wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
	if b.signedIn() {
		t.Error("still signed in")
	}
}
