package e2e

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

// TestBrowserBindings uses gatehouse-browser/react in React's StrictMode, and
// gatehouse-browser/connect with the sample's clients, in a browser.
func TestBrowserBindings(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "bindings.js")
	program, err := filepath.Abs(filepath.Join(browserPackage, "node_modules", ".bin", "esbuild"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: run the tests with `make test`, which installs it (npm ci in client/browser)", err)
	}
	cmd := exec.CommandContext(t.Context(), program, "test/bindings.js", "--bundle", "--format=esm", "--alias:@auth0/nextjs-auth0/client=./dist/react.js",
		`--define:process.env.NODE_ENV="development"`, "--log-level=warning", "--outfile="+script)
	cmd.Dir = browserPackage
	succeeds(t, cmd)
	c := startChromium(t)
	for name, test := range map[string]func(t *testing.T, c *chromium, script string){
		"Guard":     testBindingsGuard,
		"Countdown": testBindingsCountdown,
		"Server":    testBindingsServer,
		"Connect":   testBindingsConnect,
		"Tutorial":  testBindingsTutorial,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c, script)
		})
	}
}

// startBindings starts the sample with a page at every path that runs client/browser/test/bindings.js.
func startBindings(t *testing.T, script string, settings map[string]string) *gatehousetest.System {
	t.Helper()
	frontend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bindings.js" {
			http.ServeFile(w, r, script)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,"></head>`+
			`<body><div id="app"></div><script type="module" src="/bindings.js"></script></body></html>`) // an error means that the browser has left
	}))
	t.Cleanup(frontend.Close)
	all := map[string]string{"frontend": frontend.URL}
	maps.Copy(all, settings)
	return gatehousetest.Config{Settings: all}.Start(t, audioarchive.App())
}

// testBindingsGuard opens a guarded page signed out, with the store down, and signs out in another
// tab: one sign-in is started, and only in the first case.
func testBindingsGuard(t *testing.T, c *chromium, script string) {
	app := startBindings(t, script, nil)
	tb := c.newTab(t)
	tb.open(app.BaseURL + "/guarded?a=1#part")
	tb.choose("seller")
	tb.at(app.BaseURL + "/guarded?a=1#part")
	tb.becomes("the page is shown", `document.getElementById("typed")?.closest("label").innerText.includes("For Sofia Marchetti")`)
	if logins := js[string](tb, `sessionStorage.logins`); logins != "1" {
		t.Errorf("two guards have started %s sign-ins, want 1", logins)
	}

	// The store fails: what is known stays, and the page that knows nothing starts no sign-in.
	tb.enter("#typed", "a long text")
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
	js[bool](tb, `session.check().then(() => true)`)
	tb.isShown("error Sofia Marchetti 503")
	if typed := js[string](tb, `document.getElementById("typed").value`); typed != "a long text" {
		t.Errorf("what was typed is now %q", typed)
	}
	unknown := tb.another()
	unknown.open(app.BaseURL + "/guarded")
	unknown.becomes("the error is shown", `document.querySelector("[role=alert]")?.innerText.startsWith("Your session cannot be checked.")`)
	heal()
	unknown.click("[role=alert] button")
	unknown.becomes("the page is shown", `document.getElementById("typed")`)
	if js[bool](unknown, `"logins" in sessionStorage`) {
		t.Error("an error has started a sign-in")
	}

	// A sign-out in another tab hides the page, and brings no sign-in.
	js[bool](unknown, `session.logout({ returnTo: "/" }), true`)
	tb.becomes("the end is shown", `document.getElementById("app").innerText.includes("Your session has ended. Sign in") && document.getElementById("app").innerText.includes("out signed_out")`)
	if js[bool](tb, `document.getElementById("typed") !== null`) {
		t.Error("the page still shows what only a signed-in user may see")
	}
	if logins := js[string](tb, `sessionStorage.logins`); logins != "1" {
		t.Errorf("the sign-out in another tab has started a sign-in: %s", logins)
	}
	tb.click("#app p button")
	tb.choose("seller")
	tb.becomes("the page is shown", `document.getElementById("typed")`)
}

// testBindingsCountdown: a component that shows what is left is rendered each second near the end,
// and not before.
func testBindingsCountdown(t *testing.T, c *chromium, script string) {
	app := startBindings(t, script, map[string]string{"session-idle-timeout": "5s"})
	tb := c.newTab(t)
	tb.signInOn(app, "seller", "/?warn=3")
	tb.isShown("signed-out expired")
	want := "loading loading|signed-in Sofia Marchetti|signed-in Sofia Marchetti 3|signed-in Sofia Marchetti 2|signed-in Sofia Marchetti 1|signed-in Sofia Marchetti 0|signed-out expired"
	if got := js[string](tb, `rendered.join("|")`); got != want {
		t.Errorf("rendered\n%s, want\n%s", got, want)
	}
}

// testBindingsServer hydrates a page that a server has rendered for a user: without an error, and
// without a moment in which the user is unknown.
func testBindingsServer(t *testing.T, c *chromium, script string) {
	app := startBindings(t, script, nil)
	tb := c.newTab(t)
	const page = `/guarded?server&user=%7B%22sub%22%3A%22early%22%2C%22name%22%3A%22Early%22%7D`
	tb.signInOn(app, "seller", "/")
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
	tb.open(app.BaseURL + page)
	tb.isShown("error Early 503")
	heal()
	tb.isShown("signed-in Sofia Marchetti")
	if got := js[string](tb, `served + "|" + rendered.join("|") + errors.join()`); got != "signed-in Early|signed-in Early|error Early 503|signed-in Sofia Marchetti" {
		t.Errorf("rendered: %s", got)
	}
	tb.open(app.BaseURL + "/?server&user=null")
	tb.isShown("signed-in Sofia Marchetti")
	if got := js[string](tb, `served + "|" + rendered.join("|") + errors.join()`); got != "signed-out|signed-out|signed-in Sofia Marchetti" {
		t.Errorf("rendered: %s", got)
	}
}

// testBindingsConnect calls the API as a stranger and as a user: the errors say what a sign-in
// would help, and keep their details.
func testBindingsConnect(t *testing.T, c *chromium, script string) {
	app := startBindings(t, script, nil)
	tb := c.newTab(t)
	calls := func(want map[string]string) {
		t.Helper()
		for name, result := range want {
			if got := js[string](tb, `call("`+name+`")`); got != result {
				t.Errorf("%s: got %q, want %q", name, got, result)
			}
		}
	}
	tb.open(app.BaseURL + "/page?a=1#part")
	tb.isShown("signed-out")
	calls(map[string]string{
		"list":    "well",
		"private": "16 signed-out /api/auth/login?returnTo=%2Fpage%3Fa%3D1%23part details",
	})
	tb.signInOn(app, "seller", "/page")
	tb.isShown("signed-in Sofia Marchetti")
	calls(map[string]string{
		"list":      "well",
		"private":   "well",
		"confirmed": "16 step-up /api/auth/login?acr_values=urn%3Aaudioarchive%3Aconfirmed&returnTo=%2Fpage details",
		"create":    "3 details",
	})
	if methods := js[string](tb, `[...new Set(methods)].sort().join()`); methods != "GET,POST" {
		t.Errorf("the methods of the requests are %s", methods)
	}

	// A stream ends with its token. The user stays signed in.
	js[bool](tb, `stream(), true`)
	tb.becomes("the stream is open", `streamed === "message 1"`)
	app.Clock.Advance(10 * time.Minute)
	tb.becomes("the stream has ended", `streamed === "16"`)
	tb.isShown("signed-in Sofia Marchetti")

	// The session ends.
	tb.open(app.BaseURL + "/page")
	tb.isShown("signed-in Sofia Marchetti")
	js[bool](tb, `fetch("/api/auth/logout").then(() => true, () => true)`)
	calls(map[string]string{"private": "16 signed-out /api/auth/login?returnTo=%2Fpage details"})
	js[bool](tb, `stream(), true`)
	tb.becomes("the stream is refused", `streamed === "16 signed-out"`)
	tb.becomes("the state follows", `session.getSnapshot().status === "signed-out"`)
}

// testBindingsTutorial opens a page for useUser of nextjs-auth0: signed out, signed in,
// and with the store down.
func testBindingsTutorial(t *testing.T, c *chromium, script string) {
	app := startBindings(t, script, nil)
	tb := c.newTab(t)
	tb.open(app.BaseURL + "/tutorial")
	tb.isShown("Login")
	tb.signInOn(app, "seller", "/tutorial")
	tb.isShown("Hello Sofia Marchetti, sofia@example.com")
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
	tb.open(app.BaseURL + "/tutorial")
	tb.isShown("Error 503")
	heal()
	tb.click("#view")
	tb.isShown("Hello Sofia Marchetti, sofia@example.com")
}
