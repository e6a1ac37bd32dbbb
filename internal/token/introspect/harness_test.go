package introspect_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	audience = "https://api.example"
	client   = "the api"
	secret   = "a secret: %41 & + that needs encoding"
)

// A server is an introspection endpoint that knows tokens.
type server struct {
	mu      sync.Mutex
	tokens  map[string]map[string]any // responses by token; others are inactive
	instead http.HandlerFunc          // answers, if it is not nil
	asked   map[string]int            // requests by token
	most    int                       // requests at once
	now     int
	last    *http.Request
	delay   func(context.Context)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		panic(err)
	}
	s.mu.Lock()
	raw := r.PostForm.Get("token")
	s.asked[raw]++
	s.now++
	s.most = max(s.most, s.now)
	s.last = r
	response, instead, delay := maps.Clone(s.tokens[raw]), s.instead, s.delay
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
	}()
	if delay != nil {
		delay(r.Context())
	}
	id, password, _ := r.BasicAuth()
	switch {
	case instead != nil:
		instead(w, r)
	case id != "the+api" || password != "a+secret%3A+%2541+%26+%2B+that+needs+encoding": // RFC 6749 §2.3.1
		refuse(http.StatusUnauthorized, "invalid_client")(w, r)
	case response == nil:
		answer(http.StatusOK, "application/json", `{"active":false}`)(w, r)
	default:
		response["active"] = true
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(response)
	}
}

func answer(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func refuse(status int, code string) http.HandlerFunc {
	return answer(status, "application/json", `{"error":"`+code+`"}`)
}

// requests returns how many requests there were, and for how many tokens.
func (s *server) requests() (all, tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.asked {
		all += n
	}
	return all, len(s.asked)
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// active makes the server call a token of a subject active.
func (s *server) active(raw, subject string, more ...map[string]any) {
	claims := map[string]any{"aud": audience, "sub": subject, "scope": "read", "jti": "id of " + subject}
	for _, m := range more {
		maps.Copy(claims, m)
	}
	s.set(func() { s.tokens[raw] = claims })
}

func (s *server) revoke(raw string) { s.set(func() { delete(s.tokens, raw) }) }

func (s *server) fail(h http.HandlerFunc) { s.set(func() { s.instead = h }) }

type verifier = introspect.Verifier[*token.Claims]

// A setup is a verifier of the tokens of a server.
type setup struct {
	*server
	issuer   *tokentest.Issuer
	provider *oidc.Provider
	endpoint *introspect.Endpoint
	*verifier
	log *bytes.Buffer
}

type option func(*introspect.EndpointConfig, *introspect.Config[*token.Claims])

func start(t testing.TB, options ...option) *setup {
	t.Helper()
	s := &setup{server: &server{tokens: map[string]map[string]any{}, asked: map[string]int{}}, log: &bytes.Buffer{}}
	s.issuer = tokentest.NewUnserved(t, "https://issuer.example")
	s.issuer.SetMetadata("introspection_endpoint", s.issuer.URL+"/introspect")
	s.issuer.Handle("/introspect", s.server)
	provider, err := oidc.NewProvider(oidc.Config{Issuer: s.issuer.URL, HTTPClient: s.issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	s.provider = provider
	if err := provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(&locked{&mu, s.log}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	endpoint := introspect.EndpointConfig{
		Provider: provider, HTTPClient: s.issuer.Client(), Client: clientauth.Config{ID: client, Secret: secret},
		Setting: func(field string) string { return "SETTING " + field }, Now: time.Now, Rand: rand.Reader, Logger: logger,
	}
	cfg := introspect.Config[*token.Claims]{
		Profile:   token.IntrospectionProfile{Audience: audience},
		Principal: func(c *token.Claims) (*token.Claims, error) { return c, nil },
		Now:       time.Now, Logger: logger,
	}
	for _, o := range options {
		o(&endpoint, &cfg)
	}
	if s.endpoint, err = introspect.NewEndpoint(endpoint); err != nil {
		t.Fatal(err)
	}
	cfg.Endpoint = s.endpoint
	s.verifier = introspect.NewVerifier(cfg)
	return s
}

type locked struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// want verifies a token, and compares the reason of its refusal; 0 for none.
func (s *setup) want(t *testing.T, raw string, want token.Reason) error {
	t.Helper()
	_, err := s.Verify(t.Context(), raw)
	if got := reason(err); got != want {
		t.Errorf("Verify(%.40q) = %v, want reason %q", raw, err, want)
	}
	if err != nil && len(raw) > 3 && strings.Contains(err.Error(), raw) {
		t.Errorf("the error contains the token: %v", err)
	}
	return err
}

func reason(err error) token.Reason {
	e, _ := errors.AsType[*token.Error](err)
	if e == nil {
		return 0
	}
	return e.Reason
}

// settle waits for requests under way, which do not end with their callers.
func settle() { time.Sleep(10 * time.Second) }
