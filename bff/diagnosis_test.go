package bff_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// A logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines returns the lines that contain a text.
func (b *logBuffer) lines(text string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

func logTo(log *logBuffer) func(*bff.Config) {
	return func(cfg *bff.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		cfg.SettingName = func(field string) string { return "SETTING " + field }
	}
}

// A client that the provider refuses is told until a request of it succeeds; the bff
// is ready meanwhile. Other refusals are not about the client.
func TestClientRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	callback := func() { b := s.browser(); b.back(s.idp.authorize(b.navigate("/api/auth/login").location())) }
	if err := s.ClientRefused(); err != nil {
		t.Fatalf("at first: %v", err)
	}
	for _, other := range []http.HandlerFunc{refuse(400, "invalid_grant"), refuse(500, "server_error"), refuse(429, ""), refuse(400, "unauthorized_client")} {
		s.idp.change(func(p *provider) { p.instead["/token"] = other })
		callback()
		if err := s.ClientRefused(); err != nil {
			t.Errorf("an error about something else: %v", err)
		}
	}
	for _, refusal := range []http.HandlerFunc{refuse(401, "invalid_client"), refuse(400, "invalid_client"), refuse(401, "unauthorized_client"), refuse(401, "")} {
		s.idp.change(func(p *provider) { p.instead["/token"] = refusal })
		callback()
		err := s.ClientRefused()
		if err == nil || !strings.Contains(err.Error(), "correct Client.ID and Client.Secret, or register the client there") {
			t.Errorf("got %v", err)
		}
		wantStatus(t, s.browser().fetch("/readyz"), http.StatusOK)
		s.idp.change(func(p *provider) { delete(p.instead, "/token") })
		s.browser().signIn()
		if err := s.ClientRefused(); err != nil {
			t.Errorf("after a login: %v", err)
		}
	}
}

// Logins that never come back are reported once; a single one that does is enough.
func TestUnreturnedLogins(t *testing.T) {
	t.Parallel()
	for _, returns := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log logBuffer
			s := bubble(t, logTo(&log))
			if returns {
				s.browser().signIn()
			}
			for range 40 {
				s.browser().navigate("/api/auth/login")
				time.Sleep(20 * time.Second)
			}
			lines := log.lines("no login has come back from the provider")
			switch {
			case returns && len(lines) != 0:
				t.Errorf("reported although one came back: %q", lines)
			case !returns && (len(lines) != 1 || !strings.Contains(lines[0], "logins=20") || !strings.Contains(lines[0], "setting=\"SETTING BaseURL\"") ||
				!strings.Contains(lines[0], "redirect URI http://localhost:3000/api/auth/callback is registered")):
				t.Errorf("got %q", lines)
			}
		})
	}
}

// The first access token that does not fit is reported once, with the setting.
func TestAccessTokenDoesNotFit(t *testing.T) {
	t.Parallel()
	const event = "access tokens do not fit the configuration"
	var log logBuffer
	s := start(t, logTo(&log))
	s.browser().signIn()
	s.browser().signIn()
	lines := log.lines(event)
	if len(lines) != 1 || !strings.Contains(lines[0], "(opaque)") || !strings.Contains(lines[0], `setting="SETTING Login.Audience"`) {
		t.Errorf("opaque: got %q", lines)
	}
	for _, raw := range s.idp.good() {
		if len(log.lines(raw)) > 0 {
			t.Error("an access token is logged")
		}
	}

	log = logBuffer{}
	start(t, logTo(&log), func(cfg *bff.Config) { cfg.Login.OpaqueTokens = true }).browser().signIn()
	if lines := log.lines(event); len(lines) > 0 {
		t.Errorf("opaque, and introspected: got %q", lines)
	}

	log = logBuffer{}
	s = start(t, logTo(&log), func(cfg *bff.Config) { cfg.Login.Audience = "" })
	s.browser().signIn()
	if lines := log.lines(event); len(lines) != 0 {
		t.Errorf("without an audience the API may be any: %q", lines)
	}
}
