package bff_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A system is a bff between a provider and an API, all in memory.
type system struct {
	*bff.BFF
	t     testing.TB
	idp   *provider
	api   *api
	store *store
	clock *sessiontest.Clock // nil in a bubble, where time.Now is the clock
	at    oidc.Config        // where reconfigure, follow and unfollowed look for the provider
	cfg   bff.Config
}

// start returns a system at http://localhost:3000 with a clock of its own. Each
// option may change the configuration.
func start(t testing.TB, options ...func(*bff.Config)) *system {
	t.Helper()
	clock := sessiontest.NewClock()
	s := assemble(t, clock.Now, options...)
	s.clock = clock
	return s
}

// bubble returns a system in a bubble of testing/synctest.
func bubble(t testing.TB, options ...func(*bff.Config)) *system {
	t.Helper()
	return assemble(t, time.Now, options...)
}

func assemble(t testing.TB, now func() time.Time, options ...func(*bff.Config)) *system {
	t.Helper()
	s := &system{t: t, idp: newProvider(t, now), api: &api{}}
	memory, err := memory.New(memory.Config{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	s.store = &store{Store: memory}
	s.cfg = bff.Config{
		BaseURL: "http://localhost:3000", Client: bff.ClientConfig{ID: clientID, Secret: secret("client secret", clientSecret)},
		Login:    bff.LoginConfig{Audience: audience},
		Sessions: bff.SessionConfig{Store: s.store, Secrets: []string{secret("secret", rand.Text()+rand.Text())}}, API: s.api,
		HTTPClient: s.idp.client(), Now: now, Logger: logger(everything), Audit: audit.To(everything),
	}
	for _, option := range options {
		option(&s.cfg)
	}
	s.at = oidc.Config{Issuer: issuerURL, HTTPClient: s.idp.client(), Now: s.cfg.Now, Logger: s.cfg.Logger}
	s.reconfigure()
	return s
}

// reconfigure makes the bff anew from s.cfg and the provider's current metadata:
// another node, or the same one after a restart.
func (s *system) reconfigure() {
	s.t.Helper()
	provider, err := oidc.NewProvider(s.at)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := provider.Refresh(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	s.cfg.Provider = provider
	if s.BFF, err = bff.New(s.cfg); err != nil {
		s.t.Fatal(err)
	}
}

// run runs the bff until the test ends. It returns once the store's feed is up:
// the reason of an earlier end of a session is not known.
func (s *system) run() {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	node := s.BFF
	if st, ok := s.cfg.Sessions.Store.(*store); ok && s.clock != nil { // not needed in a bubble
		before := st.feeds.Load()
		defer eventually(s.t, "the store's feed is up", func() bool { return st.feeds.Load() > before })
	}
	go func() { ended <- node.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
}

// node returns another running bff with the same store.
func (s *system) node() *system {
	s.t.Helper()
	other := *s
	other.reconfigure()
	other.run()
	return &other
}

// as returns the same browser at another node.
func (b *browser) as(s *system) *browser { return &browser{s: s, cookies: b.cookies} }

// https puts the bff behind TLS, as in production.
func https(cfg *bff.Config) { cfg.BaseURL = "https://shop.example" }

// api is the API behind the bff. It answers 200 to a bearer token and 401
// without one, unless answer is set.
type api struct {
	mu     sync.Mutex
	answer http.HandlerFunc
	seen   []*http.Request
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r)
	answer := a.answer
	a.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case bearer(r) == "":
		w.Header().Set("WWW-Authenticate", "Bearer")
		reply(w, http.StatusUnauthorized, map[string]any{"code": 16, "message": "no token"})
	default:
		reply(w, http.StatusOK, map[string]string{"message": "This is a private route"})
	}
}

func (a *api) set(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// requests returns the requests to the API since the last call.
func (a *api) requests() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// store fails on demand.
type store struct {
	sessiontest.Store
	mu        sync.Mutex
	get       func() error
	write     func() error
	create    func() error
	delete    func() error
	bySubject func() error
	bySID     func() error
	list      func() error
	notes     func() error
	add       func() error

	feeds           atomic.Int64
	beforeLock      func() // once
	beforeTouch     func() // once
	created, locked session.ID
	fence           session.Fence
}

var errOutage = errors.New("the store is away")

func outage() error { return errOutage }

func (s *store) change(f func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *store) fault(which func() func() error) error {
	s.mu.Lock()
	f := which()
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

// Ready is that of the store behind it, if it has one.
func (s *store) Ready(ctx context.Context) error {
	if r, ok := s.Store.(interface{ Ready(context.Context) error }); ok {
		return r.Ready(ctx)
	}
	return nil
}

// Watch counts the feeds that are up, by the first event of each.
func (s *store) Watch(ctx context.Context, event func(session.Event)) error {
	up := false
	return s.Store.Watch(ctx, func(e session.Event) {
		event(e)
		if !up {
			up = true
			s.feeds.Add(1)
		}
	})
}

func (s *store) Get(ctx context.Context, id session.ID) (session.Record, error) {
	if err := s.fault(func() func() error { return s.get }); err != nil {
		return session.Record{}, err
	}
	return s.Store.Get(ctx, id)
}

func (s *store) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	if err := s.fault(func() func() error { return s.write }); err != nil {
		return err
	}
	return s.Store.Write(ctx, id, f, sealed)
}

func (s *store) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	if err := s.fault(func() func() error { return s.create }); err != nil {
		return err
	}
	s.change(func(s *store) { s.created = r.ID })
	return s.Store.Create(ctx, r, replaces)
}

func (s *store) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	if err := s.fault(func() func() error { return s.delete }); err != nil {
		return err
	}
	return s.Store.Delete(ctx, id, why)
}

func (s *store) DeleteBySubject(ctx context.Context, issuer, subject string, why session.Reason) ([]session.ID, error) {
	if err := s.fault(func() func() error { return s.bySubject }); err != nil {
		return nil, err
	}
	return s.Store.DeleteBySubject(ctx, issuer, subject, why)
}

func (s *store) DeleteBySID(ctx context.Context, issuer, sid string, why session.Reason) ([]session.ID, error) {
	if err := s.fault(func() func() error { return s.bySID }); err != nil {
		return nil, err
	}
	return s.Store.DeleteBySID(ctx, issuer, sid, why)
}

func (s *store) ListBySubject(ctx context.Context, issuer, subject string) ([]session.Record, error) {
	if err := s.fault(func() func() error { return s.list }); err != nil {
		return nil, err
	}
	return s.Store.ListBySubject(ctx, issuer, subject)
}

func (s *store) GetNote(ctx context.Context, kind, key string) (session.Note, error) {
	if err := s.fault(func() func() error { return s.notes }); err != nil {
		return session.Note{}, err
	}
	return s.Store.GetNote(ctx, kind, key)
}

func (s *store) AddNote(ctx context.Context, n session.Note) (bool, error) {
	if err := s.fault(func() func() error { return s.add }); err != nil {
		return false, err
	}
	return s.Store.AddNote(ctx, n)
}

func (s *store) PutNote(ctx context.Context, n session.Note) error {
	if err := s.fault(func() func() error { return s.notes }); err != nil {
		return err
	}
	return s.Store.PutNote(ctx, n)
}

func (s *store) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	s.mu.Lock()
	first := s.beforeTouch
	s.beforeTouch = nil
	s.mu.Unlock()
	if first != nil {
		first()
	}
	return s.Store.Touch(ctx, id, lastSeen, idleExpires)
}

// Lock records the lock that it grants.
func (s *store) Lock(ctx context.Context, id session.ID, lease time.Duration) (session.Fence, error) {
	s.mu.Lock()
	first := s.beforeLock
	s.beforeLock = nil
	s.mu.Unlock()
	if first != nil {
		first()
	}
	f, err := s.Store.Lock(ctx, id, lease)
	if err == nil {
		s.change(func(s *store) { s.locked, s.fence = id, f })
	}
	return f, err
}

// expireLock makes the last lock expire.
func (s *store) expireLock(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	id, f := s.locked, s.fence
	s.mu.Unlock()
	if err := s.Store.Unlock(context.Background(), id, f); err != nil {
		t.Error(err)
	}
}

// newest returns the session that was created last.
func (s *store) newest() session.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.created
}

// A browser keeps cookies and sends a browser's headers.
type browser struct {
	s       *system
	cookies map[string]string
}

func (s *system) browser() *browser { return &browser{s: s, cookies: map[string]string{}} }

// A response is a response with its whole body.
type response struct {
	*http.Response
	body string
}

func (r *response) location() string { return r.Header.Get("Location") }

// set returns the cookie of this name that the response sets, nil if none.
func (r *response) set(name string) *http.Cookie {
	for _, c := range r.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

type edit = func(*http.Request)

func header(name, value string) edit { return func(r *http.Request) { r.Header.Set(name, value) } }

func without(name string) edit { return func(r *http.Request) { r.Header.Del(name) } }

func site(value string) edit { return header("Sec-Fetch-Site", value) }

// do makes a request.
func (b *browser) do(method, target string, body io.Reader, edits ...edit) *response {
	b.s.t.Helper()
	r := httptest.NewRequest(method, target, body)
	_, host, _ := strings.Cut(b.s.cfg.BaseURL, "://")
	r.Host = strings.TrimSuffix(host, "/")
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		r.AddCookie(&http.Cookie{Name: name, Value: b.cookies[name]})
	}
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	b.s.ServeHTTP(w, r)
	res := &response{w.Result(), w.Body.String()}
	// In every test: a cookie of ours that a cache keeps signs the
	// next user in (CVE-2025-48947).
	for _, c := range res.Cookies() {
		if cc := res.Header.Get("Cache-Control"); (strings.HasSuffix(c.Name, "gatehouse") || strings.Contains(c.Name, "gatehouse-login-")) && cc != "no-store" {
			b.s.t.Errorf("%s %s sets %s with Cache-Control %q", method, target, c.Name, cc)
		}
	}
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = secret("cookie "+c.Name, c.Value)
		}
	}
	return res
}

// navigate opens an address in a tab.
func (b *browser) navigate(target string, edits ...edit) *response {
	b.s.t.Helper()
	return b.do(http.MethodGet, target, nil, slices.Concat([]edit{
		site("none"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document"), header("Accept", "text/html"),
	}, edits)...)
}

// fetch is a request of a script of our pages.
func (b *browser) fetch(target string, edits ...edit) *response {
	b.s.t.Helper()
	return b.do(http.MethodGet, target, nil, slices.Concat([]edit{
		site("same-origin"), header("Sec-Fetch-Mode", "cors"), header("Sec-Fetch-Dest", "empty"), header("Accept", "*/*"),
	}, edits)...)
}

// back is the provider's redirect to the callback.
func (b *browser) back(callback string, edits ...edit) *response {
	b.s.t.Helper()
	return b.navigate(callback, append([]edit{site("cross-site")}, edits...)...)
}

// signIn goes through a whole login, which must succeed.
func (b *browser) signIn() *browser {
	b.s.t.Helper()
	res := b.back(b.s.idp.authorize(b.navigate("/api/auth/login").location()))
	if res.StatusCode != http.StatusSeeOther || b.session() == "" {
		b.s.t.Fatalf("not signed in: status %d, %s", res.StatusCode, res.body)
	}
	return b
}

// session returns the value of the session cookie, "" if there is none.
func (b *browser) session() string {
	return b.cookies[session.CookieName] + b.cookies[session.SecureCookieName]
}

// attempts returns the names of the login attempts' cookies.
func (b *browser) attempts() []string {
	var names []string
	for name := range b.cookies {
		if strings.Contains(name, "login") {
			names = append(names, name)
		}
	}
	return names
}

// signedIn reports whether /api/auth/me returns a user.
func (b *browser) signedIn() bool {
	b.s.t.Helper()
	switch res := b.fetch("/api/auth/me"); res.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusNoContent:
		return false
	default:
		b.s.t.Fatalf("me: status %d, %s", res.StatusCode, res.body)
		return false
	}
}

// access returns the access token that the API gets.
func (b *browser) access() string {
	b.s.t.Helper()
	b.s.api.requests()
	res := b.fetch("/api/private-route")
	seen := b.s.api.requests()
	if len(seen) != 1 {
		b.s.t.Fatalf("the API saw %d requests, the browser status %d", len(seen), res.StatusCode)
	}
	return bearer(seen[0])
}

func wantStatus(t testing.TB, res *response, status int) {
	t.Helper()
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d (Location %q): %s", res.StatusCode, status, res.location(), res.body)
	}
}

// eventually waits for an effect in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

// follow starts anew at the provider of s.at.
func follow(t testing.TB, s *system) *browser {
	t.Helper()
	provider, err := oidc.NewProvider(s.at)
	if err == nil {
		_, err = provider.Discover(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Provider = provider
	if s.BFF, err = bff.New(s.cfg); err != nil {
		t.Fatal(err)
	}
	return s.browser()
}

// unfollowed starts anew without having reached the provider yet.
func unfollowed(t testing.TB, s *system) *browser {
	t.Helper()
	var err error
	if s.cfg.Provider, err = oidc.NewProvider(s.at); err != nil {
		t.Fatal(err)
	}
	if s.BFF, err = bff.New(s.cfg); err != nil {
		t.Fatal(err)
	}
	return s.browser()
}

// flushes is a recorder that reports what was written at each flush.
type flushes struct {
	*httptest.ResponseRecorder
	flushed chan string
}

func (w *flushes) Flush() { w.flushed <- w.Body.String() }

type next struct{}

func contextWith(r *http.Request, gate chan bool) context.Context {
	return context.WithValue(r.Context(), next{}, gate)
}
