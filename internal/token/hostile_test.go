package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// A forge makes tokens of the issuer that are defective.
type forge struct {
	*tokentest.Issuer
	now      time.Time
	stranger *tokentest.Key // that the provider has not published
}

// newForge returns a forge with an issuer that signs with an algorithm.
func newForge(t testing.TB, algorithm string) forge {
	t.Helper()
	f := forge{tokentest.NewUnservedOf(t, "https://id.example", algorithm), time.Now(), tokentest.NewKeyOf(t, algorithm)}
	f.stranger.ID = "stranger"
	return f
}

// clock sets the clock of a verifier to that of the tokens.
func (f forge) clock(c *token.AccessConfig[*principal]) { c.Now = func() time.Time { return f.now } }

func (f forge) header(extra string) string {
	return fmt.Sprintf(`{"alg":%q,"typ":"JWT","kid":%q%s}`, f.alg(), f.Key().ID, extra)
}

// alg returns the algorithm of the issuer's key.
func (f forge) alg() string { return f.Key().Algorithm }

func (f forge) payload(extra string) string {
	return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"user-1","iat":%d,"exp":%d%s}`, f.URL, audience, f.now.Unix(), f.now.Unix()+300, extra)
}

// signed returns a token with this header and payload and a valid signature.
func (f forge) signed(header, payload string) string { return f.Sign(header, payload) }

func (f forge) good() string { return f.signed(f.header(""), f.payload("")) }

func (f forge) withHeader(extra string) string { return f.signed(f.header(extra), f.payload("")) }

func (f forge) withPayload(extra string) string { return f.signed(f.header(""), f.payload(extra)) }

// claim returns a valid token with one claim replaced.
func (f forge) claim(name string, value any) string {
	return f.Mint(with(map[string]any{"aud": audience, "iat": f.now.Unix(), "exp": f.now.Unix() + 300}, name, value))
}

// lightweight returns a token of a client that does not name its subject, with a claim.
func (f forge) lightweight(name string, value any) string {
	return f.Mint(map[string]any{"aud": audience, "azp": "web", "sub": tokentest.Absent, name: value})
}

// parts returns the three segments of a valid token.
func (f forge) parts() [3]string { return [3]string(strings.Split(f.good(), ".")) }

func hmacToken(header, payload string, secret []byte) string {
	input := tokentest.Segment(header) + "." + tokentest.Segment(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// hostileTokens are refused with a 401 reason and without a fetch. Each is signed
// correctly unless it is about the signature, so that it has one defect only.
var hostileTokens = []struct {
	name string // with the CVE or RFC, if there is one
	want token.Reason
	make func(f forge) string
}{
	{"empty", token.ReasonMissing, func(f forge) string { return "" }},
	{"no dots", token.ReasonMalformed, func(f forge) string { return "abc" }},
	{"dots alone", token.ReasonMalformed, func(f forge) string { return ".." }},
	{"two segments", token.ReasonMalformed, func(f forge) string { p := f.parts(); return p[0] + "." + p[1] }},
	{"five segments: JWE around a plain JWT (CVE-2026-29000)", token.ReasonMalformed, func(f forge) string { return f.good() + ".AA.AA" }},
	{"many dots (CVE-2025-30204, CVE-2025-27144)", token.ReasonMalformed, func(f forge) string { return strings.Repeat(".", 16<<10) }},
	{"too long (CVE-2024-28122, CVE-2026-34986)", token.ReasonMalformed, func(f forge) string {
		return f.withPayload(`,"pad":"` + strings.Repeat("x", 16<<10) + `"`)
	}},
	{"JSON serialisation", token.ReasonMalformed, func(f forge) string {
		p := f.parts()
		return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, p[0], p[1], p[2])
	}},

	{"none (CVE-2015-9235)", token.ReasonMalformed, func(f forge) string {
		return tokentest.Segment(`{"alg":"none"}`) + "." + f.parts()[1] + "."
	}},
	{"none with a good signature", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"none"}`, f.payload("")) }},
	{"nOnE", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"nOnE"}`, f.payload("")) }},
	{"alg in lower case", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"`+strings.ToLower(f.alg())+`"}`, f.payload("")) }},
	{"alg absent", token.ReasonMalformed, func(f forge) string { return f.signed(`{"typ":"JWT"}`, f.payload("")) }},
	{"alg null", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":null}`, f.payload("")) }},
	{"alg a list", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":["`+f.alg()+`"]}`, f.payload("")) }},
	{"alg HS256 with a good signature", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"HS256"}`, f.payload("")) }},
	{"HS256 with the public key's PEM as secret (CVE-2016-10555, CVE-2026-34950)", token.ReasonMalformed, func(f forge) string {
		der, _ := x509.MarshalPKIXPublicKey(f.Key().Public())
		return hmacToken(strings.Replace(f.header(""), f.alg(), "HS256", 1), f.payload(""), der)
	}},
	{"HMAC under the right alg", token.ReasonInvalid, func(f forge) string {
		der, _ := x509.MarshalPKIXPublicKey(f.Key().Public())
		return hmacToken(f.header(""), f.payload(""), der)
	}},

	{"crit empty (CVE-2025-59420)", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":[]`) }},
	{"crit unknown (CVE-2026-32597)", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":["foo"],"foo":1`) }},
	{"crit listed, absent", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":["foo"]`) }},
	{"crit with duplicates", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":["exp","exp"],"exp":1`) }},
	{"crit of known members", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":["alg"]`) }},
	{"crit null", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":null`) }},
	{"b64 false (RFC 7797)", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"crit":["b64"],"b64":false`) }},
	{"b64 false without crit", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"b64":false`) }},
	{"cty JWT: nested", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"cty":"JWT"`) }},
	{"nested, without cty", token.ReasonInvalid, func(f forge) string { return f.signed(f.header(""), f.good()) }},
	{"zip", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"zip":"DEF"`) }},
	{"enc", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"enc":"A128GCM"`) }},

	{"embedded jwk leads to no key (CVE-2018-0114)", token.ReasonInvalid, func(f forge) string {
		return strangerToken(f, func(k *tokentest.Key) string { return `,"jwk":` + asJSON(k.JWK()) })
	}},
	{"jku, x5u leads to no key (RFC 8725 §3.10)", token.ReasonInvalid, func(f forge) string {
		return strangerToken(f, func(*tokentest.Key) string {
			return `,"jku":"https://evil.example/keys","x5u":"https://evil.example/cert"`
		})
	}},
	{"x5c leads to no key", token.ReasonInvalid, func(f forge) string {
		return strangerToken(f, func(k *tokentest.Key) string {
			der, _ := x509.MarshalPKIXPublicKey(k.Public())
			return `,"x5c":["` + base64.StdEncoding.EncodeToString(der) + `"]`
		})
	}},
	{"signed by a stranger under the right kid", token.ReasonInvalid, func(f forge) string {
		return strangerToken(f, func(*tokentest.Key) string { return "" })
	}},

	{"kid a number", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"`+f.alg()+`","kid":1}`, f.payload("")) }},
	{"kid null", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"`+f.alg()+`","kid":null}`, f.payload("")) }},
	{"kid empty", token.ReasonMalformed, func(f forge) string { return f.signed(`{"alg":"`+f.alg()+`","kid":""}`, f.payload("")) }},
	{"kid too long", token.ReasonMalformed, func(f forge) string {
		return f.signed(`{"alg":"`+f.alg()+`","kid":"`+strings.Repeat("k", 257)+`"}`, f.payload(""))
	}},
	{"typ of an ID token profile", token.ReasonInvalid, func(f forge) string { return f.Mint(goodClaims(f), map[string]any{"typ": "logout+jwt"}) }},
	{"typ secevent+jwt", token.ReasonInvalid, func(f forge) string { return f.Mint(goodClaims(f), map[string]any{"typ": "secevent+jwt"}) }},
	{"typ dpop+jwt (RFC 9449)", token.ReasonInvalid, func(f forge) string { return f.Mint(goodClaims(f), map[string]any{"typ": "dpop+jwt"}) }},
	{"typ application/jwt", token.ReasonInvalid, func(f forge) string { return f.Mint(goodClaims(f), map[string]any{"typ": "application/jwt"}) }},
	{"typ null", token.ReasonMalformed, func(f forge) string { return f.Mint(goodClaims(f), map[string]any{"typ": nil}) }},
	{"typ empty", token.ReasonMalformed, func(f forge) string { return f.Mint(goodClaims(f), map[string]any{"typ": ""}) }},

	{"header with a member twice", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"alg":"` + f.alg() + `"`) }},
	{"header with a member twice, escaped", token.ReasonMalformed, func(f forge) string { return f.withHeader(`,"\u0061lg":"` + f.alg() + `"`) }},
	{"header a list", token.ReasonMalformed, func(f forge) string { return f.signed(`["`+f.alg()+`"]`, f.payload("")) }},
	{"header followed by more", token.ReasonMalformed, func(f forge) string { return f.signed(f.header("")+"{}", f.payload("")) }},
	{"header empty", token.ReasonMalformed, func(f forge) string { p := f.parts(); return "." + p[1] + "." + p[2] }},

	{"padding", token.ReasonMalformed, func(f forge) string { return f.good() + "=" }},
	{"line feed at the end", token.ReasonMalformed, func(f forge) string { return f.good() + "\n" }},
	{"CR LF in the signature, which Go's strict decoder skips", token.ReasonMalformed, func(f forge) string {
		p := f.parts()
		return p[0] + "." + p[1] + "." + p[2][:20] + "\r\n" + p[2][20:]
	}},
	{"space", token.ReasonMalformed, func(f forge) string { return " " + f.good() }},
	{"standard alphabet", token.ReasonMalformed, func(f forge) string {
		p := f.parts()
		return p[0] + "." + p[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(p[2]+"-_")
	}},
	{"non-canonical last bits: the same signature spelt otherwise", token.ReasonMalformed, func(f forge) string {
		good := f.good() // 256 bytes leave 4 unused bits in the last character
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		return good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, good[len(good)-1])|1])
	}},
	{"NUL", token.ReasonMalformed, func(f forge) string { return f.good() + "\x00" }},
	{"not ASCII", token.ReasonMalformed, func(f forge) string { return f.good() + "ſ" }},
	{"scheme left on", token.ReasonMalformed, func(f forge) string { return "Bearer " + f.good() }},

	{"signature missing", token.ReasonMalformed, func(f forge) string { p := f.parts(); return p[0] + "." + p[1] + "." }},
	{"signature short", token.ReasonInvalid, func(f forge) string { p := f.parts(); return p[0] + "." + p[1] + ".AAAA" }},
	{"signature all zero", token.ReasonInvalid, func(f forge) string {
		p := f.parts()
		return p[0] + "." + p[1] + "." + strings.Repeat("A", len(p[2]))
	}},
	{"signature one byte longer", token.ReasonInvalid, func(f forge) string { return signatureWith(f, func(b []byte) []byte { return append(b, 0) }) }},
	{"signature with a leading zero", token.ReasonInvalid, func(f forge) string {
		return signatureWith(f, func(b []byte) []byte { return append([]byte{0}, b...) })
	}},
	{"payload changed", token.ReasonInvalid, func(f forge) string {
		p := f.parts()
		return p[0] + "." + tokentest.Segment(f.payload(`,"scope":"admin"`)) + "." + p[2]
	}},

	{"payload empty", token.ReasonMalformed, func(f forge) string { return f.signed(f.header(""), "") }},
	{"payload null", token.ReasonInvalid, func(f forge) string { return f.signed(f.header(""), "null") }},
	{"payload a list", token.ReasonInvalid, func(f forge) string { return f.signed(f.header(""), "[]") }},
	{"payload truncated", token.ReasonInvalid, func(f forge) string { return f.signed(f.header(""), strings.TrimSuffix(f.payload(""), "}")) }},
	{"payload followed by more", token.ReasonInvalid, func(f forge) string { return f.signed(f.header(""), f.payload("")+f.payload("")) }},
	{"trailing comma", token.ReasonInvalid, func(f forge) string { return f.withPayload(",") }},
	{"comment", token.ReasonInvalid, func(f forge) string { return f.withPayload("/**/") }},
	{"byte order mark", token.ReasonInvalid, func(f forge) string { return f.signed(f.header(""), "\ufeff"+f.payload("")) }},
	{"invalid UTF-8", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":"` + "\xff" + `"`) }},
	{"half a surrogate pair", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":"\ud800"`) }},
	{"control character in a string", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":"` + "\x01" + `"`) }},
	{"nested too deeply", token.ReasonInvalid, func(f forge) string {
		return f.withPayload(`,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000))
	}},
	{"one level too deep", token.ReasonInvalid, func(f forge) string {
		return f.withPayload(`,"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33))
	}},
	{"number too long", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":` + strings.Repeat("1", 65)) }},
	{"number too long in a list", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":[` + strings.Repeat("1", 65) + `]`) }},
	{"leading zero", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":01`) }},
	{"NaN", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":NaN`) }},

	{"aud twice (RFC 8725 §2.4)", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"aud":"other"`) }},
	{"sub twice, equal", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"sub":"user-1"`) }},
	{"sub twice, one escaped", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"s\u0075b":"admin"`) }},
	{"duplicate in a nested object", token.ReasonInvalid, func(f forge) string { return f.withPayload(`,"x":[{"y":{"a":1,"a":1}}]`) }},
	{"duplicate behind many", token.ReasonInvalid, func(f forge) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, `,"c%d":0`, i)
		}
		return f.withPayload(b.String() + `,"c500":0`)
	}},

	{"iss absent", token.ReasonInvalid, func(f forge) string { return f.claim("iss", tokentest.Absent) }},
	{"iss null", token.ReasonInvalid, func(f forge) string { return f.claim("iss", nil) }},
	{"iss of another", token.ReasonInvalid, func(f forge) string { return f.claim("iss", "https://evil.example") }},
	{"iss with a slash more", token.ReasonInvalid, func(f forge) string { return f.claim("iss", f.URL+"/") }},
	{"iss in another case", token.ReasonInvalid, func(f forge) string { return f.claim("iss", strings.ToUpper(f.URL)) }},
	{"iss a list", token.ReasonInvalid, func(f forge) string { return f.claim("iss", []string{f.URL}) }},
	{"aud absent", token.ReasonInvalid, func(f forge) string { return f.claim("aud", tokentest.Absent) }},
	{"aud null", token.ReasonInvalid, func(f forge) string { return f.claim("aud", nil) }},
	{"aud of an ID token: the client", token.ReasonInvalid, func(f forge) string { return f.claim("aud", "web-client") }},
	{"aud empty list", token.ReasonInvalid, func(f forge) string { return f.claim("aud", []string{}) }},
	{"aud with null in the list", token.ReasonInvalid, func(f forge) string { return f.claim("aud", []any{audience, nil}) }},
	{"aud list in a list", token.ReasonInvalid, func(f forge) string { return f.claim("aud", []any{[]string{audience}}) }},
	{"aud an object", token.ReasonInvalid, func(f forge) string { return f.claim("aud", map[string]any{audience: true}) }},
	{"aud a prefix of ours", token.ReasonInvalid, func(f forge) string { return f.claim("aud", audience[:len(audience)-1]) }},
	{"aud ours and more", token.ReasonInvalid, func(f forge) string { return f.claim("aud", audience+" other") }},

	{"exp absent", token.ReasonInvalid, func(f forge) string { return f.claim("exp", tokentest.Absent) }},
	{"exp null", token.ReasonInvalid, func(f forge) string { return f.claim("exp", nil) }},
	{"exp a string", token.ReasonInvalid, func(f forge) string { return f.claim("exp", fmt.Sprint(f.now.Unix()+300)) }},
	{"exp true", token.ReasonInvalid, func(f forge) string { return f.claim("exp", true) }},
	{"exp negative", token.ReasonInvalid, func(f forge) string { return f.claim("exp", -1) }},
	{"exp huge", token.ReasonInvalid, func(f forge) string { return f.claim("exp", json.Number("9223372036854775807")) }},
	{"exp beyond int64", token.ReasonInvalid, func(f forge) string { return f.claim("exp", json.Number("1e30")) }},
	{"exp beyond float64", token.ReasonInvalid, func(f forge) string { return f.claim("exp", json.Number("1e999")) }},
	{"exp in milliseconds", token.ReasonInvalid, func(f forge) string { return f.claim("exp", (f.now.Unix()+300)*1000) }},
	{"exp a minute ago", token.ReasonExpired, func(f forge) string { return f.claim("exp", f.now.Unix()-60) }},
	{"exp 0", token.ReasonExpired, func(f forge) string { return f.claim("exp", 0) }},
	{"expired and forged: the forgery counts", token.ReasonInvalid, func(f forge) string {
		p := strings.Split(f.claim("exp", f.now.Unix()-61), ".")
		return p[0] + "." + p[1] + "." + f.parts()[2]
	}},
	{"iat ahead", token.ReasonInvalid, func(f forge) string { return f.claim("iat", f.now.Unix()+62) }},
	{"iat null", token.ReasonInvalid, func(f forge) string { return f.claim("iat", nil) }},
	{"nbf ahead", token.ReasonInvalid, func(f forge) string { return f.claim("nbf", f.now.Unix()+62) }},
	{"nbf a string", token.ReasonInvalid, func(f forge) string { return f.claim("nbf", "0") }},
	{"auth_time negative", token.ReasonInvalid, func(f forge) string { return f.claim("auth_time", -5) }},

	{"neither sub nor client id", token.ReasonInvalid, func(f forge) string { return f.claim("sub", tokentest.Absent) }},
	{"a user's session without sub", token.ReasonInvalid, func(f forge) string { return f.lightweight("sid", "s1") }},
	{"a user's login without sub", token.ReasonInvalid, func(f forge) string { return f.lightweight("auth_time", f.now.Unix()) }},
	{"a user's name without sub", token.ReasonInvalid, func(f forge) string { return f.lightweight("username", "ada") }},
	{"sub null", token.ReasonInvalid, func(f forge) string { return f.claim("sub", nil) }},
	{"sub empty", token.ReasonInvalid, func(f forge) string { return f.claim("sub", "") }},
	{"sub a number", token.ReasonInvalid, func(f forge) string { return f.claim("sub", 1) }},
	{"client_id null", token.ReasonInvalid, func(f forge) string { return f.claim("client_id", nil) }},
	{"azp a list", token.ReasonInvalid, func(f forge) string { return f.claim("azp", []string{"a"}) }},
	{"scope null", token.ReasonInvalid, func(f forge) string { return f.claim("scope", nil) }},
	{"scope with a number in the list", token.ReasonInvalid, func(f forge) string { return f.claim("scope", []any{"a", 1}) }},
	{"scp an object", token.ReasonInvalid, func(f forge) string { return f.claim("scp", map[string]any{}) }},
	{"sid null", token.ReasonInvalid, func(f forge) string { return f.claim("sid", nil) }},
	{"jti a number", token.ReasonInvalid, func(f forge) string { return f.claim("jti", 7) }},
	{"acr a list", token.ReasonInvalid, func(f forge) string { return f.claim("acr", []string{"mfa"}) }},
	{"amr with null", token.ReasonInvalid, func(f forge) string { return f.claim("amr", []any{nil}) }},
	{"nonce null", token.ReasonInvalid, func(f forge) string { return f.claim("nonce", nil) }},
	{"cnf of a certificate (RFC 8705)", token.ReasonInvalid, func(f forge) string { return f.claim("cnf", map[string]any{"x5t#S256": "AA"}) }},
	{"cnf of DPoP (RFC 9449)", token.ReasonInvalid, func(f forge) string { return f.claim("cnf", map[string]any{"jkt": "AA"}) }},
	{"cnf null", token.ReasonInvalid, func(f forge) string { return f.claim("cnf", nil) }},
}

func goodClaims(f forge) map[string]any {
	return map[string]any{"aud": audience, "iat": f.now.Unix(), "exp": f.now.Unix() + 300}
}

func strangerToken(f forge, extra func(*tokentest.Key) string) string {
	return f.stranger.Sign(f.header(extra(f.stranger)), f.payload(""))
}

func signatureWith(f forge, change func([]byte) []byte) string {
	p := f.parts()
	sig, _ := base64.RawURLEncoding.DecodeString(p[2])
	return p[0] + "." + p[1] + "." + base64.RawURLEncoding.EncodeToString(change(sig))
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Each algorithm refuses the same tokens, whether it is the only one that is allowed or
// one of all.
func TestHostileTokens(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, alg)
			p := newProvider(t, f.Issuer, nil)
			for _, allowed := range [][]string{{alg}, tokentest.Algorithms} {
				v := newAccess(t, p, allow(allowed...), f.clock)
				check(t, v, f.good(), 0) // so that the table proves something
				_, before := f.Fetches()
				for _, c := range hostileTokens {
					t.Run(c.name, func(t *testing.T) { refused(t, v, c.make(f), c.want) })
				}
				if _, after := f.Fetches(); after != before {
					t.Errorf("%d fetches of the key set; hostile tokens with known kids must cause none", after-before)
				}
			}
		})
	}
}

// refused checks that raw is refused, and that the error does not contain a part of it.
func refused(t *testing.T, v *token.AccessVerifier[*principal], raw string, want token.Reason) {
	t.Helper()
	for range 2 { // a failure is not cached, nor a success later
		_, _, err := v.Verify(t.Context(), raw)
		if got := reason(t, err); got != want {
			t.Fatalf("reason %v, want %v (%v)", got, want, err)
		}
		for segment := range strings.SplitSeq(raw, ".") {
			if len(segment) > 16 && strings.Contains(err.Error(), segment) {
				t.Errorf("the error contains a part of the token: %v", err)
			}
		}
	}
}

func TestAcceptedTokens(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			testAcceptedTokens(t, alg)
		})
	}
}

func testAcceptedTokens(t *testing.T, alg string) {
	f := newForge(t, alg)
	now := f.now
	p := newProvider(t, f.Issuer, nil)
	v := newAccess(t, p, f.clock, allow(alg))
	for name, raw := range map[string]string{
		"aud a list":                          f.claim("aud", []string{"other", audience}),
		"no sub but client_id":                f.Mint(with(with(goodClaims(f), "sub", tokentest.Absent), "client_id", "job")),
		"no sub but azp":                      f.Mint(with(with(goodClaims(f), "sub", tokentest.Absent), "azp", "job")),
		"no iat":                              f.claim("iat", tokentest.Absent),
		"exp with a fraction":                 f.claim("exp", json.Number(fmt.Sprintf("%d.75", now.Unix()+10))),
		"exp with an exponent":                f.claim("exp", json.Number("2.5e10")),
		"exp within the skew":                 f.claim("exp", now.Unix()-58),
		"iat within the skew":                 f.claim("iat", now.Unix()+58),
		"nbf within the skew":                 f.claim("nbf", now.Unix()+58),
		"typ absent":                          f.Mint(goodClaims(f), map[string]any{"typ": tokentest.Absent}),
		"typ at+jwt":                          f.Mint(goodClaims(f), map[string]any{"typ": "at+jwt"}),
		"typ application/at+jwt":              f.Mint(goodClaims(f), map[string]any{"typ": "application/at+jwt"}),
		"typ AT+JWT: no case":                 f.Mint(goodClaims(f), map[string]any{"typ": "AT+JWT"}),
		"no kid, one key":                     f.Mint(goodClaims(f), map[string]any{"kid": tokentest.Absent}),
		"jku, x5u, x5c, jwk ignored":          f.withHeader(`,"jku":"https://evil.example","x5u":1,"x5c":null,"jwk":{},"x5t":"AA"`),
		"unknown claims of any kind":          f.withPayload(`,"a":null,"b":[{"c":{"a":1,"b":[]}}],"\ud83d\ude00":-1.5e-3`),
		"members that share a name elsewhere": f.withPayload(`,"x":{"a":{"a":1}},"y":[{"a":1},{"a":1}]`),
		"white space":                         f.signed(" \t\r\n"+f.header("")+" ", "\n"+strings.ReplaceAll(f.payload(""), ",", " ,\n ")+"\n"),
		"32 levels":                           f.withPayload(`,"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32)),
		"64 digits":                           f.withPayload(`,"x":` + strings.Repeat("1", 64)),
		"16 KiB exactly":                      padTo(f, 16<<10),
	} {
		t.Run(name, func(t *testing.T) { check(t, v, raw, 0) })
	}
	t.Run("at+jwt required", func(t *testing.T) {
		strict := newAccess(t, p, f.clock, allow(alg), func(c *token.AccessConfig[*principal]) { c.RequireATJWT = true })
		check(t, strict, f.Mint(goodClaims(f), map[string]any{"typ": "at+jwt"}), 0)
		check(t, strict, f.Mint(goodClaims(f), map[string]any{"typ": "application/AT+jwt"}), 0)
		check(t, strict, f.Mint(goodClaims(f)), token.ReasonInvalid) // the typ of ID tokens
		check(t, strict, f.Mint(goodClaims(f), map[string]any{"typ": tokentest.Absent}), token.ReasonInvalid)
	})
}

// padTo returns the longest valid token of at most n bytes.
func padTo(f forge, n int) string {
	pad := n
	for {
		raw := f.withPayload(`,"pad":"` + strings.Repeat("x", pad) + `"`)
		over := len(raw) - n
		if over <= 0 {
			return raw
		}
		pad -= max(1, over/2)
	}
}
