package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// recording returns half a second of silence as WAV.
func recording() []byte {
	const rate = 8000
	var b bytes.Buffer
	for _, part := range []any{
		[]byte("RIFF"), uint32(36 + rate/2), []byte("WAVEfmt "), uint32(16),
		uint16(1), uint16(1), uint32(rate), uint32(rate), uint16(1), uint16(8),
		[]byte("data"), uint32(rate / 2), bytes.Repeat([]byte{128}, rate/2),
	} {
		_ = binary.Write(&b, binary.LittleEndian, part) // a Buffer has no errors
	}
	return b.Bytes()
}

// sell creates a product of the signed-in user, and opens the page to change it.
func (tb *tab) sell(dev *system, title string) (id string) {
	tb.t.Helper()
	id = js[string](tb, fmt.Sprintf(`fetch("/api/products", {method: "POST", headers: {"Content-Type": "application/json"},
		body: JSON.stringify({title: %q, daw: "DAW_REAPER", price: {currencyCode: "EUR", amountMinor: "1999"}})}).then((r) => r.json()).then((p) => p.name.slice(9))`, title))
	tb.open(dev.base + "/my/products/" + id)
	tb.becomes("the form is ready", `document.querySelector("#product-form[data-ready]")`)
	return id
}

// drop drops a file on the page: an expression for its content, its name and its type.
func (tb *tab) drop(content, name, contentType string) {
	tb.t.Helper()
	js[bool](tb, fmt.Sprintf(`(() => {
		const dataTransfer = new DataTransfer();
		dataTransfer.items.add(new File([%s], %q, {type: %q}));
		return document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true})) || true;
	})()`, content, name, contentType))
}

// limit sets the speed of uploads; -1 for no limit.
func (tb *tab) limit(bytesPerSecond float64) {
	tb.t.Helper()
	must(tb, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{
		{DownloadThroughput: -1, UploadThroughput: bytesPerSecond},
	}})
}

func (tb *tab) notes(what, text string) {
	tb.t.Helper()
	tb.becomes(what, fmt.Sprintf(`!document.getElementById("upload-note").hidden && document.getElementById("upload-note").innerText.includes(%q)`, text))
}

// testShop uploads files as a seller, and buys and downloads them as others.
func testShop(t *testing.T, c *chromium, dev *system) {
	t.Run("from the file to the buyer", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.signIn(dev, "seller")
		id := tb.sell(dev, "Sold once")
		path := filepath.Join(t.TempDir(), "Für Elise.wav")
		if err := os.WriteFile(path, recording(), 0o600); err != nil {
			t.Fatal(err)
		}
		tb.do(chromedp.SetUploadFiles(chromedp.CSS("#choose"), []string{path}))
		tb.notes("the file is uploaded", "Für Elise.wav is uploaded.")
		tb.becomes("the recording can be played", `document.querySelector("#upload audio")?.duration === 0.5`)
		tb.shows("audio/wav")
		// The page has the etag of the product with its file.
		js[bool](tb, `(document.getElementById("description").value = "Mixed.", document.getElementById("save").click(), true)`)
		tb.at(dev.base + "/products/" + id)
		tb.becomes("the seller can download it", `document.querySelector("#file-actions a[download]")`)

		buyer := c.newTab(t)
		buyer.open(dev.base + "/products/" + id)
		buyer.becomes("a visitor is led to the login", `document.querySelector("#file-actions a")?.textContent === "Sign in to buy" && !document.querySelector("audio")`)
		buyer.click("#file-actions a")
		buyer.choose("buyer")
		buyer.at(dev.base + "/products/" + id)
		file := fmt.Sprintf("/api/products/%s/file", id)
		status := fmt.Sprintf(`fetch(%q).then((r) => r.status)`, file)
		if got := js[int](buyer, status); got != 403 {
			t.Errorf("before the purchase: %d", got)
		}
		buyer.becomes("it can be bought", `document.querySelector("#file-actions button")?.textContent === "Buy for €19.99"`)
		buyer.click("#file-actions button")
		buyer.becomes("it can be downloaded", `document.querySelector("#file-actions a[download]")`)
		buyer.becomes("it can be played", `document.querySelector("#file audio")?.duration === 0.5`)
		// The player seeks, and plays to the end, under the policy of the file.
		js[bool](buyer, `(() => { const a = document.querySelector("#file audio"); a.muted = true; a.currentTime = 0.3; a.play(); return true; })()`)
		buyer.becomes("it has played from there to its end", `(({ended, seekable, error}) => ended && !error && seekable.end(0) === 0.5)(document.querySelector("#file audio"))`)
		if got := js[string](buyer, fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=0-3"}}).then(async (r) => r.status + " " + await r.text() + " " + r.headers.get("Content-Disposition"))`, file)); got != `206 RIFF inline; filename="F_r Elise.wav"; filename*=UTF-8''F%C3%BCr%20Elise.wav` {
			t.Errorf("a range: %s", got)
		}
		buyer.open(dev.base + "/my/orders")
		buyer.becomes("it is among the orders", fmt.Sprintf(`document.querySelector("#orders a[href='/products/%s']") && document.querySelector("#orders a[download]").href.endsWith(%q)`, id, file))

		stranger := c.newTab(t)
		stranger.signIn(dev, "admin")
		if got := js[int](stranger, status); got != 403 {
			t.Errorf("a third user: %d", got)
		}
	})
	t.Run("hostile files", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.signIn(dev, "seller")
		id := tb.sell(dev, "Hostile")
		file := fmt.Sprintf("%s/api/products/%s/file", dev.base, id)
		for name, content := range map[string]string{
			`"><img src=x onerror="localStorage.ran=1">.mp3`: `"<!doctype html><script>localStorage.ran = 1<" + "/script>"`,
			"page.pdf":                `"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj"`,
			"a\u00a0b;filename=c.mp3": `"<svg xmlns='http://www.w3.org/2000/svg'><script>localStorage.ran = 1<" + "/script></svg>"`,
		} {
			tb.drop(content, name, "audio/mpeg")
			tb.becomes("the file is uploaded", fmt.Sprintf(`document.querySelector("#upload-note[data-state=ok]")?.innerText.startsWith(%q)`, name))
			js[bool](tb, fmt.Sprintf(`(location.href = %q, true)`, file)) // a download, so the page stays
			if got := js[string](tb, fmt.Sprintf(`fetch(%q).then((r) => [r.headers.get("Content-Disposition").split(";")[0], r.headers.get("X-Content-Type-Options"), r.headers.get("Content-Security-Policy").includes("sandbox")].join(" "))`, file)); got != "attachment nosniff true" {
				t.Errorf("%s: %s", name, got)
			}
			if js[bool](tb, `document.querySelector("audio") !== null || localStorage.ran !== undefined || !location.pathname.startsWith("/my/products/")`) {
				t.Errorf("%s is played, or ran", name)
			}
		}
		tb.drop(`"x"`, "a\u202evaw.exe", "audio/mpeg")
		tb.notes("the name is refused", "The name of the file must be one line of printable characters. Nothing was stored. Rename the file, and choose it again.")
		tb.becomes("the same file is not offered again", `document.getElementById("retry-upload").hidden && document.activeElement.id === "choose"`)
		tb.drop(`""`, "empty.wav", "audio/wav")
		tb.notes("an empty file is refused", "The file is empty, or a folder.")
	})
	t.Run("progress, cancel, failure and retry", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.signIn(dev, "seller")
		tb.sell(dev, "Slow")
		tb.limit(2 << 20)
		path := filepath.Join(t.TempDir(), "Large.wav")
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 16<<20)); err != nil {
			t.Fatal(err)
		}
		tb.do(chromedp.SetUploadFiles(chromedp.CSS("#choose"), []string{path}))
		tb.becomes("the progress is shown", `(({value, max}) => value > 1e5 && value < max)(document.getElementById("progress")) && document.getElementById("sending-note").innerText.includes("seconds left")`)
		tb.becomes("the progress is announced", `document.querySelector("#progress-said[role=status]").textContent === "25% uploaded"`)
		tb.click("#cancel-upload")
		tb.notes("the upload is cancelled", "The upload was cancelled. Nothing was stored.")
		tb.click("#retry-upload")
		tb.becomes("it goes on", `document.getElementById("progress").value > 1e5`)
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
		tb.notes("the failure is told", "Nothing was stored.")
		if err := os.WriteFile(path, recording(), 0o600); err != nil {
			t.Fatal(err)
		}
		tb.limit(-1)
		tb.do(chromedp.SetUploadFiles(chromedp.CSS("#choose"), []string{path}))
		tb.notes("the file is uploaded", "Large.wav is uploaded.")
		tb.consoleMessages() // of the upload that failed
	})
	t.Run("a session that ends during an upload", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.signIn(dev, "seller")
		id := tb.sell(dev, "Ended")
		tb.limit(1 << 20)
		tb.drop(`new Uint8Array(16 << 20)`, "Large.bin", "audio/mpeg")
		tb.becomes("the upload is under way", `document.getElementById("progress").value > 1e5`)
		tb.another().open(dev.base + "/api/auth/logout")
		tb.becomes("the page says that the session has ended", `document.querySelector("main.ended a[href*='/api/auth/login']")`)
		tb.limit(-1)
		tb.click("main.ended a[href*='/api/auth/login']")
		tb.choose("seller")
		tb.at(dev.base + "/my/products/" + id)
		tb.notes("the user learns about the upload", "The upload of Large.bin was interrupted.")
		tb.becomes("nothing was stored", `document.getElementById("file-facts").innerText.includes("There is no file yet.")`)
		tb.consoleMessages() // of the broken connection
	})
}
