package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
)

// testStepUp calls a method that requires a stronger authentication (RFC 9470). The page offers the
// login, the provider asks, and back on the page the call succeeds.
func testStepUp(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	before := cookieValue(tb, dev)
	call := func() (state, text string) {
		t.Helper()
		tb.becomes("the button is ready", `document.querySelector("#call-confirmed[data-ready]")`)
		tb.click("#call-confirmed")
		tb.becomes("the answer has come", `document.querySelector("#api-result[data-state]:not([aria-busy])")`)
		return tb.answer()
	}
	if state, text := call(); state != "problem" || !strings.Contains(text, "401 Error") || !strings.Contains(text, "needs a recent sign-in") {
		t.Fatalf("the page offers no step-up: %s: %s", state, text)
	}
	if state, text := tb.callAPI(); state != "ok" || !strings.Contains(text, "This is a private route") {
		t.Errorf("a method without step-up fails: %s: %s", state, text)
	}
	call()
	tb.click("#api-result a.button")
	tb.becomes("the provider asks for a stronger sign-in", `document.body.innerText.includes("urn:audioarchive:confirmed")`)
	tb.choose("seller")
	tb.at(dev.base + "/private")
	if state, text := call(); state != "ok" || !strings.Contains(text, "This is a confirmed route") {
		t.Errorf("after the stronger sign-in: %s: %s", state, text)
	}
	if now := cookieValue(tb, dev); now == before || meWith(t, dev, before) != http.StatusNoContent {
		t.Error("the session of before the step-up is still valid")
	}

	// Without a script the link itself leads there and back.
	other := c.newTab(t)
	other.signIn(dev, "buyer")
	other.open(dev.base + "/api/confirmed-route")
	other.choose("buyer")
	other.at(dev.base + "/api/confirmed-route")
	other.shows("This is a confirmed route")
}

// testSilentLogin signs in a user whom the provider knows without asking, and leaves all others on
// the page.
func testSilentLogin(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	silent := dev.base + "/api/auth/login?prompt=none&returnTo=/public"
	tb.open(silent)
	tb.at(dev.base + "/public")
	if got := tb.lastItem(); got != "Sign in" {
		t.Errorf("without a session at the provider the navigation ends with %q", got)
	}
	tb.signIn(dev, "seller")
	// The session here is over; the one at the provider is not.
	must(tb, network.DeleteCookies, network.DeleteCookiesParams{Name: sessionCookie, URL: dev.base})
	tb.open(silent)
	tb.at(dev.base + "/public")
	if got := tb.lastItem(); got != "Sign out" {
		t.Errorf("with a session at the provider the navigation ends with %q", got)
	}
}

// TestFormPostInABrowser: the provider answers in a form, as a page of another site, so that the
// browser adds no cookies with SameSite to its POST.
func TestFormPostInABrowser(t *testing.T) {
	t.Parallel()
	c := startChromium(t)
	dev := startDev(t, "--oidc-response-mode=form_post")
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	if state, text := tb.callAPI(); state != "ok" || !strings.Contains(text, "This is a private route") {
		t.Errorf("Call API: %s: %s", state, text)
	}
	if status := meWith(t, dev, cookieValue(tb, dev)); status != http.StatusOK {
		t.Errorf("me: %d", status)
	}
}
