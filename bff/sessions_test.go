package bff_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A listed session is an element of the list in JSON.
type listed struct {
	Handle  string `json:"handle"`
	Current bool   `json:"current"`
	Device  string `json:"device"`
	Address string `json:"address"`

	CreatedAt     time.Time `json:"created_at"`
	LastSeenAt    time.Time `json:"last_seen_at"`
	IdleExpiresAt time.Time `json:"idle_expires_at"`
	ExpiresAt     time.Time `json:"expires_at"`
}

func (b *browser) sessions() []listed {
	b.s.t.Helper()
	res := b.fetch("/api/auth/sessions")
	wantStatus(b.s.t, res, http.StatusOK)
	if cc := res.Header.Get("Cache-Control"); cc != "no-store" {
		b.s.t.Errorf("Cache-Control %q", cc)
	}
	var answer struct{ Sessions []listed }
	if err := json.Unmarshal([]byte(res.body), &answer); err != nil {
		b.s.t.Fatal(err)
	}
	return answer.Sessions
}

// end makes the request of the page to end a session.
func (b *browser) end(path string, edits ...edit) *response {
	b.s.t.Helper()
	return b.do(http.MethodDelete, path, nil, append([]edit{site("same-origin"), header("Origin", b.s.cfg.BaseURL)}, edits...)...)
}

// signInAs is signIn with a User-Agent and an address.
func (s *system) signInAs(userAgent, address string) *browser {
	s.t.Helper()
	b := s.browser()
	from := func(r *http.Request) { r.RemoteAddr = address + ":1" }
	agent := header("User-Agent", userAgent)
	res := b.back(s.idp.authorize(b.navigate("/api/auth/login", agent, from).location()), agent, from)
	wantStatus(s.t, res, http.StatusSeeOther)
	return b
}

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1"
)

func TestListSessions(t *testing.T) {
	t.Parallel()
	s := start(t)
	laptop := s.signInAs(firefox, "203.0.113.7")
	created := s.clock.Now().Truncate(time.Millisecond)
	s.clock.Advance(time.Hour)
	phone := s.signInAs(safari, "[2001:db8::1]")
	s.idp.change(func(p *provider) { p.id["sub"] = "user-2" })
	s.browser().signIn()

	all := laptop.sessions()
	if len(all) != 2 {
		t.Fatalf("%d sessions, want the user's two", len(all))
	}
	newer, older := all[0], all[1]
	if newer.Current || newer.Device != "Safari on iPhone" || newer.Address != "2001:db8::1" {
		t.Errorf("the phone: %+v", newer)
	}
	if !older.Current || older.Device != "Firefox on Linux" || older.Address != "203.0.113.7" || !older.CreatedAt.Equal(created) || !older.LastSeenAt.Equal(created) ||
		!older.IdleExpiresAt.Equal(created.Add(24*time.Hour)) || !older.ExpiresAt.Equal(created.Add(7*24*time.Hour)) {
		t.Errorf("the laptop, whose session the list does not extend: %+v", older)
	}
	if phone.sessions()[0].Handle != newer.Handle || !phone.sessions()[0].Current {
		t.Error("the wrong session is marked as current")
	}
	// A handle is not a cookie value.
	if len(newer.Handle) != 16 || strings.Contains(phone.session(), newer.Handle) {
		t.Errorf("handle %q", newer.Handle)
	}
	stranger := s.browser()
	stranger.cookies["gatehouse"] = newer.Handle
	wantStatus(t, stranger.fetch("/api/auth/sessions"), http.StatusUnauthorized)
}

// A login beyond the limit ends the session that was unused for longest, and tells its
// tabs why.
func TestSessionLimit(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Sessions.MaxPerUser = 2 })
	s.run()
	var users []*browser
	for range 2 {
		users = append(users, s.browser().signIn())
		s.clock.Advance(time.Minute)
	}
	stream := open(t, s, users[0], "/api/auth/events")
	wantEvent(t, stream, "session")
	users = append(users, s.browser().signIn())
	if e := wantEvent(t, stream, "ended"); e.data["reason"] != "evicted" {
		t.Errorf("reason %q, want evicted", e.data["reason"])
	}
	for i, want := range []bool{false, true, true} {
		if got := users[i].signedIn(); got != want {
			t.Errorf("user %d signed in: %t, want %t", i, got, want)
		}
	}
}

// A list has at most 200 sessions and the current one, and tells how many there are.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Sessions.MaxPerUser = 1000 })
	first := s.browser().signIn()
	s.clock.Advance(time.Second)
	page, _, err := s.cfg.Sessions.Store.List(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	r := page[0]
	r.CreatedAt = s.clock.Now() // newer than the current one
	for i := range 249 {
		r.ID[0], r.ID[1] = byte(i), r.ID[1]+1
		if err := s.cfg.Sessions.Store.Create(t.Context(), r, session.ID{}); err != nil {
			t.Fatal(err)
		}
	}
	var answer struct {
		Sessions []listed
		Total    int
	}
	if err := json.Unmarshal([]byte(first.fetch("/api/auth/sessions").body), &answer); err != nil {
		t.Fatal(err)
	}
	if n := len(answer.Sessions); n != 201 || answer.Total != 250 || !answer.Sessions[n-1].Current {
		t.Errorf("%d sessions of %d, want 200 of 250 and the current one", n, answer.Total)
	}
}

// The chosen session ends and the others do not. Ending the current one is a
// logout.
func TestEndOneSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	laptop := s.signInAs(firefox, "203.0.113.7")
	s.clock.Advance(time.Second)
	phone := s.signInAs(safari, "203.0.113.8")
	all := laptop.sessions()
	res := laptop.end("/api/auth/sessions/" + all[0].Handle)
	wantStatus(t, res, http.StatusNoContent)
	if phone.signedIn() || !laptop.signedIn() || len(res.Cookies()) != 0 {
		t.Error("the wrong session has ended")
	}
	wantStatus(t, laptop.end("/api/auth/sessions/"+all[0].Handle), http.StatusNotFound)

	refresh := s.idp.called("/token")
	res = laptop.end("/api/auth/sessions/" + all[1].Handle)
	wantStatus(t, res, http.StatusNoContent)
	if cleared := res.set("gatehouse"); cleared == nil || cleared.MaxAge >= 0 || laptop.signedIn() {
		t.Error("the current session has not ended")
	}
	if len(refresh) == 0 {
		t.Fatal("no tokens were got")
	}
	eventually(t, "its refresh token is revoked", func() bool { return len(s.idp.revoked()) == 1 })
}

func TestEndOtherSessions(t *testing.T) {
	t.Parallel()
	s := start(t)
	one, two, three := s.browser().signIn(), s.browser().signIn(), s.browser().signIn()
	s.idp.change(func(p *provider) { p.id["sub"] = "user-2" })
	other := s.browser().signIn()
	res := two.end("/api/auth/sessions")
	wantStatus(t, res, http.StatusOK)
	if res.body != `{"ended":2}`+"\n" {
		t.Errorf("%s", res.body)
	}
	if one.signedIn() || three.signedIn() || !two.signedIn() || !other.signedIn() {
		t.Error("want the others ended, and the current session not")
	}
}

// The handle of another user's session is not found, and a request without a
// session ends none.
func TestSessionsOfOthers(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	victim := s.browser().signIn()
	handle := victim.sessions()[0].Handle
	s.idp.change(func(p *provider) { p.id["sub"] = "user-2" })
	attacker := s.browser().signIn()
	for _, path := range []string{handle, strings.ToUpper(handle), handle[:15], handle + "0", handle + "/", "", "%2e%2e", "../sessions/" + handle} {
		res := attacker.end("/api/auth/sessions/" + path)
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%q: status %d", path, res.StatusCode)
		}
	}
	wantStatus(t, s.browser().end("/api/auth/sessions/"+handle), http.StatusUnauthorized)
	wantStatus(t, s.browser().end("/api/auth/sessions"), http.StatusUnauthorized)
	// Requests of other origins are refused (CSRF), also of sibling subdomains,
	// which have the cookie.
	for _, from := range []string{"cross-site", "same-site"} {
		for _, path := range []string{"/api/auth/sessions", "/api/auth/sessions/" + handle} {
			wantStatus(t, victim.do(http.MethodDelete, path, nil, site(from)), http.StatusForbidden)
			wantStatus(t, victim.do(http.MethodDelete, path, nil, header("Origin", "https://blog.shop.example")), http.StatusForbidden)
		}
	}
	for path, allowed := range map[string]string{"/api/auth/sessions": "DELETE, GET", "/api/auth/sessions/" + handle: "DELETE"} {
		res := victim.do(http.MethodPost, path, nil, site("same-origin"))
		wantStatus(t, res, http.StatusMethodNotAllowed)
		if got := res.Header.Get("Allow"); got != allowed {
			t.Errorf("%s: Allow %q", path, got)
		}
	}
	if !victim.signedIn() {
		t.Error("the victim is signed out")
	}
}

func TestSessionsDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	b, other := s.browser().signIn(), s.browser().signIn()
	handle := b.sessions()[1].Handle
	for name, fault := range map[string]func(*store){
		"get":    func(s *store) { s.get = outage },
		"list":   func(s *store) { s.list = outage },
		"delete": func(s *store) { s.delete = outage },
	} {
		s.store.change(fault)
		for _, res := range []*response{b.end("/api/auth/sessions"), b.end("/api/auth/sessions/" + handle)} {
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || len(res.Cookies()) != 0 {
				t.Errorf("%s: status %d, %v", name, res.StatusCode, res.Header)
			}
		}
		if name != "delete" {
			wantStatus(t, b.fetch("/api/auth/sessions"), http.StatusServiceUnavailable)
		}
		s.store.change(func(s *store) { s.get, s.list, s.delete = nil, nil, nil })
	}
	if !b.signedIn() || !other.signedIn() {
		t.Error("signed out by an outage")
	}
}
