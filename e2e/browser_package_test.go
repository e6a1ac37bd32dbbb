package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/client/browser"
	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

// browserPackage is the directory of the npm package.
const browserPackage = "../client/browser"

// TestBrowserPackageInNode runs the package's own tests.
func TestBrowserPackageInNode(t *testing.T) {
	t.Parallel()
	tests, err := filepath.Glob(filepath.Join(browserPackage, "test", "*.test.js"))
	if err != nil || len(tests) == 0 {
		t.Fatalf("the package has no tests: %v", err)
	}
	succeeds(t, exec.CommandContext(t.Context(), "node", append([]string{"--test"}, tests...)...))
}

// TestBrowserPackageInstalled installs what npm would publish. The examples of its document and
// client/browser/test/types.tsx compile with both ways to resolve modules, a bundler keeps what a page uses alone, and an import in Node
// does nothing.
func TestBrowserPackageInstalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	installed := filepath.Join(dir, "node_modules", "gatehouse-browser")
	var packed []struct {
		Filename string
		Files    []struct{ Path string }
	}
	out := succeeds(t, exec.CommandContext(t.Context(), "npm", "pack", "--json", "--silent", "--pack-destination", dir, browserPackage))
	if err := json.Unmarshal([]byte(out), &packed); err != nil {
		t.Fatalf("npm pack: %v\n%s", err, out)
	}
	for _, f := range packed[0].Files {
		if name := f.Path; !strings.HasPrefix(name, "dist/") && !slices.Contains([]string{"package.json", "README.md", "LICENSE"}, name) {
			t.Errorf("the package has the file %s", name)
		}
	}
	if err := os.MkdirAll(installed, 0o755); err != nil {
		t.Fatal(err)
	}
	succeeds(t, exec.CommandContext(t.Context(), "tar", "-xzf", filepath.Join(dir, packed[0].Filename), "-C", installed, "--strip-components=1"))

	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("package.json", `{"type": "module"}`)
	examples := 0
	for _, b := range blocksOf(t, "..", "docs/browser.md") {
		if b.language == "ts" || b.language == "tsx" {
			examples++
			write(fmt.Sprintf("example%d.%s", examples, b.language), b.text)
		}
	}
	if examples < 4 {
		t.Errorf("docs/browser.md has %d examples in TypeScript", examples)
	}
	packages, err := filepath.Abs(filepath.Join(browserPackage, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(packages, ".bin")
	tool := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(tools, name), args...)
		cmd.Dir = dir
		if _, err := os.Stat(cmd.Path); err != nil {
			t.Fatalf("%v: run the tests with `make test`, which installs it (npm ci in client/browser)", err)
		}
		return succeeds(t, cmd)
	}
	// Without the packages that the bindings are for, the core is complete.
	tool("tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", filepath.Join("node_modules", "gatehouse-browser", "dist", "index.d.ts"))
	for _, name := range []string{"react", "react-dom", "csstype", "@types", "@bufbuild", "@connectrpc"} {
		if err := os.Symlink(filepath.Join(packages, name), filepath.Join(dir, "node_modules", name)); err != nil {
			t.Fatal(err)
		}
	}
	clients, err := filepath.Abs("../client/typescript/gen")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(clients, filepath.Join(dir, "gen")); err != nil {
		t.Fatal(err)
	}
	types, err := os.ReadFile(filepath.Join(browserPackage, "test", "types.tsx"))
	if err != nil {
		t.Fatal(err)
	}
	write("types.tsx", string(types))
	for _, how := range [][]string{{"bundler", "esnext"}, {"nodenext", "nodenext"}} {
		write("tsconfig.json", fmt.Sprintf(`{"compilerOptions": {"moduleResolution": %q, "module": %q, "target": "es2022", "lib": ["es2022", "dom"],
			"types": [], "jsx": "react-jsx", "strict": true, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "noEmit": true}, "include": ["*.ts", "*.tsx"]}`, how[0], how[1]))
		tool("tsc")
	}

	write("link.js", `import { loginURL } from "gatehouse-browser"; console.log(loginURL());`)
	if bundle := tool("esbuild", "link.js", "--bundle", "--minify", "--format=esm"); len(bundle) > 1500 || strings.Contains(bundle, "EventSource") {
		t.Errorf("a page with a link to sign in has %d bytes:\n%s", len(bundle), bundle)
	}
	write("node.js", `import { loginURL, session } from "gatehouse-browser"; console.log(session.getSnapshot().status, loginURL());`)
	node := exec.CommandContext(t.Context(), "node", "node.js")
	node.Dir = dir
	if got, want := succeeds(t, node), "loading /api/auth/login?returnTo=%2F\n"; got != want {
		t.Errorf("in Node: got %q, want %q", got, want)
	}
}

// TestBrowserPackage follows sessions in the tabs of a browser.
func TestBrowserPackage(t *testing.T) {
	t.Parallel()
	c := startChromium(t)
	for name, test := range map[string]func(t *testing.T, c *chromium){
		"Tabs":         testPackageTabs,
		"Memory":       testPackageMemory,
		"StoreDown":    testPackageStoreDown,
		"ProviderDown": testPackageProviderDown,
		"Countdown":    testPackageCountdown,
		"StepUp":       testPackageStepUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

// pageOfPackage is a page that uses the package: as session, with all states in states. The element
// view shows what the page knows of its user.
const pageOfPackage = `<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,"></head>
<body><p id="view"></p><input id="typed"><script type="module">
	import { createSession } from "/gatehouse-browser.js";
	const parameters = new URLSearchParams(location.search);
	if (parameters.has("nolocks")) Object.defineProperty(navigator, "locks", { value: undefined });
	globalThis.session = createSession({ warnBefore: Number(parameters.get("warn") ?? 1) });
	globalThis.states = [];
	const show = () => {
		const state = session.getSnapshot();
		states.push(state);
		document.getElementById("view").textContent = [state.status, state.user?.name, state.reason].filter(Boolean).join(" ");
	};
	session.subscribe(show);
	show();
</script></body></html>`

// startPage starts the sample with a front-end server that has pageOfPackage at every path. Unlike
// pages of a directory, browsers may keep it in memory when it is left.
func startPage(t *testing.T, settings map[string]string) *gatehousetest.System {
	t.Helper()
	frontend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gatehouse-browser.js" {
			http.ServeFileFS(w, r, browser.Files, "dist/gatehouse-browser.min.js")
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, pageOfPackage) // an error means that the browser has left
	}))
	t.Cleanup(frontend.Close)
	all := map[string]string{"frontend": frontend.URL}
	maps.Copy(all, settings)
	return gatehousetest.Config{Settings: all}.Start(t, audioarchive.App())
}

// isShown waits until the page shows what it knows.
func (tb *tab) isShown(view string) {
	tb.t.Helper()
	tb.becomes("the page shows "+view, fmt.Sprintf(`document.getElementById("view")?.textContent === %q`, view))
}

// signInOn signs a user in, and returns to a page.
func (tb *tab) signInOn(app *gatehousetest.System, user, path string) {
	tb.t.Helper()
	tb.open(app.SignInURL(user, path))
	tb.at(app.BaseURL + path)
}

// testPackageTabs signs in, changes the user and signs out in one of ten tabs: all follow, over one
// stream. What was typed in another tab stays.
func testPackageTabs(t *testing.T, c *chromium) {
	admin := freeAddress(t)
	app := startPage(t, map[string]string{"listen-admin": admin})
	first := c.newTab(t)
	first.open(app.BaseURL + "/first")
	first.isShown("signed-out")
	js[bool](first, `document.getElementById("typed").value = "a long text"; states.length = 0; true`)

	tabs := []*tab{first}
	second := first.another()
	second.signInOn(app, "seller", "/second")
	second.isShown("signed-in Sofia Marchetti")
	first.isShown("signed-in Sofia Marchetti")
	for i := range 8 {
		tb := first.another()
		tb.open(fmt.Sprintf("%s/tab%d%s", app.BaseURL, i, map[bool]string{true: "?nolocks"}[i == 7]))
		tb.isShown("signed-in Sofia Marchetti")
		tabs = append(tabs, tb)
	}
	// Ten tabs over HTTP/1.1, with six connections: each still gets an answer.
	for _, tb := range tabs {
		if status := js[int](tb, `session.fetch("/api/private-route").then((r) => r.status)`); status != http.StatusOK {
			t.Errorf("a call of the API: status %d", status)
		}
		tb.becomes("the tab knows the end of the session", `session.remaining() > 3600`)
	}
	eventually(t, "one stream is open", func() error {
		metrics, _ := readMetrics(t, admin)
		if n := metrics.value("gatehouse_streams_open{gatehouse_stream_kind=session_events}"); n != 1 {
			return fmt.Errorf("%v streams", n)
		}
		return nil
	})

	// The session ends; what was typed stays, and can be sent after a sign-in in another tab.
	js[bool](second, `session.logout({ returnTo: "/second" }), true`)
	second.isShown("signed-out")
	first.isShown("signed-out signed_out")
	for _, tb := range tabs[1:] {
		tb.becomes("the tab is signed out", `session.getSnapshot().status === "signed-out"`)
	}
	refused := js[string](first, `session.fetch("/api/private-route", { onLoginRequired: "reject" }).catch((e) => e.name + " " + e.kind + " " + e.loginURL)`)
	if refused != "LoginRequiredError signed-out /api/auth/login?returnTo=%2Ffirst" {
		t.Errorf("a call without a session: %s", refused)
	}
	second.signInOn(app, "seller", "/second")
	first.isShown("signed-in Sofia Marchetti")
	if typed := js[string](first, `document.getElementById("typed").value`); typed != "a long text" {
		t.Errorf("what was typed is now %q", typed)
	}

	// Another user: the page is loaded anew.
	second.signInOn(app, "buyer", "/second")
	first.becomes("the page of the new user", `session.getSnapshot().user?.name === "Ben Okafor" && !states.some((s) => s.user?.name === "Sofia Marchetti")`)
}

// testPackageMemory leaves a page and comes back to it from the back/forward cache.
func testPackageMemory(t *testing.T, c *chromium) {
	app := startPage(t, nil)
	tb := c.newTab(t)
	tb.signInOn(app, "seller", "/form")
	tb.isShown("signed-in Sofia Marchetti")
	leave := func() {
		t.Helper()
		js[bool](tb, `addEventListener("pageshow", (e) => {
			globalThis.shown = { persisted: e.persisted, visibility: document.documentElement.style.visibility };
		}, { once: true }) ?? true`)
		js[bool](tb, `location.assign("/elsewhere") ?? true`)
		tb.at(app.BaseURL + "/elsewhere")
	}
	comeBack := func() {
		t.Helper()
		back(tb)
		tb.at(app.BaseURL + "/form")
		if was := js[string](tb, `JSON.stringify(globalThis.shown)`); was != `{"persisted":true,"visibility":"hidden"}` {
			t.Fatalf("the page is not back from memory, or was not hidden: %s", was)
		}
		tb.becomes("the page is shown", `document.documentElement.style.visibility === ""`)
	}
	js[bool](tb, `document.getElementById("typed").value = "a long text"; true`)
	leave()
	comeBack()
	tb.isShown("signed-in Sofia Marchetti")
	if typed := js[string](tb, `document.getElementById("typed").value`); typed != "a long text" {
		t.Errorf("what was typed is now %q", typed)
	}
	tb.becomes("the page follows the events again", `navigator.locks.query().then((l) => l.held.some((k) => k.name === "gatehouse-events"))`)

	// While the server cannot say whether the user has signed out, the page stays hidden.
	leave()
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
	back(tb)
	tb.at(app.BaseURL + "/form")
	tb.becomes("the state is unknown", `session.getSnapshot().status === "error" && !session.getSnapshot().user`)
	if js[bool](tb, `new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))).then(() => document.documentElement.style.visibility !== "hidden")`) {
		t.Error("the page shows its former user")
	}
	heal()
	tb.becomes("the page is shown", `document.documentElement.style.visibility === ""`)

	leave()
	app.LogOut(t, "seller")
	comeBack()
	tb.isShown("signed-out unknown")
}

// testPackageStoreDown takes the session store away: no tab is signed out or sent to the login, and
// all go on by themselves when the store is back.
func testPackageStoreDown(t *testing.T, c *chromium) {
	app := startPage(t, nil)
	known := c.newTab(t)
	known.signInOn(app, "seller", "/known")
	known.isShown("signed-in Sofia Marchetti")
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
	unknown := known.another()
	unknown.open(app.BaseURL + "/unknown")
	unknown.isShown("error")
	js[bool](known, `session.check().then(() => true)`)
	known.isShown("error Sofia Marchetti")
	if status := js[int](known, `session.getSnapshot().error.status`); status != http.StatusServiceUnavailable {
		t.Errorf("the error has status %d", status)
	}
	js[bool](known, `globalThis.answer = session.fetch("/api/private-route"), true`)
	if status := js[int](known, `session.fetch("/api/products", { method: "POST", body: "{}" }).then((r) => r.status)`); status != http.StatusServiceUnavailable {
		t.Errorf("a POST: status %d", status)
	}
	heal()
	if status := js[int](known, `answer.then((r) => r.status)`); status != http.StatusOK {
		t.Errorf("the call that waited: status %d", status)
	}
	for _, tb := range []*tab{known, unknown} {
		tb.isShown("signed-in Sofia Marchetti")
		if js[bool](tb, `states.some((s) => s.status === "signed-out")`) {
			t.Error("a tab was signed out")
		}
	}
}

// testPackageProviderDown takes the provider away until tokens have expired: the user stays signed
// in, and a call of the API waits.
func testPackageProviderDown(t *testing.T, c *chromium) {
	app := startPage(t, nil)
	tb := c.newTab(t)
	tb.signInOn(app, "seller", "/page")
	tb.isShown("signed-in Sofia Marchetti")
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.ProviderDown})
	app.Clock.Advance(10 * time.Minute) // access tokens live for 5
	js[bool](tb, `session.check().then(() => true)`)
	tb.isShown("signed-in Sofia Marchetti")
	js[bool](tb, `globalThis.answer = session.fetch("/api/private-route"), true`)
	if status := js[int](tb, `fetch("/api/private-route").then((r) => r.status)`); status != http.StatusServiceUnavailable {
		t.Errorf("without the provider: status %d", status)
	}
	heal()
	app.Clock.Advance(5 * time.Minute)
	if status := js[int](tb, `answer.then((r) => r.status)`); status != http.StatusOK {
		t.Errorf("the call that waited: status %d", status)
	}
	if js[bool](tb, `states.some((s) => s.status === "signed-out")`) {
		t.Error("the user was signed out")
	}
}

// testPackageCountdown waits for the warning in two tabs, extends the session in one, and lets it
// end.
func testPackageCountdown(t *testing.T, c *chromium) {
	app := startPage(t, map[string]string{"session-idle-timeout": "12s"})
	one := c.newTab(t)
	one.signInOn(app, "seller", "/one?warn=9")
	two := one.another()
	two.open(app.BaseURL + "/two?warn=3")
	one.becomes("the session is about to end", `session.getSnapshot().warning`)
	if js[bool](two, `states.some((s) => s.warning)`) {
		t.Error("a tab warns early")
	}
	if !js[bool](one, `session.extend().then((s) => s.status === "signed-in" && !s.warning && s.extendable && session.remaining() > 9)`) {
		t.Error("the session was not extended")
	}
	two.becomes("the other tab knows it", `session.remaining() > 7`)
	two.becomes("the session is about to end", `session.getSnapshot().warning`)
	for _, tb := range []*tab{one, two} {
		tb.isShown("signed-out expired")
	}
}

// testPackageStepUp calls a method that requires a stronger sign-in.
func testPackageStepUp(t *testing.T, c *chromium) {
	app := startPage(t, nil)
	tb := c.newTab(t)
	tb.signInOn(app, "seller", "/page?a=1#part")
	tb.isShown("signed-in Sofia Marchetti")
	call := `session.fetch("/api/confirmed-route").then((r) => r.status, (e) => { globalThis.failure = e; return e.kind; })`
	if kind := js[string](tb, call); kind != "step-up" {
		t.Fatalf("the call: %s", kind)
	}
	tb.isShown("signed-in Sofia Marchetti")
	js[bool](tb, `failure.login() ?? true`)
	tb.choose("seller")
	tb.at(app.BaseURL + "/page?a=1#part")
	if status := js[int](tb, call); status != http.StatusOK {
		t.Errorf("after the sign-in: status %d", status)
	}
}
