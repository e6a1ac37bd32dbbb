package session_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

func TestSecretRotation(t *testing.T) {
	t.Parallel()
	old, fresh := secret(), secret()
	before := newFixture(t, func(c *session.ManagerConfig) { c.Secrets = []string{old} })
	_, idle := before.login(t)
	_, used := before.login(t)

	// With both secrets all sessions are found, and writes use the new one.
	during := before.with(t, fresh, old)
	during.load(t, idle)
	s := during.load(t, used)
	fence, err := during.Lock(t.Context(), s, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := during.Write(t.Context(), s, fence, s.Data); err != nil {
		t.Fatal(err)
	}
	_, newcomer := during.login(t)

	// Without the old one, sessions not written since are not found, and their records stay.
	after := before.with(t, fresh)
	after.load(t, used)
	after.load(t, newcomer)
	for range 2 {
		after.signedOut(t, idle)
		if list, err := after.List(t.Context(), issuer, subject); err != nil || len(list) != 3 {
			t.Errorf("%d sessions are listed, %v, want all 3", len(list), err)
		}
	}
	during.load(t, idle)
}

// With write access to the store, sealed data cannot be moved to another record, nor a session
// given another subject, nor extended.
func TestRecordsCannotBeForged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, victims := f.login(t, func(n *session.NewSession) { n.Subject = "victim" })
	victim := f.load(t, victims)
	stolen, err := f.store.Get(t.Context(), victim.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, forge := range map[string]func(*session.Record){
		"another row's seal":              func(r *session.Record) { r.Sealed = stolen.Sealed },
		"another subject":                 func(r *session.Record) { r.Subject = "victim" },
		"another issuer":                  func(r *session.Record) { r.Issuer = "https://evil.example/" },
		"another sid":                     func(r *session.Record) { r.SID = "" },
		"issuer and subject cut anew":     func(r *session.Record) { r.Issuer, r.Subject = r.Issuer+r.Subject[:1], r.Subject[1:] },
		"a later end":                     func(r *session.Record) { r.ExpiresAt = r.ExpiresAt.Add(time.Hour) },
		"another start":                   func(r *session.Record) { r.CreatedAt = r.CreatedAt.Add(-time.Hour) },
		"nothing sealed":                  func(r *session.Record) { r.Sealed = nil },
		"another row's seal and identity": func(r *session.Record) { id := r.ID; *r = stolen; r.ID = id },
	} {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, remembered %t", name, warm), func(t *testing.T) {
				t.Parallel()
				m := f.with(t, f.secrets...)
				s, cookie := m.login(t, func(n *session.NewSession) { n.Subject = subject + name })
				if warm {
					m.load(t, cookie)
				}
				r, err := m.store.Get(t.Context(), s.ID)
				if err != nil {
					t.Fatal(err)
				}
				forge(&r)
				if err := m.store.Delete(t.Context(), s.ID, session.ReasonSignedOut); err != nil {
					t.Fatal(err)
				}
				if err := m.store.Create(t.Context(), r, session.ID{}); err != nil {
					t.Fatal(err)
				}
				m.signedOut(t, cookie)
			})
		}
	}
}

// No way of printing a session shows a cookie or a token.
func TestSessionsAreNotPrinted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made, cookie := f.login(t, func(n *session.NewSession) { n.Data = n.Data.WithRoute(routeToken(1), time.Now()) })
	secrets := []string{cookie.Value, made.Data.Tokens.Access, made.Data.Tokens.Refresh, made.Data.Tokens.ID, made.Data.Routes[0].Access}
	raw := fmt.Sprint(made.Data.Tokens)
	for _, s := range []*session.Session{made, f.load(t, cookie)} {
		var text, structured bytes.Buffer
		for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&text, nil)), slog.New(slog.NewJSONHandler(&structured, nil))} {
			log.Info("m", "session", s, "record", s.Record, "data", s.Data, "tokens", s.Data.Tokens, "tokens", &s.Data.Tokens, "id", s.ID,
				"group", struct{ S *session.Session }{s})
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for how, got := range map[string]string{
			"%v":    fmt.Sprintf("%v %v %v", s, s.Data, s.Data.Tokens),
			"%+v":   fmt.Sprintf("%+v %+v %+v", s, s.Data, s.Data.Tokens),
			"%#v":   fmt.Sprintf("%#v %#v %#v", s, s.Data, s.Data.Tokens),
			"%s":    fmt.Sprintf("%s %s", s, raw),
			"error": fmt.Errorf("%v: %w", s, session.ErrNotFound).Error(),
			"text":  text.String(),
			"json":  structured.String(),
			"JSON":  string(encoded),
			"%d":    fmt.Sprintf("%d %x %q", s, s.Data, s.Data.Tokens),
			"deref": fmt.Sprintf("%v %+v %#v", *s, *s, *s),
			"field": fmt.Sprintf("%+v %#v", struct{ s *session.Session }{s}, struct{ s *session.Session }{s}),
		} {
			for i, secret := range secrets {
				if strings.Contains(got, secret) {
					t.Errorf("%s shows secret %d", how, i)
				}
			}
			if got == "" {
				t.Errorf("%s shows nothing at all", how)
			}
		}
		if !strings.Contains(structured.String(), `"id":"`+s.ID.String()+`"`) {
			t.Error("the log does not show the handle")
		}
	}
}

// Nor does a dereferenced session, in any form in which fmt prints an array.
func TestCookieBytesAreNotPrinted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *session.ManagerConfig) { c.Rand = strings.NewReader(strings.Repeat("\xab", 32)) })
	s, _ := f.login(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
		got := fmt.Sprintf(format, *s) + fmt.Sprintf(format, struct{ s session.Session }{*s})
		for _, run := range []string{"171 171 171", "abababab", "0xab, 0xab", "ab ab ab"} {
			if strings.Contains(got, run) {
				t.Errorf("%s of a dereferenced session shows the cookie: %s", format, got)
			}
		}
	}
}
