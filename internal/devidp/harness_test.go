package devidp_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

const (
	audience   = "https://api.example.com"
	clientID   = "web"
	secret     = "a secret: with %41 & colon"
	callback   = "http://localhost:3000/api/auth/callback"
	afterwards = "http://localhost:3000"
	otherID    = "other"
	otherURI   = "http://localhost:4000/cb"
)

// people are the users of most tests.
var people = []directory.User{
	{
		Key: "seller", Name: "Sofia Marchetti", Email: "sofia@example.com", Role: "Seller", About: "Sells projects.",
		Permissions: []string{"products:write"},
	},
	{Key: "buyer", Name: "Ben Okafor", Email: "ben@example.com", Role: "Buyer"},
	{Key: "admin", Name: "Ada Lindholm", Role: "Administrator", Permissions: []string{"sessions:admin"}},
}

// A clock is set far from the wall clock, so that a use of the wall clock shows.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A system is a provider with a real listener.
type system struct {
	t        *testing.T
	issuer   string
	provider *devidp.Provider
	clock    *clock
	logs     *logBuffer
}

// start runs a provider with two clients; change may change the configuration.
func start(t *testing.T, change ...func(*devidp.Config)) *system {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	s := &system{
		t:      t,
		issuer: "http://" + srv.Listener.Addr().String(),
		clock:  &clock{t: time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)},
		logs:   &logBuffer{},
	}
	cfg := devidp.Config{
		Issuer: s.issuer,
		Clients: []devidp.Client{
			{ID: clientID, Secret: secret, RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{afterwards}},
			{ID: otherID, Secret: "x", RedirectURIs: []string{otherURI}},
		},
		Users:    people,
		Audience: audience,
		Now:      s.clock.now,
		Logger:   slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if s.provider, err = devidp.New(cfg); err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = s.provider
	srv.Start()
	t.Cleanup(srv.Close)
	return s
}

// oauth returns the configuration of the relying party.
func (s *system) oauth(scopes ...string) *oauth2.Config {
	if scopes == nil {
		scopes = []string{"openid", "profile", "email", "offline_access"}
	}
	return &oauth2.Config{
		ClientID: clientID, ClientSecret: secret, RedirectURL: callback, Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: s.issuer + "/authorize", TokenURL: s.issuer + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader,
		},
	}
}

// A browser keeps cookies and follows the redirects of the provider.
type browser struct {
	*http.Client
	s *system
}

func (s *system) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s: s, Client: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), s.issuer) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// An answer is the last response: a page of the provider, or a redirect to a client.
type answer struct {
	status int
	header http.Header
	body   string
	url    *url.URL // of the page
	to     *url.URL // Location, if it is not at the provider
}

func (b *browser) do(r *http.Request) answer {
	b.s.t.Helper()
	resp, err := b.Do(r)
	if err != nil {
		b.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.s.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body), url: resp.Request.URL}
	if loc := resp.Header.Get("Location"); loc != "" {
		if a.to, err = url.Parse(loc); err != nil {
			b.s.t.Fatal(err)
		}
	}
	return a
}

func (b *browser) open(address string) answer {
	b.s.t.Helper()
	r, err := http.NewRequestWithContext(b.s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) submit(address string, form url.Values, header ...string) answer {
	b.s.t.Helper()
	r, err := http.NewRequestWithContext(b.s.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return b.do(r)
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// choose submits a user's button on the sign-in page.
func (b *browser) choose(page answer, user string) answer {
	b.s.t.Helper()
	m := requestField.FindStringSubmatch(page.body)
	if page.status != http.StatusOK || m == nil || !strings.Contains(page.body, `name="user" value="`+user+`"`) {
		b.s.t.Fatalf("no sign-in page with a button for %s: %d at %s", user, page.status, page.url)
	}
	return b.submit(b.s.issuer+"/login", url.Values{"request": {m[1]}, "user": {user}}, "Sec-Fetch-Site", "same-origin")
}

// An attempt is a login in progress.
type attempt struct {
	verifier, state, nonce string
	url                    string
}

func (s *system) attempt(conf *oauth2.Config, extra ...string) attempt {
	a := attempt{verifier: oauth2.GenerateVerifier(), state: oauth2.GenerateVerifier(), nonce: oauth2.GenerateVerifier()}
	opts := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.verifier), oauth2.SetAuthURLParam("nonce", a.nonce)}
	for i := 0; i < len(extra); i += 2 {
		opts = append(opts, oauth2.SetAuthURLParam(extra[i], extra[i+1]))
	}
	a.url = conf.AuthCodeURL(a.state, opts...)
	return a
}

// code returns the code of a redirect to the client, after the checks of a client.
func (a attempt) code(t *testing.T, s *system, got answer) string {
	t.Helper()
	if got.to == nil || !strings.HasPrefix(got.to.String(), callback+"?") {
		t.Fatalf("not sent back to the client: %d at %s, Location %v", got.status, got.url, got.to)
	}
	q := got.to.Query()
	if q.Get("state") != a.state || q.Get("iss") != s.issuer || q.Get("code") == "" {
		t.Fatalf("answer to the client: %v", q)
	}
	return q.Get("code")
}

// signIn signs user in, in a browser that is signed out or signed in as the same user.
func (s *system) signIn(b *browser, user string, scopes ...string) *oauth2.Token {
	s.t.Helper()
	conf := s.oauth(scopes...)
	a := s.attempt(conf)
	got := b.open(a.url)
	if got.to == nil {
		got = b.choose(got, user)
	}
	token, err := conf.Exchange(s.t.Context(), a.code(s.t, s, got), oauth2.VerifierOption(a.verifier))
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// refresh uses a refresh token.
func (s *system) refresh(token string) (*oauth2.Token, error) {
	return s.oauth().TokenSource(s.t.Context(), &oauth2.Token{RefreshToken: token}).Token()
}

// post sends a back-channel request with client_secret_post and returns status and JSON.
func (s *system) post(path string, form url.Values) (int, map[string]any) {
	s.t.Helper()
	form.Set("client_id", clientID)
	form.Set("client_secret", secret)
	return s.postRaw(path, form)
}

func (s *system) postRaw(path string, form url.Values) (int, map[string]any) {
	s.t.Helper()
	got := s.browser().submit(s.issuer+path, form)
	var body map[string]any
	if got.body != "" {
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			s.t.Fatalf("%s answered %d %q: %v", path, got.status, got.body, err)
		}
	}
	return got.status, body
}

// getJSON reads a JSON document.
func (s *system) getJSON(address string, header ...string) (int, map[string]any) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got := s.browser().do(r)
	var body map[string]any
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		s.t.Fatalf("%s answered %d %q: %v", address, got.status, got.body, err)
	}
	return got.status, body
}

func (s *system) userinfo(access string) (int, map[string]any) {
	s.t.Helper()
	return s.getJSON(s.issuer+"/userinfo", "Authorization", "Bearer "+access)
}

// verify verifies a token with the published keys and the standard library, and
// returns header and claims.
func (s *system) verify(token string) (header, claims map[string]any) {
	s.t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		s.t.Fatalf("a token of %d segments", len(parts))
	}
	decode := func(part string) []byte {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			s.t.Fatal(err)
		}
		return b
	}
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
		s.t.Fatal(err)
	}
	_, meta := s.getJSON(s.issuer + "/.well-known/openid-configuration")
	_, set := s.getJSON(meta["jwks_uri"].(string))
	keys := set["keys"].([]any)
	if len(keys) != 1 {
		s.t.Fatalf("%d keys are published", len(keys))
	}
	key := keys[0].(map[string]any)
	if key["kty"] != "RSA" || key["alg"] != "RS256" || key["use"] != "sig" || key["d"] != nil || header["alg"] != "RS256" || header["kid"] != key["kid"] {
		s.t.Fatalf("key %v does not fit header %v", key, header)
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(decode(key["n"].(string))), E: int(new(big.Int).SetBytes(decode(key["e"].(string))).Int64())}
	if pub.N.BitLen() != 2048 {
		s.t.Errorf("key of %d bits", pub.N.BitLen())
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], decode(parts[2])); err != nil {
		s.t.Fatalf("signature: %v", err)
	}
	return header, claims
}

// idToken returns the ID token of a token response.
func idToken(t *oauth2.Token) string {
	id, _ := t.Extra("id_token").(string)
	return id
}

// logoutCalls is a client's back-channel logout endpoint.
type logoutCalls struct {
	url    string
	tokens chan string
}

func newLogoutCalls(t *testing.T) *logoutCalls {
	t.Helper()
	c := &logoutCalls{tokens: make(chan string, 10)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("logout call: %s with %q", r.Method, r.Header.Get("Content-Type"))
		}
		c.tokens <- r.PostFormValue("logout_token")
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

// next waits for a logout token.
func (c *logoutCalls) next(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case token := <-c.tokens:
		return token
	case <-ctx.Done():
		t.Fatal("no logout call came")
		return ""
	}
}
