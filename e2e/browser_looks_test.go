package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axeFile is the script of axe-core, which `make test` installs.
const axeFile = "node/node_modules/axe-core/axe.min.js"

// testAppearance shows every page in light and dark, on a desktop and on a phone: axe-core finds no
// accessibility defect, nothing overflows at the side, no word is broken, the header leaves the
// screen to the page, and a screenshot is written to the directory screenshots.
func testAppearance(t *testing.T, c *chromium, dev *system) {
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		t.Fatalf("axe-core is needed and not installed: run `make test`, which installs it (%v)", err)
	}
	many := startDev(t, "--dev-users="+manyUsers(t))
	many.control(t, "POST", "fail", `{"kind": "refuse-refresh", "user": "user-1"}`)
	for _, scheme := range []string{"light", "dark"} {
		for _, device := range []struct {
			name          string
			width, height int64
			options       []chromedp.EmulateViewportOption
		}{
			{name: "desktop", width: 1280, height: 800},
			{name: "phone", width: 360, height: 800, options: []chromedp.EmulateViewportOption{chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2)}},
		} {
			t.Run(scheme+"-"+device.name, func(t *testing.T) {
				t.Parallel()
				tb := c.newTab(t)
				tb.do(chromedp.EmulateViewport(device.width, device.height, device.options...))
				must(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
					{Name: "prefers-color-scheme", Value: scheme},
					{Name: "prefers-reduced-motion", Value: "reduce"},
				}})
				g := &gallery{tab: tb, suffix: "-" + scheme + "-" + device.name, width: device.width, height: device.height, axe: string(axe)}
				g.walk(dev)
				g.open(many.provider + "/")
				g.look("provider-failing")
				g.open(many.base + "/api/auth/login?acr_values=gold")
				g.look("provider-chooser-many")
				g.click("button[value=user-0]")
				g.becomes("the provider says what the user lacks", `document.readyState === "complete" && document.querySelector("[name=unmet]")`)
				g.look("provider-unmet")
			})
		}
	}
}

// manyUsers writes a file of more users than fit on a screen: with long names, and the first with a
// weak authentication context.
func manyUsers(t *testing.T) string {
	t.Helper()
	var users strings.Builder
	users.WriteString(`users:
  user-0:
    name: Maximiliane Wilhelmina von Hohenstaufen-Schwarzburg
    role: Administrator of Everything
    about: Reads, changes and deletes whatever there is, and takes several lines to say so.
    permissions: [products:write, administration:of-everything]
    acr: [basic]
  unbroken:
    name: Donaudampfschifffahrtsgesellschaftskapitänsanwärterin
`)
	for i := range 28 {
		fmt.Fprintf(&users, "  user-%d:\n    name: User %d\n", i+1, i+1)
	}
	file := filepath.Join(t.TempDir(), "dev-users.yaml")
	if err := os.WriteFile(file, []byte(users.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A gallery shows one page after the other.
type gallery struct {
	*tab
	suffix string
	// The viewport, in CSS pixels.
	width, height int64
	axe           string
}

func (g *gallery) walk(s *system) {
	g.t.Helper()
	show := func(name, path string) {
		g.t.Helper()
		g.open(s.base + path)
		g.look(name)
	}
	show("home-out", "/")
	show("public-out", "/public")
	g.open(s.base + "/products")
	g.becomes("products are listed", `document.querySelector("#products:not([aria-busy]) > li")`)
	g.look("products-out")
	g.open(s.base + js[struct{ Link string }](g.tab, oldestProduct).Link)
	g.becomes("the product is shown", `document.querySelector("#product dl") && document.querySelector("#file dl, #file-facts p")`)
	g.look("product-out")
	show("not-found", "/nothing-here")
	show("problem-stale", "/api/auth/callback?state=unknown&code=unknown")
	show("provider-chooser", "/private")
	js[bool](g.tab, `(document.querySelector("details").open = true, document.querySelector("[name=email]").value = "x", true)`)
	g.click("button[name=guest]")
	g.becomes("the address is refused", `document.querySelector("[name=email][aria-invalid]")`)
	g.look("provider-form-refused")
	g.click("button[name=cancel]")
	g.becomes("the sign-in was cancelled", `document.body.innerText.includes("The sign-in was cancelled")`)
	g.look("problem-cancelled")
	g.open(s.provider + "/")
	g.look("provider-home")

	g.open(s.base + "/api/docs")
	g.becomes("the reference is complete", `document.querySelector("#reference[data-ready] .opblock")`)
	g.look("reference")
	g.find("PATCH", "/api/products/{product}")
	g.look("reference-operation")

	g.signIn(s, "seller")
	g.look("private")
	if g.width < 400 {
		g.click(".menu")
		g.becomes("the menu is open", `document.querySelector("#menu:popover-open")`)
		g.look("menu")
	}
	if state, text := g.callAPI(); state != "ok" {
		g.t.Errorf("Call API: %s: %s", state, text)
	}
	g.look("private-answer")
	show("profile", "/profile")
	g.open(s.base + "/sessions")
	g.becomes("the sessions are listed", `document.querySelector("#sessions[data-ready] > li")`)
	g.look("sessions")
	g.open(s.base + "/my/products")
	g.becomes("my products are listed", `document.querySelector("#products:not([aria-busy]) > li")`)
	g.look("my-products")
	g.open(s.base + "/my/products/new")
	g.becomes("the form is ready", `document.querySelector("#product-form[data-ready]")`)
	js[bool](g.tab, `(document.getElementById("amount").value = "19.99", true)`)
	g.click("#save")
	g.becomes("the title is refused", `document.querySelector("#title[aria-invalid]")`)
	g.look("product-form-refused")
	g.open(s.base + "/my/orders")
	g.becomes("the orders are listed", `document.querySelector("#orders:not([aria-busy])")`)
	g.look("my-orders")
	g.open(s.base + js[string](g.tab, `fetch("/api/my/products").then((r) => r.json()).then((b) => "/my/" + b.products.find((p) => p.file?.contentType === "audio/wav").name)`))
	g.becomes("the file is shown", `document.querySelector("#upload dl")`)
	g.look("product-form-file")
	show("home-in", "/")
	show("public-in", "/public")
	g.open(s.provider + "/end_session")
	g.look("provider-logout")
	js[bool](g.tab, fmt.Sprintf(`(location.href = %q, true)`, s.base+"/api/auth/logout"))
	g.at(s.base + "/api/auth/logout")
	g.look("problem-logout")

	g.open(s.base + "/private")
	g.forget()
	g.callAPI()
	g.look("private-ended")

	g.signIn(s, "seller")
	js[bool](g.tab, `fetch("/api/auth/sessions").then((r) => r.json()).then((b) => b.sessions.find((s) => s.current))
		.then((s) => fetch("/api/auth/sessions/" + s.handle, {method: "DELETE"})).then((r) => r.ok)`)
	g.becomes("the page says that the session has ended", `document.querySelector("main.ended")`)
	g.look("signed-out")
}

// quietly runs axe-core once the page loads nothing: elements that load are dimmed, and lists load
// whenever another test changes a product.
const quietly = `(async () => {
	for (;;) {
		while (document.querySelector('[aria-busy="true"]')) await new Promise((r) => setTimeout(r, 20));
		let loading = false;
		const changes = new MutationObserver(() => { loading = true; });
		changes.observe(document, {subtree: true, attributes: true, attributeFilter: ["aria-busy"]});
		const r = await axe.run(document, {resultTypes: ["violations"]});
		changes.disconnect();
		if (!loading || r.violations.length === 0) return {passes: r.passes.length, violations: r.violations};
	}
})()`

// broken lists the words that are on two lines. Code may be, and a word that no line may hold.
const broken = `(() => {
	const found = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const node = texts.currentNode;
		if (node.parentElement.closest("code, pre, noscript, script")) continue;
		for (const word of node.data.matchAll(/(?<!\p{L})\p{L}{2,24}(?!\p{L})/gu)) {
			const range = document.createRange();
			range.setStart(node, word.index);
			range.setEnd(node, word.index + word[0].length);
			if (new Set([...range.getClientRects()].filter((r) => r.width > 1).map((r) => Math.round(r.top))).size > 1) found.push(word[0]);
		}
	}
	return found;
})()`

// look writes the screenshot and checks the layout and what axe-core finds.
func (g *gallery) look(name string) {
	g.t.Helper()
	g.keep(name+g.suffix, run(g.tab, chromedp.FullScreenshot(100)))
	if width := js[int64](g.tab, `document.documentElement.scrollWidth`); width > g.width {
		g.t.Errorf("%s is %d pixels wide in a window of %d", name, width, g.width)
	}
	if words := js[[]string](g.tab, broken); len(words) > 0 {
		g.t.Errorf("%s breaks the words %q", name, words)
	}
	if height := js[float64](g.tab, `document.querySelector("header.top, header.bar")?.offsetHeight ?? 0`); height > 0.13*float64(g.height) || g.width < 400 && height > 0.12*float64(g.height) {
		g.t.Errorf("%s has a header of %.0f pixels in a window of %d", name, height, g.height)
	}
	js[bool](g.tab, g.axe+`; true`)
	type node struct {
		Target         []any
		FailureSummary string
	}
	type violation struct {
		ID, Impact, Help string
		Nodes            []node
	}
	result := js[struct {
		Passes     int
		Violations []violation
	}](g.tab, quietly)
	if result.Passes < 10 {
		g.t.Errorf("%s: axe-core passed only %d checks", name, result.Passes)
	}
	for _, v := range result.Violations {
		var where strings.Builder
		for _, n := range v.Nodes {
			fmt.Fprintf(&where, "\n  %v: %s", n.Target, n.FailureSummary)
		}
		g.t.Errorf("%s: %s (%s): %s%s", name, v.ID, v.Impact, v.Help, where.String())
	}
}
