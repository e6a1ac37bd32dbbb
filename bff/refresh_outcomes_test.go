package bff_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// due is when a token in a bubble is due for a refresh and still valid. It
// expires 30 s later.
const due = 4*time.Minute + 30*time.Second

// keepLog records a system's log lines, in addition to those of the whole run.
func keepLog(cfg *bff.Config) *record {
	r := &record{secrets: map[string]string{}}
	cfg.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(r, everything), &slog.HandlerOptions{Level: slog.LevelInfo}))
	return r
}

// lines returns the number of lines with all texts.
func (r *record) lines(texts ...string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range bytes.Lines(r.log.Bytes()) {
		all := !bytes.Contains(line, []byte(" msg=request ")) // a request that failed is a warning of its own
		for _, text := range texts {
			all = all && bytes.Contains(line, []byte(text))
		}
		if all {
			n++
		}
	}
	return n
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// TestRefreshOutcomes makes the token endpoint answer with every error code of
// RFC 6749 §5.2 and OpenID Connect Core §3.1.2.6, and with those of some
// providers.
func TestRefreshOutcomes(t *testing.T) {
	t.Parallel()
	const over, user, transient, operator = "over", "user", "transient", "operator"
	type outcome struct {
		status int
		body   string
		class  string
	}
	cases := map[string]outcome{
		"Entra, suberror":                    {400, `{"error":"interaction_required","error_description":"AADSTS50076: use multi-factor authentication","error_codes":[50076],"suberror":"basic_action"}`, user},
		"Entra, invalid_grant with suberror": {400, `{"error":"invalid_grant","error_description":"AADSTS700082: expired","suberror":"bad_token"}`, over},
		"Entra, secret expired":              {401, `{"error":"invalid_client","error_description":"AADSTS7000222: expired"}`, operator},
		"Auth0, 403 invalid_grant":           {403, `{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`, over},
		"Auth0, mfa_required":                {403, `{"error":"mfa_required","error_description":"Multifactor authentication required","mfa_token":"x"}`, user},
		"Auth0, too many requests":           {429, `{"error":"too_many_requests","error_description":"slow down"}`, transient},
		"Cognito, invalid_grant":             {400, `{"error":"invalid_grant"}`, over},
		"GitHub, 200 with an error":          {200, `{"error":"access_denied","error_description":"no"}`, user},
		"a proxy's page":                     {502, `<html>Bad Gateway</html>`, transient},
		"a page that is no error":            {200, `<html>Sign in</html>`, transient},
		"a page with 400":                    {400, `<html>invalid_grant</html>`, transient},
		"nothing":                            {200, ``, transient},
		"an error that is an object":         {500, `{"error":{"code":500,"message":"boom"}}`, transient},
		"408":                                {408, `{}`, transient},
		"429":                                {429, `{}`, transient},
		"503":                                {503, ``, transient},
		"an unknown code":                    {400, `{"error":"something_else"}`, operator},
		"an unknown code with 503":           {503, `{"error":"something_else"}`, transient},
		"a login_required with 500":          {500, `{"error":"login_required"}`, user},
		"an invalid_client with 500":         {500, `{"error":"invalid_client"}`, operator},
	}
	for class, codes := range map[string][]string{
		over: {"invalid_grant"},
		user: {
			"access_denied", "mfa_required", "interaction_required", "login_required", "consent_required", "account_selection_required",
			"unmet_authentication_requirements",
		},
		transient: {"temporarily_unavailable", "server_error", "slow_down"},
		operator: {
			"invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
			"invalid_request_uri", "invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported",
		},
	} {
		for _, code := range codes {
			for _, status := range []int{200, 400} {
				cases[fmt.Sprint(code, " with ", status)] = outcome{status, `{"error":"` + code + `"}`, class}
			}
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { outcomeOf(t, answer(c.status, c.body), c.class) })
		})
	}
}

func outcomeOf(t *testing.T, answer http.HandlerFunc, class string) {
	var log *record
	s := bubble(t, func(cfg *bff.Config) {
		log = keepLog(cfg)
		cfg.SettingName = func(field string) string { return "SETTING_" + field }
	})
	b := s.browser().signIn()
	late := s.browser().signIn() // returns when its token has expired
	old := b.access()
	s.idp.change(func(p *provider) { p.instead["/token"] = answer })
	time.Sleep(due)
	if b.access() != old {
		t.Fatal("not the token that is good still")
	}
	synctest.Wait()
	if class == "over" {
		wantSignedOut(t, b)
		return
	}
	time.Sleep(20 * time.Second)
	if got := b.access(); got != old {
		t.Errorf("after the failure %q, want the token that is good still", got)
	}
	synctest.Wait()
	tried := len(s.idp.refreshes())
	time.Sleep(11 * time.Second) // it has expired
	switch class {
	case "user":
		if tried != 1 {
			t.Errorf("%d refreshes, want 1", tried)
		}
		wantSignedOut(t, b)
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
		if wantStatus(t, late.fetch("/api/private-route"), http.StatusUnauthorized); len(s.idp.revoked()) != 1 {
			t.Errorf("%d revocations, want 1", len(s.idp.revoked()))
		}
		wantSignedOut(t, late)
	case "transient", "operator":
		for range 40 {
			res := b.fetch("/api/private-route")
			wantStatus(t, res, http.StatusServiceUnavailable)
			if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
				t.Fatalf("Retry-After %q, want seconds", res.Header.Get("Retry-After"))
			}
			time.Sleep(3 * time.Second)
		}
		if !b.signedIn() {
			t.Error("signed out")
		}
		n, most, level := len(s.idp.refreshes())-tried, 30, "WARN"
		if class == "operator" {
			most, level = 10, "ERROR"
			if log.lines("level=ERROR", "SETTING_") == 0 {
				t.Error("no error in the log names a setting")
			}
		}
		if n < 3 || n > most {
			t.Errorf("%d refreshes in 2 minutes, want 3 to %d", n, most)
		}
		if lines := log.lines("level=WARN") + log.lines("level=ERROR"); lines == 0 || lines > 4 || log.lines("level="+level) == 0 {
			t.Errorf("%d lines of level WARN and above, want 1 to 4, and one of %s", lines, level)
		}
		s.idp.change(func(p *provider) { clear(p.instead) })
		time.Sleep(time.Minute)
		if b.access() == "" {
			t.Error("no token although the provider is well again")
		}
	}
}

// wantSignedOut checks that a browser has no session.
func wantSignedOut(t *testing.T, b *browser) {
	t.Helper()
	res := b.fetch("/api/private-route")
	wantStatus(t, res, http.StatusUnauthorized)
	if !strings.HasPrefix(res.Header.Get("Gatehouse-Login"), "/api/auth/login") {
		t.Errorf("Gatehouse-Login %q, want the login's address", res.Header.Get("Gatehouse-Login"))
	}
	if res := b.navigate("/private"); !strings.HasPrefix(res.location(), "/api/auth/login") {
		t.Errorf("a navigation: status %d, want a redirect to the login", res.StatusCode)
	}
	if b.signedIn() {
		t.Error("/api/auth/me says signed in")
	}
}

// The event stream says that the session ends with its access token because the
// provider requires the user.
func TestEventsOfALoginDemanded(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	b := s.browser().signIn()
	stream := open(t, s, b, "/api/auth/events")
	wantEvent(t, stream, "session")
	s.idp.change(func(p *provider) { p.instead["/token"] = refuse(400, "interaction_required") })
	s.clock.Advance(due)
	b.access()
	if e := wantEvent(t, stream, "extended"); e.data["absolute_seconds"] != 30.0 {
		t.Errorf("the end is told as %v, want 30 s from now", e.data)
	}
}

// A slow provider with rotation and without grace: while the access token is
// valid no request waits, and no session is lost.
func TestSlowRefresh(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{6 * time.Second, 15 * time.Second, 30 * time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				other := *s
				other.reconfigure()
				b, late := s.browser().signIn(), s.browser().signIn()
				s.idp.change(func(p *provider) { p.instead["/token"] = after(p, takes) })
				time.Sleep(4*time.Minute + time.Second)
				for i := range 70 {
					began := time.Now()
					if b.as([]*system{s, &other}[i%2]).access() == "" || time.Since(began) > 0 {
						t.Fatalf("a request noticed, after %v", time.Since(began))
					}
					time.Sleep(time.Second)
				}
				if n := len(s.idp.refreshes()); n != 1 {
					t.Errorf("%d refreshes, want 1", n)
				}
				// Requests of a session whose token has expired wait for a limited
				// time, at any node.
				began := time.Now()
				for i := 0; time.Since(began) < takes; i++ {
					asked := time.Now()
					res := late.as([]*system{s, &other}[i%2]).fetch("/api/private-route")
					if took := time.Since(asked); took > 10*time.Second {
						t.Errorf("a request took %v, want 10s at most", took)
					}
					if res.StatusCode != http.StatusOK && (res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "") {
						t.Fatalf("status %d, want 200 or 503 with Retry-After", res.StatusCode)
					}
				}
				time.Sleep(time.Second)
				if late.as(s).access() == "" || late.as(&other).access() == "" || len(s.idp.refreshes()) != 2 {
					t.Errorf("%d refreshes, want 2", len(s.idp.refreshes()))
				}
				if !b.signedIn() || !late.signedIn() {
					t.Error("a session was lost")
				}
			})
		})
	}
}

// A refresh that was sent and not answered may have spent the refresh token, so
// no node sends it again while the access token is valid. Then one does.
func TestUnansweredRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, func(cfg *bff.Config) { cfg.Sessions.RefreshTimeout = 5 * time.Second })
		s.idp.lifetime = 10 * time.Minute
		other := *s
		other.reconfigure()
		b := s.browser().signIn()
		old := b.access()
		s.idp.change(func(p *provider) { p.instead["/token"] = hang })
		time.Sleep(9*time.Minute + time.Second)
		b.access()
		time.Sleep(12 * time.Second) // timed out
		s.idp.change(func(p *provider) { clear(p.instead) })
		for i := range 46 {
			if b.as([]*system{s, &other}[i%2]).access() != old {
				t.Fatal("not the token that is good still")
			}
			time.Sleep(time.Second)
		}
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes while the token was good, want 1", n)
		}
		time.Sleep(time.Second)
		if got := b.as(&other).access(); got == "" || got == old || len(s.idp.refreshes()) != 2 {
			t.Errorf("%d refreshes after it had expired, want 2", len(s.idp.refreshes()))
		}
	})
}

// unreachable is a transport that cannot connect to the token endpoint while
// dial is set. Otherwise the provider answers.
type unreachable struct {
	*provider
	mu   sync.Mutex
	dial func(*http.Request) (net.Conn, error)
}

func (u *unreachable) RoundTrip(r *http.Request) (*http.Response, error) {
	u.mu.Lock()
	dial := u.dial
	u.mu.Unlock()
	if dial == nil || r.URL.Path != "/token" {
		return u.provider.RoundTrip(r)
	}
	return (&http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return dial(r) },
	}).RoundTrip(r)
}

// If nothing was sent, the refresh token is sent again at once.
func TestUnsentRefresh(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dial  func(*http.Request) (net.Conn, error)
		takes time.Duration
	}{
		"refused": {func(*http.Request) (net.Conn, error) { return nil, io.ErrClosedPipe }, 0},
		"no answer to the connection": {func(r *http.Request) (net.Conn, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var away *unreachable
				s := bubble(t)
				away = &unreachable{provider: s.idp}
				s.cfg.HTTPClient = &http.Client{Transport: away}
				s.reconfigure()
				b := s.browser().signIn()
				old := b.access()
				away.mu.Lock()
				away.dial = c.dial
				away.mu.Unlock()
				time.Sleep(due)
				b.access()
				time.Sleep(c.takes)
				synctest.Wait()
				away.mu.Lock()
				away.dial = nil
				away.mu.Unlock()
				time.Sleep(time.Second)
				b.access()
				synctest.Wait()
				if b.access() == old || len(s.idp.refreshes()) != 1 {
					t.Errorf("%d refreshes while the token was good, want 1", len(s.idp.refreshes()))
				}
			})
		})
	}
}

// TestBreaker checks that an outage of the token endpoint costs a few probes and
// two log lines, whatever the number of sessions, and that logins go on.
func TestBreaker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, now time.Time)
		least  time.Duration // between probes
		most   int           // refreshes in the two minutes
	}{
		"500": {func(w http.ResponseWriter, _ time.Time) { w.WriteHeader(http.StatusInternalServerError) }, 0, 40},
		"429 with seconds": {func(w http.ResponseWriter, _ time.Time) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 60 * time.Second, 8},
		"503 with a date": {func(w http.ResponseWriter, now time.Time) {
			w.Header().Set("Retry-After", now.Add(90*time.Second).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusServiceUnavailable)
		}, 90 * time.Second, 7},
		"429 with an hour": {func(w http.ResponseWriter, _ time.Time) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 2 * time.Minute, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log *record
				s := bubble(t, func(cfg *bff.Config) { log = keepLog(cfg) })
				var all []*browser
				for range 12 {
					all = append(all, s.browser().signIn())
				}
				s.idp.change(func(p *provider) {
					p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
						if r.PostForm.Get("grant_type") != "refresh_token" {
							p.token(w, r)
							return
						}
						c.answer(w, p.now())
					}
				})
				time.Sleep(20 * time.Minute)
				for range 60 {
					for _, b := range all {
						began := time.Now()
						res := b.fetch("/api/private-route")
						wantStatus(t, res, http.StatusServiceUnavailable)
						if time.Since(began) > 0 || res.Header.Get("Retry-After") == "" {
							t.Fatalf("503 after %v with Retry-After %q, want it at once", time.Since(began), res.Header.Get("Retry-After"))
						}
					}
					time.Sleep(2 * time.Second)
				}
				calls := s.idp.refreshes()
				if n := len(calls); n < 5 || n > c.most {
					t.Errorf("%d refreshes of 12 sessions in two minutes, want 5 to %d", n, c.most)
				}
				for i := 5; i < len(calls); i++ {
					if gap := calls[i].at.Sub(calls[i-1].at); gap < c.least || gap < time.Second {
						t.Errorf("a probe after %v, want %v at least", gap, c.least)
					}
				}
				s.browser().signIn() // the breaker does not hold back logins
				s.idp.change(func(p *provider) { clear(p.instead) })
				time.Sleep(5 * time.Minute)
				for _, b := range all {
					if b.access() == "" {
						t.Fatal("no token although the provider is well again")
					}
				}
				if n := log.lines("level=WARN", "token endpoint unavailable"); n != 1 {
					t.Errorf("%d lines say that the endpoint fails, want 1", n)
				}
				if n := log.lines("token endpoint available again", "failures="); n != 1 {
					t.Errorf("%d lines say that the endpoint answers again, want 1", n)
				}
				if n := log.lines("level=WARN"); n > 6 {
					t.Errorf("%d lines of level WARN, want 6 at most", n)
				}
				if n := log.lines("level=ERROR"); n != 0 {
					t.Errorf("%d lines of level ERROR: the store is blamed for the provider's outage", n)
				}
			})
		})
	}
}

// Failures of one session do not hold back others.
func TestBreakerOfOneSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b, other := s.browser().signIn(), s.browser().signIn()
		s.idp.change(func(p *provider) { p.instead["/token"] = refuse(500, "") })
		time.Sleep(20 * time.Minute)
		for range 20 {
			wantStatus(t, b.fetch("/api/private-route"), http.StatusServiceUnavailable)
			time.Sleep(time.Second)
		}
		s.idp.change(func(p *provider) { clear(p.instead) })
		if other.access() == "" {
			t.Error("another session is held back")
		}
	})
}

// The provider withdraws a key: the API refuses a token that it has just
// accepted, although a refresh has just obtained it. One request may fail.
func TestWithdrawnKey(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				other := *s
				other.reconfigure()
				b := s.browser().signIn()
				time.Sleep(20 * time.Minute)
				old := b.access()
				if n := len(s.idp.refreshes()); n != 1 {
					t.Fatalf("%d refreshes, want 1", n)
				}
				time.Sleep(time.Second)
				s.api.set(refusing(invalidTokenChallenge, func(token string) bool { return token == old }))
				failed := 0
				for i := range 20 {
					if res := b.as([]*system{s, &other}[i/10]).do(method, "/api/x", nil, site("same-origin")); res.StatusCode != http.StatusOK {
						failed++
					}
				}
				if most := map[string]int{http.MethodGet: 0, http.MethodPost: 1}[method]; failed > most {
					t.Errorf("%d requests failed, want %d at most", failed, most)
				}
				if n := len(s.idp.refreshes()); n != 2 || !b.signedIn() {
					t.Errorf("%d refreshes, want 2", n)
				}
			})
		})
	}
}

// An API that refuses all tokens, after it has accepted some, causes no storm of
// refreshes, whatever the number of nodes.
func TestRefusalsCauseNoStorm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		other := *s
		other.reconfigure()
		b := s.browser().signIn()
		time.Sleep(20 * time.Minute)
		b.access()
		s.api.set(refusing(invalidTokenChallenge, func(string) bool { return true }))
		before := len(s.idp.refreshes())
		for i := range 120 {
			method := []string{http.MethodGet, http.MethodPost}[i/2%2]
			res := b.as([]*system{s, &other}[i%2]).do(method, "/api/x", nil, site("same-origin"))
			wantStatus(t, res, http.StatusUnauthorized)
			if !strings.Contains(res.body, "refused") {
				t.Fatalf("not the API's answer: %s", res.body)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if n := len(s.idp.refreshes()) - before; n < 1 || n > 3 {
			t.Errorf("%d refreshes in a minute, want 1 to 3", n)
		}
		if !b.signedIn() {
			t.Error("signed out")
		}
	})
}

// A refreshed ID token whose key cannot be fetched is no mismatch.
func TestRefreshedIDTokenWithoutKey(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]http.HandlerFunc{
		"the keys cannot be fetched":   refuse(503, ""),
		"the key is not published yet": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				b := s.browser().signIn()
				s.idp.change(func(p *provider) {
					p.idHeader["kid"] = "new-" + rand.Text()
					if keys != nil {
						p.instead["/keys"] = keys
					}
				})
				for i := range 5 { // more than the limit of fetches
					time.Sleep(6 * time.Minute)
					if b.access() == "" || !b.signedIn() || len(s.idp.refreshes()) != i+1 {
						t.Fatalf("%d refreshes, want %d and a session", len(s.idp.refreshes()), i+1)
					}
				}
			})
		})
	}
}

// Log lines contain no refresh token that a provider repeats, and only bounded,
// printable descriptions.
func TestDescriptionsInLogs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log *record
		s := bubble(t, func(cfg *bff.Config) { log = keepLog(cfg) })
		b := s.browser().signIn()
		s.idp.change(func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) { // TestMain looks for the token
				reply(w, 400, map[string]string{"error": "invalid_grant", "error_description": "unknown token " + r.PostForm.Get("refresh_token") + "\n" + strings.Repeat("é", 500)})
			}
		})
		time.Sleep(20 * time.Minute)
		wantSignedOut(t, b)
		if log.lines("unknown token") != 1 || log.lines(strings.Repeat("é", 200)) != 0 {
			t.Error("the description is missing, or not cut")
		}
	})
}

// The store refuses writes after the provider has answered. The new tokens are
// kept, and stored later.
func TestStoreRefusesNewTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		stop := s.running(t)
		b := s.browser().signIn()
		time.Sleep(due)
		s.store.change(func(s *store) { s.write = outage })
		b.access()
		time.Sleep(time.Minute)
		if res := b.fetch("/api/private-route"); res.StatusCode == http.StatusOK {
			t.Errorf("status %d with an expired token", res.StatusCode)
		}
		s.store.change(func(s *store) { s.write = nil })
		time.Sleep(2 * time.Second)
		if b.access() == "" || len(s.idp.refreshes()) != 1 {
			t.Errorf("%d refreshes, want 1 whose token is used", len(s.idp.refreshes()))
		}
		// A stop waits for them too.
		time.Sleep(due)
		s.store.change(func(s *store) { s.write = outage })
		b.access()
		time.Sleep(10 * time.Second)
		go func() {
			time.Sleep(5 * time.Second)
			s.store.change(func(s *store) { s.write = nil })
		}()
		stop()
		s.reconfigure()
		time.Sleep(20 * time.Second)
		if b.as(s).access() == "" || len(s.idp.refreshes()) != 2 {
			t.Errorf("%d refreshes, want 2", len(s.idp.refreshes()))
		}
	})
}
