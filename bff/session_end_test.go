package bff_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// Without a refresh token a session ends when its access token expires, and every
// address that tells the end says so before.
func TestEndWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.change(func(p *provider) {
		lay(p.metadata, map[string]any{"scopes_supported": tokentest.Absent})
		p.lifetime = 2 * time.Minute
	})
	s.reconfigure()
	s.run()
	b := s.browser()
	end := s.clock.Now().Truncate(time.Millisecond).Add(2 * time.Minute)
	res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
	wantStatus(t, res, http.StatusSeeOther)
	if c := res.set("gatehouse"); c == nil || c.MaxAge != 120 {
		t.Errorf("the session cookie lasts as long as %v", c)
	}

	wantEndTold(t, s, b, end)
}

// When the provider refuses a refresh until the user has signed in again, every
// address tells the expiry of the access token as the end, from then on.
func TestEndAfterRefusedRefresh(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"interaction_required", "access_denied"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.run()
			end := s.clock.Now().Truncate(time.Millisecond).Add(s.idp.lifetime)
			b := s.browser().signIn()
			if told := sessionEnds(t, b.fetch("/api/auth/session").body); !told.End.After(end) {
				t.Errorf("before the refusal the session ends at %v, with its access token", told.End)
			}
			listening := open(t, s, b, "/api/auth/events")
			wantEvent(t, listening, "session")
			s.idp.change(func(p *provider) { p.instead["/token"] = refuse(http.StatusBadRequest, code) })
			s.clock.Advance(s.idp.lifetime - 20*time.Second)
			wantStatus(t, b.fetch("/api/private-route"), http.StatusOK) // which causes a refresh
			eventually(t, "the refusal is noted", func() bool {
				return sessionEnds(t, b.fetch("/api/auth/session").body).End.Equal(end)
			})
			wantEndTold(t, s, b, end)
			var heard []string
			for len(heard) == 0 || heard[len(heard)-1] != "ended" {
				e, err := nextEvent(t, listening)
				if err != nil {
					t.Fatal(err)
				}
				heard = append(heard, e.name)
			}
			if heard[0] != "extended" {
				t.Errorf("a stream from before the refusal got %q, want the new end first", heard)
			}
			if n := len(s.idp.refreshes()); n != 1 {
				t.Errorf("%d refreshes, want 1", n)
			}
		})
	}
}

// A toldEnd is the end of a session as scripts get it.
type toldEnd struct {
	Idle     int       `json:"idle_seconds"`
	Absolute int       `json:"absolute_seconds"`
	IdleEnd  time.Time `json:"idle_expires_at"`
	End      time.Time `json:"expires_at"`
}

func sessionEnds(t *testing.T, text string) toldEnd {
	t.Helper()
	var told toldEnd
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		t.Fatal(err)
	}
	return told
}

// wantEndTold checks that every address tells the same end, and that the session
// ends then.
func wantEndTold(t *testing.T, s *system, b *browser, end time.Time) {
	t.Helper()
	check := func(what, text string) {
		t.Helper()
		told, left := sessionEnds(t, text), int(end.Sub(s.clock.Now()).Seconds())
		if told.Idle != left || told.Absolute != left || !told.IdleEnd.Equal(end) || !told.End.Equal(end) {
			t.Errorf("%s: %s; want %d seconds, until %v", what, text, left, end)
		}
	}
	check("session", b.fetch("/api/auth/session").body)
	s.clock.Advance(5 * time.Second)
	check("session, later", b.fetch("/api/auth/session").body)
	for _, listed := range b.sessions() {
		if !listed.IdleExpiresAt.Equal(end) || !listed.ExpiresAt.Equal(end) {
			t.Errorf("sessions: %+v, want the end %v", listed, end)
		}
	}
	stream := open(t, s, b, "/api/auth/events")
	data, err := json.Marshal(wantEvent(t, stream, "session").data)
	if err != nil {
		t.Fatal(err)
	}
	check("events", string(data))
	page := b.navigate("/profile")
	wantStatus(t, page, http.StatusOK)
	if want := end.UTC().Format(time.RFC3339); !strings.Contains(page.body, want) {
		t.Errorf("the profile page lacks %s", want)
	}

	s.clock.Advance(end.Sub(s.clock.Now()))
	if e := wantEvent(t, stream, "ended"); e.data["reason"] != "expired" {
		t.Errorf("ended: %v, want expired", e.data)
	}
	wantEnd(t, stream)
	res := b.fetch("/api/private-route", header("Referer", s.cfg.BaseURL+"/private"))
	wantStatus(t, res, http.StatusUnauthorized)
	if got := res.Header.Get("Gatehouse-Login"); got != "/api/auth/login?returnTo=%2Fprivate" {
		t.Errorf("Gatehouse-Login %q", got)
	}
	wantStatus(t, b.navigate("/private"), http.StatusSeeOther)
}
