package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A piece is a text that the browser sent, received or stores.
type piece struct {
	kind string // such as "response header location" or "document.cookie"
	url  string // of the request, or of the page
	text string
}

// traffic records what passes between a tab and the network.
type traffic struct {
	mu     sync.Mutex
	pieces []piece
	// A redirect keeps the id of its request, and the events with the raw headers have no URL: the
	// n-th of them belongs to the n-th hop.
	hops      map[network.RequestID][]string
	sent      map[network.RequestID][]network.Headers
	received  map[network.RequestID][]network.Headers
	completed map[network.RequestID]bool // whether the whole body arrived
	cached    map[network.RequestID]bool // whether it came from the renderer's own cache
}

func newTraffic() *traffic {
	return &traffic{
		hops: make(map[network.RequestID][]string), sent: make(map[network.RequestID][]network.Headers),
		received: make(map[network.RequestID][]network.Headers), completed: make(map[network.RequestID]bool),
		cached: make(map[network.RequestID]bool),
	}
}

func (tr *traffic) hear(event any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	add := func(kind, url string, headers network.Headers) {
		for name, value := range headers {
			tr.pieces = append(tr.pieces, piece{kind + " " + strings.ToLower(name), url, fmt.Sprint(value)})
		}
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.RedirectResponse != nil {
			add("response header", e.RedirectResponse.URL, e.RedirectResponse.Headers)
		}
		url := e.Request.URL + e.Request.URLFragment
		tr.hops[e.RequestID] = append(tr.hops[e.RequestID], url)
		tr.pieces = append(tr.pieces, piece{"request URL", url, url})
		if e.DocumentURL != e.Request.URL {
			tr.pieces = append(tr.pieces, piece{"document URL", url, e.DocumentURL})
		}
		add("request header", url, e.Request.Headers)
		for _, entry := range e.Request.PostDataEntries {
			tr.pieces = append(tr.pieces, piece{"request body", url, string(entry.Bytes)})
		}
	case *network.EventRequestWillBeSentExtraInfo:
		tr.sent[e.RequestID] = append(tr.sent[e.RequestID], e.Headers)
	case *network.EventResponseReceivedExtraInfo:
		tr.received[e.RequestID] = append(tr.received[e.RequestID], e.Headers)
	case *network.EventResponseReceived:
		add("response header", e.Response.URL, e.Response.Headers)
	case *network.EventRequestServedFromCache:
		tr.cached[e.RequestID] = true
	case *network.EventLoadingFinished:
		tr.completed[e.RequestID] = true
	}
}

// recorded returns everything so far, with the bodies of the responses.
func (tb *tab) recorded() []piece {
	tb.t.Helper()
	tr := tb.traffic
	tr.mu.Lock()
	pieces := append([]piece(nil), tr.pieces...)
	bodies := make(map[network.RequestID]string)
	for id, hops := range tr.hops {
		for kind, all := range map[string][]network.Headers{"request header": tr.sent[id], "response header": tr.received[id]} {
			if len(all) > len(hops) {
				tb.t.Errorf("%d times the raw %ss of %d requests: %v", len(all), kind, len(hops), hops)
				continue
			}
			for i, headers := range all {
				for name, value := range headers {
					pieces = append(pieces, piece{kind + " " + strings.ToLower(name), hops[i], fmt.Sprint(value)})
				}
			}
		}
		if last := hops[len(hops)-1]; tr.completed[id] && strings.HasPrefix(last, "http") {
			bodies[id] = last
		}
	}
	cached := maps.Clone(tr.cached)
	tr.mu.Unlock()
	read := make(map[string]bool)
	for id, url := range bodies {
		if cached[id] {
			continue // the same bytes as the first time
		}
		ctx, cancel := context.WithTimeout(tb.ctx, patience)
		body, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) (network.GetResponseBodyResult, error) {
			return cdp.Call(ctx, t, network.GetResponseBody, network.GetResponseBodyParams{RequestID: id})
		})
		cancel()
		if err != nil {
			tb.t.Errorf("the body of %s (request %s): %v", url, id, err)
			continue
		}
		read[url] = true
		pieces = append(pieces, piece{"response body", url, string(body.Body)})
	}
	for id, url := range bodies {
		if cached[id] && !read[url] {
			tb.t.Errorf("the body of %s came from a cache, and no earlier response is known", url)
		}
	}
	return pieces
}

// visited returns the URLs that the tab requested and that match.
func (tr *traffic) visited(match func(u *url.URL) bool) []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var found []string
	for _, p := range tr.pieces {
		if u, err := url.Parse(p.text); p.kind == "request URL" && err == nil && match(u) {
			found = append(found, p.text)
		}
	}
	return found
}

// scriptVisible is a promise of everything that a script of the page can read without knowing where
// to look, by name.
const scriptVisible = `(async () => {
	const list = (storage) => JSON.stringify(Object.entries(storage));
	const strings = Object.getOwnPropertyNames(window)
		.filter((name) => { try { return typeof window[name] === "string" } catch { return false } })
		.map((name) => name + "=" + window[name]);
	return {
		"document.cookie": document.cookie,
		"localStorage": list(localStorage),
		"sessionStorage": list(sessionStorage),
		"IndexedDB": JSON.stringify(await indexedDB.databases()),
		"caches": JSON.stringify(await Promise.all((await caches.keys()).map(async (name) => [name, (await (await caches.open(name)).keys()).map((r) => r.url)]))),
		"service workers": JSON.stringify((await navigator.serviceWorker.getRegistrations()).map((r) => r.scope)),
		"window.name": window.name,
		"history.state": JSON.stringify(history.state),
		"location": location.href,
		"document.referrer": document.referrer,
		"performance entries": performance.getEntries().map((e) => JSON.stringify(e)).join("\n"),
		"window properties": strings.join("\n"),
		"DOM": document.documentElement.outerHTML,
	};
})()`

// scriptSees returns what a script of the current page can read.
func (tb *tab) scriptSees() []piece {
	tb.t.Helper()
	page := js[string](tb, `location.href`)
	var pieces []piece
	for name, text := range js[map[string]string](tb, scriptVisible) {
		pieces = append(pieces, piece{name, page, text})
	}
	return pieces
}

var threeSegments = regexp.MustCompile(`[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)

// jwts returns what looks like a token in a text: three segments of base64url, the first of which
// is a JOSE header.
func jwts(text string) []string {
	var found []string
	for _, candidate := range threeSegments.FindAllString(text, -1) {
		head, _, _ := strings.Cut(candidate, ".")
		raw, err := base64.RawURLEncoding.DecodeString(head)
		var header map[string]any
		if err != nil || json.Unmarshal(raw, &header) != nil {
			continue
		}
		if _, ok := header["alg"]; ok {
			found = append(found, candidate)
		}
	}
	return found
}
