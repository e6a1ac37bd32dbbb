package devidp_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// change returns the address with some parameters replaced; an empty value removes one.
func change(t *testing.T, address string, pairs ...string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(pairs); i += 2 {
		q.Del(pairs[i])
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// TestRefusedToTheClient: errors of a valid client are sent to its redirect URI.
func TestRefusedToTheClient(t *testing.T) {
	t.Parallel()
	s := start(t)
	tests := map[string]struct {
		change []string
		want   string
	}{
		"no PKCE":                      {[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		"PKCE plain":                   {[]string{"code_challenge_method", "plain"}, "invalid_request"},
		"PKCE plain by default":        {[]string{"code_challenge_method", ""}, "invalid_request"},
		"challenge no digest":          {[]string{"code_challenge", "short"}, "invalid_request"},
		"another audience":             {[]string{"audience", "https://else.example"}, "invalid_target"},
		"another resource":             {[]string{"resource", "https://else.example"}, "invalid_target"},
		"the client's ID as audience":  {[]string{"audience", clientID}, "invalid_target"},
		"no openid":                    {[]string{"scope", "profile email"}, "invalid_scope"},
		"no scope":                     {[]string{"scope", ""}, "invalid_request"},
		"implicit flow":                {[]string{"response_type", "id_token token"}, "unauthorized_client"},
		"no response type":             {[]string{"response_type", ""}, "invalid_request"},
		"unknown response mode":        {[]string{"response_mode", "pigeon"}, "invalid_request"},
		"request object":               {[]string{"request", "e30.e30."}, "request_not_supported"},
		"request by reference":         {[]string{"request_uri", "https://evil.example"}, "request_not_supported"},
		"prompt none and more":         {[]string{"prompt", "none login"}, "invalid_request"},
		"prompt none without session":  {[]string{"prompt", "none"}, "login_required"},
		"prompt none with a bad hint":  {[]string{"prompt", "none", "id_token_hint", "e30.e30.e30"}, "login_required"},
		"one good audience, one wrong": {[]string{"audience", audience, "resource", "https://else.example"}, "invalid_target"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.attempt(s.oauth())
			got := s.browser().open(change(t, a.url, tt.change...))
			if got.to == nil || !strings.HasPrefix(got.to.String(), callback+"?") {
				t.Fatalf("not sent back to the client: %d %s", got.status, got.url)
			}
			q := got.to.Query()
			if q.Get("error") != tt.want || q.Get("state") != a.state || q.Get("iss") != s.issuer || q.Has("code") {
				t.Errorf("answer %v, want error %s", q, tt.want)
			}
		})
	}
}

// TestShownToTheUser: without a valid client and redirect URI there is no redirect
// (RFC 6749 §4.1.2.1).
func TestShownToTheUser(t *testing.T) {
	t.Parallel()
	s := start(t)
	good := s.attempt(s.oauth()).url
	tests := map[string]struct{ address, says string }{
		"unknown client":         {change(t, good, "client_id", "nobody"), "client_id"},
		"no client":              {change(t, good, "client_id", ""), "client_id"},
		"no redirect URI":        {change(t, good, "redirect_uri", ""), "redirect_uri"},
		"foreign redirect URI":   {change(t, good, "redirect_uri", "https://evil.example/"), "redirect_uri"},
		"longer redirect URI":    {change(t, good, "redirect_uri", callback+"/../.."), "redirect_uri"},
		"redirect URI and query": {change(t, good, "redirect_uri", callback+"?x=1"), "redirect_uri"},
		"other client's URI":     {change(t, good, "redirect_uri", otherURI), "redirect_uri"},
		"redirect URI twice":     {good + "&redirect_uri=https%3A%2F%2Fevil.example", "redirect_uri more than once"},
		"script as URI":          {change(t, good, "redirect_uri", "javascript:alert(1)"), "redirect_uri"},
		"unreadable max_age":     {good + "&max_age=soon", "could not be read"},
		"unknown sign-in":        {s.issuer + "/login?request=made-up", "expired"},
		"no sign-in":             {s.issuer + "/login", "expired"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := s.browser().open(tt.address)
			if got.status != http.StatusBadRequest || got.to != nil || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
				t.Fatalf("%d %s, Location %v", got.status, got.header.Get("Content-Type"), got.to)
			}
			if !strings.Contains(got.body, tt.says) || !strings.Contains(got.body, `href="`+afterwards+`"`) {
				t.Errorf("the page neither says %q nor leads back to the application:\n%s", tt.says, got.body)
			}
		})
	}
}

// TestPrompt: which requests a session satisfies, and which show the sign-in page.
func TestPrompt(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	hint := idToken(s.signIn(b, "seller"))
	others := idToken(s.signIn(s.browser(), "buyer"))
	s.clock.advance(100 * time.Second)
	const code, page = "a code", "the sign-in page"
	tests := map[string]struct {
		extra []string
		want  string
	}{
		"nothing":                      {nil, code},
		"none":                         {[]string{"prompt", "none"}, code},
		"none, own hint":               {[]string{"prompt", "none", "id_token_hint", hint}, code},
		"none, another's hint":         {[]string{"prompt", "none", "id_token_hint", others}, "login_required"},
		"another's hint":               {[]string{"id_token_hint", others}, page},
		"hint from before a restart":   {[]string{"id_token_hint", "e30.e30.e30"}, code},
		"login":                        {[]string{"prompt", "login"}, page},
		"select_account":               {[]string{"prompt", "select_account"}, page},
		"consent, always granted":      {[]string{"prompt", "consent"}, code},
		"max_age, young enough":        {[]string{"max_age", "101"}, code},
		"max_age, too old":             {[]string{"max_age", "100"}, page},
		"max_age 0":                    {[]string{"max_age", "0"}, page},
		"max_age beyond int64 seconds": {[]string{"max_age", "18446744073709551615"}, code},
		"none, max_age too old":        {[]string{"prompt", "none", "max_age", "100"}, "login_required"},
		"acr that the session lacks":   {[]string{"acr_values", "urn:mfa"}, page},
		"none, acr":                    {[]string{"prompt", "none", "acr_values", "urn:mfa"}, "login_required"},
	}
	for name, tt := range tests {
		got := b.open(s.attempt(s.oauth(), tt.extra...).url)
		var is string
		switch {
		case got.to != nil && got.to.Query().Has("code"):
			is = code
		case got.to != nil:
			is = got.to.Query().Get("error")
		case got.status == http.StatusOK && got.url.Path == "/login":
			is = page
		}
		if is != tt.want {
			t.Errorf("%s: %q, want %q", name, is, tt.want)
		}
	}
}

// TestStepUp (RFC 9470): every requested acr is reached, and both tokens have it.
func TestStepUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	_, before := s.verify(idToken(s.signIn(b, "seller")))
	s.clock.advance(time.Hour)
	conf := s.oauth()
	a := s.attempt(conf, "acr_values", "urn:mfa urn:other", "max_age", "60")
	page := b.open(a.url)
	if !strings.Contains(page.body, "urn:mfa") || !strings.Contains(page.body, "Signed in now") {
		t.Error("the page does not say why it asks again")
	}
	token, err := conf.Exchange(t.Context(), a.code(t, s, b.choose(page, "seller")), oauth2.VerifierOption(a.verifier))
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{token.AccessToken, idToken(token)} {
		_, claims := s.verify(raw)
		if claims["acr"] != "urn:mfa" || claims["auth_time"] != float64(s.clock.now().Unix()) {
			t.Errorf("acr %v, auth_time %v", claims["acr"], claims["auth_time"])
		}
		if claims["sid"] != before["sid"] {
			t.Error("the same person's session got another sid")
		}
	}
	if got := b.open(s.attempt(conf, "acr_values", "urn:mfa").url); got.to == nil || !got.to.Query().Has("code") {
		t.Error("asked again although the session is strong enough")
	}
}

func TestLoginHint(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, hint := range []string{"buyer", "dev|buyer", "ben@example.com"} {
		got := s.browser().open(s.attempt(s.oauth(), "login_hint", hint).url)
		i, j := strings.Index(got.body, "autofocus"), strings.Index(got.body, `value="buyer"`)
		if strings.Count(got.body, "autofocus") != 1 || i < j || strings.Contains(got.body[j:i], "<button") {
			t.Errorf("login_hint %q does not point at the buyer", hint)
		}
	}
	if got := s.browser().open(s.attempt(s.oauth(), "login_hint", `"><script>`).url); strings.Contains(got.body, "autofocus") || strings.Contains(got.body, "<script") {
		t.Error("an unknown login_hint shows")
	}
}

func TestAnotherPersonThanTheHint(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	hint := idToken(s.signIn(b, "seller"))
	got := b.choose(b.open(s.attempt(s.oauth(), "id_token_hint", hint, "prompt", "login").url), "buyer")
	if got.to == nil || got.to.Query().Get("error") != "login_required" {
		t.Errorf("sent to %v", got.to)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	a := s.attempt(s.oauth())
	page := b.open(a.url)
	got := b.submit(s.issuer+"/login", url.Values{"request": {requestField.FindStringSubmatch(page.body)[1]}, "cancel": {"1"}})
	if got.to == nil || got.to.Query().Get("error") != "access_denied" || got.to.Query().Get("state") != a.state {
		t.Errorf("sent to %v", got.to)
	}
}

// TestSignInIsAnsweredOnce: a sign-in page works once, within half an hour.
func TestSignInIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	page := b.open(s.attempt(s.oauth()).url)
	if got := b.choose(page, "seller"); got.to == nil {
		t.Fatal("the first answer failed")
	}
	if got := b.choose(page, "seller"); got.status != http.StatusBadRequest || !strings.Contains(got.body, "expired") {
		t.Errorf("second answer: %d, Location %v", got.status, got.to)
	}
	page = s.browser().open(s.attempt(s.oauth()).url)
	s.clock.advance(30 * time.Minute)
	if got := b.choose(page, "seller"); got.status != http.StatusBadRequest || !strings.Contains(got.body, "expired") {
		t.Errorf("answer after half an hour: %d, Location %v", got.status, got.to)
	}
}

// TestLoginFromAnotherSite: another site submits the form (login CSRF).
func TestLoginFromAnotherSite(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	page := b.open(s.attempt(s.oauth()).url)
	form := url.Values{"request": {requestField.FindStringSubmatch(page.body)[1]}, "user": {"admin"}}
	for name, header := range map[string][]string{
		"Sec-Fetch-Site":  {"Sec-Fetch-Site", "cross-site"},
		"sibling":         {"Sec-Fetch-Site", "same-site"},
		"Origin":          {"Origin", "https://evil.example"},
		"Origin and port": {"Origin", "http://127.0.0.1:1"},
	} {
		for _, path := range []string{"/login", "/end_session/confirm"} {
			if got := b.submit(s.issuer+path, form, header...); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
				t.Errorf("%s, %s: %d", name, path, got.status)
			}
		}
	}
	if got := b.choose(page, "seller"); got.to == nil {
		t.Error("the person's own click failed afterwards")
	}
}

// TestOtherHost: requests with a foreign Host are refused (DNS rebinding).
func TestOtherHost(t *testing.T) {
	t.Parallel()
	s := start(t)
	for host, want := range map[string]int{
		"evil.example": http.StatusMisdirectedRequest, "127.0.0.1.nip.example:3001": http.StatusMisdirectedRequest,
		"localhost.evil.example": http.StatusMisdirectedRequest, "192.0.2.1": http.StatusMisdirectedRequest,
		"localhost:3001": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:3001": http.StatusOK,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.issuer+"/.well-known/openid-configuration", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if got := s.browser().do(r); got.status != want {
			t.Errorf("Host %s: %d, want %d", host, got.status, want)
		}
	}
}

// TestSignInWithoutPage: login_hint=as:KEY signs a user in at once, with a session that
// satisfies the request.
func TestSignInWithoutPage(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, func(c *devidp.Config) {
		c.Clients[0].BackchannelLogoutURI = calls.url
		c.Users = append(slices.Clone(people), directory.User{Key: "strong", ACR: []string{"pwd", "mfa"}})
	})
	if _, err := s.provider.AddUser(directory.User{Key: "guest-1"}); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	// as returns the claims of the ID token of a sign-in as a user.
	as := func(user string, extra ...string) map[string]any {
		t.Helper()
		conf := s.oauth()
		a := s.attempt(conf, append(extra, "login_hint", "as:"+user)...)
		token, err := conf.Exchange(t.Context(), a.code(t, s, b.open(a.url)), oauth2.VerifierOption(a.verifier))
		if err != nil {
			t.Fatal(err)
		}
		_, claims := s.verify(idToken(token))
		return claims
	}
	first := as("seller")
	if first["sub"] != "dev|seller" || first["auth_time"] != float64(s.clock.now().Unix()) || first["acr"] != nil {
		t.Errorf("claims %v", first)
	}
	s.clock.advance(time.Minute)
	if again := as("seller"); again["sid"] != first["sid"] || again["auth_time"] != first["auth_time"] {
		t.Errorf("with a session: %v, want that of %v", again, first)
	}
	if again := as("seller", "max_age", "61"); again["auth_time"] != first["auth_time"] {
		t.Errorf("a session that is young enough: signed in at %v", again["auth_time"])
	}
	for name, extra := range map[string][]string{"prompt login": {"prompt", "login"}, "max_age": {"max_age", "0"}} {
		s.clock.advance(time.Second)
		if again := as("seller", extra...); again["sid"] != first["sid"] || again["auth_time"] != float64(s.clock.now().Unix()) {
			t.Errorf("%s: signed in at %v", name, again["auth_time"])
		}
	}
	if stepped := as("seller", "acr_values", "mfa"); stepped["acr"] != "mfa" {
		t.Errorf("acr %v", stepped["acr"])
	}
	if other := as("guest-1"); other["sub"] != "dev|guest-1" || other["sid"] == first["sid"] {
		t.Errorf("another user: %v", other)
	}
	if _, claims := s.verify(calls.next(t)); claims["sid"] != first["sid"] {
		t.Errorf("logout token for %v, want the replaced session %v", claims["sid"], first["sid"])
	}
	for requested, want := range map[string]string{"": "pwd", "mfa": "mfa", "x mfa": "mfa"} {
		if got := as("strong", "prompt", "login", "acr_values", requested); got["acr"] != want {
			t.Errorf("acr_values %q: acr %v, want %s", requested, got["acr"], want)
		}
	}
}

// TestSignInWithoutPageRefused: the provider signs in only users it has, and with
// prompt=none only with a session of the user.
func TestSignInWithoutPageRefused(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *devidp.Config) {
		c.Users = append(slices.Clone(people), directory.User{Key: "weak", ACR: []string{"pwd"}})
	})
	b := s.browser()
	others := idToken(s.signIn(b, "buyer"))
	for name, tt := range map[string]struct {
		extra []string
		want  string
	}{
		"prompt none, another session":   {[]string{"login_hint", "as:seller", "prompt", "none"}, "login_required"},
		"prompt none and max_age":        {[]string{"login_hint", "as:buyer", "prompt", "none", "max_age", "0"}, "login_required"},
		"an acr that is not reached":     {[]string{"login_hint", "as:weak", "acr_values", "mfa"}, "unmet_authentication_requirements"},
		"the ID token of another user":   {[]string{"login_hint", "as:weak", "id_token_hint", others}, "login_required"},
		"no PKCE, checked before a user": {[]string{"login_hint", "as:weak", "code_challenge_method", "plain"}, "invalid_request"},
	} {
		got := b.open(change(t, s.attempt(s.oauth()).url, tt.extra...))
		if got.to == nil || got.to.Query().Get("error") != tt.want || got.to.Query().Has("code") {
			t.Errorf("%s: %d %v, want %s", name, got.status, got.to, tt.want)
		}
		s.signIn(b, "buyer")
	}
	for hint, says := range map[string]string{
		"as:sellr":              "did you mean &#34;seller&#34;? Otherwise give one of seller, buyer, admin, weak",
		"as:":                   "give one of seller",
		"as:<script>":           "&lt;script&gt;",
		"as:dev|seller":         "give one of seller",
		"as:" + longKey:         "give one of seller",
		"as:sofia@example.com":  "give one of seller",
		"as:\x00\xff\u202e":     "give one of seller",
		"as:seller as:buyer":    "give one of seller",
		"as:SELLER":             "give one of seller",
		"as:seller\r\nX: y":     "give one of seller",
		"as:../../etc/passwd":   "give one of seller",
		"as:seller&prompt=none": "give one of seller",
	} {
		got := s.browser().open(s.attempt(s.oauth(), "login_hint", hint).url)
		if got.status != http.StatusBadRequest || got.to != nil || !strings.Contains(got.body, says) || len(got.body) > 4000 || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%q: %d %v, want %q in\n%s", hint, got.status, got.to, says, got.body)
		}
	}
	// Another hint only suggests.
	if got := s.browser().open(s.attempt(s.oauth(), "login_hint", "sofia@example.com").url); got.status != http.StatusOK || !strings.Contains(got.body, "Suggested") {
		t.Errorf("a plain hint: %d\n%s", got.status, got.body)
	}
}

var longKey = strings.Repeat("k", 4000)

// Pages of other sites can send requests without end: they are kept up to a number, and
// later ones go on.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	flood := func(a attempt, n int) {
		for range n {
			w := httptest.NewRecorder()
			s.provider.ServeHTTP(w, httptest.NewRequest("GET", a.url, nil))
			if w.Code != http.StatusSeeOther {
				t.Fatalf("status %d", w.Code)
			}
		}
	}
	first := s.browser()
	page := first.open(s.attempt(s.oauth()).url)
	s.clock.advance(time.Second)
	b := s.browser()
	s.signIn(b, "seller")
	s.clock.advance(time.Second)

	flood(s.attempt(s.oauth()), 1000)
	if got := first.choose(page, "buyer"); got.status != http.StatusBadRequest {
		t.Errorf("the first request is kept: status %d", got.status)
	}
	later := s.browser()
	if got := later.choose(later.open(s.attempt(s.oauth()).url), "buyer"); got.to == nil {
		t.Errorf("a later request: status %d", got.status)
	}
	as := s.attempt(s.oauth(), "login_hint", "as:buyer")
	flood(as, 5000)
	if got := b.open(s.attempt(s.oauth()).url); got.to != nil {
		t.Error("the first session is kept")
	}
	s.signIn(b, "seller")

	if got := b.open(s.attempt(s.oauth(), "state", strings.Repeat("x", 17<<10)).url); got.status != http.StatusBadRequest || !strings.Contains(got.body, "too long") {
		t.Errorf("a long request: status %d", got.status)
	}
}
