package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

// compiling is the time limit for a front end's build tool.
const compiling = 8 * time.Minute

// TestExamples runs the tutorial's application behind `gatehouse serve`: on Next.js, which asks
// Gatehouse for the session, and as a Vite build in a directory; and both with their development
// servers.
func TestExamples(t *testing.T) {
	t.Parallel()
	c := startChromium(t)
	for name, test := range map[string]func(*testing.T, *chromium){
		"NextJS": testNextJS, "NextJSHotReload": testNextJSHotReload, "SPA": testSPA, "SPAHotReload": testSPAHotReload,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func testNextJS(t *testing.T, c *chromium) {
	dir := exampleDir(t, "nextjs")
	build(t, dir, "node_modules/next/dist/bin/next", "build")
	front := freeAddress(t)
	// As in the tutorial, with its API behind a route and not behind the gateway.
	var called atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		called.Add(1)
		fmt.Fprint(w, `{"message":"This is a private route"}`)
	}))
	t.Cleanup(api.Close)
	s := startServe(t, newNotes(), "GATEHOUSE_FRONTEND=http://"+front, "GATEHOUSE_PROTECT=/private/:path*",
		"GATEHOUSE_ROUTES=[{path: /api, to: '"+api.URL+"', public: true}]")
	startNextJS(t, dir, front, s.base)
	answers(t, s.base+"/public")
	tb := c.newTab(t)
	storyOfExample(tb, s)

	// Server components call the API with the user's cookie and hold nothing else: the cookie is
	// neither in the page nor in the data that Next.js sends for it.
	tb.open(s.base + "/private")
	tb.choose("seller")
	tb.at(s.base + "/private")
	tb.shows("You are Sofia Marchetti.", "The server called the API in your name, and it said: This is a private route")
	tb.open(s.base + "/")
	tb.shows("Welcome back, Sofia Marchetti.")
	galleryOfExample(t, c, s, "nextjs")
	if called.Load() < 3 { // by the button, and by server components of two pages
		t.Errorf("the API behind the route got %d requests with a token", called.Load())
	}

	front = freeAddress(t)
	app := gatehousetest.Config{Settings: map[string]string{"frontend": "http://" + front, "protect": "/private/:path*"}}.Start(t, audioarchive.App())
	startNextJS(t, dir, front, app.BaseURL)
	answers(t, app.BaseURL+"/public")
	failuresOfExample(t, c, app)
}

// startNextJS starts the server of a Next.js application that was built.
func startNextJS(t *testing.T, dir, address, gatehouse string) {
	t.Helper()
	startIn(t, dir, "next", []string{"GATEHOUSE_URL=" + gatehouse, "NODE_ENV=production", "NEXT_TELEMETRY_DISABLED=1"},
		"node", "node_modules/next/dist/bin/next", "start", "--hostname=127.0.0.1", "--port="+portOf(address))
}

func testSPA(t *testing.T, c *chromium) {
	dir := exampleDir(t, "spa")
	build(t, dir, "node_modules/vite/bin/vite.js", "build")
	s := startServe(t, newNotes(), "GATEHOUSE_FRONTEND=dir:"+filepath.Join(dir, "dist"), "GATEHOUSE_PROTECT=/private/:path*")
	tb := c.newTab(t)
	storyOfExample(tb, s)
	tb.open(s.base + "/nothing-here") // the application's own router answers
	tb.becomes("the application says that there is no such page", `document.querySelector("h1")?.innerText === "Not found"`)

	// Caching: the script for ever if its hash cannot be a word, the page not at all.
	script, forever := js[string](tb, `document.querySelector("script[src^='/assets/']").src`), "public, max-age=31536000, immutable"
	if hash := script[len(script)-len("12345678.js"):]; !strings.ContainsAny(hash, "0123456789") || hash == strings.ToLower(hash) {
		forever = "no-cache"
	}
	for address, want := range map[string]string{script: forever, s.base + "/": "no-store", s.base + "/public": "no-store"} {
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", address, got, want)
		}
	}
	galleryOfExample(t, c, s, "spa")

	failuresOfExample(t, c, gatehousetest.Config{Settings: map[string]string{"frontend": "dir:" + filepath.Join(dir, "dist"), "protect": "/private/:path*"}}.Start(t, audioarchive.App()))
}

func testNextJSHotReload(t *testing.T, c *chromium) {
	dir := copyOf(t, exampleDir(t, "nextjs"))
	front := freeAddress(t)
	s := startServe(t, newNotes(), "GATEHOUSE_FRONTEND=http://"+front, "GATEHOUSE_PROTECT=/private/:path*")
	startIn(t, dir, "next dev", []string{"GATEHOUSE_URL=" + s.base, "NEXT_TELEMETRY_DISABLED=1"},
		"node", "node_modules/next/dist/bin/next", "dev", "--hostname=127.0.0.1", "--port="+portOf(front))
	answers(t, s.base+"/public")
	hotReload(c.newTab(t), s, filepath.Join(dir, "app/public/page.tsx"))
}

func testSPAHotReload(t *testing.T, c *chromium) {
	dir := copyOf(t, exampleDir(t, "spa"))
	front := freeAddress(t)
	s := startServe(t, newNotes(), "GATEHOUSE_FRONTEND=http://"+front, "GATEHOUSE_PROTECT=/private/:path*")
	startIn(t, dir, "vite", nil, "node", "node_modules/vite/bin/vite.js", "--host=127.0.0.1", "--port="+portOf(front), "--strictPort")
	answers(t, s.base+"/public")
	hotReload(c.newTab(t), s, filepath.Join(dir, "src/pages.tsx"))
}

// failuresOfExample opens the pages while the session store is down: they show an error and start no
// sign-in, and go on when the store is back. Then it signs out in another tab.
func failuresOfExample(t *testing.T, c *chromium, app *gatehousetest.System) {
	t.Helper()
	tb := c.newTab(t)
	tb.open(app.SignInURL("seller", "/private"))
	tb.at(app.BaseURL + "/private")
	tb.becomes("the private page is shown", `document.querySelector("main").innerText.includes("You are Sofia Marchetti.")`)
	follow := func(text string) {
		t.Helper()
		link := fmt.Sprintf(`[...document.querySelectorAll("nav a")].find((a) => a.innerText === %q)`, text)
		tb.becomes("there is a link "+text, link)
		js[bool](tb, `(`+link+`.click(), true)`)
	}

	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
	defer heal()
	tb.open(app.BaseURL + "/")
	tb.becomes("the error is shown", `document.querySelector("nav [role=alert]")?.innerText.includes("Your session cannot be checked.")`)
	if text := tb.text(); strings.Contains(text, "Sign in") || strings.Contains(text, "You are not signed in.") {
		t.Errorf("with the store down the page says that the user is signed out:\n%s", text)
	}
	follow("Public")
	tb.becomes("the public page is shown", `document.querySelector("h1")?.innerText === "Public"`)
	// Between two questions by itself: a page that started a sign-in would have left in that time.
	tb.becomes("the server was asked again", `performance.getEntriesByName(new URL("/api/auth/me", location).href).length > 1`)
	tb.at(app.BaseURL + "/public")
	heal()
	js[bool](tb, `(document.querySelector("nav [role=alert] button")?.click(), true)`) // the page may have asked by itself
	tb.becomes("the user is known again", `document.querySelector("nav").innerText.includes("Sofia Marchetti")`)
	follow("Private")
	tb.becomes("the private page is shown", `document.querySelector("main").innerText.includes("You are Sofia Marchetti.")`)

	other := tb.another()
	other.open(app.BaseURL + "/api/auth/logout")
	other.becomes("the other tab is signed out", `document.querySelector("nav")?.innerText.includes("Sign in")`)
	tb.becomes("the end is shown", `document.querySelector("main").innerText.includes("Your session has ended.")`)
	tb.becomes("the navigation bar follows", `document.querySelector("nav").innerText.includes("Sign in")`)
	tb.at(app.BaseURL + "/private")
	if text := tb.text(); strings.Contains(text, "Sofia Marchetti") {
		t.Errorf("signed out in another tab, the page shows\n%s", text)
	}
}

// storyOfExample is the tutorial's story: a public page, a private one that leads to the login and
// back, the API, and the logout.
func storyOfExample(tb *tab, s *system) {
	tb.t.Helper()
	title := func(want string) string { return fmt.Sprintf(`document.querySelector("h1")?.innerText === %q`, want) }
	link := func(text string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("nav a")].find((a) => a.innerText === %q)`, text)
	}
	follow := func(text string) {
		tb.t.Helper()
		tb.becomes("there is a link "+text, link(text))
		js[bool](tb, `(`+link(text)+`.click(), true)`)
	}
	tb.open(s.base + "/")
	tb.becomes("the page says signed out", link("Sign in")+` && document.body.innerText.includes("You are not signed in.")`)
	follow("Public")
	tb.becomes("the public page is shown", title("Public"))
	follow("Private")
	tb.choose("seller")
	tb.at(s.base + "/private")
	tb.becomes("the private page is shown", title("Private")+` && document.body.innerText.includes("You are Sofia Marchetti.")`)
	// Hydrated: only then does the button work.
	tb.becomes("the user's name is in the navigation bar", `document.querySelector("nav")?.innerText.includes("Sofia Marchetti")`)
	tb.click("main button")
	tb.becomes("the API has answered", `document.querySelector("main [role=status]").innerText === "This is a private route"`)
	follow("Home")
	tb.becomes("the home page greets the user", `document.body.innerText.includes("Welcome back, Sofia Marchetti.")`)
	follow("Sign out")
	tb.becomes("the page says signed out again", `location.pathname === "/" && `+link("Sign in")+` && document.body.innerText.includes("You are not signed in.")`)
	for _, cookie := range tb.cookies(s.base) {
		if strings.HasPrefix(cookie.Name, "gatehouse") {
			tb.t.Errorf("signed out, the browser still has the cookie %s", cookie.Name)
		}
	}
	// Signed out, the private page leads to a login again.
	tb.open(s.base + "/private")
	tb.becomes("the provider is asked", fmt.Sprintf(`location.href.startsWith(%q)`, s.provider))
	if messages := slices.DeleteFunc(tb.consoleMessages(), func(line string) bool {
		return strings.Contains(line, "401") // a script requested the private page before the login
	}); len(messages) > 0 {
		tb.t.Errorf("the console complains: %q", messages)
	}
}

// galleryOfExample shows the pages in light and dark, on a desktop and on a phone, and runs
// axe-core.
func galleryOfExample(t *testing.T, c *chromium, s *system, name string) {
	t.Helper()
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		t.Fatalf("axe-core is needed and not installed: run `make test`, which installs it (%v)", err)
	}
	tb := c.newTab(t)
	tb.signIn(s, "seller")
	for _, look := range []struct {
		scheme        string
		width, height int64
	}{{"light", 1280, 800}, {"dark", 390, 844}, {"light", 390, 844}, {"dark", 1280, 800}} {
		tb.do(chromedp.EmulateViewport(look.width, look.height))
		must(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}})
		// The pages' policy forbids other scripts, axe-core included.
		g := &gallery{tab: tb, suffix: fmt.Sprintf("-%s-%d", look.scheme, look.width), width: look.width, axe: string(axe)}
		for _, page := range []string{"", "public", "private"} {
			tb.open(s.base + "/" + page)
			tb.becomes("the page is shown", `document.querySelector("h1") && document.querySelector("nav")?.innerText.includes("Sign out")`)
			g.look("example-" + name + "-" + page)
		}
	}
}

// hotReload edits a file and waits until the page shows the change without a reload: the WebSocket
// through the bff works.
func hotReload(tb *tab, s *system, file string) {
	tb.t.Helper()
	const before, after = "This page needs no sign-in.", "All may read this page."
	tb.open(s.base + "/public")
	tb.becomes("the page is there", fmt.Sprintf(`document.body.innerText.includes(%q) && document.querySelector("nav")?.innerText.includes("Sign in")`, before))
	js[bool](tb, `(window.loadedOnce = true)`)
	source, err := os.ReadFile(file)
	if err != nil {
		tb.t.Fatal(err)
	}
	changed := strings.Replace(string(source), before, after, 1)
	if changed == string(source) {
		tb.t.Fatalf("%s does not say %q", file, before)
	}
	// A hard link shares its content with the original.
	if err := os.Remove(file); err != nil {
		tb.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		tb.t.Fatal(err)
	}
	tb.becomes("the page shows the change", fmt.Sprintf(`document.body.innerText.includes(%q)`, after))
	if !js[bool](tb, `window.loadedOnce === true`) {
		tb.t.Error("the page was reloaded: hot reload does not work through the bff")
	}
}

// exampleDir returns the directory of an example, whose packages make test installs.
func exampleDir(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatalf("the packages of examples/%s are needed and not installed: run `make test`, which installs them (%v)", name, err)
	}
	return dir
}

// build runs a build tool until it ends.
func build(t *testing.T, dir string, tool ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", tool...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NEXT_TELEMETRY_DISABLED=1", "NODE_ENV=production")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(tool, " "), err, out)
	}
}

// copyOf returns a copy of a directory that may be edited. It uses hard links where it can, because
// the directory has many packages.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	target := filepath.Join(t.TempDir(), "copy")
	if exec.CommandContext(t.Context(), "cp", "-al", dir, target).Run() == nil {
		return target
	}
	_ = os.RemoveAll(target) // an incomplete copy, on another file system
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", dir, target).CombinedOutput(); err != nil {
		t.Fatalf("copying %s: %v\n%s", dir, err, out)
	}
	return target
}

// answers waits until the front end answers.
func answers(t *testing.T, address string) {
	t.Helper()
	within(t, compiling, address, func() error {
		resp, err := http.Get(address)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
}

func newNotes() *secretNotes { return &secretNotes{known: make(map[string]string)} }
