package e2e

import (
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

// testKit: a system of package gatehousetest signs a browser in by an address and by cookies. Its
// clock, failures and logouts reach the page.
func testKit(t *testing.T, c *chromium, _ *system) {
	app := gatehousetest.Start(t, audioarchive.App())
	opened, given := c.newTab(t), c.newTab(t)
	opened.open(app.SignInURL("seller", "/profile"))
	opened.at(app.BaseURL + "/profile")
	opened.shows("Sofia Marchetti")

	for _, cookie := range app.Cookies(t, "buyer") {
		must(given, network.SetCookie, network.SetCookieParams{
			Name: cookie.Name, Value: cookie.Value, Domain: cookie.Domain, Path: cookie.Path, HTTPOnly: new(cookie.HttpOnly),
		})
	}
	given.open(app.BaseURL + "/profile")
	given.shows("Ben Okafor")

	app.LogOut(t, "seller")
	opened.becomes("signed out", `document.body.innerText.includes("You have been signed out")`)
	gatehousetest.Call(t, app.SignIn(t, "buyer"), "GET /api/private-route", nil, http.StatusOK)
}
