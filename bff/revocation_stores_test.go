//go:build unix

package bff_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// twoNodes are two bffs with connections of their own to one store, and a third
// connection for a server, which has no secret.
func twoNodes(t *testing.T, begin func(t *testing.T) realStore) (s, other *system, server sessiontest.Store) {
	t.Helper()
	real := begin(t)
	s = start(t, real.handle(t))
	second := *s
	real.handle(t)(&second.cfg)
	second.reconfigure()
	third := bff.Config{Now: s.cfg.Now}
	real.handle(t)(&third)
	return s, &second, third.Sessions.Store.(sessiontest.Store)
}

func TestParallelCallbacksAtRealStores(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, other, _ := twoNodes(t, begin)
			testParallelCallbacks(t, s, other)
		})
	}
}

// A revocation of any kind, at any node, bars a login that began before it, and
// not one that begins after it in the same second.
func TestRevocationBarsLogins(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, other, server := twoNodes(t, begin)
			var denied []bff.Revocation
			deny := func(_ context.Context, r bff.Revocation) error { denied = append(denied, r); return nil }
			s.cfg.Revoke, other.cfg.Revoke = deny, deny
			s.reconfigure()
			other.reconfigure()
			operator := revocation.New(revocation.Config{Store: server, Now: s.cfg.Now, Deny: func(ctx context.Context, t revocation.Target) error {
				return deny(ctx, bff.Revocation{Issuer: t.Issuer, Subject: t.Subject, At: t.DecidedAt})
			}})
			logout := func(claims map[string]any) func() {
				return func() {
					wantStatus(t, tell(other, url.Values{"logout_token": {s.idp.logoutToken(claims)}}), http.StatusOK)
				}
			}
			for name, c := range map[string]struct {
				revoke  func()
				sid     string // of the login
				barred  bool
				ended   bool // whether the earlier session ends
				subject bool // whether the subject is denied
			}{
				"a logout token, by sub": {logout(map[string]any{"sid": tokentest.Absent}), "sid-1", true, true, true},
				"a logout token, by sid": {logout(nil), "sid-1", true, true, false},
				"of another session":     {logout(map[string]any{"sid": "sid-9"}), "sid-1", false, false, false},
				"an operator": {func() {
					ids, err := operator.Revoke(t.Context(), revocation.Target{Issuer: issuerURL, Subject: "user-1", DecidedAt: s.clock.Now()}, session.ReasonOperator)
					if err != nil || len(ids) != 1 {
						t.Errorf("%d sessions ended, %v", len(ids), err)
					}
				}, "sid-1", true, true, true},
				"the person, elsewhere": {func() {
					third := other.browser().signIn()
					res := third.end("/api/auth/sessions")
					wantStatus(t, res, http.StatusOK)
					if res.body != `{"ended":1}`+"\n" || !third.signedIn() {
						t.Errorf("%s, and signed in: %t", res.body, third.signedIn())
					}
					if third.access() == "" {
						t.Error("no access token")
					}
					wantStatus(t, third.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
				}, "sid-1", true, true, true},
			} {
				s.clock.Advance(time.Hour)
				denied = nil
				there := s.browser().signIn()
				before := s.browser()
				callback := s.idp.authorize(before.navigate("/api/auth/login").location())
				c.revoke()
				res := before.back(callback)
				if barred := before.session() == ""; barred != c.barred || barred && res.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: a login in progress is barred: %t, status %d", name, barred, res.StatusCode)
				}
				if c.ended {
					eventually(t, name+": the session has ended", func() bool { return !there.signedIn() })
				} else if !there.signedIn() {
					t.Errorf("%s: the session has ended", name)
				}
				if len(denied) == 0 || c.subject != (denied[0].SessionID == "") || denied[0].Subject != "user-1" {
					t.Errorf("%s: denied %+v", name, denied)
				}
				after := s.browser().signIn() // in the same second
				if !after.signedIn() {
					t.Errorf("%s: a login that begins afterwards is barred", name)
				}
				if _, err := server.DeleteBySubject(t.Context(), issuerURL, "user-1", session.ReasonOperator); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A logout token that arrives late removes no later revocation, and bars no login
// that began in between.
func TestLateLogoutTokens(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, other, _ := twoNodes(t, begin)
			now := s.clock.Now()
			tellAbout := func(iat time.Time) {
				wantStatus(t, tell(other, url.Values{"logout_token": {s.idp.logoutToken(map[string]any{"sid": tokentest.Absent, "iat": iat.Unix()})}}), http.StatusOK)
			}
			login := func(authTime time.Time) (*browser, string) {
				s.idp.change(func(p *provider) { p.id["auth_time"] = authTime.Unix() })
				b := s.browser()
				return b, s.idp.authorize(b.navigate("/api/auth/login").location())
			}
			first, firstBack := login(now.Add(-30 * time.Second))
			tellAbout(now)
			second, secondBack := login(now.Add(-30 * time.Second)) // single sign-on
			tellAbout(now.Add(-time.Minute))
			s.idp.change(func(p *provider) { p.id["auth_time"] = now.Add(-30 * time.Second).Unix() })
			wantStatus(t, first.back(firstBack), http.StatusUnauthorized)
			wantStatus(t, second.back(secondBack), http.StatusSeeOther)
		})
	}
}
