package bff_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// An event is an event of a stream.
type event struct {
	name, retry string
	data        map[string]any
}

// nextEvent reads the next event and skips comments.
func nextEvent(t *testing.T, r *bufio.Reader) (e event, err error) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			e.name = value
		case "retry":
			e.retry = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				t.Errorf("%q: %v", value, err)
			}
		case "":
			if e.name != "" {
				return e, nil
			}
		case ":":
		default:
			t.Errorf("a line %q", line)
		}
	}
}

func wantEvent(t *testing.T, r *bufio.Reader, name string) event {
	t.Helper()
	e, err := nextEvent(t, r)
	if err != nil || e.name != name {
		t.Fatalf("event %q (%v), want %q: %v", e.name, e.data, name, err)
	}
	return e
}

// wantEnd reads to the end of a stream, without further events.
func wantEnd(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
}

// A browser gets the event of its session's end, with the reason, whatever ends
// it, at any node.
func TestEndedEvents(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"by logout here": "signed_out", "by logout at another node": "signed_out", "by the back channel of another node": "provider",
		"by the front channel": "provider", "from another device": "elsewhere", "by time": "expired", "by a new login": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.run()
			b := s.browser().signIn()
			stream := open(t, s, b, "/api/auth/events")
			first := wantEvent(t, stream, "session")
			if first.retry == "" || first.data["idle_seconds"] != 86400.0 || first.data["absolute_seconds"] != 604800.0 || first.data["expires_at"] == nil {
				t.Errorf("the first event: %+v", first)
			}
			endings[name](t, s, b)
			if want == "" {
				wantEvent(t, stream, "replaced")
			} else if e := wantEvent(t, stream, "ended"); e.data["reason"] != want {
				t.Errorf("ended: %v, want %s", e.data, want)
			}
			wantEnd(t, stream)
		})
	}
	if len(endings) != 7 {
		t.Errorf("%d endings, want more", len(endings))
	}
}

// Use of a session gives an event when it extends the session. The stream itself
// is not use.
func TestExtendedEvents(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	b := s.browser().signIn()
	s.clock.Advance(time.Hour)
	stream := open(t, s, b, "/api/auth/events")
	if e := wantEvent(t, stream, "session"); e.data["idle_seconds"] != 82800.0 {
		t.Errorf("the stream has extended the session: %v", e.data)
	}
	if !b.as(s.node()).signedIn() { // use, at another node
		t.Fatal("signed out")
	}
	if e := wantEvent(t, stream, "extended"); e.data["idle_seconds"] != 86400.0 || e.data["absolute_seconds"] != 601200.0 {
		t.Errorf("extended: %v", e.data)
	}
	// A refresh writes the session and does not extend it.
	if err := refreshed(s, b); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(24 * time.Hour)
	if e := wantEvent(t, stream, "ended"); e.data["reason"] != "expired" {
		t.Errorf("ended: %v", e.data)
	}
}

// refreshed has the API refuse the session's token once.
func refreshed(s *system, b *browser) error {
	first := true
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	b.fetch("/api/x")
	s.api.set(nil)
	if n := len(s.idp.refreshes()); n != 1 {
		s.t.Fatalf("%d refreshes", n)
	}
	return nil
}

// Signed-out browsers get 204, other origins 403.
func TestEventsRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	res := b.fetch("/api/auth/events")
	wantStatus(t, res, http.StatusNoContent) // after which an EventSource does not connect again
	b.signIn()
	for _, from := range []string{"cross-site", "same-site"} {
		wantStatus(t, b.fetch("/api/auth/events", site(from)), http.StatusForbidden)
	}
	s.store.change(func(s *store) { s.get = outage })
	res = b.fetch("/api/auth/events")
	wantStatus(t, res, http.StatusServiceUnavailable)
	if res.Header.Get("Retry-After") == "" || len(res.Cookies()) != 0 {
		t.Errorf("%v", res.Header)
	}
}

// The streams of a session at one node are limited.
func TestEventStreamLimit(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	b := s.browser().signIn()
	var streams []*bufio.Reader
	for range 8 {
		stream := open(t, s, b, "/api/auth/events")
		wantEvent(t, stream, "session")
		streams = append(streams, stream)
	}
	res := b.fetch("/api/auth/events")
	wantStatus(t, res, http.StatusTooManyRequests)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	other := open(t, s, s.browser().signIn(), "/api/auth/events")
	wantEvent(t, other, "session")
	b.navigate("/api/auth/logout")
	for _, stream := range streams {
		wantEvent(t, stream, "ended")
	}
}

// The limits of streams count those of a user in all browsers, and those of all users, and
// a stream that its browser closes no longer counts.
func TestEventStreamLimits(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Limits.MaxStreamsPerUser, cfg.Limits.MaxStreams = 2, 3 })
	s.run()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	stream := func(b *browser) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/api/auth/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: "gatehouse", Value: b.session()})
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	wants := func(b *browser, status int) *http.Response {
		t.Helper()
		res := stream(b)
		if res.StatusCode != status || (status == http.StatusTooManyRequests) != (res.Header.Get("Retry-After") != "") {
			t.Fatalf("%s, Retry-After %q, want %d", res.Status, res.Header.Get("Retry-After"), status)
		}
		return res
	}
	laptop, phone := s.browser().signIn(), s.browser().signIn()
	closed := wants(laptop, http.StatusOK)
	wants(phone, http.StatusOK)
	wants(phone, http.StatusTooManyRequests) // of the user
	s.idp.change(func(p *provider) { p.id["sub"] = "user-2" })
	other := s.browser().signIn()
	wants(other, http.StatusOK)
	wants(other, http.StatusTooManyRequests) // of all
	_ = closed.Body.Close()
	for deadline := time.Now().Add(patience); ; {
		if res := stream(other); res.StatusCode == http.StatusOK {
			break
		} else if _ = res.Body.Close(); time.Now().After(deadline) {
			t.Fatal("a stream that its browser has closed counts still")
		}
	}
}

// A second request on the connection of a stream ends it: its answer could not follow.
func TestRequestAfterEvents(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	b := s.browser().signIn()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	request := "GET /api/auth/events HTTP/1.1\r\nHost: localhost:3000\r\nCookie: gatehouse=" + b.session() + "\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	all := bufio.NewReader(conn)
	res, err := http.ReadResponse(all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || !res.Close || res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Date") == "" {
		t.Errorf("%s, close %t, %v", res.Status, res.Close, res.Header)
	}
	stream := bufio.NewReader(res.Body)
	wantEvent(t, stream, "session")
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, stream) // with the last chunk, or this were an error
}

// A stream has the headers and heartbeats that proxies need, to neither buffer
// nor close it.
func TestEventsHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		ctx, stop := context.WithCancel(t.Context())
		running := make(chan error)
		go func() { running <- s.Run(ctx) }()
		b := s.browser().signIn()
		asking, hangUp := context.WithCancel(t.Context())
		answered := make(chan *response)
		go func() {
			answered <- b.fetch("/api/auth/events", func(r *http.Request) { *r = *r.WithContext(asking) })
		}()
		time.Sleep(46 * time.Second)
		hangUp()
		res := <-answered
		for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if n := strings.Count(res.body, "\n:\n"); n != 3 {
			t.Errorf("%d heartbeats in 46 s: %q", n, res.body)
		}
		stop()
		if err := <-running; err != nil {
			t.Error(err)
		}
	})
}

// A server that shuts down ends its streams with the event goodbye. The session
// goes on at another server.
func TestEventsAtShutdown(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	b := s.browser().signIn()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.Server()
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/api/auth/events", nil)
	r.AddCookie(&http.Cookie{Name: "gatehouse", Value: b.session()})
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	stream := bufio.NewReader(res.Body)
	wantEvent(t, stream, "session")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	wantEvent(t, stream, "goodbye")
	wantEnd(t, stream)
	if err := <-served; err != http.ErrServerClosed {
		t.Error(err)
	}
	if !b.signedIn() {
		t.Error("signed out by a restart")
	}
}

// The connection of a stream that has ended serves further requests.
func TestConnectionAfterEvents(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Sessions.IdleTimeout = time.Hour })
	s.run()
	b := s.browser().signIn()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	get := func(path string) *http.Response {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+path, nil)
		r.AddCookie(&http.Cookie{Name: "gatehouse", Value: b.session()})
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := get("/api/auth/events")
	stream := bufio.NewReader(res.Body)
	wantEvent(t, stream, "session")
	tell(s, url.Values{"logout_token": {s.idp.logoutToken(nil)}})
	wantEvent(t, stream, "ended")
	wantEnd(t, stream)
	_ = res.Body.Close()
	if res := get("/api/auth/me"); res.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", res.StatusCode)
	}

	// The write deadline of an event does not apply to the next request.
	s.clock.Advance(time.Second)
	b.signIn()
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodGet, "http://localhost:3000/api/auth/events", nil)
	r.AddCookie(&http.Cookie{Name: "gatehouse", Value: b.session()})
	ctx, cancel := context.WithCancel(t.Context())
	w.flushed = cancel
	s.ServeHTTP(w, r.WithContext(ctx))
	// A deadline is set for each event and for the end; net/http removes the last.
	if len(w.set)%2 == 0 {
		t.Errorf("deadlines: %v", w.set)
	}
	for i, deadline := range w.set {
		if deadline.IsZero() != (i%2 == 1) {
			t.Errorf("deadline %d was %v", i, deadline)
		}
	}
}

// deadlines is a recorder with the write deadlines that were set.
type deadlines struct {
	*httptest.ResponseRecorder
	set     []time.Time
	flushed func()
}

func (w *deadlines) SetWriteDeadline(t time.Time) error {
	w.set = append(w.set, t)
	return nil
}

func (w *deadlines) FlushError() error {
	w.flushed()
	return nil
}
