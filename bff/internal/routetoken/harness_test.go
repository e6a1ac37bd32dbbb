package routetoken_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/routetoken"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	issuer  = "https://idp.example"
	api     = "https://api.example"
	orders  = "https://orders.example"
	stock   = "https://stock.example"
	subject = "alice"
)

// A provider is an OpenID provider in memory. It rotates refresh tokens, and ends a
// grant when one is used twice.
type provider struct {
	t      testing.TB
	signer *tokentest.Issuer

	mu       sync.Mutex
	forms    []url.Values
	busy     map[string]int // refreshes of a grant at the same time
	most     int
	grants   map[string]string // refresh token → its grant
	current  map[string]string // grant → its refresh token
	revoked  []string
	lifetime time.Duration
	delay    time.Duration
	answer   map[string]any // overrides the response
	instead  func(url.Values) (status int, body map[string]any)
}

func (p *provider) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// asked returns the token requests since the last call.
func (p *provider) asked() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	forms := p.forms
	p.forms = nil
	return forms
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	_ = r.ParseForm()
	status, body := http.StatusOK, map[string]any{}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		for _, name := range []string{"authorization", "token", "revocation"} {
			body[name+"_endpoint"] = issuer + "/" + name
		}
		body["issuer"], body["jwks_uri"] = issuer, issuer+"/keys"
	case "/keys":
		body["keys"] = []any{p.signer.Key().JWK()}
	case "/revocation":
		p.change(func() { p.revoked = append(p.revoked, r.PostForm.Get("token")) })
	case "/token":
		status, body = p.token(r.PostForm)
		if status == 0 {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
	res := w.Result()
	res.Request = r
	return res, nil
}

// jwt returns an access token, which nothing here verifies.
func jwt(audience string) string {
	claims, _ := json.Marshal(map[string]any{"iss": issuer, "aud": audience, "jti": rand.Text()})
	return tokentest.Segment(`{"alg":"HS256"}`) + "." + tokentest.Segment(string(claims)) + ".c2lnbmF0dXJl"
}

func (p *provider) token(form url.Values) (int, map[string]any) {
	refused := func(code string) (int, map[string]any) { return 400, map[string]any{"error": code} }
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forms = append(p.forms, maps.Clone(form))
	grant := ""
	if sent := form.Get("refresh_token"); sent != "" {
		grant = p.grants[sent]
		p.busy[grant]++
		p.most = max(p.most, p.busy[grant])
		defer func() { p.busy[grant]-- }()
	}
	if p.delay > 0 {
		p.mu.Unlock()
		time.Sleep(p.delay)
		p.mu.Lock()
	}
	if p.instead != nil {
		if status, body := p.instead(form); status >= 0 {
			return status, body
		}
	}
	audience := form.Get("audience")
	body := map[string]any{"access_token": jwt(audience), "token_type": "Bearer", "expires_in": int(p.lifetime.Seconds())}
	switch form.Get("grant_type") {
	case "refresh_token":
		if grant == "" || p.current[grant] != form.Get("refresh_token") {
			delete(p.current, grant)
			return refused("invalid_grant")
		}
		body["refresh_token"] = p.give(grant)
	case rp.GrantExchange:
		body["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
	}
	maps.Copy(body, p.answer)
	return 200, body
}

// give returns a new refresh token of a grant. The caller holds the mutex.
func (p *provider) give(grant string) string {
	token := "refresh-" + rand.Text()
	p.grants[token], p.current[grant] = grant, token
	return token
}

// A world is a provider and a store that several nodes share, by the clock of a bubble.
type world struct {
	t        testing.TB
	idp      *provider
	store    sessiontest.Store
	secret   string
	logged   *lines
	sessions int
}

// shared hides that the store belongs to one process.
type shared struct{ sessiontest.Store }

func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, store: shared{store}, secret: rand.Text() + rand.Text(), logged: &lines{},
		idp: &provider{
			t: t, signer: tokentest.NewUnserved(t, issuer), busy: map[string]int{},
			grants: map[string]string{}, current: map[string]string{}, lifetime: 10 * time.Minute, answer: map[string]any{},
		},
	}
}

// A node is one bff without its handlers.
type node struct {
	*world
	sessions *session.Manager
	tokens   *routetoken.Tokens
	refresh  *refresh.Refresher
	work     *inflight.Group
	cancel   context.CancelFunc
}

// start returns a running node. The caller stops it.
func (w *world) start() *node {
	w.t.Helper()
	client := &http.Client{Transport: w.idp}
	logger := slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer, HTTPClient: client})
	if err == nil {
		err = p.Refresh(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	setting := func(field string) string { return field }
	party, err := rp.New(rp.Config{
		Provider: p, BaseURL: "https://shop.example", Client: clientauth.Config{ID: "shop", Secret: "client-secret"},
		Audience: api, RefreshTimeout: 30 * time.Second, HTTPClient: client, Setting: setting, Now: time.Now, Rand: rand.Reader, Logger: logger,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	sessions, err := session.NewManager(session.ManagerConfig{Store: w.store, Secrets: []string{w.secret}, Issuer: issuer, Logger: logger})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	n := &node{world: w, sessions: sessions, work: &inflight.Group{}, cancel: cancel}
	if err := sessions.Join(ctx); err != nil {
		w.t.Fatal(err)
	}
	n.refresh = refresh.New(refresh.Config{
		Sessions: sessions, Party: party, RevokeAt: func(context.Context, string, time.Time) {}, Setting: setting,
		Work: n.work, Now: time.Now, Logger: logger,
	})
	n.tokens = routetoken.New(routetoken.Config{
		Sessions: sessions, Party: party, Refresher: n.refresh, Setting: setting, Work: n.work, Now: time.Now, Logger: logger,
	})
	go func() { _ = sessions.Run(ctx) }()
	return n
}

// stop ends a node after its work.
func (n *node) stop() {
	n.work.Wait(context.Background())
	n.cancel()
}

func (n *node) source(grant routetoken.Grant, audience string) *routetoken.Source {
	return n.tokens.Source(routetoken.Route{Path: "/orders", Setting: "routes[1]", Grant: grant, Audience: audience})
}

// login begins a session, and returns how any node finds it.
func (n *node) login() *http.Request {
	n.t.Helper()
	now := time.Now()
	w := n.world
	w.sessions++
	grant := fmt.Sprint("grant", w.sessions)
	var token string
	w.idp.change(func() { token = w.idp.give(grant) })
	_, cookie, err := n.node().Create(n.t.Context(), session.NewSession{
		Issuer: issuer, Subject: subject, Data: session.Data{Claims: map[string]any{"sub": subject}, Tokens: session.Tokens{
			Access: jwt(api), Refresh: token, Type: "Bearer", ObtainedAt: now, ExpiresAt: now.Add(w.idp.lifetime),
		}},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(cookie)
	return r
}

func (n *node) node() *session.Manager { return n.sessions }

func (n *node) load(r *http.Request) *session.Session {
	n.t.Helper()
	s, err := n.sessions.Load(context.Background(), r)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// get returns the token of a request, without its scheme.
func (n *node) get(src *routetoken.Source, r *http.Request) (string, error) {
	n.t.Helper()
	var s *session.Session
	if r != nil {
		s = n.load(r)
	}
	authorization, err := src.Authorization(context.Background(), s)
	return strings.TrimPrefix(authorization, "Bearer "), err
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

// wantLine checks that a line has all of the words, and that none has a token.
func (w *world) wantLine(words ...string) {
	w.t.Helper()
	w.logged.mu.Lock()
	defer w.logged.mu.Unlock()
	log := w.logged.log.String()
	for _, hidden := range []string{"refresh-", "eyJ", "client-secret"} {
		if strings.Contains(log, hidden) {
			w.t.Errorf("the log has %q", hidden)
		}
	}
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return
		}
	}
	w.t.Errorf("no line with %q in\n%s", words, log)
}

// grants returns the grant types of token requests.
func grants(forms []url.Values) string {
	var list []string
	for _, form := range forms {
		name := form.Get("grant_type")
		list = append(list, name[strings.LastIndexByte(name, ':')+1:]+" "+form.Get("audience"))
	}
	return strings.Join(list, ", ")
}

// keyID returns the id of the nodes' secret.
func (w *world) keyID() string {
	w.t.Helper()
	ring, err := seal.NewKeyring(w.secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return ring.IDs()[0].String()
}
