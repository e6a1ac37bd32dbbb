package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

func TestCreateAndLoad(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := data()
	made, cookie := f.login(t, func(n *session.NewSession) {
		n.SID, n.Data, n.UserAgent, n.Address = "sid-1", want, "Firefox", "192.0.2.1"
	})
	// The first Load decrypts, the second uses the cache, and another node decrypts again.
	for name, m := range map[string]*fixture{"here": f, "again": f, "elsewhere": f.with(t, f.secrets...)} {
		s := m.load(t, cookie)
		if s.ID != made.ID || s.Issuer != issuer || s.Subject != subject || s.SID != "sid-1" ||
			s.UserAgent != "Firefox" || s.Address != "192.0.2.1" {
			t.Errorf("%s: loaded %+v", name, s.Record)
		}
		if !reflect.DeepEqual(s.Data.Claims, want.Claims) {
			t.Errorf("%s: claims = %v\nwant %v", name, s.Data.Claims, want.Claims)
		}
		if s.Data.Tokens != want.Tokens {
			t.Errorf("%s: the tokens differ", name)
		}
		now := f.clock.Now()
		if !s.CreatedAt.Equal(now) || !s.LastSeenAt.Equal(now) || !s.IdleExpiresAt.Equal(now.Add(24*time.Hour)) ||
			!s.ExpiresAt.Equal(now.Add(7*24*time.Hour)) {
			t.Errorf("%s: times = %+v", name, s.Record)
		}
		if s.Sealed != nil {
			t.Errorf("%s: the sealed bytes are handed out", name)
		}
	}
}

// Numbers in claims keep their digits: float64 would turn 9007199254740993 into …992 and 1.10 into
// 1.1.
func TestNumbersStayExact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, cookie := f.login(t)
	claims := f.load(t, cookie).Data.Claims
	for claim, want := range map[string]json.Number{"big": "9007199254740993", "precise": "1.10"} {
		if claims[claim] != want {
			t.Errorf("%s = %#v, want %s", claim, claims[claim], want)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, change := range map[string]func(*session.NewSession){
		"no issuer":         func(n *session.NewSession) { n.Issuer = "" },
		"no subject":        func(n *session.NewSession) { n.Subject = "" },
		"NUL in the sid":    func(n *session.NewSession) { n.SID = "a\x00b" },
		"subject not UTF-8": func(n *session.NewSession) { n.Subject = "a\xff" },
		"claims too large":  func(n *session.NewSession) { n.Data.Claims["blob"] = strings.Repeat("x", 300<<10) },
		"claims not JSON":   func(n *session.NewSession) { n.Data.Claims["f"] = func() {} },
	} {
		n := session.NewSession{Issuer: issuer, Subject: subject, Data: data()}
		change(&n)
		s, cookie, err := f.Create(t.Context(), n)
		if err == nil || s != nil || cookie != nil {
			t.Errorf("%s: created, %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), n.Data.Tokens.Access) {
			t.Errorf("%s: the error shows a token", name)
		}
	}
	if list, err := f.List(t.Context(), issuer, subject); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want none", list, err)
	}
}

func TestCreateNeedsRandomness(t *testing.T) {
	t.Parallel()
	broken := errors.New("no entropy")
	for name, random := range map[string]io.Reader{
		"broken": iotest.ErrReader(broken),
		"short":  strings.NewReader("only a few bytes"),
	} {
		f := newFixture(t, func(c *session.ManagerConfig) { c.Rand = random })
		if _, cookie, err := f.Create(t.Context(), session.NewSession{Issuer: issuer, Subject: subject}); err == nil || cookie != nil {
			t.Errorf("%s: a session without its 256 bits, %v", name, err)
		}
	}
}

func TestWhatABrowserSaysOfItselfIsCleaned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct{ in, want string }{
		{"Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (X11; Linux)"},
		{"a\x00b\r\nc\x1b[31m", "abc[31m"},
		{"caf\xe9 \xff", "caf "},
		{"\u202egnp.exe", "gnp.exe"},
		{strings.Repeat("é", 500), strings.Repeat("é", 128)},
		{"x" + strings.Repeat("é", 500), "x" + strings.Repeat("é", 127)}, // not cut within a character
	} {
		_, cookie := f.login(t, func(n *session.NewSession) { n.UserAgent, n.Address = c.in, c.in })
		s := f.load(t, cookie)
		if s.UserAgent != c.want || s.Address != c.want {
			t.Errorf("%q became %q and %q, want %q", c.in, s.UserAgent, s.Address, c.want)
		}
	}
}

// A store error is an outage: 503, never a logout (oauth2-proxy #2503). Nor is a browser that
// disconnects (#1325).
func TestOutageIsNoLogout(t *testing.T) {
	t.Parallel()
	outage := errors.New("connection refused")
	f := newFixture(t)
	spy := newSpy(t, f.clock.Now)
	f = newFixture(t, func(c *session.ManagerConfig) { c.Store = spy })
	s, cookie := f.login(t)
	f.load(t, cookie)
	f.clock.Advance(time.Hour)
	fence, err := f.Lock(t.Context(), s, time.Minute)
	if err != nil {
		t.Fatal(err)
	}

	for _, spy.fail = range []error{outage, context.Canceled, context.DeadlineExceeded} {
		calls := map[string]error{}
		_, calls["Load"] = f.Load(t.Context(), request(cookie))
		_, calls["Reload"] = f.Reload(t.Context(), s)
		_, calls["Write"] = f.Write(t.Context(), s, fence, data())
		calls["Touch"] = f.Touch(t.Context(), s)
		calls["End"] = f.End(t.Context(), s, session.ReasonSignedOut)
		for name, err := range calls {
			if err == nil || errors.Is(err, session.ErrNotFound) || !errors.Is(err, spy.fail) {
				t.Errorf("%s during %q: %v", name, spy.fail, err)
			}
		}
	}
	spy.fail = nil
	f.load(t, cookie)
}

func TestWriteUnderTheLock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s, cookie := f.login(t)
	old := s.Data.Tokens
	fence, err := f.Lock(t.Context(), s, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lock(t.Context(), s, 10*time.Second); !errors.Is(err, session.ErrLocked) {
		t.Errorf("second Lock: %v, want ErrLocked", err)
	} else if locked, ok := errors.AsType[*session.LockedError](err); !ok || !locked.Until.Equal(f.clock.Now().Add(10*time.Second)) {
		t.Errorf("second Lock does not say until when: %v", err)
	}

	fresh := data()
	written, err := f.Write(t.Context(), s, fence, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if s.Data.Tokens != old || written.Data.Tokens != fresh.Tokens || written.ID != s.ID {
		t.Error("Write changed the old session")
	}
	if got := f.load(t, cookie); got.Data.Tokens != fresh.Tokens {
		t.Error("Load gives the old tokens after Write")
	}
	if got, err := f.Reload(t.Context(), s); err != nil || got.Data.Tokens != fresh.Tokens {
		t.Errorf("Reload after Write gives the old tokens, or %v", err)
	}
	// The lock was released; the next holder's fence is higher, and the first's is invalid then.
	next, err := f.Lock(t.Context(), s, 10*time.Second)
	if err != nil || next <= fence {
		t.Fatalf("Lock after Write = %d, %v", next, err)
	}
	if _, err := f.Write(t.Context(), s, fence, data()); !errors.Is(err, session.ErrFenced) {
		t.Errorf("Write with the first fence: %v, want ErrFenced", err)
	}
	if err := f.Unlock(t.Context(), s, next); err != nil {
		t.Error(err)
	}
	// Another node can read the written data, which is still bound to the session.
	if got := f.with(t, f.secrets...).load(t, cookie); got.Data.Tokens != fresh.Tokens {
		t.Error("another node reads the old tokens")
	}
}

// nextjs-auth0 #2335, #2530, #2616: a request that refreshed while its session ended wrote it back.
func TestRefreshDoesNotUndoLogout(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fixture, *session.Session) error{
		"End": func(f *fixture, s *session.Session) error {
			return f.End(context.Background(), s, session.ReasonSignedOut)
		},
		"EndByID": func(f *fixture, s *session.Session) error {
			return f.EndByID(context.Background(), s.ID, session.ReasonElsewhere)
		},
		"EndBySID": func(f *fixture, s *session.Session) error {
			_, err := f.EndBySID(context.Background(), s.Issuer, s.SID)
			return err
		},
		"EndBySubject": func(f *fixture, s *session.Session) error {
			_, err := f.EndBySubject(context.Background(), s.Issuer, s.Subject, session.ReasonOperator)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			s, cookie := f.login(t)
			f.load(t, cookie)
			fence, err := f.Lock(t.Context(), s, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if err := end(f, s); err != nil {
				t.Fatal(err)
			}
			f.signedOut(t, cookie)
			f.clock.Advance(time.Hour)
			if _, err := f.Write(t.Context(), s, fence, data()); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Write: %v, want ErrNotFound", err)
			}
			if err := f.Touch(t.Context(), s); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Touch: %v, want ErrNotFound", err)
			}
			if _, err := f.Reload(t.Context(), s); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Reload: %v, want ErrNotFound", err)
			}
			f.signedOut(t, cookie)
			if err := f.End(t.Context(), s, session.ReasonSignedOut); err != nil {
				t.Errorf("End of what has ended: %v", err)
			}
			if err := f.EndByID(t.Context(), s.ID, session.ReasonElsewhere); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("EndByID of what has ended: %v, want ErrNotFound", err)
			}
		})
	}
}

// A Load during a write must not leave the old tokens in the cache.
func TestSlowLoadCachesNothingOld(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spy := newSpy(t, f.clock.Now)
	f = newFixture(t, func(c *session.ManagerConfig) { c.Store = spy })
	s, cookie := f.login(t)
	fresh := data()
	fence, err := f.Lock(t.Context(), s, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	spy.onGet = func() {
		spy.onGet = nil
		if _, err := f.Write(t.Context(), s, fence, fresh); err != nil {
			t.Error(err)
		}
	}
	f.load(t, cookie)
	if got := f.load(t, cookie); got.Data.Tokens != fresh.Tokens {
		t.Error("the old tokens are cached")
	}
}

func TestListAndEndOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, phone := f.login(t, func(n *session.NewSession) { n.UserAgent = "phone" })
	f.clock.Advance(time.Minute)
	_, laptop := f.login(t, func(n *session.NewSession) { n.UserAgent = "laptop" })
	list, err := f.List(t.Context(), issuer, subject)
	if err != nil || len(list) != 2 || list[0].UserAgent != "laptop" || list[1].UserAgent != "phone" {
		t.Fatalf("List = %+v, %v", list, err)
	}
	if err := f.EndByID(t.Context(), list[1].ID, session.ReasonElsewhere); err != nil {
		t.Fatal(err)
	}
	f.signedOut(t, phone)
	f.load(t, laptop)
	ids, err := f.EndBySubject(t.Context(), issuer, subject, session.ReasonOperator)
	if err != nil || len(ids) != 1 || ids[0] != list[0].ID {
		t.Errorf("EndBySubject = %v, %v", ids, err)
	}
	f.signedOut(t, laptop)
}

func TestNewManagerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*session.ManagerConfig)
		says   string
	}{
		"no store":              {func(c *session.ManagerConfig) { c.Store = nil }, "Store"},
		"no secret":             {func(c *session.ManagerConfig) { c.Secrets = nil }, "session.Secrets is missing"},
		"a short secret":        {func(c *session.ManagerConfig) { c.Secrets = []string{"kJ8#mQ2"} }, "7 characters"},
		"idle too short":        {func(c *session.ManagerConfig) { c.IdleTimeout = time.Millisecond }, "1ms"},
		"idle negative":         {func(c *session.ManagerConfig) { c.IdleTimeout = -time.Hour }, "-1h"},
		"absolute negative":     {func(c *session.ManagerConfig) { c.AbsoluteTimeout = -time.Hour }, "-1h"},
		"idle above absolute":   {func(c *session.ManagerConfig) { c.IdleTimeout, c.AbsoluteTimeout = 2*time.Hour, time.Hour }, `"2h0m0s" is longer`},
		"another scheme":        {func(c *session.ManagerConfig) { c.BaseURL = &url.URL{Scheme: "ftp", Host: "x"} }, `"ftp"`},
		"no scheme":             {func(c *session.ManagerConfig) { c.BaseURL = &url.URL{Host: "x"} }, `scheme ""`},
		"a negative cache":      {func(c *session.ManagerConfig) { c.CacheSize = -1 }, "-1"},
		"the second is a dummy": {func(c *session.ManagerConfig) { c.Secrets = append(c.Secrets, strings.Repeat("changeme", 5)) }, "Secrets[1] has too few"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := session.ManagerConfig{Store: newSpy(t, time.Now), Secrets: []string{secret()}}
			c.change(&config)
			_, err := session.NewManager(config)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("NewManager: %v, want an error that says %q", err, c.says)
			}
		})
	}
}
