package bff_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token/tokentest"
)

// Without a refresh token a session ends when its access token expires, and
// every place that tells about the end says so beforehand.
func TestEndWithoutARefreshToken(t *testing.T) {
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

	check := func(what, text string) {
		t.Helper()
		var told struct {
			Idle     int       `json:"idle_seconds"`
			Absolute int       `json:"absolute_seconds"`
			IdleEnd  time.Time `json:"idle_expires_at"`
			End      time.Time `json:"expires_at"`
		}
		if err := json.Unmarshal([]byte(text), &told); err != nil {
			t.Fatal(err)
		}
		left := int(end.Sub(s.clock.Now()).Seconds())
		if told.Idle != left || told.Absolute != left || !told.IdleEnd.Equal(end) || !told.End.Equal(end) {
			t.Errorf("%s: %s; want %d seconds, until %v", what, text, left, end)
		}
	}
	check("session", b.fetch("/api/auth/session").body)
	s.clock.Advance(30 * time.Second)
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
		t.Errorf("the profile page does not say %s", want)
	}

	s.clock.Advance(end.Sub(s.clock.Now()))
	if e := wantEvent(t, stream, "ended"); e.data["reason"] != "expired" {
		t.Errorf("ended: %v, want expired", e.data)
	}
	wantEnd(t, stream)
	res = b.fetch("/api/private-route", header("Referer", s.cfg.BaseURL+"/private"))
	wantStatus(t, res, http.StatusUnauthorized)
	if got := res.Header.Get("Gatehouse-Login"); got != "/api/auth/login?returnTo=%2Fprivate" {
		t.Errorf("Gatehouse-Login %q", got)
	}
	wantStatus(t, b.navigate("/private"), http.StatusSeeOther)
}
