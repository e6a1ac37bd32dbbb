package bff_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

// held makes the token endpoint wait, once it was called, until release.
func (p *provider) held() (called chan struct{}, release func()) {
	called, gate := make(chan struct{}, 16), make(chan struct{})
	p.change(func(p *provider) {
		p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
			called <- struct{}{}
			<-gate
			p.token(w, r)
		}
	})
	return called, func() {
		p.change(func(p *provider) { delete(p.instead, "/token") })
		close(gate)
	}
}

// copied returns another browser with the same cookies.
func (b *browser) copied() *browser {
	other := b.s.browser()
	maps.Copy(other.cookies, b.cookies)
	return other
}

// After a double click or a retry, a browser makes the same callback several
// times at once, at several nodes. The code is redeemed once, all get one
// session, and the provider sees no reuse, which would end the grant.
func testParallelCallbacks(t *testing.T, s, other *system) {
	t.Helper()
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location())
	called, release := s.idp.held()
	stranger := s.browser()
	attempt := b.copied()
	var asking sync.WaitGroup
	answers := make(chan *response, 8)
	for i := range cap(answers) {
		at := attempt.copied()
		if i%2 == 1 {
			at = at.as(other)
		}
		asking.Go(func() { answers <- at.back(callback) })
	}
	<-called
	wantStatus(t, stranger.back(callback), http.StatusBadRequest)
	release()
	asking.Wait()
	close(answers)
	for res := range answers {
		wantStatus(t, res, http.StatusSeeOther)
		c := res.set(session.CookieName)
		if c == nil || res.location() != "/private" {
			t.Fatalf("no session, to %q", res.location())
		}
		if b.session() == "" {
			b.cookies[session.CookieName] = c.Value
		}
		if c.Value != b.session() {
			t.Error("two sessions of one login")
		}
	}
	if n := len(s.idp.called("/token")); n != 1 {
		t.Errorf("the code was redeemed %d times, want once", n)
	}

	s.clock.Advance(50 * time.Second)
	if res := attempt.copied().as(other).back(callback); res.set(session.CookieName) == nil || res.set(session.CookieName).Value != b.session() {
		t.Errorf("repeated after 50 s: status %d", res.StatusCode)
	}
	wantStatus(t, attempt.copied().back(strings.Replace(callback, "code=", "code=another", 1)), http.StatusBadRequest)
	s.clock.Advance(11 * time.Second)
	late := attempt.copied().as(other)
	wantStatus(t, late.back(callback), http.StatusBadRequest)
	if late.session() != "" {
		t.Error("a callback is good for longer than a minute")
	}
	// The grant is valid.
	s.clock.Advance(10 * time.Minute)
	if b.access() == "" || len(s.idp.refreshes()) != 1 {
		t.Error("the session has not survived its first refresh")
	}
}

func TestParallelCallbacks(t *testing.T) {
	t.Parallel()
	s := start(t)
	testParallelCallbacks(t, s, s.node())
}

// A repeated callback does not bring back a session that has ended since, and
// does not replace another one.
func TestRepeatedCallbackAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	again := b.copied()
	wantStatus(t, b.back(callback), http.StatusSeeOther)
	wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
	wantStatus(t, again.back(callback), http.StatusBadRequest)
	if again.session() != "" {
		t.Error("the ended session's cookie is set")
	}
}

// A failed attempt has failed for all its callbacks.
func TestParallelCallbacksFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"invalid_grant":   {refuse(http.StatusBadRequest, "invalid_grant"), http.StatusBadRequest},
		"invalid_request": {refuse(http.StatusBadRequest, "invalid_request"), http.StatusBadRequest}, // Entra, for a malformed code
		"invalid_client":  {refuse(http.StatusUnauthorized, "invalid_client"), http.StatusBadGateway},
		"status 500":      {refuse(http.StatusInternalServerError, "server_error"), http.StatusBadGateway},
		"panics":          {func(http.ResponseWriter, *http.Request) { panic("in the provider's client: boom") }, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			other := s.node()
			b := s.browser()
			callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location())
			s.idp.change(func(p *provider) { p.instead["/token"] = c.answer })
			var asking sync.WaitGroup
			for i := range 6 {
				at := b.copied()
				if i%2 == 1 {
					at = at.as(other)
				}
				asking.Go(func() {
					res := at.back(callback)
					if res.StatusCode != c.status || at.session() != "" || !strings.Contains(res.body, "returnTo=%2Fprivate") {
						t.Errorf("status %d, want %d: %s", res.StatusCode, c.status, res.body)
					}
				})
			}
			asking.Wait()
			if n := len(s.idp.called("/token")); n != 1 {
				t.Errorf("%d token calls, want 1", n)
			}
		})
	}
}

// While a code is being redeemed, the browser closes the connection and the
// process is told to stop. The process waits, and the browser finds its session
// at another node.
func TestExchangeOutlivesTheBrowser(t *testing.T) {
	t.Parallel()
	s := start(t)
	other := s.node()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	called, release := s.idp.held()
	again := b.copied().as(other)
	gone, leave := context.WithCancel(t.Context())
	left := make(chan int, 1)
	go func() {
		left <- b.back(callback, func(r *http.Request) { *r = *r.WithContext(gone) }).StatusCode
	}()
	<-called
	leave()
	if status := <-left; status < 500 {
		t.Errorf("status %d for a browser that has gone", status)
	}
	stop()
	select {
	case err := <-ended:
		t.Fatalf("Run returned (%v) with a code being redeemed", err)
	default:
	}
	release()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	wantStatus(t, again.back(callback), http.StatusSeeOther)
	if !again.signedIn() || len(s.idp.called("/token")) != 1 {
		t.Error("not signed in by the code that was redeemed once")
	}
}

// A forgetful store loses what a node that ends would not have written.
type forgetful struct{ sessiontest.Store }

func (forgetful) PutNote(context.Context, session.Note) error { return nil }

// The node that redeems the code ends. The others stop waiting and say what to
// do.
func TestInterruptedLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		dying := *s
		dying.cfg.Sessions.Store = forgetful{s.store}
		dying.reconfigure()
		b := s.browser()
		callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location())
		wantStatus(t, b.copied().as(&dying).back(callback), http.StatusSeeOther)
		began := time.Now()
		waiting := b.copied()
		res := waiting.back(callback)
		wantStatus(t, res, http.StatusServiceUnavailable)
		if took := time.Since(began); took < 5*time.Second || took > 15*time.Second {
			t.Errorf("waited %v", took)
		}
		if !strings.Contains(res.body, "interrupted") || !strings.Contains(res.body, "returnTo=%2Fprivate") || waiting.session() != "" || len(waiting.attempts()) != 0 {
			t.Errorf("the page: %s", res.body)
		}
		// Later it does not wait.
		began = time.Now()
		wantStatus(t, b.back(callback), http.StatusBadRequest)
		if took := time.Since(began); took > time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

// A store outage before the code is redeemed does not use up the attempt: after
// a reload the login goes on.
func TestCallbackBeforeTheStoreIsBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	s.store.change(func(s *store) { s.add = outage })
	wantStatus(t, b.back(callback), http.StatusServiceUnavailable)
	if len(s.idp.called("/token")) != 0 || len(b.attempts()) != 1 {
		t.Fatal("the code was redeemed, or the attempt is gone")
	}
	s.store.change(func(s *store) { s.add = nil })
	wantStatus(t, b.back(callback), http.StatusSeeOther)
}

// A malformed code is not sent to the provider.
func TestImpossibleCodes(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, code := range map[string]string{
		"empty": "", "line break": "a\r\nb", "NUL": "a\x00b", "not ASCII": "ä", "not UTF-8": "\xff", "endless": strings.Repeat("c", 9000),
	} {
		b := s.browser()
		res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location(), func(q url.Values) { q.Set("code", code) }))
		if res.StatusCode != http.StatusBadRequest || b.session() != "" || len(s.idp.called("/token")) != 0 {
			t.Errorf("%s: status %d, %d token calls", name, res.StatusCode, len(s.idp.called("/token")))
		}
	}
}

// A refusal's error_description is logged, quoted and bounded, as a warning
// unless only the user is concerned.
func TestRefusalIsLogged(t *testing.T) {
	t.Parallel()
	const reason = "Requested audience https://api.example.com has not been whitelisted"
	for _, code := range []string{"invalid_request", "server_error", "login_required", "interaction_required", "consent_required", "account_selection_required", "access_denied"} {
		for _, query := range []string{"", "?prompt=none"} {
			log := &record{secrets: map[string]string{}}
			s := start(t, logsTo(log))
			b := s.browser()
			b.back(s.idp.authorize(b.navigate("/api/auth/login"+query).location(), func(q url.Values) {
				q.Del("code")
				q.Set("error", code)
				q.Set("error_description", reason+"\r\nlevel=ERROR msg=forged "+strings.Repeat("x", 5000))
			}))
			level := "level=WARN"
			if strings.HasSuffix(code, "_required") || code == "access_denied" {
				level = "level=INFO"
			}
			found := ""
			for line := range strings.Lines(log.text()) {
				if strings.Contains(line, reason) {
					found = line
				}
				if strings.HasPrefix(line, "level=ERROR") {
					t.Errorf("%s: a forged line: %s", code, line)
				}
			}
			if !strings.Contains(found, level) || !strings.Contains(found, "code="+code) || len(found) > 600 {
				t.Errorf("%s%s: want %s in %q", code, query, level, found)
			}
		}
	}
}
