package bff_test

import (
	"crypto"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// A signed userinfo response (OpenID Connect Core §5.3.2) is used only if it is
// valid. An invalid one costs the claims and not the login, unless it is about
// another user.
func TestSignedUserinfo(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			testSignedUserinfo(t, alg)
		})
	}
}

func testSignedUserinfo(t *testing.T, alg string) {
	type claims = map[string]any
	mint := func(over claims, header ...claims) string {
		all := claims{"iss": issuerURL, "aud": clientID, "name": "Ada Userinfo", "exp": tokentest.Absent, "iat": tokentest.Absent, "jti": tokentest.Absent}
		maps.Copy(all, over)
		return signerOf(alg).Mint(all, header...)
	}
	good := mint(nil)
	segments := strings.Split(good, ".")
	other := tokentest.NewKeyOf(t, alg)
	for other.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(signerOf(alg).Key().Public()) { // tests share keys
		other = tokentest.NewKeyOf(t, alg)
	}
	for name, c := range map[string]struct {
		body string
		kind string // application/jwt, if empty
		used bool
		fail bool // the whole login
		says string
	}{
		"plain":                  {body: good, used: true},
		"a list of audiences":    {body: mint(claims{"aud": []string{"other", clientID}}), used: true},
		"neither iss nor aud":    {body: mint(claims{"iss": tokentest.Absent, "aud": tokentest.Absent}), used: true},
		"with exp and iat":       {body: mint(claims{"exp": 4000000000, "iat": 1}), used: true},
		"no typ":                 {body: mint(nil, claims{"typ": tokentest.Absent}), used: true},
		"type with a parameter":  {body: good, kind: "Application/JWT; charset=utf-8", used: true},
		"a line break at end":    {body: good + "\n", used: true},
		"another sub":            {body: mint(claims{"sub": "user-2"}), fail: true},
		"sub in another case":    {body: mint(claims{"sub": "USER-1"}), fail: true},
		"no sub":                 {body: mint(claims{"sub": tokentest.Absent}), says: "sub is missing"},
		"sub null":               {body: mint(claims{"sub": nil}), says: "sub"},
		"another iss":            {body: mint(claims{"iss": "https://evil.example"}), says: "iss"},
		"iss empty":              {body: mint(claims{"iss": ""}), says: "iss"},
		"iss null":               {body: mint(claims{"iss": nil}), says: "iss"},
		"another aud":            {body: mint(claims{"aud": "other"}), says: "aud"},
		"aud empty":              {body: mint(claims{"aud": []string{}}), says: "aud"},
		"aud null":               {body: mint(claims{"aud": nil}), says: "aud"},
		"expired":                {body: mint(claims{"exp": 1}), says: "expired"},
		"exp null":               {body: mint(claims{"exp": nil}), says: "exp"},
		"a logout token":         {body: mint(claims{"events": claims{}}), says: "events"},
		"an access token":        {body: mint(nil, claims{"typ": "at+jwt"}), says: "typ"},
		"alg none":               {body: tokentest.Segment(`{"alg":"none"}`) + "." + segments[1] + ".", says: "none"},
		"alg none, signed":       {body: mint(nil, claims{"alg": "none"}), says: "none"},
		"alg HS256":              {body: mint(nil, claims{"alg": "HS256"}), says: "HS256"},
		"signature of another":   {body: other.Sign(`{"alg":"`+alg+`","kid":"`+signerOf(alg).Key().ID+`"}`, `{"sub":"user-1","name":"Ada Userinfo"}`), says: "signature"},
		"signature cut off":      {body: segments[0] + "." + segments[1] + ".", says: "signature"},
		"another alg":            {body: mint(nil, claims{"alg": anotherAlgorithm(alg)}), says: "Login.IDTokenAlgorithms"},
		"alg in lower case":      {body: mint(nil, claims{"alg": strings.ToLower(alg)}), says: "is not supported"},
		"crit":                   {body: mint(nil, claims{"crit": []string{"x"}}), says: "crit"},
		"encrypted":              {body: good + "." + segments[0] + "." + segments[1], says: "turn userinfo encryption off"},
		"JSON under this type":   {body: `{"sub":"user-1","name":"Ada Userinfo"}`, says: "signed response"},
		"empty":                  {body: "", says: "signed response"},
		"signed, called JSON":    {body: good, kind: "application/json", says: "no JSON object"},
		"signed, without a type": {body: good, kind: "none", says: "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &record{}
			s := start(t, logsTo(log)).signWith(alg)
			s.idp.change(func(p *provider) {
				p.id["name"] = tokentest.Absent
				p.instead["/userinfo"] = func(w http.ResponseWriter, r *http.Request) {
					w.Header()["Content-Type"] = []string{"application/jwt"}
					switch c.kind {
					case "":
					case "none":
						w.Header()["Content-Type"] = nil
					default:
						w.Header().Set("Content-Type", c.kind)
					}
					_, _ = w.Write([]byte(secret("userinfo", c.body)))
				}
			})
			b := s.browser()
			res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
			if c.fail {
				if b.session() != "" || res.StatusCode == http.StatusSeeOther {
					t.Errorf("signed in with another person's claims: status %d", res.StatusCode)
				}
				return
			}
			wantStatus(t, res, http.StatusSeeOther)
			me := b.fetch("/api/auth/me").body
			if used := strings.Contains(me, "Ada Userinfo"); used != c.used {
				t.Errorf("used: %t, want %t: %s", used, c.used, me)
			}
			if c.says != "" && (log.count("level=WARN") == 0 || log.count(c.says) == 0) {
				t.Errorf("the log does not say %q", c.says)
			}
		})
	}
}

// A userinfo endpoint that repeats the access token in its error does not get it
// logged, nor more than one bounded line.
func TestUserinfoRefusalInTheLog(t *testing.T) {
	t.Parallel()
	log := &record{}
	s := start(t, logsTo(log))
	var sent string
	s.idp.change(func(p *provider) {
		p.id["name"] = tokentest.Absent
		p.instead["/userinfo"] = func(w http.ResponseWriter, r *http.Request) {
			sent = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			reply(w, http.StatusForbidden, map[string]string{
				"error": "insufficient_scope", "error_description": "no good: " + sent + "\x1b[31m" + strings.Repeat("y", 5000),
			})
		}
	})
	b := s.browser()
	wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login").location())), http.StatusSeeOther)
	if sent == "" || log.count("insufficient_scope") != 1 {
		t.Fatalf("the refusal is logged %d times, want once", log.count("insufficient_scope"))
	}
	if n := log.count(sent); n > 0 {
		t.Errorf("the access token is logged %d times", n)
	}
	if log.count(strings.Repeat("y", 300)) > 0 {
		t.Error("the description is logged whole")
	}
}
