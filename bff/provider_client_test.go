package bff_test

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// authenticated verifies the client's authentication by RFC 6749 §2.3 and OpenID
// Connect Core §9, with the standard library alone.
func (p *provider) authenticated(r *http.Request) bool {
	f := r.PostForm
	methods := 0
	good := false
	if id, password, ok := r.BasicAuth(); ok {
		methods++
		good = id == url.QueryEscape(clientID) && password == url.QueryEscape(clientSecret)
	}
	if f.Has("client_secret") {
		methods++
		good = f.Get("client_id") == clientID && f.Get("client_secret") == clientSecret
	}
	if f.Has("client_assertion") {
		methods++
		good = f.Get("client_id") == clientID && f.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" &&
			p.proves(f.Get("client_assertion"))
	}
	if offered, _ := p.metadata["token_endpoint_auth_methods_supported"].([]string); methods == 0 && slices.Equal(offered, []string{"none"}) {
		return f.Get("client_id") == clientID
	}
	return methods == 1 && good // "MUST NOT use more than one"
}

// A jwk is a public key as a client publishes it.
type jwk struct{ Kty, Kid, Use, Alg, N, E, Crv, X, Y string }

// proves verifies a client assertion by RFC 7523 §3. The audience must be the
// issuer alone (the audience injection of January 2025).
func (p *provider) proves(assertion string) bool {
	secret("client assertion", assertion)
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return false
	}
	var head struct{ Alg, Kid, Typ string }
	var claims struct {
		Iss, Sub, Jti string
		Aud           any
		Iat, Exp      int64
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	h, _ := decode(parts[0])
	c, _ := decode(parts[1])
	signature, _ := decode(parts[2])
	if json.Unmarshal(h, &head) != nil || json.Unmarshal(c, &claims) != nil {
		return false
	}
	now := p.now().Unix()
	if claims.Iss != clientID || claims.Sub != clientID || claims.Aud != any(cmp.Or(p.assertionAudience, issuerURL)) || len(claims.Jti) < 16 || claims.Iat > now || claims.Exp <= now || claims.Exp > now+300 {
		return false
	}
	if _, again := p.pushed["jti "+claims.Jti]; again {
		return false
	}
	p.pushed["jti "+claims.Jti] = nil
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	number := func(s string) *big.Int {
		raw, _ := decode(s)
		return new(big.Int).SetBytes(raw)
	}
	for _, k := range p.clients {
		if k.Kid != head.Kid {
			continue
		}
		public := &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
		switch head.Alg {
		case "RS256":
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
		case "PS256":
			return rsa.VerifyPSS(public, crypto.SHA256, sum[:], signature, nil) == nil
		case "ES256":
			x, _ := decode(k.X)
			y, _ := decode(k.Y)
			public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
			return err == nil && len(signature) == 64 &&
				ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
		}
	}
	return false
}

// readClientKeys fetches the client's keys where the client publishes them.
func (s *system) readClientKeys() {
	s.t.Helper()
	res := s.browser().do(http.MethodGet, "/api/auth/jwks.json", nil) // as a provider asks: without a browser's headers
	wantStatus(s.t, res, http.StatusOK)
	var set struct{ Keys []jwk }
	if err := json.Unmarshal([]byte(res.body), &set); err != nil || len(set.Keys) == 0 {
		s.t.Fatalf("%v: %s", err, res.body)
	}
	s.idp.change(func(p *provider) { p.clients = set.Keys })
}

// push accepts a pushed authorization request (RFC 9126).
func (p *provider) push(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.authenticated(r):
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
	case r.PostForm.Has("request_uri"): // section 2.1
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
	default:
		uri := secret("request_uri", "urn:ietf:params:oauth:request_uri:"+rand.Text())
		p.pushed[uri] = r.PostForm
		reply(w, http.StatusCreated, map[string]any{"request_uri": uri, "expires_in": 60})
	}
}

// request returns the parameters of an authorization request: those of its
// address, or those that were pushed, once.
func (p *provider) request(q url.Values) url.Values {
	p.t.Helper()
	if !q.Has("request_uri") {
		if p.metadata["require_pushed_authorization_requests"] == true {
			p.t.Fatal("an authorization request was not pushed")
		}
		return q
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pushed := p.pushed[q.Get("request_uri")]
	delete(p.pushed, q.Get("request_uri"))
	if pushed == nil || q.Get("client_id") != clientID || len(q) != 3 { // and "tenant"
		p.t.Fatalf("the browser carries %v", q)
	}
	return pushed
}

// offersPAR makes the provider accept pushed requests.
func (p *provider) offersPAR() {
	p.metadata["pushed_authorization_request_endpoint"] = issuerURL + "/par"
}

// Keys of the client, as an operator would generate them.
var (
	clientRSA = sync.OnceValue(func() string {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		return pemKey(k, err)
	})
	clientEC = sync.OnceValue(func() string {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return pemKey(k, err)
	})
)

func pemKey(k any, err error) string {
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// withKey gives the client a key instead of a secret.
func withKey(key string) func(*bff.Config) {
	return func(c *bff.Config) { c.Client.Secret, c.Client.Key = "", key }
}
