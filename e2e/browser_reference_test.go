package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// testReference tries the API on its reference page: with the session at the bff's address, and
// with a token at the gateway's.
func testReference(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	tb.consoleMessages()
	tb.open(dev.base + "/api/docs")
	tb.tryOut("GET", "/api/private-route")
	tb.answered(`This is a private route`, 200)
	tb.do(chromedp.EmulateViewport(1280, 1000))
	js[bool](tb, `(document.querySelector(".live-responses-table").scrollIntoView({block: "center"}), true)`)
	tb.keep("reference-tried", run(tb, chromedp.CaptureScreenshot()))

	// A POST with the example body of the document. The bff accepts it, because it comes from its
	// own origin.
	tb.open(dev.base + "/api/docs")
	tb.tryOut("POST", "/api/products")
	tb.answered(`Deep House Drums`, 200)
	tb.quietHere()

	// At the gateway there is no session.
	m := regexp.MustCompile(`REST +(http://localhost:[0-9]+)/api`).FindStringSubmatch(dev.out.String())
	if m == nil {
		t.Fatalf("gatehouse dev does not say where the gateway is:\n%s", dev.out)
	}
	tb.open(m[1] + "/api/docs")
	tb.tryOut("GET", "/api/private-route")
	tb.answered(`TOKEN_MISSING`, 401)
	if messages := tb.consoleMessages(); len(messages) != 1 || !strings.Contains(messages[0], "401") {
		t.Errorf("at the gateway the console showed %q, want the 401 alone", messages)
	}
	tb.click(".btn.authorize")
	tb.becomes("it asks for a token", `document.querySelectorAll(".modal-ux input[type=text]").length === 1`)
	tb.enter(".modal-ux input[type=text]", "no.such.token")
	tb.click(".modal-ux .btn.authorize")
	tb.click(".modal-ux .btn-done")
	tb.click(".btn.execute")
	tb.answered(`TOKEN_INVALID`, 401)
	if kept := js[string](tb, `JSON.stringify({...localStorage, ...sessionStorage})`); strings.Contains(kept, "no.such.token") {
		t.Errorf("the page keeps the token: %s", kept)
	}
}

// quietHere fails the test if the console has shown anything, such as a violation of the
// Content-Security-Policy.
func (tb *tab) quietHere() {
	tb.t.Helper()
	if messages := tb.consoleMessages(); len(messages) > 0 {
		tb.t.Errorf("%s: the console showed %q", js[string](tb, `location.href`), messages)
	}
}

// find opens an operation of the reference.
func (tb *tab) find(method, path string) {
	tb.t.Helper()
	block := fmt.Sprintf(`[...document.querySelectorAll(".opblock-%s")].find((b) => b.querySelector("[data-path]").dataset.path === %q)`, strings.ToLower(method), path)
	tb.becomes("the reference lists "+method+" "+path, block)
	js[bool](tb, `(`+block+`.querySelector(".opblock-summary-control").click(), true)`)
	tb.becomes("it is open", `document.querySelector(".opblock.is-open .try-out__btn")`)
}

// tryOut presses Try it out and Execute.
func (tb *tab) tryOut(method, path string) {
	tb.t.Helper()
	tb.find(method, path)
	tb.click(".opblock.is-open .try-out__btn")
	tb.click(".opblock.is-open .btn.execute")
}

// answered waits until the page shows the response.
func (tb *tab) answered(text string, status int) {
	tb.t.Helper()
	tb.becomes("the answer has come", fmt.Sprintf(`document.querySelector(".live-responses-table tbody .response-col_status")?.innerText.startsWith("%d")
		&& document.querySelector(".live-responses-table tbody .response-col_description").innerText.includes(%q)`, status, text))
}
