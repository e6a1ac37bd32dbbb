package e2e

import (
	"strings"
	"testing"
)

// testStory is the tutorial's story: a page that needs login, a call to the API, and the logout.
func testStory(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.open(dev.base + "/")
	if got := tb.lastItem(); got != "Sign in" {
		t.Errorf("the navigation ends with %q, want Login", got)
	}

	tb.open(dev.base + "/private")
	if here := js[string](tb, `location.origin`); here != dev.provider {
		t.Fatalf("/private signed out leads to %s, want the provider, %s", here, dev.provider)
	}
	tb.choose("seller")
	tb.at(dev.base + "/private")
	tb.shows("Sofia Marchetti")
	if got := tb.lastItem(); got != "Sign out" {
		t.Errorf("the navigation ends with %q, want Logout", got)
	}

	state, text := tb.callAPI()
	if state != "ok" || !strings.Contains(text, "200 OK") || !strings.Contains(text, `"message": "This is a private route"`) {
		t.Errorf("Call API: %s: %s", state, text)
	}

	tb.click(`nav a[href="/profile"]`)
	tb.at(dev.base + "/profile")
	tb.shows("Sofia Marchetti", "sofia@example.com", "dev|seller", "given_name")

	tb.click(`header a[href="/api/auth/logout"]`)
	tb.at(dev.base + "/")
	if got := tb.lastItem(); got != "Sign in" {
		t.Errorf("after Logout the navigation ends with %q, want Login", got)
	}
	for _, cookie := range tb.cookies(dev.base) {
		t.Errorf("after Logout the cookie %s is left", cookie.Name)
	}

	tb.open(dev.base + "/private")
	tb.becomes("/private asks again", `document.querySelector("button[name=user]")`)
	if here := js[string](tb, `location.origin`); here != dev.provider {
		t.Errorf("after Logout /private leads to %s, want the provider", here)
	}
}
