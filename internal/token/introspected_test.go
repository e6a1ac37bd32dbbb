package token_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const introspector = "https://issuer.example"

// readAt reads a response as the introspection endpoint of introspector gives it.
func readAt(now time.Time, response string) (*token.Claims, error) {
	p := token.IntrospectionProfile{Audience: "https://api.example"}
	return p.Read(response, introspector, now)
}

func TestIntrospectionResponse(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	const rest = `"active":true,"aud":"https://api.example","sub":"ada"`
	const (
		good = token.Reason(0)
		unit = token.ReasonUnavailable
	)
	for name, c := range map[string]struct {
		response string
		want     token.Reason
		says     string
	}{
		"a few claims":                   {`{` + rest + `}`, good, ""},
		"audience in a list":             {`{"active":true,"aud":["x","https://api.example"],"sub":"ada"}`, good, ""},
		"a machine":                      {`{"active":true,"aud":"https://api.example","client_id":"batch"}`, good, ""},
		"issuer":                         {`{` + rest + `,"iss":"https://issuer.example"}`, good, ""},
		"Bearer":                         {`{` + rest + `,"token_type":"bearer"}`, good, ""},
		"Duende":                         {`{` + rest + `,"token_type":"access_token"}`, good, ""},
		"Hydra":                          {`{` + rest + `,"token_type":"Bearer","token_use":"access_token"}`, good, ""},
		"Keycloak":                       {`{` + rest + `,"typ":"Bearer","nbf":0,"username":"ada"}`, good, ""},
		"expires later":                  {`{` + rest + `,"exp":1800000001}`, good, ""},
		"issued a little later":          {`{` + rest + `,"iat":1800000060,"nbf":1800000060}`, good, ""},
		"inactive":                       {`{"active":false}`, token.ReasonInvalid, "not active"},
		"inactive with claims":           {`{"active":false,"aud":"https://api.example","sub":"ada"}`, token.ReasonInvalid, "not active"},
		"active as a string":             {`{"active":"true","aud":"https://api.example","sub":"ada"}`, unit, "active"},
		"active as a number":             {`{"active":1,"aud":"https://api.example","sub":"ada"}`, unit, "active"},
		"active null":                    {`{"active":null,"aud":"https://api.example","sub":"ada"}`, unit, "active"},
		"active missing":                 {`{"aud":"https://api.example","sub":"ada"}`, unit, "active is missing"},
		"Active":                         {`{"Active":true,"aud":"https://api.example","sub":"ada"}`, unit, "active is missing"},
		"active twice":                   {`{"active":false,` + rest + `}`, unit, "twice"},
		"active escaped, twice":          {`{"\u0061ctive":false,` + rest + `}`, unit, "twice"},
		"another member twice":           {`{` + rest + `,"sub":"eve"}`, unit, "twice"},
		"a nested member twice":          {`{` + rest + `,"x":{"a":1,"a":2}}`, unit, "twice"},
		"nothing":                        {``, unit, "JSON"},
		"an array":                       {`[{` + rest + `}]`, unit, "JSON"},
		"HTML":                           {`<html>`, unit, "JSON"},
		"more after it":                  {`{` + rest + `}{}`, unit, "JSON"},
		"cut off":                        {`{` + rest, unit, "JSON"},
		"invalid UTF-8":                  {`{` + rest + ",\"x\":\"\xff\"}", unit, "JSON"},
		"nested too deeply":              {`{` + rest + `,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, unit, "deep"},
		"no audience":                    {`{"active":true,"sub":"ada"}`, token.ReasonInvalid, "aud"},
		"another audience":               {`{"active":true,"aud":"https://other.example","sub":"ada"}`, token.ReasonInvalid, "aud"},
		"a longer audience":              {`{"active":true,"aud":"https://api.example/","sub":"ada"}`, token.ReasonInvalid, "aud"},
		"audience null":                  {`{"active":true,"aud":null,"sub":"ada"}`, token.ReasonInvalid, "aud"},
		"audience with a number":         {`{"active":true,"aud":["https://api.example",1],"sub":"ada"}`, token.ReasonInvalid, "aud"},
		"audience in an object":          {`{"active":true,"aud":{"https://api.example":true},"sub":"ada"}`, token.ReasonInvalid, "aud"},
		"another issuer":                 {`{` + rest + `,"iss":"https://evil.example"}`, token.ReasonInvalid, "iss"},
		"issuer with a slash":            {`{` + rest + `,"iss":"https://issuer.example/"}`, token.ReasonInvalid, "iss"},
		"issuer empty":                   {`{` + rest + `,"iss":""}`, token.ReasonInvalid, "iss"},
		"issuer null":                    {`{` + rest + `,"iss":null}`, token.ReasonInvalid, "iss"},
		"expired":                        {`{` + rest + `,"exp":1800000000}`, token.ReasonExpired, "exp"},
		"expired within the usual skew":  {`{` + rest + `,"exp":1799999990}`, token.ReasonExpired, "exp"},
		"exp as a string":                {`{` + rest + `,"exp":"1800000600"}`, token.ReasonInvalid, "exp"},
		"exp null":                       {`{` + rest + `,"exp":null}`, token.ReasonInvalid, "exp"},
		"exp negative":                   {`{` + rest + `,"exp":-1}`, token.ReasonInvalid, "exp"},
		"exp huge":                       {`{` + rest + `,"exp":1e300}`, token.ReasonInvalid, "exp"},
		"not yet valid":                  {`{` + rest + `,"nbf":1800000061}`, token.ReasonInvalid, "nbf"},
		"issued in the future":           {`{` + rest + `,"iat":1800000061}`, token.ReasonInvalid, "iat"},
		"no subject":                     {`{"active":true,"aud":"https://api.example"}`, token.ReasonInvalid, "sub"},
		"sub empty":                      {`{"active":true,"aud":"https://api.example","sub":""}`, token.ReasonInvalid, "sub"},
		"sub null":                       {`{"active":true,"aud":"https://api.example","sub":null,"client_id":"x"}`, token.ReasonInvalid, "sub"},
		"scope as a number":              {`{` + rest + `,"scope":1}`, token.ReasonInvalid, "scope"},
		"bound to a certificate":         {`{` + rest + `,"cnf":{"x5t#S256":"x"}}`, token.ReasonInvalid, "cnf"},
		"cnf empty":                      {`{` + rest + `,"cnf":{}}`, token.ReasonInvalid, "cnf"},
		"DPoP":                           {`{` + rest + `,"token_type":"DPoP"}`, token.ReasonInvalid, "token_type"},
		"refresh token by type":          {`{` + rest + `,"token_type":"refresh_token"}`, token.ReasonInvalid, "token_type"},
		"token_type null":                {`{` + rest + `,"token_type":null}`, token.ReasonInvalid, "token_type"},
		"refresh token of Hydra":         {`{` + rest + `,"token_type":"Bearer","token_use":"refresh_token"}`, token.ReasonInvalid, "token_use"},
		"ID token of Cognito":            {`{` + rest + `,"token_use":"id"}`, token.ReasonInvalid, "token_use"},
		"refresh token of Keycloak":      {`{` + rest + `,"typ":"Refresh"}`, token.ReasonInvalid, "typ"},
		"ID token of Keycloak":           {`{` + rest + `,"typ":"ID"}`, token.ReasonInvalid, "typ"},
		"an ID token, by at_hash":        {`{` + rest + `,"at_hash":"x"}`, token.ReasonInvalid, "ID token"},
		"an ID token, by nonce":          {`{` + rest + `,"nonce":"x"}`, token.ReasonInvalid, "ID token"},
		"a logout token":                 {`{` + rest + `,"events":{}}`, token.ReasonInvalid, "events"},
		"active within something signed": {`{"iss":"https://issuer.example","token_introspection":{` + rest + `}}`, unit, "active is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims, err := readAt(now, c.response)
			var got token.Reason
			if e, ok := errors.AsType[*token.Error](err); ok {
				got = e.Reason
			} else if err != nil {
				t.Fatalf("error %v is no *token.Error", err)
			}
			if got != c.want || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want reason %v, with %q", err, c.want, c.says)
			}
			if (got == unit) != errors.Is(err, token.ErrResponse) {
				t.Errorf("errors.Is(%v, ErrResponse) = %t", err, !(got == unit))
			}
			if got == good && (claims == nil || claims.Issuer != introspector) {
				t.Errorf("claims %+v, want the issuer %s", claims, introspector)
			}
		})
	}
}

// What a provider that is not strict could read as a JWT is no opaque token, however it is
// spelt.
func TestJWTForm(t *testing.T) {
	t.Parallel()
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	head := encode(`{"alg":"RS256","kid":"~~~???"}`)
	jwt := head + "." + encode(`{"sub":"ada"}`) + "."
	for name, raw := range map[string]string{
		"a JWT":                     jwt + "c2ln",
		"padded":                    jwt + "c2ln==",
		"padded within":             head + "==." + encode(`{}`) + ".c2ln",
		"unsigned":                  jwt,
		"the other alphabet":        strings.NewReplacer("-", "+", "_", "/").Replace(jwt) + "c2l+",
		"a JWE":                     encode(`{"alg":"dir","enc":"A256GCM"}`) + "..aaaa.bbbb.cccc",
		"two segments":              head + ".x",
		"space first":               encode("  \r\n\t{\"alg\":\"none\"}") + ".x.y",
		"much space first":          encode(strings.Repeat(" ", 1000)+"{}") + ".x.y",
		"a byte order mark":         encode("\ufeff{\"alg\":\"none\"}") + ".x.y",
		"foreign characters":        "~" + head[:5] + "~" + head[5:] + ".x.y",
		"a long name of its own":    encode(`{"`+strings.Repeat("é", 200)+`":1}`) + ".x.y",
		"cut between bytes of a é":  encode(`{"`+strings.Repeat("x", 45)+`é":1}`) + ".x.y",
		"length 1 modulo 4":         encode(`{"a":1}`)[:8] + "Q.x.y",
		"an empty object":           encode(`{}`) + ".e30.x",
		"more text than is decoded": encode(`{"alg":"RS256","kid":"`+strings.Repeat("k", 500)+`"}`) + ".x.y",
	} {
		if !token.HasJWTForm(raw) {
			t.Errorf("%s: %q is not of the form of a JWT", name, raw)
		}
		if err := token.CheckOpaque(raw); err == nil {
			t.Errorf("%s: accepted as an opaque token", name)
		}
	}
	for name, raw := range map[string]string{
		"RFC 6749":             "2YotnFZFEjr1zCsicMWpAA",
		"Hydra":                "ory_at_pVNHZ3MTFEmOCbSUkYQnLq4jBVzGDmqg2hDpGrmI2uw.1sHJaTDZ9LVnqIIyBVBdAaIsVxQgoDj4RHFH0LLUf4Q",
		"Google":               "ya29.a0AfB_byC~x/y+z",
		"with dots":            "a.b.c",
		"with dots at the end": "abc..",
		"padded":               "MTIzNDU2Nzg5MA==",
		"no segments":          head,
		"bytes after a brace":  base64.RawURLEncoding.EncodeToString([]byte("{\xff\xfe\xfd\x00\xc0\xaf")) + ".x.y",
	} {
		if token.HasJWTForm(raw) {
			t.Errorf("%s: %q is of the form of a JWT", name, raw)
		}
		if err := token.CheckOpaque(raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMalformedOpaque(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"empty": "", "padding only": "==", "padding within": "a=b", "a space": "a b", "a line": "a\nb", "a NUL": "a\x00", "a comma": "a,b",
		"a quote": `a"b`, "a percent sign": "a%20b", "not ASCII": "aé", "invalid UTF-8": "a\xff", "too long": strings.Repeat("a", 4097),
	} {
		if err := token.CheckOpaque(raw); err == nil {
			t.Errorf("%s: %q is accepted", name, raw)
		}
	}
	if err := token.CheckOpaque(strings.Repeat("a", 4096)); err != nil {
		t.Error(err)
	}
}

func FuzzIntrospectionResponse(f *testing.F) {
	f.Add(`{"active":true,"aud":"https://api.example","sub":"ada","exp":1800000600}`)
	f.Add(`{"active":false}`)
	f.Fuzz(func(t *testing.T, response string) {
		c, err := readAt(time.Unix(1_800_000_000, 0), response)
		if err == nil && (c.Issuer != introspector || c.Subject+c.ClientID == "" || len(c.Audience) == 0) {
			t.Errorf("accepted %q as %+v", response, c)
		}
	})
}

// Each JSON object in base64, as any reader decodes it, makes a token a JWT.
func FuzzJWTForm(f *testing.F) {
	f.Add(`{"alg":"RS256"}`, "e30.c2ln")
	f.Add("\n {", "=")
	f.Fuzz(func(t *testing.T, header, rest string) {
		if !utf8.ValidString(header) || !strings.HasPrefix(strings.TrimLeft(header, " \t\r\n"), "{") {
			return
		}
		for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.StdEncoding} {
			raw := encoding.EncodeToString([]byte(header)) + "." + rest
			if !token.HasJWTForm(raw) || token.CheckOpaque(raw) == nil {
				t.Errorf("%q is not of the form of a JWT", raw)
			}
		}
	})
}
