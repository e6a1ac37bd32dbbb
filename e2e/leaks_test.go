package e2e

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// nothingReached fails the test if a response to a browser contained a token of the provider.
func nothingReached(t *testing.T, in installation, v *visitor) {
	t.Helper()
	state := in.op.state(t)
	tokens := state.tokens()
	if len(state.of("access_token")) == 0 || len(state.of("refresh_token")) == 0 || len(state.of("id_token")) == 0 {
		t.Fatal("the provider has issued no tokens, so that there is nothing to look for")
	}
	hints := 0
	for _, a := range v.seen {
		if strings.HasPrefix(a.url, in.base+"/api/auth/logout") && strings.HasPrefix(a.header.Get("Location"), in.op.issuer) {
			a = withoutHint(t, a, state.of("id_token"))
			hints++
		}
		if where := leak(a, tokens); where != "" {
			t.Errorf("%s %s: a token of the provider is in %s", a.method, a.url, where)
		}
	}
	if hints == 0 {
		t.Error("no logout redirect was seen, so that this test has missed some answers")
	}
}

// A statement is something that an installation has told its operators.
type statement struct{ by, text string }

// statements returns what the processes of an installation have printed, and what its other outlets
// have received: a new outlet is one line here.
func (in installation) statements(t *testing.T) []statement {
	t.Helper()
	var all []statement
	for _, p := range in.processes {
		p.settles(t)
		all = append(all, statement{p.name, p.out.String()})
	}
	for name, content := range in.outlets {
		all = append(all, statement{name, content()})
	}
	return all
}

// nothingPrinted fails the test if the log, or what else operators get, contains a token, a code, a
// secret, or a cookie of a visitor, and if a line of the log is not as documented.
func nothingPrinted(t *testing.T, in installation, visitors ...*visitor) {
	t.Helper()
	state := in.op.state(t)
	secrets := map[string][]string{
		"token":             state.tokens(),
		"code":              state.of("code"),
		"client's secret":   {opClientSecret, url.QueryEscape(opClientSecret)},
		"application's key": {tutorialSecret},
	}
	for _, v := range visitors {
		for _, a := range v.seen {
			for _, c := range (&http.Response{Header: a.header}).Cookies() {
				if strings.HasPrefix(a.url, in.base) && c.Value != "" {
					secrets["cookie"] = append(secrets["cookie"], c.Value)
				}
			}
		}
	}
	for _, s := range in.statements(t) {
		for kind, values := range secrets {
			if len(values) == 0 {
				t.Fatalf("no %s to look for", kind)
			}
			if contains(s.text, values) {
				t.Errorf("%s has told a %s", s.by, kind)
			}
		}
	}
	for _, p := range in.processes {
		linesFit(t, p)
	}
}

// withoutHint removes the one token that passes the browser by design (RP-Initiated Logout §2:
// id_token_hint), after checking that it is an ID token.
func withoutHint(t *testing.T, a answer, idTokens []string) answer {
	t.Helper()
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if hint := q.Get("id_token_hint"); !slices.Contains(idTokens, hint) {
		t.Errorf("%s: id_token_hint is not an ID token of the provider", a.url)
	}
	q.Del("id_token_hint")
	u.RawQuery = q.Encode()
	a.header = a.header.Clone()
	a.header.Set("Location", u.String())
	a.body = strings.ReplaceAll(a.body, "id_token_hint", "") // net/http repeats the location in the body
	for _, token := range idTokens {
		a.body = strings.ReplaceAll(a.body, token, "")
	}
	return a
}

// leak returns where in a response one of the values is, as it is or encoded.
func leak(a answer, values []string) string {
	for name, lines := range a.header {
		if contains(strings.Join(lines, "\n"), values) {
			return "the header " + name
		}
	}
	if contains(a.body, values) {
		return "the body"
	}
	return ""
}

var base64Text = regexp.MustCompile(`[A-Za-z0-9_+/-]{24,}`)

func contains(text string, values []string) bool {
	texts := []string{text}
	if plain, err := url.QueryUnescape(text); err == nil && plain != text {
		texts = append(texts, plain)
	}
	for _, encoded := range base64Text.FindAllString(text, -1) {
		encoded = strings.NewReplacer("+", "-", "/", "_").Replace(encoded)
		for drop := range 4 { // the value may begin within a base64 group
			if plain, err := base64.RawURLEncoding.DecodeString(encoded[drop : drop+(len(encoded)-drop)/4*4]); err == nil {
				texts = append(texts, string(plain))
			}
		}
	}
	for _, text := range texts {
		for _, v := range values {
			if strings.Contains(text, v) {
				return true
			}
		}
	}
	return false
}

func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
	for name, text := range map[string]string{
		"as it is":      "token=" + token,
		"query-escaped": url.QueryEscape("?a=" + token + "&b"),
		"in base64":     base64.StdEncoding.EncodeToString([]byte(`{"t":"` + token + `"}`)),
		"in base64url":  "gh." + base64.RawURLEncoding.EncodeToString([]byte(`xx{"t":"`+token+`"}`)),
	} {
		if !contains(text, []string{token}) {
			t.Errorf("%s: not found in %s", name, text)
		}
	}
	if contains("gatehouse=abc; Path=/", []string{token}) {
		t.Error("found where it is not")
	}
}
