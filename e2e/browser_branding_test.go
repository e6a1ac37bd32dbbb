package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// testBranding shows the pages with the catalog of examples/branding on a phone: name, logo,
// colors and texts are its own, also the texts of scripts and of a problem page.
func testBranding(t *testing.T, c *chromium, _ *system) {
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		t.Fatalf("axe-core is needed and not installed: run `make test`, which installs it (%v)", err)
	}
	catalog, err := filepath.Abs("../examples/branding/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dev := startDev(t, "--catalog="+catalog)
	tb := c.newTab(t)
	tb.do(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2)))
	g := &gallery{tab: tb, suffix: "-branding", width: 360, height: 800, axe: string(axe)}
	g.open(dev.base + "/")
	g.shows("Kontor Nord", "Musik aus dem Norden", "Anmelden", "Impressum")
	if title := js[string](tb, `document.title`); title != "Start · Kontor Nord" {
		t.Errorf("the title is %q", title)
	}
	g.becomes("the logo is loaded", `document.querySelector(".brand img").naturalWidth > 0`)
	if accent := js[string](tb, `getComputedStyle(document.querySelector(".button.primary")).backgroundColor`); accent != "rgb(11, 107, 87)" {
		t.Errorf("the main button is %s", accent)
	}
	g.look("home")
	g.open(dev.base + "/api/auth/callback?state=unknown&code=unknown")
	g.shows("Kontor Nord", "Diese Anmeldung", "Anmelden")
	g.look("problem")

	tb.signIn(dev, "seller")
	g.shows("Sie sind als Sofia Marchetti angemeldet", "Abmelden")
	if state, text := tb.callAPI(); state != "ok" {
		t.Errorf("the call: %s: %s", state, text)
	}
	g.shows("200 in Ordnung")
	g.open(dev.base + "/sessions")
	g.becomes("the sessions are listed", `document.querySelector("#sessions[data-ready] > li")`)
	g.shows("Headless Chrome unter Linux", "dieser Browser", "Zuletzt gesehen", "Sie sind sonst nirgends angemeldet")
	g.look("sessions")
}
