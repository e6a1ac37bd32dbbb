package session_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

const (
	issuer  = "https://idp.example/"
	subject = "auth0|alice"
)

func secret() string { return rand.Text() + rand.Text() }

// fixture is a manager, its store and its clock.
type fixture struct {
	*session.Manager
	clock   *sessiontest.Clock
	store   sessiontest.Store
	secrets []string
}

func newFixture(t testing.TB, change ...func(*session.ManagerConfig)) *fixture {
	t.Helper()
	clock := sessiontest.NewClock()
	store, err := memory.New(memory.Config{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	c := session.ManagerConfig{Store: store, Secrets: []string{secret()}, Now: clock.Now}
	for _, ch := range change {
		ch(&c)
	}
	m, err := session.NewManager(c)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{Manager: m, clock: clock, store: c.Store.(sessiontest.Store), secrets: c.Secrets}
}

// with returns another manager on the store, as after a restart or of another node.
func (f *fixture) with(t testing.TB, secrets ...string) *fixture {
	t.Helper()
	m, err := session.NewManager(session.ManagerConfig{Store: f.store, Secrets: secrets, Now: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{Manager: m, clock: f.clock, store: f.store, secrets: secrets}
}

func data() session.Data {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return session.Data{
		Claims: map[string]any{
			"sub":     subject,
			"name":    "Alice Liddell",
			"email":   "alice@wonderland.example",
			"big":     json.Number("9007199254740993"),
			"precise": json.Number("1.10"),
			"roles":   []any{"buyer", json.Number("7")},
			"address": map[string]any{"locality": "Oxford"},
			"none":    nil,
		},
		Tokens: session.Tokens{
			Access:     "access-" + rand.Text(),
			Refresh:    "refresh-" + rand.Text(),
			ID:         "id-" + rand.Text(),
			Type:       "Bearer",
			Scope:      "openid profile offline_access",
			ObtainedAt: now,
			ExpiresAt:  now.Add(time.Hour),
		},
	}
}

func (f *fixture) login(t testing.TB, change ...func(*session.NewSession)) (*session.Session, *http.Cookie) {
	t.Helper()
	n := session.NewSession{Issuer: issuer, Subject: subject, SID: "sid-" + rand.Text(), Data: data()}
	for _, c := range change {
		c(&n)
	}
	s, cookie, err := f.Create(context.Background(), n)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return s, cookie
}

// request returns a request with cookies.
func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

func (f *fixture) load(t testing.TB, c *http.Cookie) *session.Session {
	t.Helper()
	s, err := f.Load(context.Background(), request(c))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return s
}

func (f *fixture) signedOut(t testing.TB, c *http.Cookie) {
	t.Helper()
	if _, err := f.Load(context.Background(), request(c)); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v, want ErrNotFound", err)
	}
}

func baseURL(t testing.TB, s string) func(*session.ManagerConfig) {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *session.ManagerConfig) { c.BaseURL = u }
}

// spy is a store that counts calls and fails on demand.
type spy struct {
	sessiontest.Store
	fail                    error
	gets, touches, deletes  int
	onTouch, onGet, onWrite func()
}

func (s *spy) Get(ctx context.Context, id session.ID) (session.Record, error) {
	s.gets++
	if s.onGet != nil {
		s.onGet()
	}
	if s.fail != nil {
		return session.Record{}, s.fail
	}
	return s.Store.Get(ctx, id)
}

func (s *spy) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	s.touches++
	if s.onTouch != nil {
		s.onTouch()
	}
	if s.fail != nil {
		return s.fail
	}
	return s.Store.Touch(ctx, id, lastSeen, idleExpires)
}

func (s *spy) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	if s.onWrite != nil {
		s.onWrite()
	}
	if s.fail != nil {
		return s.fail
	}
	return s.Store.Write(ctx, id, f, sealed)
}

func (s *spy) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	s.deletes++
	if s.fail != nil {
		return s.fail
	}
	return s.Store.Delete(ctx, id, why)
}

func newSpy(t testing.TB, now func() time.Time) *spy {
	t.Helper()
	store, err := memory.New(memory.Config{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return &spy{Store: store}
}
