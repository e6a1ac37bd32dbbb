package bff_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

const (
	issuerURL    = "https://idp.example"
	clientID     = "web:client"
	clientSecret = "a secret: with %41 & colon, and more"
	audience     = "https://api.example.com"
)

// signer signs for all tests, because keys are costly and have no state.
var signer = sync.OnceValue(func() *tokentest.Issuer { return tokentest.NewUnserved(new(testing.B), issuerURL) })

// A provider is an OpenID provider in memory that misbehaves on demand. Its
// fields are changed with change.
type provider struct {
	t   testing.TB
	now func() time.Time

	mu                sync.Mutex
	metadata          map[string]any
	signer            *tokentest.Issuer
	keys              []any                 // published instead of the signer's key
	clients           []jwk                 // the client's keys
	assertionAudience string                // the one audience of client assertions that is accepted; "" for the issuer
	pushed            map[string]url.Values // request_uri → the authorization request
	codes             map[string]url.Values // code → the authorization request
	grants            map[string]*grant     // refresh token, used ones too → its grant
	calls             []call

	lifetime time.Duration  // of access tokens
	id       map[string]any // overrides claims of ID tokens; tokentest.Absent removes them
	idHeader map[string]any // overrides their header
	reform   func(idToken string) string
	answer   map[string]any // overrides the response of the token endpoint
	userinfo map[string]any // the userinfo response
	dated    bool           // answers have a Date header
	ahead    time.Duration  // of the provider's clock
	instead  map[string]http.HandlerFunc
}

// A grant is what the user has granted once.
type grant struct {
	request url.Values
	current string // the valid refresh token
	revoked bool
}

// A call is a request of the relying party.
type call struct {
	path   string
	form   url.Values
	header http.Header
	at     time.Time
}

func newProvider(t testing.TB, now func() time.Time) *provider {
	return &provider{
		t: t, now: now, lifetime: 5 * time.Minute, signer: signer(), pushed: map[string]url.Values{},
		codes: map[string]url.Values{}, grants: map[string]*grant{},
		id: map[string]any{}, idHeader: map[string]any{}, answer: map[string]any{}, instead: map[string]http.HandlerFunc{},
		userinfo: map[string]any{"sub": "user-1", "name": "Ada Userinfo", "email": "ada@userinfo.example"},
		metadata: map[string]any{
			"issuer":                                issuerURL,
			"authorization_endpoint":                issuerURL + "/authorize?tenant=a",
			"token_endpoint":                        issuerURL + "/token",
			"userinfo_endpoint":                     issuerURL + "/userinfo",
			"jwks_uri":                              issuerURL + "/keys",
			"end_session_endpoint":                  issuerURL + "/logout",
			"revocation_endpoint":                   issuerURL + "/revoke",
			"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
			"code_challenge_methods_supported":      []string{"S256"},
		},
	}
}

func (p *provider) change(f func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// client returns a client that reaches the provider in memory.
func (p *provider) client() *http.Client { return &http.Client{Transport: p} }

// RoundTrip implements http.RoundTripper.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	p.serve(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err // it does not answer
	}
	res := w.Result()
	res.Request = r
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dated {
		res.Header.Set("Date", p.now().Add(p.ahead).UTC().Format(http.TimeFormat))
	}
	return res, nil
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	instead := p.instead[r.URL.Path]
	p.calls = append(p.calls, call{r.URL.Path, r.PostForm, r.Header, p.now()})
	p.mu.Unlock()
	switch {
	case instead != nil:
		instead(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		p.mu.Lock()
		defer p.mu.Unlock()
		reply(w, http.StatusOK, p.metadata)
	case r.URL.Path == "/keys":
		p.mu.Lock()
		defer p.mu.Unlock()
		keys := p.keys
		if keys == nil {
			keys = []any{p.signer.Key().JWK()}
		}
		reply(w, http.StatusOK, map[string]any{"keys": keys})
	case r.URL.Path == "/authorize":
		// Without a user only the first step is taken, as for a browser without cookies.
		if back := r.FormValue("redirect_uri"); strings.HasSuffix(back, "/api/auth/callback") && r.FormValue("client_id") == clientID {
			http.Redirect(w, r, back+"?"+url.Values{"error": {"login_required"}, "state": {r.FormValue("state")}}.Encode(), http.StatusSeeOther)
			return
		}
		http.Error(w, "client_id or redirect_uri is not registered", http.StatusBadRequest)
	case r.URL.Path == "/par":
		p.push(w, r)
	case r.URL.Path == "/token":
		p.token(w, r)
	case r.URL.Path == "/userinfo":
		p.mu.Lock()
		defer p.mu.Unlock()
		reply(w, http.StatusOK, p.userinfo)
	case r.URL.Path == "/revoke":
		p.mu.Lock()
		defer p.mu.Unlock()
		if g := p.grants[r.PostForm.Get("token")]; g != nil {
			g.revoked = true
		}
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, status, map[string]string{"error": code}) }
}

// hang never answers. The caller's timeout ends it.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// authorize is the user's sign-in at the provider: it takes the address to which
// the browser was sent, and returns the callback's path and query. Each edit may
// change the parameters.
func (p *provider) authorize(location string, edit ...func(url.Values)) string {
	p.t.Helper()
	u, err := url.Parse(location)
	if err != nil || u.Scheme+"://"+u.Host+u.Path != issuerURL+"/authorize" || u.Query().Get("tenant") != "a" {
		p.t.Fatalf("not sent to the authorization endpoint, but to %q", location)
	}
	q := p.request(u.Query())
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		secret(name, q.Get(name))
	}
	code := secret("code", "code-"+rand.Text())
	p.change(func(p *provider) { p.codes[code] = q })
	answer := url.Values{"code": {code}, "state": {q.Get("state")}}
	for _, f := range edit {
		f(answer)
	}
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		p.t.Fatal(err)
	}
	return back.Path + "?" + answer.Encode()
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := r.PostForm
	if !p.authenticated(r) {
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	var g *grant
	switch f.Get("grant_type") {
	case "authorization_code":
		request := p.codes[f.Get("code")]
		delete(p.codes, f.Get("code")) // once
		sum := sha256.Sum256([]byte(secret("code_verifier", f.Get("code_verifier"))))
		if request != nil && base64.RawURLEncoding.EncodeToString(sum[:]) == request.Get("code_challenge") && f.Get("redirect_uri") == request.Get("redirect_uri") {
			g = &grant{request: request}
		}
	case "refresh_token":
		if g = p.grants[f.Get("refresh_token")]; g != nil && g.current != f.Get("refresh_token") {
			g.revoked = true // reuse: it was stolen
		}
	case "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange":
		g = &grant{}
	}
	if g == nil || g.revoked {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "<script>alert(1)</script>"})
		return
	}
	access := secret("access token", "at-"+rand.Text())
	if target := f.Get("audience"); target != "" && target != audience {
		access = secret("access token", p.signer.Mint(map[string]any{"aud": target}))
	}
	answer := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": int(p.lifetime.Seconds())}
	if slices.Contains(strings.Fields(g.request.Get("scope")), "offline_access") {
		g.current = secret("refresh token", "rt-"+rand.Text())
		p.grants[g.current] = g
		answer["refresh_token"] = g.current
	}
	if g.request == nil {
		answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
	} else {
		answer["id_token"] = p.idToken(g, access)
	}
	lay(answer, p.answer)
	reply(w, http.StatusOK, answer)
}

func (p *provider) idToken(g *grant, access string) string {
	now := p.now()
	claims := map[string]any{
		"iss": issuerURL, "aud": clientID, "sub": "user-1", "sid": "sid-1", "nonce": g.request.Get("nonce"),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "at_hash": p.signer.Key().AccessTokenHash(access),
		"name": "Ada", "email": "ada@example.com", "picture": "https://idp.example/ada.png",
	}
	maps.Copy(claims, p.id) // Mint removes Absent
	raw := p.signer.Mint(claims, p.idHeader)
	if p.reform != nil {
		raw = p.reform(raw)
	}
	return secret("ID token", raw)
}

func lay(under, over map[string]any) {
	maps.Copy(under, over)
	maps.DeleteFunc(under, func(_ string, v any) bool { return v == tokentest.Absent })
}

// called returns the calls of a path.
func (p *provider) called(path string) []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []call
	for _, c := range p.calls {
		if c.path == path {
			found = append(found, c)
		}
	}
	return found
}

// refreshes returns the token requests with a refresh token.
func (p *provider) refreshes() []call {
	return slices.DeleteFunc(p.called("/token"), func(c call) bool { return c.form.Get("grant_type") != "refresh_token" })
}

// revoked returns the tokens that were revoked, in order.
func (p *provider) revoked() []string {
	var tokens []string
	for _, c := range p.called("/revoke") {
		tokens = append(tokens, c.form.Get("token"))
	}
	return tokens
}

// good returns the refresh tokens that are still valid.
func (p *provider) good() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var tokens []string
	for refresh, g := range p.grants {
		if !g.revoked && g.current == refresh {
			tokens = append(tokens, refresh)
		}
	}
	return tokens
}

// logoutToken returns a logout token, valid unless changed.
func (p *provider) logoutToken(claims map[string]any, header ...map[string]any) string {
	now := p.now()
	all := map[string]any{
		"iss": issuerURL, "aud": clientID, "sub": "user-1", "sid": "sid-1", "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	maps.Copy(all, claims)
	h := map[string]any{"typ": "logout+jwt"}
	for _, over := range header {
		maps.Copy(h, over)
	}
	return secret("logout token", p.signer.Mint(all, h))
}
