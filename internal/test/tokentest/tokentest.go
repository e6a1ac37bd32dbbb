// Package tokentest owns a signing OpenID issuer for tests: metadata, a key set, and valid and
// invalid tokens. It leaves verification to package token and login pages to the development
// provider. It uses the standard library alone, so that it does not share a mistake with the
// verifier.
package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
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

// Absent is the value of a claim or header member that Mint leaves out. (Nil is a JSON null.)
var Absent any = absent{}

type absent struct{}

// An Issuer is an OpenID provider as a verifier sees it: metadata, keys and signed tokens. Its
// methods are safe for concurrent use. Its fields are set before the first use.
type Issuer struct {
	// URL is the issuer identifier, without a trailing slash. NewIssuer sets it to an http URL on
	// loopback.
	URL string
	// Now is the clock of Mint; nil means time.Now.
	Now func() time.Time

	server *httptest.Server
	test   testing.TB

	mu            sync.Mutex
	current       *Key
	published     []map[string]any
	metadata      map[string]any
	handlers      map[string]http.Handler // by path
	down          bool
	serial        int
	metadataCalls int
	keyCalls      int
}

// Key is a signing key with the kid it is published under.
type Key struct {
	ID      string
	Private *rsa.PrivateKey // nil for an algorithm of another type of key
	// Algorithm is what it signs with: RS256, PS256, ES256, EdDSA or Ed25519, the other name
	// of EdDSA.
	Algorithm string

	ec *ecdsa.PrivateKey
	ed ed25519.PrivateKey
}

// Algorithms are those of a Key, each once.
var Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// NewIssuer starts an issuer on a loopback port, with one 2048-bit key, and stops it at the end of
// the test.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := newIssuer(t, "RS256")
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	i.URL = "http://" + i.server.Listener.Addr().String()
	i.publishMetadata() // before the server starts
	i.server.Start()
	t.Cleanup(i.server.Close)
	return i
}

// NewUnserved returns an issuer for url that does not listen. Its Client reaches it in memory, as a
// testing/synctest bubble requires.
func NewUnserved(t testing.TB, url string) *Issuer {
	t.Helper()
	return NewUnservedOf(t, url, "RS256")
}

// NewUnservedOf is NewUnserved with a key of an algorithm.
func NewUnservedOf(t testing.TB, url, algorithm string) *Issuer {
	t.Helper()
	i := newIssuer(t, algorithm)
	i.URL = strings.TrimSuffix(url, "/")
	i.publishMetadata()
	return i
}

func newIssuer(t testing.TB, algorithm string) *Issuer {
	t.Helper()
	i := &Issuer{test: t}
	i.current = NewKeyOf(t, algorithm)
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
		"id_token_signing_alg_values_supported": []string{i.current.Algorithm},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"code_challenge_methods_supported":      []string{"S256"},
	}
}

// Mint returns a token signed with the current key. The claims replace these defaults: iss (URL),
// sub ("user-1"), iat (now), exp (in five minutes) and a unique jti. There is no default aud. The
// header has the key's alg (RS256), typ JWT and the key's kid; each map in header replaces members. Absent
// removes a member.
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
	h := map[string]any{"alg": key.Algorithm, "typ": "JWT", "kid": key.ID}
	for _, m := range header {
		overlay(h, m)
	}
	return key.Sign(encode(h), encode(c))
}

// Sign returns a token of the header and payload exactly as given, signed with the current key, for
// tokens that no library would make.
func (i *Issuer) Sign(header, payload string) string { return i.Key().Sign(header, payload) }

// Key returns the current signing key.
func (i *Issuer) Key() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current
}

// Rotate makes a new signing key current, publishes it beside the earlier ones, and returns it.
func (i *Issuer) Rotate() *Key {
	key := NewKeyOf(i.test, i.Key().Algorithm)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = key
	i.published = append(i.published, key.JWK())
	return key
}

// SetAlgorithm makes a new key of an algorithm current, which replaces the published
// ones, and lists the algorithm in the metadata.
func (i *Issuer) SetAlgorithm(algorithm string) *Key {
	key := NewKeyOf(i.test, algorithm)
	i.SetMetadata("id_token_signing_alg_values_supported", []string{algorithm})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = key
	i.published = []map[string]any{key.JWK()}
	return key
}

// Retire removes every key but the current one from the published set.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = []map[string]any{i.current.JWK()}
}

// PublishKeys replaces the published set with these JWKs, which may be invalid. The signing key
// stays.
func (i *Issuer) PublishKeys(keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = keys
}

// SetMetadata sets a member of the metadata document; Absent removes it.
func (i *Issuer) SetMetadata(name string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	m := maps.Clone(i.metadata)
	overlay(m, map[string]any{name: value})
	i.metadata = m
}

// Handle has requests for a path, such as "/introspect", answered by h.
func (i *Issuer) Handle(path string, h http.Handler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handlers == nil {
		i.handlers = map[string]http.Handler{}
	}
	i.handlers[path] = h
}

// SetDown makes every response a 503 until it is called with false.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Fetches returns the number of requests for the metadata and for the key set.
func (i *Issuer) Fetches() (metadata, keys int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.metadataCalls, i.keyCalls
}

// Client returns a client that sends every request to the issuer in memory, without a connection.
func (i *Issuer) Client() *http.Client { return &http.Client{Transport: transport{i}} }

type transport struct{ issuer *Issuer }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	t.issuer.serve(w, r)
	if err := r.Context().Err(); err != nil { // a handler has waited for too long
		return nil, err
	}
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
	down, handler := i.down, i.handlers[r.URL.Path]
	i.mu.Unlock()
	switch {
	case down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case handler != nil:
		handler.ServeHTTP(w, r)
	case body == nil:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, encode(body))
	}
}

// NewKey returns a new key with a random ID, which no issuer has. Sizes below 1024 need
// GODEBUG=rsa1024min=0.
func NewKey(t testing.TB, bits int) *Key {
	t.Helper()
	return &Key{ID: rand.Text(), Private: generate(t, bits), Algorithm: "RS256"}
}

// NewKeyOf returns a new key of an algorithm with a random ID, which no issuer has. RSA
// keys are those of issuers.
func NewKeyOf(t testing.TB, algorithm string) *Key {
	t.Helper()
	k := &Key{ID: rand.Text(), Algorithm: algorithm}
	var err error
	switch algorithm {
	case "RS256", "PS256":
		k.Private = sharedRSA(t)
	case "ES256":
		k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("tokentest: algorithm %q", algorithm)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keys holds the 2048-bit keys of issuers. The n-th key of every test is the same one, because
// generating it takes a second under the race detector. Within a test all keys differ.
var keys struct {
	mu   sync.Mutex
	made []*rsa.PrivateKey
	used map[string]int // by name of the test without subtests
}

// sharedRSA returns the next key of an issuer.
func sharedRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	keys.mu.Lock()
	defer keys.mu.Unlock()
	if keys.used == nil {
		keys.used = map[string]int{}
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	n := keys.used[name]
	keys.used[name]++
	if n == len(keys.made) {
		keys.made = append(keys.made, generate(t, 2048))
	}
	return keys.made[n]
}

func generate(t testing.TB, bits int) *rsa.PrivateKey {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// Sign returns a compact token of the header and payload exactly as given, signed with the key's
// algorithm, whatever the header says.
func (k *Key) Sign(header, payload string) string {
	input := Segment(header) + "." + Segment(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(k.Signature(input))
}

// Signature returns the signature of a token's first two segments.
func (k *Key) Signature(input string) []byte {
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch {
	case k.ed != nil:
		return ed25519.Sign(k.ed, []byte(input))
	case k.ec != nil:
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(rand.Reader, k.ec, sum[:]); err == nil {
			sig = make([]byte, 64)
			r.FillBytes(sig[:32])
			s.FillBytes(sig[32:])
		}
	case k.Algorithm == "PS256":
		sig, err = rsa.SignPSS(rand.Reader, k.Private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	default:
		sig, err = rsa.SignPKCS1v15(nil, k.Private, crypto.SHA256, sum[:])
	}
	if err != nil {
		panic(err) // only a malformed key does this
	}
	return sig
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey {
	switch {
	case k.ed != nil:
		return k.ed.Public()
	case k.ec != nil:
		return &k.ec.PublicKey
	}
	return &k.Private.PublicKey
}

// JWK returns the public key as a member of a key set, with kid, use and alg.
func (k *Key) JWK() map[string]any {
	jwk := map[string]any{"use": "sig", "alg": k.Algorithm, "kid": k.ID}
	text := base64.RawURLEncoding.EncodeToString
	switch public := k.Public().(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", text(public.N.Bytes()), text(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", "P-256", text(point[1:33]), text(point[33:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", text(public)
	}
	return jwk
}

// Segment encodes one part of a compact token.
func Segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// AccessTokenHash returns the at_hash of an access token in an ID token that the key signs (OpenID
// Connect Core §3.1.3.6).
func (k *Key) AccessTokenHash(accessToken string) string {
	if k.ed != nil { // openid/connect issue 1125
		sum := sha512.Sum512([]byte(accessToken))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	return AccessTokenHash(accessToken)
}

// AccessTokenHash returns the at_hash of an access token for algorithms with SHA-256.
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
