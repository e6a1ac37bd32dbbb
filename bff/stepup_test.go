package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// demands answers every request as an API that requires another login (RFC 9470
// §3).
func demands(challenge ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range challenge {
			w.Header().Add("WWW-Authenticate", c)
		}
		reply(w, http.StatusUnauthorized, map[string]any{"code": 16, "message": "a fresher sign-in is needed"})
	}
}

const insufficient = `Bearer error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is required.", acr_values="urn:a urn:b", max_age="300"`

// From the API's challenge to the provider and back to the page: a navigation is
// redirected, a script is told the address.
func TestAPIStepUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.api.set(demands(insufficient))
	const login = "/api/auth/login?acr_values=urn%3Aa+urn%3Ab&max_age=300&returnTo="
	res := b.navigate("/api/payouts?month=5")
	wantStatus(t, res, http.StatusSeeOther)
	if res.location() != login+"%2Fapi%2Fpayouts%3Fmonth%3D5" || res.body != "" {
		t.Fatalf("to %q: %s", res.location(), res.body)
	}
	res = b.fetch("/api/payouts", header("Referer", "http://localhost:3000/private?tab=2"))
	wantStatus(t, res, http.StatusUnauthorized)
	if res.Header.Get("WWW-Authenticate") != insufficient || !strings.Contains(res.body, "a fresher sign-in") {
		t.Errorf("the API's own answer was lost: %q, %s", res.Header.Get("WWW-Authenticate"), res.body)
	}
	way := res.Header.Get("Gatehouse-Login")
	if way != login+"%2Fprivate%3Ftab%3D2" {
		t.Fatalf("the way is %q", way)
	}
	location := b.navigate(way).location()
	q, _ := url.Parse(location)
	if q.Query().Get("acr_values") != "urn:a urn:b" || q.Query().Get("max_age") != "300" {
		t.Errorf("asked for %v", q.Query())
	}
	s.idp.change(func(p *provider) { p.id["acr"], p.id["auth_time"] = "urn:b", s.clock.Now().Unix() })
	before := b.session()
	res = b.back(s.idp.authorize(location))
	wantStatus(t, res, http.StatusSeeOther)
	if res.location() != "/private?tab=2" || b.session() == before || !b.signedIn() {
		t.Errorf("back to %q", res.location())
	}
	if got := len(s.idp.refreshes()); got != 0 {
		t.Errorf("%d refreshes: another token of the same login is no better", got)
	}
}

// A login that does not satisfy the request leaves the user signed in as before,
// with an explanation.
func TestStepUpNotReached(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	before := b.session()
	s.idp.change(func(p *provider) { p.id["acr"] = "urn:weak" })
	res := b.back(s.idp.authorize(b.navigate("/api/auth/login?acr_values=urn:a&returnTo=/private").location()))
	wantStatus(t, res, http.StatusForbidden)
	if !strings.Contains(res.body, "stronger sign-in is needed") || b.session() != before || !b.signedIn() {
		t.Errorf("%s", res.body)
	}
}

// The login address of a 401 of the API, for scripts.
func TestGatehouseLogin(t *testing.T) {
	t.Parallel()
	page := header("Referer", "http://localhost:3000/orders/5?x=1#part")
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		edits  []edit
		want   string
	}{
		"signed out":                {demands("Bearer"), []edit{page}, "/api/auth/login?returnTo=%2Forders%2F5%3Fx%3D1"},
		"no page":                   {demands("Bearer"), nil, "/api/auth/login"},
		"another site's page":       {demands("Bearer"), []edit{header("Referer", "http://evil.example/orders/5")}, "/api/auth/login"},
		"another port's page":       {demands("Bearer"), []edit{header("Referer", "http://localhost:3001/orders/5")}, "/api/auth/login"},
		"a page that leads away":    {demands("Bearer"), []edit{header("Referer", "http://localhost:3000//evil.example")}, "/api/auth/login"},
		"nothing demanded by name":  {demands(`Bearer error="insufficient_user_authentication"`), nil, "/api/auth/login"},
		"age alone":                 {demands(`Bearer error="insufficient_user_authentication", max_age=5`), nil, "/api/auth/login?max_age=5"},
		"in another order and case": {demands(`bearer realm="x, y=\"z\"", ACR_Values = "urn:a" ,Error="insufficient_user_authentication"`), nil, "/api/auth/login?acr_values=urn%3Aa"},
		"the second header":         {demands("Basic realm=x", insufficient), nil, "/api/auth/login?acr_values=urn%3Aa+urn%3Ab&max_age=300"},
		"another error":             {demands(`Bearer error="invalid_token", acr_values="urn:a"`), nil, "/api/auth/login"},
		"in a description":          {demands(`Bearer error_description="error=insufficient_user_authentication", acr_values="urn:a"`), nil, "/api/auth/login"},
		"never closed":              {demands(`Bearer error="insufficient_user_authentication`), nil, "/api/auth/login"},
		"another scheme's":          {demands(`DPoP error="insufficient_user_authentication", max_age="5"`), nil, "/api/auth/login"},
		"the API's own word for it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Gatehouse-Login", "//evil.example")
			w.WriteHeader(401)
		}, nil, "/api/auth/login"},
		"and where there is no 401":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Gatehouse-Login", "//evil.example") }, nil, ""},
		"forbidden is not signed out": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil, ""},
	} {
		s := start(t)
		s.api.set(c.answer)
		if got := s.browser().fetch("/api/x", c.edits...).Header.Get("Gatehouse-Login"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A challenge of the API cannot lead anywhere but to our login, with our
// parameters.
func FuzzStepUp(f *testing.F) {
	for _, seed := range []string{insufficient, `Bearer error="insufficient_user_authentication", acr_values="a&returnTo=//evil.example", max_age="5#"`, `Bearer a="\`, `Bearer =,=,"`, "Bearer error=x,,,b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, challenge string) {
		way := bff.StepUpLogin(challenge, "/private")
		u, err := url.Parse(way)
		if err != nil || u.Host != "" || u.Path != "/api/auth/login" || strings.ContainsAny(way, "\r\n\x00 ") {
			t.Fatalf("%q leads to %q", challenge, way)
		}
		for name, values := range u.Query() {
			switch name {
			case "acr_values", "max_age":
			case "returnTo":
				if len(values) != 1 || values[0] != "/private" {
					t.Fatalf("%q leads back to %q", challenge, values)
				}
			default:
				t.Fatalf("%q sets %s", challenge, name)
			}
		}
	})
}

// A step-up whose access token the API does not accept does not loop.
func TestStepUpLoop(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.api.set(demands(`Bearer error="insufficient_user_authentication", max_age="300"`))
	for range 20 {
		res := b.navigate("/api/payouts")
		wantStatus(t, res, http.StatusSeeOther)
		s.idp.change(func(p *provider) { p.id["auth_time"] = s.clock.Now().Unix() })
		if res = b.navigate(res.location()); res.StatusCode == http.StatusBadRequest {
			if !strings.Contains(res.body, "asked for another sign-in") || !b.signedIn() {
				t.Errorf("%s", res.body)
			}
			return
		}
		wantStatus(t, b.back(s.idp.authorize(res.location())), http.StatusSeeOther)
		s.clock.Advance(time.Second)
	}
	t.Error("never stopped")
}
