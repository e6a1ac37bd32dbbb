package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// control sends a request to the HTTP API of the development provider.
func (s *system) control(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	return newVisitor(t).send(t, method, s.provider+"/dev/"+path, http.Header{"Content-Type": {"application/json"}}, strings.NewReader(body)).
		wants(t, http.StatusOK, "application/json").json(t)
}

// signsInAs signs a visitor in as a user of the development provider, without a page.
func (s *system) signsInAs(t *testing.T, v *visitor, key string) {
	t.Helper()
	page := v.open(t, s.base+"/api/auth/login?"+url.Values{"login_hint": {"as:" + key}, "returnTo": {"/private"}}.Encode())
	if page.wants(t, http.StatusOK, "text/html"); page.url != s.base+"/private" {
		t.Fatalf("the sign-in as %s ended at %s:\n%s", key, page.url, page.body)
	}
}

// TestDevelopmentFailures switches failures of the development provider on through its HTTP API,
// each for a user of its own, and shows what the bff makes of them.
func TestDevelopmentFailures(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	const path = "/api/private-route"
	guest := func(t *testing.T) (v *visitor, key string) {
		t.Helper()
		v, key = newVisitor(t), dev.control(t, "POST", "users", "")["key"].(string)
		dev.signsInAs(t, v, key)
		v.fetch(t, path).wants(t, http.StatusOK, "application/json")
		return v, key
	}
	becomes := func(t *testing.T, v *visitor, status int) (got answer) {
		t.Helper()
		eventually(t, fmt.Sprint("the API answers with ", status), func() error {
			if got = v.fetch(t, path); got.status != status {
				return fmt.Errorf("got %d %s", got.status, got.body)
			}
			return nil
		})
		return got
	}
	wantLogin := func(t *testing.T, got answer) {
		t.Helper()
		if login := got.header.Get("Gatehouse-Login"); !strings.HasPrefix(login, "/api/auth/login") {
			t.Errorf("Gatehouse-Login: %q", login)
		}
	}

	// A withdrawal affects all users, so it comes first: at the sign-in of another one the API
	// fetches the keys, and then refuses the first one's token. The bff refreshes it.
	v, _ := guest(t)
	dev.control(t, "POST", "keys/rotate", "")
	if keys := dev.control(t, "POST", "keys/withdraw", "")["keys"].([]any); len(keys) != 1 {
		t.Errorf("%d keys are published", len(keys))
	}
	guest(t)
	v.fetch(t, path).wants(t, http.StatusOK, "application/json")
	dev.said(t, "withdrawn=1")

	// Access tokens are refreshed after two seconds, while they are valid.
	dev.control(t, "PATCH", "state", `{"access_token_lifetime": "4s"}`)

	t.Run("invalid_grant", func(t *testing.T) {
		t.Parallel()
		v, key := guest(t)
		dev.control(t, "POST", "fail", `{"kind": "refuse-refresh", "user": "`+key+`"}`)
		wantLogin(t, becomes(t, v, http.StatusUnauthorized))
	})
	t.Run("interaction_required", func(t *testing.T) {
		t.Parallel()
		v, key := guest(t)
		dev.control(t, "POST", "fail", `{"kind": "refuse-refresh", "error": "interaction_required", "times": 1, "user": "`+key+`"}`)
		wantLogin(t, becomes(t, v, http.StatusUnauthorized)) // without another attempt
	})
	t.Run("invalid_client", func(t *testing.T) {
		t.Parallel()
		v, key := guest(t)
		dev.control(t, "POST", "fail", `{"kind": "refuse-refresh", "error": "invalid_client", "user": "`+key+`"}`)
		if got := becomes(t, v, http.StatusServiceUnavailable); got.header.Get("Retry-After") == "" || got.header.Get("Gatehouse-Login") != "" {
			t.Errorf("header %v", got.header)
		}
		dev.control(t, "POST", "heal", `{"user": "`+key+`"}`)
		becomes(t, v, http.StatusOK)
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		v, key := guest(t)
		dev.control(t, "POST", "fail", `{"kind": "slow", "delay": "1m", "times": 1, "user": "`+key+`"}`)
		eventually(t, "the refresh has begun", func() error {
			v.fetch(t, path).wants(t, http.StatusOK, "application/json")
			if faults := fmt.Sprint(dev.control(t, "GET", "state", "")["faults"]); strings.Contains(faults, key) {
				return fmt.Errorf("still to come: %v", faults)
			}
			return nil
		})
		v.fetch(t, path).wants(t, http.StatusOK, "application/json")
		dev.control(t, "POST", "heal", `{"user": "`+key+`"}`) // the response comes now
		becomes(t, v, http.StatusOK)
	})
	t.Run("logout", func(t *testing.T) {
		t.Parallel()
		v, key := guest(t)
		stays, _ := guest(t)
		page := callerOf(t, &fleet{base: dev.base}, v)
		events := page.listens(t, &node{address: strings.TrimPrefix(dev.base, "http://")}, "/api/auth/events")
		events.hears(t, "event: session")
		if ended := dev.control(t, "POST", "logout", `{"user": "`+key+`"}`)["sessions"]; ended != 1.0 {
			t.Errorf("%v sessions", ended)
		}
		events.hears(t, "event: ended")
		if data := events.hears(t, "data: "); data != `{"reason":"provider"}` {
			t.Errorf("the page hears %s", data)
		}
		wantLogin(t, v.fetch(t, path).wants(t, http.StatusUnauthorized, "application/json"))
		stays.fetch(t, path).wants(t, http.StatusOK, "application/json")
	})
	t.Run("down", func(t *testing.T) {
		t.Parallel()
		v, key := guest(t)
		dev.control(t, "POST", "fail", `{"kind": "down", "user": "`+key+`"}`)
		page := newVisitor(t).open(t, dev.base+"/api/auth/login?login_hint=as:"+key)
		if page.wants(t, http.StatusServiceUnavailable, "text/html"); !strings.Contains(page.body, "The provider is down") || !strings.Contains(page.body, `action="/controls/reset"`) {
			t.Errorf("the sign-in page:\n%s", page.body)
		}
		v.fetch(t, path).wants(t, http.StatusOK, "application/json") // the session lives
		dev.control(t, "POST", "heal", `{"user": "`+key+`"}`)
		dev.signsInAs(t, newVisitor(t), key)
	})
}

// testProviderControls changes the provider by the forms of its home page, as a browser sends them.
func testProviderControls(t *testing.T, c *chromium, _ *system) {
	dev := startDev(t)
	tb := c.newTab(t)
	tb.open(dev.provider + "/")
	js[bool](tb, `(document.getElementById("access").value = "20s", true)`)
	tb.click(`form[action="/controls/state"] button`)
	tb.becomes("the lifetime has changed", `document.getElementById("access")?.defaultValue === "20s"`)
	tb.click("button[value=refuse-refresh]")
	tb.becomes("the banner says so", `document.querySelector(".banner li")?.textContent.includes("refused with invalid_grant")`)
	tb.click(".banner button")
	tb.becomes("nothing fails, and the lifetime is as before", `!document.querySelector(".banner") && document.getElementById("access")?.defaultValue === "5m"`)

	// A page of another origin cannot use the HTTP API or the forms, whatever it sends: neither one of
	// another site nor one of another port.
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" enctype="text/plain" action="%s/dev/fail"><input name='{"kind":"down","error":"' value='"}'></form>`, dev.provider)
	}))
	t.Cleanup(attacker.Close)
	for _, origin := range []string{attacker.URL, strings.Replace(attacker.URL, "127.0.0.1", "localhost", 1)} {
		for _, path := range []string{"/dev/fail", "/controls/fail"} {
			tb.open(origin)
			for _, request := range []string{
				`{method: "POST", mode: "no-cors", body: '{"kind": "down"}'}`,
				`{method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({kind: "down"})}`,
				`{method: "POST", mode: "no-cors", body: new Blob(['{"kind": "down"}'], {type: "application/json"})}`,
				`{method: "POST", headers: {"Content-Type": "application/json"}, body: '{"kind": "down"}'}`,
				`{method: "GET"}`,
			} {
				const try = `fetch(%q, %s).then((r) => r.type === "opaque" ? "" : "a readable answer", () => "")`
				if got := js[string](tb, fmt.Sprintf(try, dev.provider+path, request)); got != "" {
					t.Errorf("%s from %s, %s: %s", path, origin, request, got)
				}
			}
			js[bool](tb, fmt.Sprintf(`navigator.sendBeacon(%q, '{"kind": "down"}')`, dev.provider+path))
		}
		js[bool](tb, `(document.forms[0].submit(), true)`)
		tb.at(dev.provider + "/dev/fail")
		tb.shows("send requests from a program")
	}
	if faults := dev.control(t, "GET", "state", "")["faults"].([]any); len(faults) > 0 {
		t.Errorf("a page of another origin has an effect: %v", faults)
	}
}
