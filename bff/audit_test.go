package bff_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// An auditor keeps events.
type auditor struct {
	mu     sync.Mutex
	events []audit.Event
	fails  error
}

func (a *auditor) record(_ context.Context, e audit.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
	return a.fails
}

// take returns the events since the last call.
func (a *auditor) take() []audit.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	events := a.events
	a.events = nil
	return events
}

// audited returns the option that has the events recorded.
func (a *auditor) audited(cfg *bff.Config) { cfg.Audit = a.record }

// want compares the events since the last call with those wanted, in their order: action,
// cause, subject, client and count. An event about a session must have its handle.
func (a *auditor) want(t *testing.T, when string, want ...string) []audit.Event {
	t.Helper()
	events := a.take()
	var got []string
	for _, e := range events {
		text := fmt.Sprintf("%s %s %s %s", e.Action, e.Cause, e.Subject, e.Client)
		if e.Count > 0 {
			text += fmt.Sprintf(" ×%d", e.Count)
		}
		got = append(got, strings.Join(strings.Fields(text), " "))
		if e.Part != "bff" || e.Time.IsZero() || e.Time.Location() != time.UTC || e.RequestID == "" && e.Client != "" {
			t.Errorf("%s: event without part, time in UTC or request id: %+v", when, e)
		}
		switch e.Action {
		case audit.SignIn, audit.SignOut, audit.SessionEnded:
			if len(e.Session) != 16 || e.Issuer != issuerURL {
				t.Errorf("%s: event without session or issuer: %+v", when, e)
			}
		}
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("%s: events\n%s\nwant\n%s", when, a, b)
	}
	return events
}

func TestAuditedSignInsAndSignOuts(t *testing.T) {
	t.Parallel()
	var a auditor
	s := start(t, a.audited)
	b := s.browser().signIn()
	in := a.want(t, "a sign-in", "sign_in user-1 192.0.2.1")
	if handle := b.sessions()[0].Handle; in[0].Session != handle {
		t.Errorf("session %q, want the handle %q", in[0].Session, handle)
	}
	b.signIn()
	ended := a.want(t, "another in the same browser", "session_ended replaced user-1 192.0.2.1", "sign_in user-1 192.0.2.1")
	if ended[0].Session != in[0].Session {
		t.Errorf("session %q was replaced, want %q", ended[0].Session, in[0].Session)
	}
	b.fetch("/api/private-route")
	a.want(t, "a call")
	b.do(http.MethodPost, "/api/auth/logout", nil, site("same-origin"), header("Origin", s.cfg.BaseURL))
	a.want(t, "a sign-out", "sign_out user user-1 192.0.2.1")
	b.do(http.MethodPost, "/api/auth/logout", nil, site("same-origin"), header("Origin", s.cfg.BaseURL))
	a.want(t, "a sign-out without a session")

	laptop, phone := s.signInAs(firefox, "203.0.113.7"), s.signInAs(safari, "203.0.113.8")
	s.signInAs(safari, "203.0.113.9")
	a.take()
	all := laptop.sessions()
	var other string
	for _, l := range all {
		if l.Address == "203.0.113.8" {
			other = l.Handle
		}
	}
	wantStatus(t, laptop.end("/api/auth/sessions/"+other), http.StatusNoContent)
	if out := a.want(t, "the end of another session", "sign_out other_device user-1 192.0.2.1"); out[0].Session != other {
		t.Errorf("session %q, want %q", out[0].Session, other)
	}
	wantStatus(t, laptop.end("/api/auth/sessions"), http.StatusOK)
	a.want(t, "the end of all others", "sign_out everywhere user-1 192.0.2.1", "subject_revoked everywhere user-1 192.0.2.1 ×1")
	if phone.signedIn() {
		t.Error("still signed in")
	}

	tell(s, url.Values{"logout_token": {s.idp.logoutToken(map[string]any{"sub": tokentest.Absent})}})
	a.want(t, "a logout token with a sid", "sign_out back_channel 192.0.2.1")
	s.browser().signIn()
	a.take()
	tell(s, url.Values{"logout_token": {s.idp.logoutToken(map[string]any{"sid": tokentest.Absent, "jti": "another"})}})
	a.want(t, "a logout token with a sub", "sign_out back_channel user-1 192.0.2.1", "subject_revoked back_channel user-1 192.0.2.1 ×1")
	tell(s, url.Values{"logout_token": {"forged"}})
	a.want(t, "a forged logout token")

	s.clock.Advance(time.Minute)
	s.browser().signIn()
	a.take()
	frame(s.browser(), issuerURL, "sid-1")
	a.want(t, "a frame", "sign_out front_channel 192.0.2.1")
	frame(s.browser(), issuerURL, "sid-1")
	a.want(t, "a frame without effect")
}

func TestAuditedRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*provider)
		back   func(b *browser, callback string) *response
		want   []string
	}{
		"state": {nil, func(b *browser, callback string) *response {
			return b.back(strings.Replace(callback, "state=", "state=x", 1))
		}, []string{"sign_in_refused stale 192.0.2.1"}},
		"code": {nil, func(b *browser, callback string) *response {
			return b.back(strings.Replace(callback, "code=", "code=x", 1))
		}, []string{"sign_in_refused response 192.0.2.1"}},
		"twice": {nil, func(b *browser, callback string) *response {
			b.back(callback)
			return b.back(callback)
		}, []string{"sign_in user-1 192.0.2.1", "sign_in_refused stale 192.0.2.1"}},
		"cancelled": {nil, func(b *browser, callback string) *response {
			return b.back(strings.Replace(callback, "code=", "error=access_denied&x=", 1))
		}, []string{"sign_in_refused cancelled 192.0.2.1"}},
		"error": {nil, func(b *browser, callback string) *response {
			return b.back(strings.Replace(callback, "code=", "error=invalid_scope&x=", 1))
		}, []string{"sign_in_refused provider 192.0.2.1"}},
		"tokens": {func(p *provider) { p.id["aud"] = "another" }, (*browser).plainly, []string{"sign_in_refused tokens 192.0.2.1"}},
		"outage": {func(p *provider) { p.instead["/token"] = answer(http.StatusServiceUnavailable, "") }, (*browser).plainly, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a auditor
			s := start(t, a.audited)
			b := s.browser()
			callback := s.idp.authorize(b.navigate("/api/auth/login").location())
			if c.change != nil {
				s.idp.change(c.change)
			}
			c.back(b, callback)
			a.want(t, name, c.want...)
		})
	}
}

func (b *browser) plainly(callback string) *response { return b.back(callback) }

// A login beyond the number of sessions of a user ends the one that was not used longest.
func TestAuditedEviction(t *testing.T) {
	t.Parallel()
	var a auditor
	s := start(t, a.audited, func(cfg *bff.Config) { cfg.Sessions.MaxPerUser = 1 })
	s.browser().signIn()
	s.clock.Advance(time.Minute)
	s.browser().signIn()
	a.want(t, "a second sign-in", "sign_in user-1 192.0.2.1", "session_ended evicted user-1 192.0.2.1", "sign_in user-1 192.0.2.1")
}

func TestAuditedLimits(t *testing.T) {
	t.Parallel()
	var a auditor
	s := start(t, a.audited, func(cfg *bff.Config) { cfg.Login.Rate = 1 })
	for range 5 {
		s.browser().navigate("/api/auth/login", from("198.51.100.7:4711"))
	}
	s.browser().navigate("/api/auth/login", from("198.51.100.8:4711"))
	s.browser().navigate("/api/auth/login", from("198.51.100.8:4711"))
	events := a.want(t, "many logins", "rate_limited 198.51.100.7", "rate_limited 198.51.100.8")
	if len(events) > 0 && events[0].Setting != "login_rate" {
		t.Errorf("limit %q, want login_rate", events[0].Setting)
	}
}

// The events of refreshes, in a bubble, where the sampled ones come after a minute.
func TestAuditedRefreshes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*provider)
		want   []string
	}{
		"over": {func(p *provider) { p.instead["/token"] = answer(400, `{"error":"invalid_grant"}`) },
			[]string{"refresh_refused grant_ended user-1 192.0.2.1", "session_ended not_refreshed user-1 192.0.2.1"}},
		"user": {func(p *provider) { p.instead["/token"] = answer(400, `{"error":"mfa_required"}`) },
			[]string{"refresh_refused user_needed user-1 192.0.2.1"}}, // it ends in the store, with its access token
		"operator": {func(p *provider) { p.instead["/token"] = answer(400, `{"error":"invalid_client"}`) },
			[]string{"refresh_refused configuration 192.0.2.1"}},
		"outage":   {func(p *provider) { p.instead["/token"] = answer(503, ``) }, nil},
		"mismatch": {func(p *provider) { p.id["sub"] = "user-2" }, []string{"session_ended mismatch user-1 192.0.2.1"}},
		"renewed":  {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a auditor
				s := bubble(t, a.audited)
				b := s.browser().signIn()
				a.take()
				if c.change != nil {
					s.idp.change(c.change)
				}
				time.Sleep(due)
				b.fetch("/api/private-route")
				synctest.Wait()
				time.Sleep(31 * time.Second) // the access token has expired
				b.fetch("/api/private-route")
				b.fetch("/api/private-route")
				synctest.Wait()
				events := a.take()
				if name == "operator" { // repeated, and counted for a minute
					events = events[:min(1, len(events))]
				}
				a.events = events
				a.want(t, name, c.want...)
			})
		})
	}
}

// A handler that fails, or panics, changes nothing for users. The log has one line.
func TestAuditFails(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]audit.Handler{
		"error": func(context.Context, audit.Event) error { return errors.New("disk full") },
		"panic": func(context.Context, audit.Event) error { panic("handler") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log *record
			s := start(t, func(cfg *bff.Config) {
				log = keepLog(cfg)
				cfg.Audit = handler
			})
			for range 3 {
				if b := s.browser().signIn(); !b.signedIn() {
					t.Error("not signed in")
				}
			}
			if n := log.lines("level=WARN", "audit log unavailable"); n != 1 {
				t.Errorf("%d warnings, want 1:\n%s", n, log.text())
			}
		})
	}
}
