package token_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// allow returns a change that sets the accepted algorithms.
func allow(algorithms ...string) func(*token.AccessConfig[*principal]) {
	return func(c *token.AccessConfig[*principal]) { c.Algorithms = algorithms }
}

// Each algorithm is accepted where it is allowed, and nowhere else.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, signs := range slices.Concat(tokentest.Algorithms, []string{"Ed25519"}) {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		issuer.SetAlgorithm(signs)
		p := newProvider(t, issuer, nil)
		raw := issuer.Mint(map[string]any{"aud": audience})
		for _, allowed := range tokentest.Algorithms {
			t.Run(signs+" where "+allowed+" is allowed", func(t *testing.T) {
				want := token.ReasonMalformed
				if allowed == signs || allowed == "EdDSA" && signs == "Ed25519" {
					want = 0
				}
				check(t, newAccess(t, p, allow(allowed)), raw, want)
			})
		}
		check(t, newAccess(t, p, allow(tokentest.Algorithms...)), raw, 0)
	}
}

// A token of one algorithm does not pass for one of another: by its header, by a key of
// another type, or by a key of the same type that is published for another algorithm.
func TestAlgorithmConfusion(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, alg)
			own := f.Key()
			published := []map[string]any{own.JWK()}
			others, shared := map[string]*tokentest.Key{}, map[string]*tokentest.Key{}
			for _, other := range tokentest.Algorithms {
				if other == alg {
					continue
				}
				others[other], shared[other] = tokentest.NewKeyOf(t, other), tokentest.NewKeyOf(t, other)
				shared[other].ID = own.ID // RFC 7517 §4.5 only advises against it
				published = append(published, others[other].JWK(), shared[other].JWK())
			}
			f.PublishKeys(published...)
			p := newProvider(t, f.Issuer, nil)
			strict, all := newAccess(t, p, allow(alg), f.clock), newAccess(t, p, allow(tokentest.Algorithms...), f.clock)
			header := func(alg, kid string) string { return fmt.Sprintf(`{"alg":%q,"typ":"JWT","kid":%q}`, alg, kid) }
			check(t, strict, f.good(), 0)
			check(t, all, f.good(), 0)
			for other, key := range others {
				raw := key.Sign(header(other, key.ID), f.payload(""))
				check(t, all, raw, 0)
				refused(t, strict, raw, token.ReasonMalformed)
				// The header names what is allowed, and the key and the signature are of another algorithm.
				refused(t, strict, key.Sign(header(alg, key.ID), f.payload("")), token.ReasonInvalid)
				refused(t, all, key.Sign(header(alg, key.ID), f.payload("")), token.ReasonInvalid)
				// The header names another algorithm than that of key and signature.
				refused(t, strict, own.Sign(header(other, own.ID), f.payload("")), token.ReasonMalformed)
				refused(t, all, own.Sign(header(other, own.ID), f.payload("")), token.ReasonInvalid)
				// A key of another algorithm has the kid of ours.
				key = shared[other]
				check(t, all, key.Sign(header(other, own.ID), f.payload("")), 0)
				refused(t, strict, key.Sign(header(other, own.ID), f.payload("")), token.ReasonMalformed)
				refused(t, strict, key.Sign(header(alg, own.ID), f.payload("")), token.ReasonInvalid)
				refused(t, all, key.Sign(header(alg, own.ID), f.payload("")), token.ReasonInvalid)
			}
			for _, name := range []string{
				strings.ToLower(alg), alg + " ", "ES256K", "ES384", "RS512", "PS384", "HS256", "HS512", "none", "Ed448", "ed25519", "EDDSA",
				"dir", "RSA-OAEP", "SHA256withRSA", "",
			} {
				refused(t, all, f.signed(header(name, own.ID), f.payload("")), token.ReasonMalformed)
			}
		})
	}
}

// A key without alg signs with the algorithms of its type, as far as they are allowed.
// With an alg it signs with that alone.
func TestKeyAlgorithm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, alg, header string
		allowed          []string
		want             token.Reason
	}{
		{"RS256", "", "RS256", nil, 0},
		{"PS256", "", "PS256", []string{"RS256", "PS256"}, 0},
		{"PS256", "", "PS256", []string{"RS256"}, token.ReasonMalformed},
		{"PS256", "RS256", "PS256", tokentest.Algorithms, token.ReasonInvalid},
		{"RS256", "PS256", "RS256", tokentest.Algorithms, token.ReasonInvalid},
		{"RS256", "", "PS256", tokentest.Algorithms, token.ReasonInvalid}, // PKCS #1 v1.5 under PS256
		{"PS256", "", "RS256", tokentest.Algorithms, token.ReasonInvalid},
		{"ES256", "", "ES256", []string{"ES256"}, 0},
		{"EdDSA", "", "EdDSA", []string{"EdDSA"}, 0},
		{"EdDSA", "EdDSA", "Ed25519", []string{"EdDSA"}, 0}, // RFC 9864: two names of one algorithm
		{"EdDSA", "Ed25519", "EdDSA", []string{"EdDSA"}, 0},
		{"EdDSA", "Ed25519", "Ed25519", []string{"Ed25519"}, 0},
	} {
		t.Run(fmt.Sprintf("%s key with alg %q, header %s, allowed %v", c.key, c.alg, c.header, c.allowed), func(t *testing.T) {
			t.Parallel()
			f := newForge(t, c.key)
			jwk := f.Key().JWK()
			jwk["alg"] = c.alg
			if c.alg == "" {
				delete(jwk, "alg")
			}
			f.PublishKeys(jwk)
			v := newAccess(t, newProvider(t, f.Issuer, nil), allow(c.allowed...), f.clock)
			check(t, v, f.signed(strings.Replace(f.header(""), c.key, c.header, 1), f.payload("")), c.want)
		})
	}
}

// A token without kid is verified with the only key of its algorithm.
func TestNoKid(t *testing.T) {
	t.Parallel()
	f := newForge(t, "RS256")
	ec := tokentest.NewKeyOf(t, "ES256")
	noKid := func(k *tokentest.Key) string {
		return k.Sign(fmt.Sprintf(`{"alg":%q}`, k.Algorithm), f.payload(""))
	}
	verifier := func(keys ...*tokentest.Key) *token.AccessVerifier[*principal] {
		var published []map[string]any
		for _, k := range keys {
			published = append(published, k.JWK())
		}
		f.PublishKeys(published...)
		return newAccess(t, newProvider(t, f.Issuer, nil), allow(tokentest.Algorithms...), f.clock)
	}
	v := verifier(f.Key(), ec)
	check(t, v, noKid(f.Key()), 0)
	check(t, v, noKid(ec), 0)
	v = verifier(f.Key(), tokentest.NewKeyOf(t, "RS256"), ec)
	check(t, v, noKid(f.Key()), token.ReasonInvalid)
	check(t, v, noKid(ec), 0)
	v = verifier(f.Key(), tokentest.NewKeyOf(t, "PS256"))
	check(t, v, noKid(f.Key()), 0)
}

// A signature has one form, and for ES256 either s.
func TestSignatureForms(t *testing.T) {
	t.Parallel()
	n := elliptic.P256().Params().N
	halves := func(r, s *big.Int) []byte {
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	number := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	// order is that of the base point of Ed25519 (RFC 8032 §5.1).
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
	pss := func(f forge, salt int) []byte {
		sum := sha256.Sum256([]byte(f.input()))
		sig, err := rsa.SignPSS(rand.Reader, f.Key().Private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	for _, c := range []struct {
		alg, name string
		want      token.Reason
		change    func(f forge, sig []byte) []byte
	}{
		{"ES256", "as DER", token.ReasonInvalid, func(_ forge, sig []byte) []byte {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{number(sig[:32]), number(sig[32:])})
			if err != nil {
				t.Fatal(err)
			}
			return der
		}},
		{"ES256", "r and s zero (CVE-2022-21449)", token.ReasonInvalid, func(forge, []byte) []byte { return make([]byte, 64) }},
		{"ES256", "r zero", token.ReasonInvalid, func(_ forge, sig []byte) []byte { return halves(new(big.Int), number(sig[32:])) }},
		{"ES256", "s zero", token.ReasonInvalid, func(_ forge, sig []byte) []byte { return halves(number(sig[:32]), new(big.Int)) }},
		{"ES256", "r and s the order", token.ReasonInvalid, func(forge, []byte) []byte { return halves(n, n) }},
		{"ES256", "the other s", 0, func(_ forge, sig []byte) []byte {
			return halves(number(sig[:32]), new(big.Int).Sub(n, number(sig[32:])))
		}},
		{"ES256", "r and s exchanged", token.ReasonInvalid, func(_ forge, sig []byte) []byte { return append(bytes.Clone(sig[32:]), sig[:32]...) }},
		{"ES256", "each half with a leading zero", token.ReasonInvalid, func(_ forge, sig []byte) []byte {
			return slices.Concat([]byte{0}, sig[:32], []byte{0}, sig[32:])
		}},
		{"ES256", "s with a leading zero", token.ReasonInvalid, func(_ forge, sig []byte) []byte {
			return slices.Concat(sig[:32], []byte{0}, sig[32:])
		}},
		{"ES256", "of the length of ES384", token.ReasonInvalid, func(_ forge, sig []byte) []byte { return append(sig, make([]byte, 32)...) }},
		{"EdDSA", "all zero", token.ReasonInvalid, func(forge, []byte) []byte { return make([]byte, 64) }},
		{"EdDSA", "s with the order added (RFC 8032 §8.4)", token.ReasonInvalid, func(_ forge, sig []byte) []byte {
			s := bytes.Clone(sig[32:])
			slices.Reverse(s) // little-endian
			s = new(big.Int).Add(number(s), order).FillBytes(make([]byte, 32))
			slices.Reverse(s)
			return append(sig[:32:32], s...)
		}},
		{"EdDSA", "of 63 bytes", token.ReasonInvalid, func(_ forge, sig []byte) []byte { return sig[:63] }},
		{"PS256", "salt as long as the hash", 0, func(f forge, _ []byte) []byte { return pss(f, 32) }},
		{"PS256", "no salt", token.ReasonInvalid, func(f forge, _ []byte) []byte { return pss(f, 0) }},
		{"PS256", "salt of 20 bytes", token.ReasonInvalid, func(f forge, _ []byte) []byte { return pss(f, 20) }},
		{"PS256", "the longest salt", token.ReasonInvalid, func(f forge, _ []byte) []byte { return pss(f, rsa.PSSSaltLengthAuto) }},
		{"RS256", "the modulus added", token.ReasonInvalid, func(f forge, sig []byte) []byte {
			return new(big.Int).Add(number(sig), f.Key().Private.N).FillBytes(make([]byte, 257))
		}},
	} {
		t.Run(c.alg+" "+c.name, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, c.alg)
			v := newAccess(t, newProvider(t, f.Issuer, nil), allow(tokentest.Algorithms...), f.clock)
			sig := c.change(f, f.Key().Signature(f.input()))
			check(t, v, f.input()+"."+base64.RawURLEncoding.EncodeToString(sig), c.want)
		})
	}
}

// input returns the first two segments of a valid token.
func (f forge) input() string {
	return tokentest.Segment(f.header("")) + "." + tokentest.Segment(f.payload(""))
}

// The cache tells tokens with short signatures apart from others that begin with them.
func TestCacheOfShortSignatures(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		f := newForge(t, alg)
		v := newAccess(t, newProvider(t, f.Issuer, nil), allow(alg), f.clock)
		good := f.good()
		check(t, v, good, 0)
		if !v.Known(good) {
			t.Errorf("%s: a good token of %d characters is not cached", alg, len(good))
		}
		input := f.input()
		for n := len(input) + 1; n < len(good); n++ {
			if v.Known(good[:n]) {
				t.Fatalf("%s: the first %d of %d characters pass for the token", alg, n, len(good))
			}
		}
		changed := []byte(good)
		for i := range changed {
			changed[i] ^= 1
			if v.Known(string(changed)) {
				t.Fatalf("%s: with another character at %d it passes for the token", alg, i)
			}
			changed[i] ^= 1
		}
	}
}

// A refusal because of the algorithm is logged once, with the setting and the value to
// add, and for tokens of the provider only.
func TestAlgorithmNotice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newForge(t, "ES256")
		var log bytes.Buffer
		v := newAccess(t, newProvider(t, f.Issuer, nil), f.clock, func(c *token.AccessConfig[*principal]) {
			c.AlgorithmsSetting, c.Logger = "ACCESS_TOKEN_ALGORITHMS", slog.New(slog.NewTextHandler(&log, nil))
		})
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "the provider has ES256 keys only; set ACCESS_TOKEN_ALGORITHMS=ES256 (now RS256)") {
			t.Errorf("ready: %v", err)
		}
		check(t, v, strangerToken(f, func(*tokentest.Key) string { return "" }), token.ReasonMalformed)
		if log.Len() > 0 {
			t.Errorf("a token of a stranger is logged: %s", &log)
		}
		advance(time.Second)
		for range 3 {
			check(t, v, f.good(), token.ReasonMalformed)
			advance(time.Second)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "setting=ACCESS_TOKEN_ALGORITHMS remedy=\"set ACCESS_TOKEN_ALGORITHMS=RS256,ES256\"") {
			t.Errorf("logged: %s", got)
		}
	})
}

// Only names of supported algorithms are accepted in a configuration.
func TestValidAlgorithms(t *testing.T) {
	t.Parallel()
	p := newProvider(t, tokentest.NewUnserved(t, "https://id.example"), nil)
	for name, says := range map[string]string{
		"HS256": "give one or more of RS256, PS256, ES256, EdDSA", "none": "give one or more", "es256": "write ES256", "ES384": "give one or more",
		"eddsa": "write EdDSA", "": "give one or more", "RS256,ES256": "give one or more",
	} {
		_, err := token.NewAccessVerifier(token.AccessConfig[*principal]{Provider: p, Audience: audience, Principal: toPrincipal, Algorithms: []string{"RS256", name}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want it to say %q", name, err, says)
		}
	}
}
