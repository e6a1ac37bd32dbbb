package devidp_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/test/doctest"
)

// dev sends a request to the HTTP API as a program does, and returns status and body.
func (s *system) dev(method, path, body string, header ...string) (int, map[string]any) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.issuer+"/dev/"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	got := s.browser().do(r)
	if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s %s: header %v", method, path, got.header)
	}
	var answer map[string]any
	if got.body != "" && strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
			s.t.Fatalf("%s %s: %d %q: %v", method, path, got.status, got.body, err)
		}
	}
	return got.status, answer
}

// ok sends a request that succeeds.
func (s *system) ok(method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.dev(method, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s %s: %d %v", method, path, body, status, answer)
	}
	return answer
}

// TestDevDocument holds the table of docs/dev-provider.md to the endpoints of the HTTP API, and to their
// members as far as the table names them.
func TestDevDocument(t *testing.T) {
	t.Parallel()
	members := map[string][]any{}
	for _, e := range start(t).ok("GET", "", "")["endpoints"].([]any) {
		e := e.(map[string]any)
		all, _ := e["members"].([]any)
		members[e["method"].(string)+" "+e["path"].(string)] = all
	}
	for _, row := range doctest.Rows(t, "../..", "dev-provider.md", "## HTTP API") {
		for _, endpoint := range doctest.Code(row[0]) {
			all, ok := members[endpoint]
			if !ok {
				t.Errorf("the document has %s, which does not exist", endpoint)
			}
			delete(members, endpoint)
			for _, name := range all {
				if name := name.(string); !strings.Contains(row[1], "`"+name+"`") && !strings.Contains(row[1], "the fields of a") {
					t.Errorf("the document lacks the member %s of %s", name, endpoint)
				}
			}
		}
	}
	for endpoint := range members {
		t.Errorf("the document lacks %s", endpoint)
	}
}

// TestDevState: the state has what was set, and a reset restores what was configured.
func TestDevState(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := s.ok("GET", "state", "")
	if before["access_token_lifetime"] != "5m" || before["refresh_tokens"] != "rotate" || before["issuer"] != s.issuer ||
		len(before["keys"].([]any)) != 1 || len(before["sessions"].([]any)) != 0 || len(before["faults"].([]any)) != 0 {
		t.Errorf("at first: %v", before)
	}
	s.signIn(s.browser(), "seller")
	state := s.ok("PATCH", "state", `{"access_token_lifetime": "20s", "refresh_tokens": "keep"}`)
	if state["access_token_lifetime"] != "20s" || state["id_token_lifetime"] != "1h" || state["refresh_tokens"] != "keep" {
		t.Errorf("changed: %v", state)
	}
	if session := state["sessions"].([]any)[0].(map[string]any); session["user"] != "seller" || session["since"] != "2031-05-06T07:08:09Z" {
		t.Errorf("session %v", session)
	}
	state = s.ok("PATCH", "state", `{"id_token_lifetime": "30s"}`)
	if state["access_token_lifetime"] != "20s" || state["id_token_lifetime"] != "30s" {
		t.Errorf("changed again: %v", state)
	}
	if token := s.signIn(s.browser(), "buyer"); token.Extra("expires_in") != 20.0 {
		t.Errorf("expires_in %v", token.Extra("expires_in"))
	}
	s.ok("POST", "fail", `{"kind": "down", "user": "seller", "times": 3, "status": 502}`)
	state = s.ok("POST", "fail", `{"kind": "slow", "delay": "20s"}`)
	want := []any{
		map[string]any{"kind": "down", "user": "seller", "times": 3.0, "status": 502.0},
		map[string]any{"kind": "slow", "delay": "20s"},
	}
	if got, _ := json.Marshal(state["faults"]); !jsonEqual(got, want) {
		t.Errorf("faults %s, want %v", got, want)
	}
	if faults := s.ok("POST", "heal", `{"user": "seller"}`)["faults"].([]any); len(faults) != 1 {
		t.Errorf("after the user's are healed: %v", faults)
	}
	if faults := s.ok("POST", "heal", `{"kind": "down"}`)["faults"].([]any); len(faults) != 1 {
		t.Errorf("after another kind is healed: %v", faults)
	}
	after := s.ok("POST", "reset", "")
	delete(after, "sessions")
	delete(before, "sessions")
	if got, _ := json.Marshal(after); !jsonEqual(got, before) {
		t.Errorf("after a reset: %s, want %v", got, before)
	}
}

func jsonEqual(got []byte, want any) bool {
	text, _ := json.Marshal(want)
	return string(got) == string(text)
}

// TestDevActions: what each request does.
func TestDevActions(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, withMachine, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = calls.url })
	seller, buyer := s.browser(), s.browser()
	token := s.signIn(seller, "seller")
	s.signIn(buyer, "buyer")

	s.ok("POST", "fail", `{"kind": "refuse-refresh", "error": "temporarily_unavailable", "retry_after": "5s", "times": 1}`)
	_, err := s.refresh(token.RefreshToken)
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || e.Response.StatusCode != 503 || e.Response.Header.Get("Retry-After") != "5" {
		t.Errorf("a refused refresh: %v", err)
	}
	if got := s.ok("POST", "logout", `{"user": "seller"}`); got["sessions"] != 1.0 || len(calls.tokens) != 1 || seller.signedIn() || !buyer.signedIn() {
		t.Errorf("logout of one user: %v, %d notified", got, len(calls.tokens))
	}
	if got := s.ok("POST", "logout", `{}`); got["sessions"] != 1.0 || buyer.signedIn() {
		t.Errorf("logout of everyone: %v", got)
	}
	if got := s.ok("POST", "revoke", `{"user": "dev|seller"}`); got["sign_ins"] != 1.0 {
		t.Errorf("revoked: %v", got)
	}
	if _, err := s.refresh(token.RefreshToken); err == nil {
		t.Error("a revoked token worked")
	}
	first := s.ok("GET", "state", "")["keys"].([]any)
	both := s.ok("POST", "keys/rotate", "")["keys"].([]any)
	last := s.ok("POST", "keys/withdraw", "{}")["keys"].([]any)
	if len(both) != 2 || both[0] != first[0] || len(last) != 1 || last[0] != both[1] {
		t.Errorf("keys %v, rotated %v, withdrawn %v", first, both, last)
	}

	added := s.ok("POST", "users", `{"permissions": ["products:write"], "claims": {"tenant": 12345678901234567, "roles": ["a"]}}`)
	key := added["key"].(string)
	if !strings.HasPrefix(key, "user-") || added["subject"] != "dev|"+key {
		t.Errorf("added %v", added)
	}
	conf := s.oauth()
	a := s.attempt(conf, "login_hint", "as:"+key)
	guest, err := conf.Exchange(t.Context(), a.code(t, s, s.browser().open(a.url)), oauth2.VerifierOption(a.verifier))
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := s.verify(guest.AccessToken); claims["tenant"] != 12345678901234567.0 || claims["permissions"].([]any)[0] != "products:write" {
		t.Errorf("claims %v", claims)
	}
	if users := s.ok("GET", "users", "")["users"].([]any); len(users) != 4 || users[0].(map[string]any)["key"] != "seller" {
		t.Errorf("users %v", users)
	}

	minted := s.ok("POST", "token", `{"user": "seller", "scopes": ["x"], "lifetime": "-1m", "claims": {"aud": "else", "jti": null}}`)
	_, claims := s.verify(minted["access_token"].(string))
	if claims["aud"] != "else" || claims["jti"] != nil || claims["exp"] != float64(s.clock.now().Add(-time.Minute).Unix()) || minted["token_type"] != "Bearer" {
		t.Errorf("minted %v", minted)
	}
	if minted := s.ok("POST", "token", `{"machine": "robot"}`); minted["claims"].(map[string]any)["sub"] != "robot" {
		t.Errorf("minted %v", minted)
	}
	index := s.ok("GET", "", "")["endpoints"].([]any)
	if len(index) != 12 {
		t.Errorf("%d endpoints", len(index))
	}
}

// TestDevErrors: an error names the member, the value and the remedy, with a suggestion.
func TestDevErrors(t *testing.T) {
	t.Parallel()
	s := start(t, withMachine)
	for _, tt := range []struct {
		request, body string
		want          []string // of the messages
	}{
		{"PATCH state", `{"acces_token_lifetime": "5m"}`, []string{`acces_token_lifetime "\"5m\"" is unknown; did you mean "access_token_lifetime"? Otherwise give one of`}},
		{"PATCH state", `{"access_token_lifetime": 300}`, []string{`access_token_lifetime "300" is not what belongs here; give a duration as text, such as "30s"`}},
		{"PATCH state", `{"access_token_lifetime": "0s"}`, []string{`access_token_lifetime "\"0s\"" is not what`}},
		{"PATCH state", `{"access_token_lifetime": "-5s"}`, []string{`access_token_lifetime "-5s" is negative; give a positive duration`}},
		{"PATCH state", `{"refresh_tokens": "rotat"}`, []string{`refresh_tokens "rotat" is unknown; did you mean "rotate"?`}},
		{"PATCH state", `{"refresh_tokens": ""}`, []string{`refresh_tokens "\"\"" is not what belongs here; give a text that is not empty`}},
		{"PATCH state", `{"refresh_tokens": null}`, []string{`refresh_tokens "null" is not what belongs here; give a text`}},
		{"PATCH state", `[]`, []string{`body "[]" is no JSON object`}},
		{"PATCH state", `{"refresh_tokens": "keep"} {}`, []string{`is no JSON object`}},
		{"PATCH state", `{"refresh_tokens": "keep", "refresh_tokens": "none"}`, []string{`refresh_tokens "\"none\"" is given twice; leave one out`}},
		{"PATCH state", `refresh_tokens=keep`, []string{`is no JSON object`}},
		{"PATCH state", "{\"a\xff\": 1}", []string{`is no JSON object`}},
		{"POST fail", `{}`, []string{`kind is missing; give one of refuse-refresh`}},
		{"POST fail", `{"kind": "down", "times": "3", "user": 7}`, []string{`times "\"3\"" is not what belongs here; give a whole number`, `user "7" is not what belongs here; give a text in quotes`}},
		{"POST fail", `{"kind": "down", "times": 1.5}`, []string{`times "1.5"`}},
		{"POST fail", `{"kind": "down", "user": "sellr"}`, []string{`user "sellr" is unknown; did you mean "seller"?`}},
		{"POST fail", `{"kind": "slow"}`, []string{`delay "0s" is out of range`}},
		{"POST fail", `{"kind": "slow", "delay": "1m", "error": "x"}`, []string{`error "x" has no effect with the kind slow`}},
		{"POST heal", `{"kind": "dwn"}`, []string{`kind "dwn" is unknown; did you mean "down"?`}},
		{"POST heal", `{"user": "x"}`, []string{`user "x" is unknown; give one of seller, buyer, admin`}},
		{"POST reset", `{"all": true}`, []string{`all "true" is unknown; leave it out`}},
		{"POST logout", `{"user": "x"}`, []string{`user "x" is unknown`}},
		{"POST revoke", `{"user": "x"}`, []string{`user "x" is unknown`}},
		{"POST users", `{"key": "new", "subject": "dev|seller"}`, []string{`user "new": subject is that of user "seller" too; give`}},
		{"POST users", `{"key": "a b", "email": "a@example.com"}`, []string{`user "a b": is not a key; write`}},
		{"POST users", `{"permissions": "x"}`, []string{`permissions "\"x\"" is not what belongs here; give a list of texts`}},
		{"POST users", `{"permissions": ["a", null]}`, []string{`permissions "[\"a\", null]" is not`}},
		{"POST users", `{"claims": {"iss": "x"}}`, []string{`cannot have iss`}},
		{"POST users", `{"claims": ["iss"]}`, []string{`claims "[\"iss\"]" is not what belongs here; give an object`}},
		{"POST token", `{}`, []string{`user and machine are both`}},
		{"POST token", `{"machine": "robt"}`, []string{`machine "robt" is unknown; did you mean "robot"?`}},
		{"POST token", `{"user": "seller", "unknown_key": "yes"}`, []string{`unknown_key "\"yes\"" is not what belongs here; give true or false`}},
		{"POST token", `{"user": "` + strings.Repeat("x", 70_000) + `"}`, []string{`body cannot be read; send at most 65536 bytes`}},
		{"POST token", `{"user": "` + strings.Repeat("x", 60_000) + `"}`, []string{`…" is unknown; give one of seller`}},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		status, answer := s.dev(method, path, tt.body)
		var messages []string
		list, _ := answer["errors"].([]any)
		for _, e := range list {
			messages = append(messages, e.(map[string]any)["message"].(string))
		}
		if status != http.StatusBadRequest || len(messages) != len(tt.want) {
			t.Errorf("%s %.80s: %d %q, want %q", tt.request, tt.body, status, messages, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(messages[i], want) || len(messages[i]) > 600 {
				t.Errorf("%s %.80s: got %q, want %q", tt.request, tt.body, messages[i], want)
			}
		}
	}
	for request, want := range map[string]int{
		"GET fail": 405, "DELETE users": 405, "OPTIONS state": 405, "HEAD state": 405, "GET nowhere": 404, "POST state/": 404, "POST keys": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		if status, _ := s.dev(method, path, ""); status != want {
			t.Errorf("%s: got status %d, want %d", request, status, want)
		}
	}
}

// TestDevLogoutFailure: the caller learns that an application was not notified.
func TestDevLogoutFailure(t *testing.T) {
	t.Parallel()
	broken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(broken.Close)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = broken.URL })
	s.signIn(s.browser(), "seller")
	if status, answer := s.dev("POST", "logout", ""); status != http.StatusBadGateway {
		t.Errorf("%d %v", status, answer)
	}
}

// TestDevIsForPrograms: a page of another origin can neither send nor read anything,
// whatever a browser sends without asking first.
func TestDevIsForPrograms(t *testing.T) {
	t.Parallel()
	s := start(t)
	issuer, err := url.Parse(s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		method string
		header []string
		want   int
	}{
		"a program":                        {"POST", nil, 200},
		"a program that names a charset":   {"POST", []string{"Content-Type", "application/json; charset=utf-8"}, 200},
		"the provider's page":              {"POST", []string{"Origin", s.issuer, "Sec-Fetch-Site", "same-origin"}, 200},
		"a form":                           {"POST", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		"a form of another site":           {"POST", []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"a file form":                      {"POST", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		"a simple request":                 {"POST", []string{"Content-Type", "text/plain"}, 415},
		"plain text that names JSON":       {"POST", []string{"Content-Type", "text/plain; application/json"}, 415},
		"two content types":                {"POST", []string{"Content-Type", "text/plain, application/json"}, 415},
		"no content type":                  {"POST", []string{"Content-Type", ""}, 415},
		"a beacon, old browser":            {"POST", []string{"Content-Type", "text/plain", "Origin", "https://evil.example"}, 403},
		"fetch of the application":         {"POST", []string{"Origin", "http://localhost:3000", "Sec-Fetch-Site", "cross-site"}, 403},
		"fetch of the same site":           {"POST", []string{"Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", "same-site"}, 403},
		"fetch, old browser":               {"POST", []string{"Origin", "http://127.0.0.1:3000"}, 403},
		"a sandboxed page":                 {"POST", []string{"Origin", "null"}, 403},
		"a preflight":                      {"OPTIONS", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Sec-Fetch-Site", "cross-site"}, 403},
		"a preflight, old browser":         {"OPTIONS", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, 405},
		"DNS rebinding":                    {"POST", []string{"Host", "evil.example:" + issuer.Port(), "Origin", "http://evil.example:" + issuer.Port(), "Sec-Fetch-Site", "same-origin"}, 421},
		"DNS rebinding to read":            {"GET", []string{"Host", "evil.example:" + issuer.Port()}, 421},
		"DNS rebinding, a name like ours":  {"POST", []string{"Host", "localhost.evil.example"}, 421},
		"a script element of another site": {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		"a link of another site":           {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403},
		"the address bar":                  {"GET", []string{"Sec-Fetch-Site", "none"}, 200},
		"a method in a header":             {"GET", []string{"X-HTTP-Method-Override", "POST"}, 200},
	} {
		path := "reset"
		if tt.method == "GET" {
			path = "state"
		}
		s.fail(devidp.Fault{Kind: devidp.FailUserinfo})
		if status, answer := s.dev(tt.method, path, "", tt.header...); status != tt.want {
			t.Errorf("%s: got %d %v, want %d", name, status, answer, tt.want)
		}
		if isReset := len(s.provider.Faults()) == 0; isReset != (tt.want == 200 && tt.method == "POST") {
			t.Errorf("%s: had an effect: %t", name, isReset)
		}
	}
}

// FuzzDevAPI: no body makes the provider panic or respond with a status that is not
// documented, and what it accepts can be read back.
func FuzzDevAPI(f *testing.F) {
	for _, body := range []string{
		"", "{}", "null", `{"user":"seller"}`, `{"kind":"slow","delay":"1s","times":2}`, `{"kind":"refuse-refresh","error":"x","status":200}`,
		`{"access_token_lifetime":"87600h"}`, `{"access_token_lifetime":"-9223372036854775808ns"}`, `{"key":"a","claims":{"a":{"b":[1e400]}}}`,
		`{"user":"seller","claims":{"exp":1e999,"aud":[]},"lifetime":"-87600h","type":"a\nb"}`, `{"claims":{"\u0000":1}}`, `{"times":1e2}`,
		strings.Repeat("[", 5000), `{"claims":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5001),
	} {
		for i := range byte(9) {
			f.Add(i, []byte(body))
		}
	}
	requests := []string{"PATCH state", "POST fail", "POST heal", "POST reset", "POST logout", "POST revoke", "POST users", "POST token", "POST keys/withdraw"}
	provider, err := devidp.New(devidp.Config{
		Issuer: "http://127.0.0.1:3001", Audience: audience, Users: people,
		Clients: []devidp.Client{{ID: clientID, Secret: secret, RedirectURIs: []string{callback}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		method, path, _ := strings.Cut(requests[int(which)%len(requests)], " ")
		r := httptest.NewRequest(method, "http://127.0.0.1:3001/dev/"+path, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		provider.ServeHTTP(w, r)
		var answer map[string]any
		dec := json.NewDecoder(w.Body)
		dec.UseNumber() // a claim may be any number
		if err := dec.Decode(&answer); err != nil {
			t.Fatalf("%d: %v", w.Code, err)
		}
		switch w.Code {
		case http.StatusOK:
		case http.StatusBadRequest:
			list := answer["errors"].([]any)
			if len(list) == 0 {
				t.Error("no error is told")
			}
			for _, e := range list {
				if e.(map[string]any)["message"] == "" {
					t.Errorf("no message in %v", e)
				}
			}
		default:
			t.Fatalf("%d %v", w.Code, answer)
		}
		state := httptest.NewRecorder()
		provider.ServeHTTP(state, httptest.NewRequest("GET", "http://127.0.0.1:3001/dev/state", nil))
		if state.Code != http.StatusOK || !json.Valid(state.Body.Bytes()) {
			t.Errorf("state: %d %s", state.Code, state.Body)
		}
	})
}
