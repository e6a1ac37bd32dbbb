package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

var forbidden = regexp.MustCompile(`(?m)^.*\brequest\b.*\bstatus"?[=:]403\b`)

// testCrossOrigin opens pages of other origins while a user is signed in. They send what browsers
// allow, forms, fetches, images, WebSockets and event streams, to addresses that would sign the
// user out or act for them. One page is of another site, whose requests carry no session cookie.
// The other is of the same site and another origin, such as a sibling subdomain, whose requests
// carry it (SameSite ignores ports).
func testCrossOrigin(t *testing.T, c *chromium, dev *system) {
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><title>Win a prize</title><iframe name="hidden"></iframe>`)
	}))
	t.Cleanup(attacker.Close)
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	handle := js[string](tb, `fetch("/api/auth/sessions").then((r) => r.json()).then((b) => b.sessions.find((s) => s.current).handle)`)
	// The line of each request has its status; the warning is logged once a minute.
	refusals := func() int { return len(forbidden.FindAllString(dev.out.String(), -1)) }
	refused := refusals()
	for _, origin := range []string{attacker.URL, strings.Replace(attacker.URL, "127.0.0.1", "localhost", 1)} {
		tb.open(origin)
		got := js[map[string]string](tb, fmt.Sprintf(`(async (base, handle) => {
			const attempt = async (f) => { try { return await f() } catch (e) { return e.name } };
			const product = JSON.stringify({title: "Forged", price: {currencyCode: "EUR", amountMinor: "1"}, daw: "DAW_REAPER"});
			const form = (action, text) => new Promise((done) => {
				const form = Object.assign(document.createElement("form"), {method: "post", action: base + action, target: "hidden", enctype: "text/plain"});
				form.append(Object.assign(document.createElement("input"), {name: text, value: ""}));
				document.body.append(form);
				document.querySelector("iframe").addEventListener("load", () => done("sent"), {once: true});
				form.submit();
			});
			const fetched = (method, path, more) => fetch(base + path, {method, credentials: "include", ...more}).then((r) => r.type + " " + r.status);
			const image = (path) => new Promise((done) => { const i = new Image(); i.onload = () => done("shown"); i.onerror = () => done("sent"); i.src = base + path });
			return {
				"a form to log out": await attempt(() => form("/api/auth/logout", "")),
				"a form to act": await attempt(() => form("/api/products", product)),
				"a fetch to act": await attempt(() => fetched("POST", "/api/products", {mode: "no-cors", body: product})),
				"a fetch to log out": await attempt(() => fetched("POST", "/api/auth/logout", {mode: "no-cors"})),
				"an image to log out": await image("/api/auth/logout"),
				"a DELETE": await attempt(() => fetched("DELETE", "/api/auth/sessions/" + handle)),
				"a JSON POST": await attempt(() => fetched("POST", "/api/products", {headers: {"Content-Type": "application/json"}, body: product})),
				"reading": await attempt(() => fetched("GET", "/api/auth/me")),
				"a beacon": String(navigator.sendBeacon(base + "/api/auth/logout", "x")),
				"a WebSocket": await new Promise((done) => { const s = new WebSocket(base.replace("http", "ws") + "/public"); s.onopen = () => done("open"); s.onerror = () => done("error") }),
				"an event stream": await new Promise((done) => { const s = new EventSource(base + "/api/auth/events", {withCredentials: true}); s.onopen = () => { s.close(); done("open") }; s.onerror = () => { s.close(); done("error") } }),
			};
		})(%q, %q)`, dev.base, handle))
		for attempt, want := range map[string]string{
			"a form to log out": "sent", "a form to act": "sent", "a fetch to act": "opaque 0", "a fetch to log out": "opaque 0", "an image to log out": "sent",
			"a DELETE": "TypeError", "a JSON POST": "TypeError", "reading": "TypeError", "a beacon": "true", "a WebSocket": "error", "an event stream": "error",
		} {
			if got[attempt] != want {
				t.Errorf("%s, %s: %q, want %q", origin, attempt, got[attempt], want)
			}
		}
		// The requests arrived, and the bff refused them.
		eventually(t, "the refusals", func() error {
			if n := refusals() - refused; n < 6 { // forms, fetches, beacon and WebSocket
				return fmt.Errorf("%d refusals", n)
			}
			return nil
		})
		refused = refusals()
		tb.open(dev.base + "/private")
		if got := tb.lastItem(); got != "Sign out" {
			t.Fatalf("%s has signed the user out: the navigation ends with %q", origin, got)
		}
		if js[bool](tb, `fetch("/api/my/products?pageSize=100").then((r) => r.json()).then((b) => (b.products ?? []).some((p) => p.title === "Forged"))`) {
			t.Errorf("%s has acted for the user", origin)
		}
	}
}
