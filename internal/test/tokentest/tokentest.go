// Package tokentest owns a signing OpenID issuer for tests: metadata, a key set, and tokens of any shape, good or bad.
// It leaves verification to package token, login pages to the development provider, and uses the standard library alone,
// so that a mistake in the verifier cannot hide behind the same mistake here.
package tokentest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Absent, given as the value of a claim or header member to Mint, leaves that member out.
// (A nil value mints a JSON null.)
var Absent any = absent{}

type absent struct{}

// Issuer is an OpenID provider reduced to what a verifier sees: metadata, keys and signed tokens.
// Its methods may be called from several goroutines; its fields are set before the first use.
type Issuer struct {
	// URL is the issuer identifier, without a trailing slash. NewIssuer sets it to a loopback http address.
	URL string
	// Now dates the tokens that Mint makes; nil means time.Now.
	Now func() time.Time

	server *httptest.Server

	mu            sync.Mutex
	current       *Key
	published     []map[string]any
	metadata      map[string]any
	down          bool
	serial        int
	metadataCalls int
	keyCalls      int
}

// Key is an RSA signing key with the kid it is published under.
type Key struct {
	ID      string
	Private *rsa.PrivateKey
}

// NewIssuer starts an issuer on a loopback port, with one 2048-bit key, and stops it when the test ends.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := newIssuer(t)
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	i.URL = "http://" + i.server.Listener.Addr().String()
	i.publishMetadata() // before anybody can ask: the port may have been another's a moment ago
	i.server.Start()
	t.Cleanup(i.server.Close)
	return i
}

// NewUnserved makes an issuer for url that listens nowhere: Client reaches it in memory, which is what a
// testing/synctest bubble needs, where a real connection would stop the fake clock.
func NewUnserved(t testing.TB, url string) *Issuer {
	t.Helper()
	i := newIssuer(t)
	i.URL = strings.TrimSuffix(url, "/")
	i.publishMetadata()
	return i
}

func newIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	i.current = NewKey(t, 2048)
	i.published = []map[string]any{i.current.JWK()}
	return i
}

func (i *Issuer) publishMetadata() {
	i.metadata = map[string]any{
		"issuer":                                i.URL,
		"authorization_endpoint":                i.URL + "/authorize",
		"token_endpoint":                        i.URL + "/token",
		"userinfo_endpoint":                     i.URL + "/userinfo",
		"jwks_uri":                              i.URL + "/keys",
		"end_session_endpoint":                  i.URL + "/logout",
		"revocation_endpoint":                   i.URL + "/revoke",
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"code_challenge_methods_supported":      []string{"S256"},
	}
}

// Mint signs a token with the current key. Claims are laid over these defaults: iss (URL), sub ("user-1"), iat (now),
// exp (five minutes on) and a fresh jti; there is no aud unless given. The header starts as alg RS256, typ JWT and the
// key's kid; each map in header is laid over it. Absent removes a member.
func (i *Issuer) Mint(claims map[string]any, header ...map[string]any) string {
	i.mu.Lock()
	key := i.current
	i.serial++
	serial := i.serial
	i.mu.Unlock()
	now := time.Now()
	if i.Now != nil {
		now = i.Now()
	}
	c := map[string]any{
		"iss": i.URL, "sub": "user-1", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"jti": fmt.Sprintf("jti-%d", serial),
	}
	overlay(c, claims)
	h := map[string]any{"alg": "RS256", "typ": "JWT", "kid": key.ID}
	for _, m := range header {
		overlay(h, m)
	}
	return key.Sign(encode(h), encode(c))
}

// Sign signs the header and payload exactly as given, with the current key: for tokens no library would make.
func (i *Issuer) Sign(header, payload string) string { return i.Key().Sign(header, payload) }

// Key returns the key that signs now.
func (i *Issuer) Key() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current
}

// Rotate makes a new signing key and publishes it beside the earlier ones, as providers do, and returns it.
func (i *Issuer) Rotate() *Key {
	key, err := newKey(2048)
	if err != nil {
		panic(err) // the random source of the machine is broken: no test can go on
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = key
	i.published = append(i.published, key.JWK())
	return key
}

// Retire takes every key but the current one out of the published set.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = []map[string]any{i.current.JWK()}
}

// PublishKeys replaces the published set with these JWKs, whatever they are. The signing key stays.
func (i *Issuer) PublishKeys(keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = keys
}

// SetMetadata sets one member of the metadata document; Absent removes it.
func (i *Issuer) SetMetadata(name string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	m := maps.Clone(i.metadata)
	overlay(m, map[string]any{name: value})
	i.metadata = m
}

// SetDown makes every answer 503 until it is called with false.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Fetches says how often the metadata and the key set have been asked for.
func (i *Issuer) Fetches() (metadata, keys int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.metadataCalls, i.keyCalls
}

// Client returns a client that reaches the issuer in memory, without a connection, whatever host it names.
func (i *Issuer) Client() *http.Client { return &http.Client{Transport: transport{i}} }

type transport struct{ issuer *Issuer }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	t.issuer.serve(w, r)
	res := w.Result()
	res.Request = r
	return res, nil
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	var body any
	switch {
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		i.metadataCalls++
		body = i.metadata
	case strings.HasSuffix(r.URL.Path, "/keys"):
		i.keyCalls++
		body = map[string]any{"keys": i.published}
	}
	down := i.down
	i.mu.Unlock()
	switch {
	case down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case body == nil:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, encode(body))
	}
}

func newKey(bits int) (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	return &Key{ID: rand.Text(), Private: private}, nil
}

// NewKey makes a key that no issuer has, of so many bits. (Below 1024 only with GODEBUG=rsa1024min=0.)
func NewKey(t testing.TB, bits int) *Key {
	t.Helper()
	k, err := newKey(bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Sign makes a compact token of header and payload, taken literally, with an RS256 signature over them.
func (k *Key) Sign(header, payload string) string {
	input := Segment(header) + "." + Segment(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, k.Private, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // only a malformed key does this
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// JWK is the public key as a member of a key set, with kid, use and alg.
func (k *Key) JWK() map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.ID,
		"n": base64.RawURLEncoding.EncodeToString(k.Private.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.Private.E)).Bytes()),
	}
}

// Segment encodes one part of a compact token.
func Segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// AccessTokenHash is the at_hash of an access token (OpenID Connect Core §3.1.3.6, for RS256).
func AccessTokenHash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func overlay(m, over map[string]any) {
	for name, value := range over {
		if value == Absent {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a test asked for something JSON cannot hold
	}
	return string(b)
}
