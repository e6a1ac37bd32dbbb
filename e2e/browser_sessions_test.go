package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// testBackAfterLogout presses Back after a logout, where the browser may have kept the private page
// in its back/forward cache.
func testBackAfterLogout(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.open(dev.base + "/public")
	tb.signIn(dev, "seller")
	// Records how the page looks when the cache restores it.
	js[bool](tb, `addEventListener("pageshow", (e) => sessionStorage.setItem("returned",
		JSON.stringify({persisted: e.persisted, visibility: getComputedStyle(document.body).visibility}))) ?? true`)
	js[bool](tb, `document.querySelector(".account a").click() ?? true`)
	tb.at(dev.base + "/")

	back(tb)
	// The page asks for the session, reloads, and is redirected to the login. If it hears of the
	// sign-out first, it says so and stays.
	tb.becomes("Back leads to the login or to the end", `document.querySelector("button[name=user], main.ended")`)
	here := js[string](tb, `document.querySelector("main.ended") ? "the end" : location.origin`)
	if here != "the end" && here != dev.provider {
		t.Errorf("Back after Logout shows %s", here)
	}
	if text := tb.text(); strings.Contains(text, "You are in") || here == "the end" && strings.Contains(text, "Sofia") {
		t.Error("Back after Logout shows the private page")
	}
	tb.open(dev.base + "/public")
	returned := js[string](tb, `sessionStorage.getItem("returned") ?? ""`)
	t.Logf("the private page came back as %q", returned)
	if returned != "" && !strings.Contains(returned, `"visibility":"hidden"`) {
		t.Errorf("the restored page was visible: %s", returned)
	}
}

// back goes to the previous entry of the history. chromedp's NavigateBack waits for a load event,
// which a restored page does not send.
func back(tb *tab) {
	tb.t.Helper()
	history := run(tb, chromedp.NavigationEntries())
	must(tb, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
}

// testSignedOutInAnotherTab has a page open while the user signs out in another tab: the page says so and
// offers to sign in, and Back shows nothing.
func testSignedOutInAnotherTab(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	other := tb.another()
	other.open(dev.base + "/profile")
	other.click(".account a")
	other.at(dev.base + "/")

	tb.hasEnded("You have signed out in this browser.")
	tb.open(dev.base + "/public")
	if got := tb.lastItem(); got != "Sign in" {
		t.Errorf("the navigation ends with %q, want Login", got)
	}
	back(tb)
	tb.becomes("Back leads to the login", `document.querySelector("button[name=user]")`)

	// Without an event the next call of the page shows it.
	signedOut := c.newTab(t)
	signedOut.signIn(dev, "seller")
	signedOut.forget()
	state, text := signedOut.callAPI()
	checkEnded(t, state, text)
	signedOut.hasEnded("Your session has ended.")

	// A public page shows that the user has signed in elsewhere.
	public := signedOut.another()
	public.open(dev.base + "/public")
	signedOut.click("main.ended a.primary")
	signedOut.choose("seller")
	public.becomes("the public page knows the user", `document.querySelector(".account a")?.innerText.trim() === "Sign out"`)
}

// hasEnded waits until the page says that its session has ended, and why, and shows nothing else.
func (tb *tab) hasEnded(why string) {
	tb.t.Helper()
	tb.becomes("the page says that the session has ended", `document.querySelector("main.ended")`)
	tb.shows("You have been signed out", why, "Sign in again")
	if text := tb.text(); strings.Contains(text, "Sofia") || strings.Contains(text, "Sign out") {
		tb.t.Errorf("the page still shows data of the user:\n%s", text)
	}
}

func checkEnded(t *testing.T, state, text string) {
	t.Helper()
	if state != "problem" || !strings.Contains(text, "401 Error") || !strings.Contains(text, "Your session has ended") || !strings.Contains(text, "Sign in again") {
		t.Errorf("Call API without a session: %s: %s", state, text)
	}
}

// testExpired waits until a short idle timeout has passed on the private page.
func testExpired(t *testing.T, c *chromium, _ *system) {
	s := startDev(t, "--session-idle-timeout=3s")
	tb := c.newTab(t)
	tb.signIn(s, "seller")
	// This endpoint returns the time left and does not extend it.
	tb.becomes("the session has expired", `fetch("/api/auth/session").then((r) => r.status === 204)`)
	tb.hasEnded("Your session has expired.")
	tb.click("main.ended a.primary")
	tb.at(s.base + "/private") // the provider still has a session
	if state, text := tb.callAPI(); state != "ok" {
		t.Errorf("Call API after signing in again: %s: %s", state, text)
	}
}

// testTwoTabs signs in in two tabs at once (oauth2-proxy #611, #817).
func testTwoTabs(t *testing.T, c *chromium, dev *system) {
	one := c.newTab(t)
	tabs := []*tab{one, one.another()}
	atOnce(t, tabs, chromedp.Navigate(dev.base+"/private"))
	for _, tb := range tabs {
		tb.becomes("the provider asks who to be", `document.querySelector("button[name=user]") && document.readyState === "complete"`)
	}
	atOnce(t, tabs, chromedp.Click(chromedp.CSS("button[name=user][value=buyer]"), chromedp.NodeVisible))
	for _, tb := range tabs {
		tb.at(dev.base + "/private")
		tb.shows("Ben Okafor")
	}
	for _, tb := range tabs {
		if state, text := tb.callAPI(); state != "ok" {
			t.Errorf("Call API: %s: %s", state, text)
		}
	}
	var names []string
	for _, cookie := range one.cookies(dev.base) {
		if cookie.Name == sessionCookie || strings.Contains(cookie.Name, "-login-") {
			names = append(names, cookie.Name)
		}
	}
	if len(names) != 1 {
		t.Errorf("two logins leave the cookies %v, want the session's alone", names)
	}
}

// atOnce runs a step in several tabs at the same time.
func atOnce(t *testing.T, tabs []*tab, step chromedp.Action[chromedp.Void]) {
	t.Helper()
	errs := make([]error, len(tabs))
	var all sync.WaitGroup
	for i, tb := range tabs {
		all.Go(func() { errs[i] = chromedp.Do(tb.ctx, step) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal("in the browser:", err)
		}
	}
}

// testStaleCallback opens the address of a callback again: nothing is signed in, and the page says
// what to do.
func testStaleCallback(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	callbacks := tb.traffic.visited(func(u *url.URL) bool { return u.Path == "/api/auth/callback" })
	if len(callbacks) != 1 {
		t.Fatalf("the login made %d callbacks", len(callbacks))
	}
	tb.open(callbacks[0])
	tb.shows("You are signed in already", "Continue")
	tb.click(".actions a")
	tb.at(dev.base + "/private") // the target of the login
	if got := tb.lastItem(); got != "Sign out" {
		t.Errorf("the navigation ends with %q: a stale callback has signed the user out", got)
	}

	stranger := c.newTab(t)
	stranger.open(callbacks[0])
	stranger.shows("This sign-in cannot be completed here", "began in another browser", "Sign in")
	for _, cookie := range stranger.cookies(dev.base) {
		t.Errorf("a stale callback set the cookie %s", cookie.Name)
	}
	stranger.click(".actions a")
	stranger.choose("buyer")
	stranger.at(dev.base + "/")
	if got := stranger.lastItem(); got != "Sign out" {
		t.Errorf("the navigation ends with %q after signing in from the page of a stale callback", got)
	}
}

// testOtherUser signs in as another user without signing out first. The earlier session is ended,
// not only replaced (CVE-2026-34454).
func testOtherUser(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	before := cookieValue(tb, dev)
	if status := meWith(t, dev, before); status != http.StatusOK {
		t.Fatalf("me with the session's cookie: %d", status)
	}
	tb.open(dev.base + "/api/auth/login?prompt=login&returnTo=/profile")
	tb.choose("buyer")
	tb.at(dev.base + "/profile")
	tb.shows("Ben Okafor", "dev|buyer")
	if strings.Contains(tb.text(), "Sofia") {
		t.Error("the profile still shows the user before")
	}
	if after := cookieValue(tb, dev); after == before {
		t.Error("the session kept its id through a login")
	}
	if status := meWith(t, dev, before); status != http.StatusNoContent {
		t.Errorf("me with the cookie of the session that was replaced: %d, want 204", status)
	}
}

// meWith requests /api/auth/me with a session cookie.
func meWith(t *testing.T, s *system, cookie string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/api/auth/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: sessionCookie, Value: cookie})
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// testCancelledLogin goes back at the provider instead of choosing a user.
func testCancelledLogin(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.open(dev.base + "/private")
	tb.click("button[name=cancel]")
	tb.becomes("the bff says that the sign-in was cancelled", fmt.Sprintf(`location.origin === %q && document.readyState === "complete"`, dev.base))
	tb.shows("The sign-in was cancelled", "Try again")
	tb.click(".actions a.primary")
	tb.choose("buyer")
	tb.at(dev.base + "/private")
}

// testCrossSiteLogout navigates to the logout from another site, which must not sign the user out
// without a confirmation.
func testCrossSiteLogout(t *testing.T, c *chromium, dev *system) {
	tb := c.newTab(t)
	tb.signIn(dev, "seller")
	tb.open(dev.provider + "/") // 127.0.0.1 is another site than localhost
	js[bool](tb, fmt.Sprintf(`(location.href = %q, true)`, dev.base+"/api/auth/logout"))
	tb.at(dev.base + "/api/auth/logout")
	tb.shows("Do you want to sign out?")
	tb.click(".actions a:not(.primary)")
	tb.at(dev.base + "/")
	if got := tb.lastItem(); got != "Sign out" {
		t.Errorf("the navigation ends with %q: another site has signed the user out", got)
	}
	tb.open(dev.provider + "/")
	js[bool](tb, fmt.Sprintf(`(location.href = %q, true)`, dev.base+"/api/auth/logout"))
	tb.at(dev.base + "/api/auth/logout")
	tb.click(".actions a.primary")
	tb.at(dev.base + "/")
	if got := tb.lastItem(); got != "Sign in" {
		t.Errorf("the navigation ends with %q after signing out on request", got)
	}
}
