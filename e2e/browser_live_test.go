package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// testLiveUpdates: changes that a seller makes in one window appear in other windows without a reload.
func testLiveUpdates(t *testing.T, c *chromium, dev *system) {
	seller := c.newTab(t)
	seller.signIn(dev, "seller")
	offer := func(title string) (id string) {
		return js[string](seller, fmt.Sprintf(`fetch("/api/products", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(
			{title: %q, price: {currencyCode: "EUR", amountMinor: "1999"}, daw: "DAW_REAPER"})}).then((r) => r.json()).then((p) => p.name.replace("products/", ""))`, title))
	}
	rename := func(id, title string) {
		js[bool](seller, fmt.Sprintf(`fetch("/api/products/%s", {method: "PATCH", headers: {"Content-Type": "application/json", "If-Match": "*"}, body: JSON.stringify({title: %q})}).then((r) => r.ok)`, id, title))
	}
	withdraw := func(id string) {
		js[bool](seller, fmt.Sprintf(`fetch("/api/products/%s", {method: "DELETE"}).then((r) => r.ok)`, id))
	}
	titled := func(title string) string {
		return fmt.Sprintf(`document.querySelector("#product-title").textContent.trim() === %q`, title)
	}
	listed := func(title string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#products > li h2")].some((h) => h.textContent.trim() === %q)`, title)
	}

	id := offer("Harbour, take one")
	buyer := c.newTab(t)
	buyer.signIn(dev, "buyer")
	list := buyer.another()
	mine := seller.another()
	for tb, path := range map[*tab]string{buyer: "/products/" + id, list: "/products", mine: "/my/products"} {
		tb.open(dev.base + path)
	}
	buyer.becomes("the product is shown", titled("Harbour, take one"))
	list.becomes("the product is listed", listed("Harbour, take one"))
	mine.becomes("the product is the seller's", listed("Harbour, take one"))
	windows := []*tab{buyer, list, mine}
	for _, tb := range windows {
		js[bool](tb, `window.untouched = true`)
	}

	rename(id, "Harbour, take two")
	buyer.becomes("the product's page has the new title", titled("Harbour, take two"))
	list.becomes("the list has the new title", listed("Harbour, take two"))
	mine.becomes("the seller's list has the new title", listed("Harbour, take two"))

	second := offer("Lighthouse")
	list.becomes("what is new is listed", listed("Lighthouse"))
	mine.becomes("what is new is the seller's", listed("Lighthouse"))

	// A hidden window holds no connection, and shows all changes when it is visible again.
	hide := func(tb *tab, hidden bool) {
		js[bool](tb, fmt.Sprintf(`(Object.defineProperty(document, "hidden", {value: %t, configurable: true}), document.dispatchEvent(new Event("visibilitychange")))`, hidden))
	}
	for _, tb := range []*tab{buyer, list} {
		hide(tb, true)
	}
	rename(id, "Harbour, take three")
	withdraw(second)
	mine.becomes("a window that is open was told", listed("Harbour, take three")+` && !`+listed("Lighthouse"))
	if !js[bool](list, listed("Lighthouse")) || !js[bool](buyer, titled("Harbour, take two")) {
		t.Error("a hidden window received the change")
	}
	for _, tb := range []*tab{buyer, list} {
		hide(tb, false)
	}
	buyer.becomes("the product's page has caught up", titled("Harbour, take three"))
	list.becomes("the list has caught up", listed("Harbour, take three")+` && !`+listed("Lighthouse"))

	withdraw(id)
	buyer.becomes("the product is withdrawn", titled("No such product"))
	list.becomes("it is listed no more", `!`+listed("Harbour, take three"))
	mine.becomes("nor among the seller's", `!`+listed("Harbour, take three"))
	for _, tb := range windows {
		if !js[bool](tb, `window.untouched === true`) {
			t.Errorf("%s was loaded again", js[string](tb, `location.pathname`))
		}
	}
}

// testEventSource listens with an EventSource for longer than an access token lives and until the
// session ends, through bff, gateway and server. The EventSource reconnects by itself.
func testEventSource(t *testing.T, c *chromium, _ *system) {
	in := serveWithProvider(t)
	tb := c.newTab(t)
	tb.open(in.base + "/private")
	tb.becomes("the provider asks who to be", `document.querySelector("input[name=login]") && document.readyState === "complete"`)
	js[bool](tb, `(document.querySelector("input[name=login]").value = "alice", document.querySelector("form").submit(), true)`)
	tb.at(in.base + "/private")
	tb.open(in.base + "/healthz") // a page without a script, which does not change when the session ends
	js[bool](tb, `(window.heard = [], window.made = [], window.source = new EventSource("/api/products:watch"),
		source.onopen = () => heard.push("open"),
		source.onmessage = (e) => heard.push(JSON.parse(e.data).product?.name ?? "ready"),
		source.addEventListener("error", (e) => heard.push(e.data ? "error " + JSON.parse(e.data).code : "broken " + source.readyState)),
		true)`)
	tb.becomes("the stream is open", `heard[1] === "ready"`)
	js[bool](tb, `(window.making = (async () => {
		for (let i = 0; heard.filter((h) => h === "ready").length < 2; i++) {
			const response = await fetch("/api/products", {method: "POST", headers: {"Content-Type": "application/json"},
				body: JSON.stringify({title: "Take " + i, price: {currencyCode: "EUR", amountMinor: "1"}, daw: "DAW_REAPER"})});
			made.push((await response.json()).name);
			await new Promise((done) => setTimeout(done, 100));
		}
	})(), true)`)
	// The server ends the stream when the token that opened it expires, with an error event. The
	// browser reconnects with Last-Event-ID, the bff sends a new token, and no event is lost or
	// repeated.
	js[bool](tb, `making.then(() => true)`)
	tb.becomes("everything was told", `heard.at(-1) === made.at(-1)`)
	heard, made := js[[]string](tb, `heard`), js[[]string](tb, `made`)
	var told []string
	for i, h := range heard {
		switch {
		case strings.HasPrefix(h, "products/"):
			told = append(told, h)
		case h == "ready", h == "open", h == "error 16":
		case h == "broken 0" && heard[i-1] == "error 16": // it reconnects
		default:
			t.Errorf("heard %q in %q", h, heard)
		}
	}
	if !slices.Equal(told, made) {
		t.Errorf("told of\n%q\nmade\n%q", told, made)
	}

	other := tb.another()
	other.open(in.base + "/api/auth/logout")
	other.becomes("the provider asks whether to sign out", `document.querySelector("form") && location.origin !== `+fmt.Sprintf("%q", in.base))
	tb.becomes("the stream has ended with its session, for good", `source.readyState === EventSource.CLOSED`)
	if status := js[int](tb, `fetch("/api/products:watch", {headers: {Accept: "text/event-stream"}}).then((r) => r.status)`); status != 401 {
		t.Errorf("then the stream answers %d, want 401", status)
	}
}
