package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// testDevices signs a user in in two browsers. The list of sessions in one of them ends first one
// session, then all others.
func testDevices(t *testing.T, c *chromium, _ *system) {
	dev := startDev(t) // without other tests' sessions
	laptop, phone := c.newTab(t), c.newTab(t)
	laptop.signIn(dev, "seller")
	phone.signIn(dev, "seller")
	stranger := c.newTab(t)
	stranger.signIn(dev, "buyer")

	laptop.open(dev.base + "/profile")
	laptop.click(`a[href="/sessions"]`)
	laptop.at(dev.base + "/sessions")
	laptop.lists(2)
	laptop.shows("Your sessions", "Headless Chrome on Linux", "this browser", "127.0.0.1", "Sign out", "End this session")
	if first := js[string](laptop, `document.querySelector("#sessions > li").innerText`); !strings.Contains(first, "this browser") {
		t.Errorf("the first of the list is not this browser: %s", first)
	}

	// One session: the other browser's page reports the end.
	laptop.click("#sessions button")
	laptop.lists(1)
	laptop.becomes("what was done is told, and has the focus", `document.activeElement.id === "sessions-note" && document.activeElement.innerText.includes("has ended")`)
	phone.hasEnded("You have ended this session from another of your devices.")
	if laptop.lastItem() != "Sign out" || stranger.lastItem() != "Sign out" {
		t.Error("another user is signed out")
	}

	// All other sessions, from the other browser, which has signed in again.
	phone.click("main.ended a.primary")
	phone.at(dev.base + "/private")
	phone.open(dev.base + "/sessions")
	phone.lists(2)
	phone.click("#end-others")
	phone.lists(1)
	laptop.hasEnded("You have ended this session from another of your devices.")
	if state, text := stranger.callAPI(); state != "ok" {
		t.Errorf("another user's call: %s: %s", state, text)
	}
	for name, tb := range map[string]*tab{"laptop": laptop, "phone": phone} {
		for _, complaint := range tb.consoleMessages() {
			t.Errorf("%s: the console shows %s", name, complaint)
		}
	}
}

// lists waits until the page lists n sessions.
func (tb *tab) lists(n int) {
	tb.t.Helper()
	tb.becomes(fmt.Sprintf("%d sessions are listed", n), fmt.Sprintf(`document.querySelectorAll("#sessions[data-ready] > li").length === %d`, n))
}

// testTabs opens three tabs of one browser. One of them holds the event stream, and all of them
// follow it: when the session ends at the provider, when the same user signs in again, and when
// another user does.
func testTabs(t *testing.T, c *chromium, dev *system) {
	one := c.newTab(t)
	one.signIn(dev, "admin")
	two, three := one.another(), one.another()
	two.open(dev.base + "/profile")
	three.open(dev.base + "/private")
	tabs := []*tab{one, two, three}
	one.becomes("one tab holds the stream, and the others wait for it", `navigator.locks.query()
		.then((l) => l.held.filter((k) => k.name === "gatehouse-events").length === 1 && l.pending.filter((k) => k.name === "gatehouse-events").length === 2)`)

	// The tab with the stream is closed; another takes over.
	one.open(dev.base + "/public")
	js[bool](two, `(window.kept = "what was typed", true)`)

	out := one.another()
	out.open(dev.provider + "/end_session")
	out.click("button[name=confirm]") // the provider notifies the bff over the back channel
	two.hasEnded("Your sign-in service has ended this session.")
	three.hasEnded("Your sign-in service has ended this session.")
	one.becomes("a public page stays visible after the logout", `document.querySelector(".account a").innerText.trim() === "Sign in"`)

	// The same user: the pages are unchanged.
	one.signIn(dev, "admin")
	two.becomes("the page is uncovered", `!document.querySelector("main.ended") && document.querySelector("#main").checkVisibility()`)
	if kept := js[string](two, `window.kept ?? ""`); kept != "what was typed" {
		t.Error("the page was reloaded and lost its content")
	}
	three.becomes("the page is uncovered", `!document.querySelector("main.ended")`)
	if state, text := three.callAPI(); state != "ok" {
		t.Errorf("Call API after coming back: %s: %s", state, text)
	}

	// Another user: nothing of the first one is left.
	one.open(dev.base + "/api/auth/login?prompt=login&returnTo=/profile")
	one.choose("buyer")
	one.at(dev.base + "/profile")
	two.becomes("the page is the other user's", `document.querySelector("main").innerText.includes("Ben Okafor")`)
	if text := two.text(); strings.Contains(text, "Ada Lindholm") {
		t.Errorf("the page still shows the user before:\n%s", text)
	}
	for i, tb := range tabs {
		for _, complaint := range tb.consoleMessages() {
			t.Errorf("tab %d: the console shows %s", i+1, complaint)
		}
	}
}
