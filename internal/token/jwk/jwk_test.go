package jwk_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
)

// members are those of a key, with others in the place of some.
func members(key, change map[string]any) map[string]any {
	m := maps.Clone(key)
	for name, value := range change {
		if value == tokentest.Absent {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
	return m
}

func set(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// point encodes a point in hexadecimal.
func point(t testing.TB, digits string) string {
	t.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return text(b)
}

// A key set may have keys of every supported kind. Each signs with the algorithms of its
// type that its alg permits.
func TestParseSetKinds(t *testing.T) {
	t.Parallel()
	rsaKey, ecKey, edKey := tokentest.NewKeyOf(t, "RS256").JWK(), tokentest.NewKeyOf(t, "ES256").JWK(), tokentest.NewKeyOf(t, "EdDSA").JWK()
	for _, c := range []struct {
		key  map[string]any
		alg  any
		want string
	}{
		{rsaKey, "RS256", "RS256"},
		{rsaKey, "PS256", "PS256"},
		{rsaKey, tokentest.Absent, "RS256 PS256"},
		{ecKey, "ES256", "ES256"},
		{ecKey, tokentest.Absent, "ES256"},
		{edKey, "EdDSA", "EdDSA"},
		{edKey, "Ed25519", "EdDSA"}, // RFC 9864
		{edKey, tokentest.Absent, "EdDSA"},
	} {
		keys, skipped, err := jwk.ParseSet(set(t, members(c.key, map[string]any{"alg": c.alg})))
		if err != nil || skipped != "" || len(keys) != 1 {
			t.Errorf("%v, alg %v: %d keys, %q, %v", c.key["kty"], c.alg, len(keys), skipped, err)
			continue
		}
		var fits []string
		for _, algorithm := range jwk.Algorithms() {
			if jwk.Fits(algorithm, keys[0].Public, keys[0].Algorithm) {
				fits = append(fits, algorithm)
			}
		}
		if got := strings.Join(fits, " "); got != c.want {
			t.Errorf("%v, alg %v: signs with %q, want %q", c.key["kty"], c.alg, got, c.want)
		}
	}
}

// An unusable key is left out with its reason, and does not spoil the others.
func TestParseSetSkips(t *testing.T) {
	t.Parallel()
	good := tokentest.NewKeyOf(t, "ES256")
	ec, ed, other := good.JWK(), tokentest.NewKeyOf(t, "EdDSA").JWK(), tokentest.NewKeyOf(t, "RS256").JWK()
	ec["kid"], ed["kid"], other["kid"] = "ec", "ed", "rsa"
	x, _ := base64.RawURLEncoding.DecodeString(ec["x"].(string))
	y, _ := base64.RawURLEncoding.DecodeString(ec["y"].(string))
	off := append([]byte{}, y...)
	off[31] ^= 1
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := p384.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const zeros = "00000000000000000000000000000000000000000000000000000000000000"
	const prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff" // of P-256
	for _, c := range []struct {
		name string
		key  map[string]any
		says string
	}{
		{"P-384", members(ec, map[string]any{"crv": "P-384", "alg": "ES384", "x": text(wide[1:49]), "y": text(wide[49:])}), `alg "ES384"`},
		{"P-384 without alg", members(ec, map[string]any{"crv": "P-384", "alg": tokentest.Absent, "x": text(wide[1:49]), "y": text(wide[49:])}), `crv "P-384"`},
		{"P-384 coordinates called P-256", members(ec, map[string]any{"x": text(wide[1:49]), "y": text(wide[49:])}), "32 bytes"},
		{"secp256k1", members(ec, map[string]any{"crv": "secp256k1", "alg": tokentest.Absent}), `crv "secp256k1"`},
		{"no curve", members(ec, map[string]any{"crv": tokentest.Absent}), `crv ""`},
		{"curve in lower case", members(ec, map[string]any{"crv": "p-256"}), `crv "p-256"`},
		{"point off the curve", members(ec, map[string]any{"y": text(off)}), "not a point on P-256"},
		{"point 0, 0", members(ec, map[string]any{"x": point(t, zeros+"00"), "y": point(t, zeros+"00")}), "not a point"},
		{"coordinate not below the prime", members(ec, map[string]any{"x": point(t, prime)}), "not a point"},
		{"coordinate without its leading zero", members(ec, map[string]any{"x": text(x[1:])}), "32 bytes"},
		{"coordinate with a zero more", members(ec, map[string]any{"x": text(append([]byte{0}, x...))}), "32 bytes"},
		{"compressed", members(ec, map[string]any{"x": text(append([]byte{2}, x...)), "y": ""}), "32 bytes"},
		{"no y", members(ec, map[string]any{"y": tokentest.Absent}), "32 bytes"},
		{"y a number", members(ec, map[string]any{"y": 1}), "malformed"},
		{"padded", members(ec, map[string]any{"x": ec["x"].(string) + "="}), "malformed"},
		{"private EC", members(ec, map[string]any{"d": text(x)}), "private key"},
		{"for encryption", members(ec, map[string]any{"use": "enc"}), `use "enc"`},
		{"key agreement", members(ec, map[string]any{"alg": "ECDH-ES"}), `alg "ECDH-ES"`},
		{"deriveKey", members(ec, map[string]any{"key_ops": []string{"deriveKey"}}), "key_ops"},
		{"EC with the alg of RSA", members(ec, map[string]any{"alg": "RS256"}), `alg "RS256" of another type`},
		{"EC with the alg of Ed25519", members(ec, map[string]any{"alg": "EdDSA"}), `alg "EdDSA" of another type`},
		{"RSA with the alg of EC", members(other, map[string]any{"alg": "ES256"}), `alg "ES256" of another type`},
		{"RSA with RS512", members(other, map[string]any{"alg": "RS512"}), `alg "RS512"`},
		{"alg in lower case", members(ec, map[string]any{"alg": "es256"}), `alg "es256"`},
		{"alg HS256", members(ec, map[string]any{"alg": "HS256"}), `alg "HS256"`},
		{"alg none", members(ec, map[string]any{"alg": "none"}), `alg "none"`},
		{"RSA with a prime", members(other, map[string]any{"p": "AQAB"}), "private key"},
		{"Ed25519 as EC", members(ed, map[string]any{"kty": "EC", "alg": tokentest.Absent}), `crv "Ed25519"`},
		{"P-256 as OKP", members(ec, map[string]any{"kty": "OKP", "alg": tokentest.Absent}), `crv "P-256"`},
		{"Ed448", members(ed, map[string]any{"crv": "Ed448", "alg": tokentest.Absent}), `crv "Ed448"`},
		{"alg Ed448", members(ed, map[string]any{"crv": "Ed448", "alg": "Ed448"}), `alg "Ed448"`},
		{"X25519", members(ed, map[string]any{"crv": "X25519", "alg": tokentest.Absent, "x": text(x25519.PublicKey().Bytes())}), `crv "X25519"`},
		{"private Ed25519", members(ed, map[string]any{"d": text(x)}), "private key"},
		{"Ed25519 of 31 bytes", members(ed, map[string]any{"x": text(x[1:])}), "32 bytes"},
		{"Ed25519 with y", members(ed, map[string]any{"y": text(y)}), "no y"},
		{"Ed25519: the identity", members(ed, map[string]any{"x": point(t, "01"+zeros)}), "small order"},
		{"Ed25519: order 2", members(ed, map[string]any{"x": point(t, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")}), "small order"},
		{"Ed25519: order 4", members(ed, map[string]any{"x": point(t, "00"+zeros)}), "small order"},
		{"Ed25519: order 4, the other", members(ed, map[string]any{"x": point(t, zeros+"80")}), "small order"},
		{"Ed25519: order 8", members(ed, map[string]any{"x": point(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")}), "small order"},
		{"Ed25519: order 8, the other", members(ed, map[string]any{"x": point(t, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}), "small order"},
		{"Ed25519: the identity, not canonical", members(ed, map[string]any{"x": point(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")}), "not a point"},
		{"Ed25519: no point", members(ed, map[string]any{"x": point(t, "02"+zeros)}), "not a point"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			keys, skipped, err := jwk.ParseSet(set(t, c.key, members(good.JWK(), map[string]any{"kid": "good"})))
			if err != nil || len(keys) != 1 || keys[0].ID != "good" || !strings.Contains(skipped, c.says) {
				t.Errorf("got %d keys, skipped %q, %v; want the good one, and %q", len(keys), skipped, err, c.says)
			}
		})
	}
}

// One kid may be that of keys of several types, and one key may be published for two
// algorithms.
func TestParseSetSharedIDs(t *testing.T) {
	t.Parallel()
	rsaKey := tokentest.NewKeyOf(t, "RS256").JWK()
	same := map[string]any{"kid": "same"}
	keys, skipped, err := jwk.ParseSet(set(t, members(rsaKey, same), members(members(rsaKey, same), map[string]any{"alg": "PS256"}),
		members(rsaKey, same), members(tokentest.NewKeyOf(t, "ES256").JWK(), same), members(tokentest.NewKeyOf(t, "EdDSA").JWK(), same)))
	var got []string
	for _, k := range keys {
		got = append(got, k.Algorithm)
	}
	if want := "[RS256 PS256 ES256 EdDSA]"; err != nil || skipped != "" || fmt.Sprint(got) != want {
		t.Errorf("got %v, skipped %q, %v; want %v", got, skipped, err, want)
	}
}

// Why keys of small order are left out: crypto/ed25519 accepts one signature by the
// identity for every message.
func TestSmallOrderKeySignsAnything(t *testing.T) {
	t.Parallel()
	identity := make([]byte, 32)
	identity[0] = 1
	signature := append(append([]byte{}, identity...), make([]byte, 32)...)
	if !ed25519.Verify(identity, []byte("any"), signature) {
		t.Error("crypto/ed25519 refuses keys of small order now: the check here is superfluous")
	}
}

// What is accepted is a key that signs, and nothing panics.
func FuzzParseSet(f *testing.F) {
	for _, algorithm := range tokentest.Algorithms {
		f.Add(set(f, tokentest.NewKeyOf(f, algorithm).JWK()))
	}
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := jwk.ParseSet(body)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and the error %v", len(keys), err)
		}
		for _, k := range keys {
			fits := 0
			for _, algorithm := range jwk.Algorithms() {
				if jwk.Fits(algorithm, k.Public, k.Algorithm) {
					fits++
				}
			}
			if fits == 0 {
				t.Fatalf("a key for no algorithm: %+v", k)
			}
		}
	})
}
