package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// testConsole opens every page signed out and signed in. The console stays empty: no script failed,
// and the Content-Security-Policy refused nothing.
func testConsole(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	quiet := func(what string) {
		t.Helper()
		for _, complaint := range tb.consoleMessages() {
			t.Errorf("%s: the console shows %s", what, complaint)
		}
	}
	pages := []struct{ path, heading string }{
		{"/", "A cookie in the browser"}, {"/public", "Public"},
	}
	for _, p := range pages {
		tb.open(dev.base + p.path)
		tb.shows(p.heading)
		if got := tb.lastItem(); got != "Sign in" {
			t.Errorf("%s signed out: the navigation ends with %q", p.path, got)
		}
		quiet(p.path + " signed out")
	}
	tb.open(dev.provider + "/")
	quiet("the provider's home")
	tb.open(dev.base + "/private")
	quiet("the provider's sign-in page")
	tb.choose("admin")
	tb.at(dev.base + "/private")
	if state, text := tb.callAPI(); state != "ok" {
		t.Errorf("Call API: %s: %s", state, text)
	}
	quiet("/private")
	for _, p := range append(pages, struct{ path, heading string }{"/profile", "Ada Lindholm"}) {
		tb.open(dev.base + p.path)
		tb.shows(p.heading)
		if got := tb.lastItem(); got != "Sign out" {
			t.Errorf("%s signed in: the navigation ends with %q", p.path, got)
		}
		quiet(p.path + " signed in")
	}
	tb.open(dev.provider + "/end_session")
	tb.shows("Sign out?")
	quiet("the provider's sign-out page")
	tb.click("button[name=confirm]")
	tb.becomes("the provider has signed out", `document.body.innerText.includes("You are signed out")`)
	quiet("the provider's last page")
	// The provider notifies the bff over the back channel, not through the browser.
	eventually(t, "the session has ended", func() error {
		if status := meWith(t, dev, cookieValue(tb, dev)); status != http.StatusNoContent {
			return fmt.Errorf("me: %d", status)
		}
		return nil
	})

	// An event would have been received by now.
	tb.open(dev.base + "/public")
	quiet("/public")
	js[bool](tb, `(() => { const s = document.createElement("script"); s.textContent = "document.title = 'injected'"; document.body.append(s); return true })()`)
	if title := js[string](tb, `document.title`); title == "injected" {
		t.Error("an inline script ran in spite of the Content-Security-Policy")
	}
	eventually(t, "the console's complaint", func() error {
		if all := tb.consoleMessages(); !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "Content Security Policy") }) {
			return fmt.Errorf("%q", all)
		}
		return nil
	})
}

// testKeyboard uses the private page with the keyboard alone.
func testKeyboard(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.open(dev.base + "/private")
	tb.becomes("the provider asks who to be", `document.querySelector("button[name=user]") && document.readyState === "complete"`)
	tabUntil(tb, "Sofia Marchetti")
	tb.do(chromedp.KeyEvent(kb.Enter))
	tb.at(dev.base + "/private")

	order := []string{tabOnce(tb)}
	if order[0] != "Skip to content" {
		t.Errorf("the first stop is %q, want the link that skips the navigation", order[0])
	}
	if !js[bool](tb, `(() => { const r = document.activeElement.getBoundingClientRect(); return r.top >= 0 && r.left >= 0 && r.width > 1 && r.height > 1 })()`) {
		t.Error("the skip link cannot be seen while it has the focus")
	}
	for order[len(order)-1] != "Call API" && len(order) < 15 {
		order = append(order, tabOnce(tb))
		if !js[bool](tb, focusShows) {
			t.Errorf("it cannot be seen that %q has the focus", order[len(order)-1])
		}
	}
	want := []string{"Skip to content", "Gatehouse", "Home", "Products", "Public", "Private", "Profile", "Sign out", "Call API"}
	if !slices.Equal(order, want) {
		t.Errorf("Tab leads through %q, want %q", order, want)
	}
	tb.becomes("Call API is ready", `document.querySelector("#call-api[data-ready]")`)
	tb.do(chromedp.KeyEvent(kb.Enter))
	tb.becomes("the answer has come", `document.querySelector("#api-result[data-state]:not([aria-busy])")`)
	if state, text := tb.answer(); state != "ok" || !strings.Contains(text, "This is a private route") {
		t.Errorf("Enter on Call API: %s: %s", state, text)
	}
	if on := js[string](tb, focused); on != "Call API" {
		t.Errorf("after the call the focus is on %q, want it to stay", on)
	}

	tb.open(dev.base + "/private")
	tabUntil(tb, "Skip to content")
	tb.do(chromedp.KeyEvent(kb.Enter))
	tb.becomes("the skip link moves the focus", `document.activeElement === document.querySelector("main")`)
	if next := tabOnce(tb); next != "Call API" {
		t.Errorf("after the skip link Tab leads to %q, want Call API", next)
	}
	tabUntil(tb, "Skip to content")
	tabUntil(tb, "Sign out")
	tb.do(chromedp.KeyEvent(kb.Enter))
	tb.at(dev.base + "/")
}

const (
	focused = `((e) => (e.querySelector(".name") ?? e).innerText.trim())(document.activeElement)`
	// A focus ring is drawn around the element with the focus.
	focusShows = `(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 || s.boxShadow !== "none" })()`
)

func tabOnce(tb *tab) string {
	tb.t.Helper()
	tb.do(chromedp.KeyEvent(kb.Tab))
	return js[string](tb, focused)
}

func tabUntil(tb *tab, name string) {
	tb.t.Helper()
	var seen []string
	for range 20 {
		if seen = append(seen, tabOnce(tb)); seen[len(seen)-1] == name {
			return
		}
	}
	tb.t.Fatalf("Tab never leads to %q, but to %q", name, seen)
}

// testNoScript uses the pages without JavaScript: everything works, and the result of a call is a
// page of its own.
func testNoScript(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	must(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	tb.open(dev.base + "/private")
	tb.click("button[name=user][value=seller]")
	tb.at(dev.base + "/private")
	tb.shows("You are signed in as Sofia Marchetti", "JavaScript is off")
	if got := tb.lastItem(); got != "Sign out" { // rendered by the server, so that no script changes it after loading
		t.Errorf("the navigation ends with %q", got)
	}
	tb.click("#call-api")
	tb.becomes("the answer is a page", fmt.Sprintf(`location.href.startsWith(%q)`, dev.base+"/api/private-route"))
	tb.shows("This is a private route")
	tb.open(dev.base + "/profile")
	tb.shows("sofia@example.com")
	tb.click(".account a")
	tb.at(dev.base + "/")
}

// testGuest signs in a user who is in no file, on a phone without JavaScript: an error is beside its
// field, what was written stays, and the claims are those of the form.
func testGuest(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.do(chromedp.EmulateViewport(360, 780, chromedp.EmulateMobile))
	must(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	write := func(field, text string) {
		t.Helper()
		tb.do(chromedp.SendKeys(chromedp.CSS("#guest-"+field), text, chromedp.NodeVisible))
	}
	tb.open(dev.base + "/profile")
	tb.click(".guest summary")
	write("name", "Zoe Ek")
	write("email", "nowhere")
	tb.click("[name=permissions][value='products:write']")
	write("claims", `{"org": "acme"}`)
	tb.click("button[name=guest]")
	tb.becomes("the address is refused", `document.activeElement.id === "guest-email" && document.activeElement.matches("[aria-invalid]")`)
	tb.shows(`E-mail "nowhere" is not an address; write one such as zoe-ek@example.com, or none.`)
	if width := js[int64](tb, `document.documentElement.scrollWidth`); width > 360 {
		t.Errorf("the form is %d pixels wide", width)
	}
	if !js[bool](tb, `document.querySelector("[name=permissions]").checked && document.querySelector("#guest-claims").value === '{"org": "acme"}'`) {
		t.Error("what was written has not stayed")
	}
	write("email", kb.End+"@notes.example")
	tb.click("button[name=guest]")
	tb.at(dev.base + "/profile")
	tb.shows("Zoe Ek", "nowhere@notes.example", "dev|zoe-ek", "org", "acme")
}
