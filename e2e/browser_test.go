package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestBrowser holds the tests with a browser. One Chromium and one `gatehouse dev` serve all cases,
// each with a cookie jar of its own, because starting both anew would take longer than the case.
func TestBrowser(t *testing.T) {
	t.Parallel()
	c := startChromium(t)
	dev := startDev(t)
	for name, test := range map[string]func(t *testing.T, c *chromium, dev *system){
		"Story":                 testStory,
		"NoToken":               testNoToken,
		"NoKnownSecret":         testNoKnownSecret,
		"Console":               testConsole,
		"BackAfterLogout":       testBackAfterLogout,
		"TwoTabs":               testTwoTabs,
		"StaleCallback":         testStaleCallback,
		"OtherUser":             testOtherUser,
		"SignedOutInAnotherTab": testSignedOutInAnotherTab,
		"Expired":               testExpired,
		"CancelledLogin":        testCancelledLogin,
		"CrossSiteLogout":       testCrossSiteLogout,
		"Keyboard":              testKeyboard,
		"NoScript":              testNoScript,
		"Guest":                 testGuest,
		"Appearance":            testAppearance,
		"Products":              testProducts,
		"Shop":                  testShop,
		"StepUp":                testStepUp,
		"SilentLogin":           testSilentLogin,
		"Devices":               testDevices,
		"Tabs":                  testTabs,
		"CrossOrigin":           testCrossOrigin,
		"LiveUpdates":           testLiveUpdates,
		"EventSource":           testEventSource,
		"Reference":             testReference,
		"ProviderControls":      testProviderControls,
		"Kit":                   testKit,
		"Branding":              testBranding,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c, dev)
		})
	}
}

// A system is a running application and its provider, as origins.
type system struct {
	*process
	base     string // of the bff
	provider string
}

// startDev starts `gatehouse dev` on free ports.
func startDev(t *testing.T, args ...string) *system {
	t.Helper()
	args = append([]string{"dev", "--listen-bff=127.0.0.1:0", "--listen-gateway=127.0.0.1:0", "--listen-grpc=127.0.0.1:0", "--listen-devidp=127.0.0.1:0"}, args...)
	s := &system{process: gatehouse(t, nil, args...)}
	s.said(t, "Stop with Ctrl-C")
	find := func(name string) string {
		m := regexp.MustCompile(name + ` +(http://[a-z0-9.]+:[0-9]+)`).FindStringSubmatch(s.out.String())
		if m == nil {
			t.Fatalf("gatehouse dev does not say where %s is:\n%s", name, s.out)
		}
		return m[1]
	}
	s.base, s.provider = find("pages"), find("provider")
	s.ready(t, s.base+"/readyz")
	return s
}

// A chromium is a headless browser.
type chromium struct{ ctx context.Context }

func startChromium(t *testing.T) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("Chromium is needed and not installed: run `make test`, which installs it where it can (%v)", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], // includes a temporary profile
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // for containers that run as root
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
	)
	// Not the context of the test, which ends before the cleanups and would end the browser.
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		end, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		if err := chromedp.Cancel(end); err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("closing Chromium: %v", err)
		}
		cancel()
		cancelAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return &chromium{ctx: ctx}
}

// A tab is a page in the browser. It is used by one goroutine.
type tab struct {
	t   *testing.T
	ctx context.Context

	traffic *traffic

	mu       sync.Mutex
	messages []string // messages of the console
}

// newTab opens a tab in a browser context of its own, without cookies.
func (c *chromium) newTab(t *testing.T) *tab {
	t.Helper()
	return newTab(t, c.ctx, chromedp.WithNewBrowserContext())
}

// another opens a second tab in the same browser context.
func (tb *tab) another() *tab {
	tb.t.Helper()
	return newTab(tb.t, tb.ctx)
}

func newTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	tb := &tab{t: t, traffic: newTraffic()}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(tb.hear))...)
	tb.ctx = ctx
	t.Cleanup(func() {
		if t.Failed() {
			tb.logState()
		}
		cancel()
	})
	// The first run opens the tab, which lives as long as its context: no deadline.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	// Emulates focus, as only one window has it and the keyboard needs it.
	must(tb, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	must(tb, network.ConfigureDurableMessages, network.ConfigureDurableMessagesParams{
		MaxTotalBufferSize: new(int64(64 << 20)), MaxResourceBufferSize: new(int64(8 << 20)),
	})
	return tb
}

// hear receives the tab's events in order.
func (tb *tab) hear(event any) {
	tb.traffic.hear(event)
	var complaint string
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelError && e.Entry.Level != log.EntryLevelWarning {
			return
		}
		complaint = fmt.Sprintf("%s %s: %s (%s)", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *runtime.EventExceptionThrown:
		complaint = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type != runtime.ConsoleAPICalledTypeError && e.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		complaint = "console." + string(e.Type)
	default:
		return
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.messages = append(tb.messages, complaint)
}

// consoleMessages returns the messages of the console since the last call.
func (tb *tab) consoleMessages() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	all := tb.messages
	tb.messages = nil
	return all
}

// logState logs the state of the tab of a failed test.
func (tb *tab) logState() {
	ctx, cancel := context.WithTimeout(tb.ctx, 5*time.Second)
	defer cancel()
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + (document.body?.innerText ?? "").slice(0, 600)`))
	if err != nil {
		seen = err.Error()
	}
	tb.t.Logf("the tab showed %s\nits console: %q", seen, tb.consoleMessages())
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		tb.keep("failed-"+strings.ReplaceAll(tb.t.Name(), "/", "-"), picture)
	}
}

// screenshots is the directory for screenshots of the pages.
const screenshots = "screenshots"

func (tb *tab) keep(name string, picture []byte) {
	tb.t.Helper()
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		tb.t.Error(err)
		return
	}
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), picture, 0o644); err != nil {
		tb.t.Error(err)
	}
}

// enter types text into a field. chromedp.SendKeys would be a data race: it reads the attributes of an
// element while a page with React removes some.
func (tb *tab) enter(selector, text string) {
	tb.t.Helper()
	tb.becomes("there is a field "+selector, fmt.Sprintf(`(document.querySelector(%[1]q)?.focus(), document.activeElement?.matches(%[1]q))`, selector))
	tb.do(chromedp.KeyEvent(text))
}

// do runs actions within one deadline.
func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatalf("in the browser: %v", err)
	}
}

// run runs an action that returns a value.
func run[T any](tb *tab, action chromedp.Action[T]) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		tb.t.Fatalf("in the browser: %v", err)
	}
	return value
}

// must sends a command of the DevTools protocol.
func must[P, R any](tb *tab, command cdp.Command[P, R], params P) R {
	tb.t.Helper()
	return run(tb, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, command, params) })
}

// js evaluates an expression, and awaits it if it is a promise.
func js[T any](tb *tab, expression string) T {
	tb.t.Helper()
	return run(tb, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// open navigates to an address and waits until the page has loaded.
func (tb *tab) open(url string) {
	tb.t.Helper()
	tb.do(chromedp.Navigate(url))
}

// click clicks on a visible element.
func (tb *tab) click(selector string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// becomes waits until an expression, or the promise that it returns, is true, across navigations.
func (tb *tab) becomes(what, expression string) {
	tb.t.Helper()
	eventually(tb.t, what, func() error {
		ctx, cancel := context.WithTimeout(tb.ctx, 10*time.Second)
		defer cancel()
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(async () => Boolean(await (`+expression+`)))()`, chromedp.EvalAwaitPromise))
		if err == nil && !ok {
			return errors.New("not yet")
		}
		return err
	})
}

// at waits until the tab has loaded the page of an address.
func (tb *tab) at(url string) {
	tb.t.Helper()
	tb.becomes("the tab is at "+url, fmt.Sprintf(`location.href === %q && document.readyState === "complete"`, url))
}

// choose waits for the provider's sign-in page and chooses a demo user.
func (tb *tab) choose(user string) {
	tb.t.Helper()
	tb.becomes("the provider asks who to be", `document.querySelector("button[name=user]") && document.readyState === "complete"`)
	tb.click(`button[name=user][value=` + user + `]`)
}

// signIn signs a demo user in by opening the private page.
func (tb *tab) signIn(s *system, user string) {
	tb.t.Helper()
	tb.open(s.base + "/private")
	tb.choose(user)
	tb.at(s.base + "/private")
}

// callAPI presses Call API and returns state and text of the result.
func (tb *tab) callAPI() (state, text string) {
	tb.t.Helper()
	tb.becomes("Call API is ready", `document.querySelector("#call-api[data-ready]")`)
	tb.click("#call-api")
	tb.becomes("the answer has come", `document.querySelector("#api-result[data-state]:not([aria-busy])")`)
	return tb.answer()
}

func (tb *tab) answer() (state, text string) {
	tb.t.Helper()
	return js[string](tb, `document.querySelector("#api-result").dataset.state`), js[string](tb, `document.querySelector("#api-result").innerText`)
}

// lastItem returns the last item of the navigation bar: Login or Logout.
func (tb *tab) lastItem() string {
	tb.t.Helper()
	return js[string](tb, `document.querySelector(".account a").innerText.trim()`)
}

// text returns the visible text of the page.
func (tb *tab) text() string {
	tb.t.Helper()
	return js[string](tb, `document.body.innerText`)
}

func (tb *tab) shows(texts ...string) {
	tb.t.Helper()
	page := tb.text()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			tb.t.Errorf("%s does not show %q:\n%s", js[string](tb, `location.href`), text, page)
		}
	}
}

// cookies returns the cookies that the browser would send to a URL.
func (tb *tab) cookies(url string) []*network.Cookie {
	tb.t.Helper()
	return must(tb, network.GetCookies, network.GetCookiesParams{URLs: []string{url}}).Cookies
}

// forget deletes the cookies of the tab's browser context.
func (tb *tab) forget() {
	tb.t.Helper()
	must(tb, network.ClearBrowserCookies, cdp.Empty{})
}
