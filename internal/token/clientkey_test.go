package token_test

import (
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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Keys are expensive to generate and are shared by the tests.
var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// rsaJWK returns rsaKey as a JWK with further members.
func rsaJWK(more string) string {
	k := rsaKey()
	k.Precompute()
	return `{"kty":"RSA","n":"` + b64(k.N.Bytes()) + `","e":"AQAB","d":"` + b64(k.D.Bytes()) + `","p":"` + b64(k.Primes[0].Bytes()) + `","q":"` + b64(k.Primes[1].Bytes()) +
		`","dp":"` + b64(k.Precomputed.Dp.Bytes()) + `","dq":"` + b64(k.Precomputed.Dq.Bytes()) + `","qi":"` + b64(k.Precomputed.Qinv.Bytes()) + `"` + more + `}`
}

func ecJWK(more string) string {
	raw := must(ecKey().PublicKey.Bytes()) // 4, x, y
	return `{"kty":"EC","crv":"P-256","x":"` + b64(raw[1:33]) + `","y":"` + b64(raw[33:]) + `","d":"` + b64(must(ecKey().Bytes())) + `"` + more + `}`
}

// TestClientAssertion: each kind of key signs an assertion that a provider can verify
// with the published set (OpenID Connect Core §9, RFC 7523 §3).
func TestClientAssertion(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	const issuer, client = "https://id.example/", "web:client"
	for _, c := range []struct {
		name, key string
		offered   []string
		alg, kid  string // "" for the thumbprint
	}{
		{name: "PKCS #8, RSA", key: pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))), alg: "RS256"},
		{name: "PKCS #1", key: pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), alg: "RS256"},
		{name: "RSA, and the provider takes PS256", key: pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))), offered: []string{"HS256", "ES256", "PS256"}, alg: "PS256"},
		{name: "PKCS #8, P-256", key: pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey()))), alg: "ES256"},
		{name: "SEC 1, after parameters and a certificate", key: pemOf("EC PARAMETERS", []byte{6, 8}) + pemOf("CERTIFICATE", []byte("x")) + pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey()))), alg: "ES256"},
		{name: "JWK, RSA", key: rsaJWK(""), alg: "RS256"},
		{name: "JWK with a kid and an alg", key: rsaJWK(`,"kid":"key-1","alg":"PS256","use":"sig"`), alg: "PS256", kid: "key-1"},
		{name: "JWK, EC", key: " \n" + ecJWK(`,"kid":"key-2"`), offered: []string{"RS256", "ES256"}, alg: "ES256", kid: "key-2"},
		{name: "JWK set: the first signs", key: `{"keys":[` + ecJWK("") + `,` + rsaJWK("") + `]}`, alg: "ES256"},
		{name: "PEM with two keys: the first signs", key: pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))) + pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey()))), alg: "RS256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			keys, err := token.ParseClientKeys(c.key)
			if err != nil {
				t.Fatal(err)
			}
			md := &oidc.Metadata{Issuer: issuer, TokenEndpoint: issuer + "token", TokenEndpointAuthSigningAlgValues: c.offered}
			one := must(keys.Assertion(md, md.Issuer, client, now, rand.Reader))
			head, claims := verifyAssertion(t, keys.PublicSet(), one)
			if head["alg"] != c.alg || head["typ"] != "JWT" || len(head) != 3 || c.kid != "" && head["kid"] != c.kid || c.kid == "" && len(head["kid"].(string)) != 43 {
				t.Errorf("header %v", head)
			}
			jti, _ := claims["jti"].(string)
			delete(claims, "jti")
			// The audience is the issuer only, byte for byte, as a string (OpenID
			// Foundation notice of January 2025).
			want := map[string]any{"iss": client, "sub": client, "aud": issuer, "iat": float64(now.Unix()), "exp": float64(now.Unix() + 60)}
			if must(json.Marshal(claims)); string(must(json.Marshal(claims))) != string(must(json.Marshal(want))) {
				t.Errorf("claims %v, want %v", claims, want)
			}
			if _, again := verifyAssertion(t, keys.PublicSet(), must(keys.Assertion(md, md.Issuer, client, now, rand.Reader))); len(jti) < 22 || again["jti"] == jti {
				t.Errorf("jti %q, then %v", jti, again["jti"])
			}
		})
	}
}

// verifyAssertion verifies an assertion with the standard library.
func verifyAssertion(t *testing.T, published []byte, assertion string) (head, claims map[string]any) {
	t.Helper()
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		t.Fatal("no compact JWS")
	}
	var raw [3][]byte
	for i, part := range parts {
		raw[i] = must(base64.RawURLEncoding.Strict().DecodeString(part))
	}
	if json.Unmarshal(raw[0], &head) != nil || json.Unmarshal(raw[1], &claims) != nil {
		t.Fatal("no JSON")
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(published, &set); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	number := func(s string) *big.Int { return new(big.Int).SetBytes(must(base64.RawURLEncoding.DecodeString(s))) }
	for _, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if _, has := k[private]; has {
				t.Fatalf("the published key has %s", private)
			}
		}
		if k["use"] != "sig" {
			t.Errorf("published with use %q", k["use"])
		}
		if k["kid"] != head["kid"] {
			continue
		}
		good := false
		switch public := (&rsa.PublicKey{N: number(k["n"]), E: int(number(k["e"]).Int64())}); head["alg"] {
		case "RS256":
			good = rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], raw[2]) == nil
		case "PS256":
			good = rsa.VerifyPSS(public, crypto.SHA256, sum[:], raw[2], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		case "ES256":
			ec := must(ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, must(base64.RawURLEncoding.DecodeString(k["x"]))...), must(base64.RawURLEncoding.DecodeString(k["y"]))...)))
			good = len(raw[2]) == 64 && ecdsa.Verify(ec, sum[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:]))
		}
		if !good {
			t.Fatalf("the signature (%v) does not verify with the published key", head["alg"])
		}
		return head, claims
	}
	t.Fatalf("kid %v is not published", head["kid"])
	return nil, nil
}

func TestClientKeysRefused(t *testing.T) {
	t.Parallel()
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	public := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	good := pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey())))
	for name, c := range map[string]struct{ key, says string }{
		"nothing":                    {"", "no private key"},
		"neither PEM nor JSON":       {"hunter2-hunter2", "no private key"},
		"a public key":               {pemOf("PUBLIC KEY", public), "no private key"},
		"a public JWK":               {`{"kty":"RSA","n":"` + b64(rsaKey().N.Bytes()) + `","e":"AQAB"}`, "not a private key"},
		"a shared secret":            {`{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}`, "not a private key"},
		"a key for encryption":       {rsaJWK(`,"use":"enc"`), `use "enc"`},
		"an empty set":               {`{"keys":[]}`, "no private key"},
		"broken JSON":                {`{"kty":"RSA","d":"c2VjcmV0`, "neither PEM nor"},
		"broken DER":                 {pemOf("PRIVATE KEY", []byte("c2VjcmV0")), "cannot be parsed"},
		"encrypted":                  {pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), "unencrypted"},
		"1024 bits":                  {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "1024 bits"},
		"P-384":                      {pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p384))), "P-384"},
		"alg of another kind of key": {ecJWK(`,"alg":"RS256"`), `alg "RS256"`},
		"alg of a shared secret":     {rsaJWK(`,"alg":"HS256"`), `alg "HS256"`},
		"one kid twice":              {good + good, "is used twice"},
		"the second is malformed":    {good + pemOf("PRIVATE KEY", []byte("x")), "key 2"},
	} {
		keys, err := token.ParseClientKeys(c.key)
		if err == nil || keys != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, leak := range []string{"c2VjcmV0", "hunter2", b64(rsaKey().D.Bytes())[:16]} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%s: the error contains the key", name)
			}
		}
	}
	keys := must(token.ParseClientKeys(good))
	if _, err := keys.Assertion(&oidc.Metadata{Issuer: "https://id.example", TokenEndpointAuthSigningAlgValues: []string{"ES256"}}, "https://id.example", "c", time.Now(), rand.Reader); err == nil || !strings.Contains(err.Error(), "RS256 or PS256") {
		t.Errorf("a provider without our algorithms: %v", err)
	}
}

// FuzzParseClientKeys: any input gives an error or keys that sign.
func FuzzParseClientKeys(f *testing.F) {
	f.Add(rsaJWK(""))
	f.Add(ecJWK(`,"kid":"x"`))
	f.Add(`{"keys":[` + ecJWK("") + `]}`)
	f.Add(`{"keys":[null,1,"x",{}]}`)
	f.Add(pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey()))))
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := token.ParseClientKeys(text)
		if err != nil {
			return
		}
		md := &oidc.Metadata{Issuer: "https://id.example"}
		if _, err := keys.Assertion(md, md.Issuer, "c", time.Unix(1_800_000_000, 0), rand.Reader); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(keys.PublicSet()), `"d":`) {
			t.Fatal("the private half is published")
		}
	})
}
