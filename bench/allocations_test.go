//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/spa"
)

// committed are the allocations of a request, and their bytes, without the race detector. They
// do not depend on the machine. A change that adds to them needs a reason, one that saves lowers them
// here: TestPathAllocations prints what it has measured.
var committed = map[string]allocations{
	"gateway: GET with a token":           {41.3, 3470},
	"gateway: the same without telemetry": {39.0, 3280},
	"gateway: POST with a token":          {72.3, 6200},
	"gateway: 401 without a token":        {106.3, 6780},
	"gateway: 403 by policy":              {176.3, 12220},
	"gateway: upload of 100 KB":           {218.4, 152430},
	"all: GET signed in":                  {46.5, 5300},
	"all: the same without telemetry":     {44.0, 5050},
	"all: POST signed in":                 {85.5, 9050},
	"all: public GET without a session":   {68.5, 7050},
	"all: 401 without a session":          {129.5, 9590},
	"all: 403 by policy":                  {190.5, 15390},
	"all: POST of another origin":         {31.1, 2510},
	"bff: /api/auth/me":                   {16.1, 1740},
	"bff: embedded page":                  {451.2, 25740},
	"bff: file of a directory":            {89.1, 7250}, // 5 fewer with -count=1: go test logs opened files
	"sockets: bff":                        {173.3, 18780},
	"sockets: gateway+remote":             {275.4, 22100},
	"sockets: three":                      {421.0, 37570},
	"sockets: an event stream":            {177.2, 24340},
	"sockets: 10 logins":                  {14037.2, 1451000},
}

// Allocations are what one request allocates.
type allocations struct{ count, bytes float64 }

// A counted is a path whose allocations are compared.
type counted struct {
	name string
	// slack is the share by which the figures of one run differ from those of another: net/http,
	// grpc-go and their pools allocate for connections too.
	slack float64
	n     int // requests that are counted
	ask   func(testing.TB)
}

// TestPathAllocations compares the allocations of every kind of request with the committed ones. It is
// not parallel, because it counts the allocations of the process.
func TestPathAllocations(t *testing.T) {
	for _, c := range countedPaths(t) {
		t.Run(c.name, func(t *testing.T) {
			got, want := c.measure(t), committed[c.name]
			for range 2 { // what goes on besides can only add, such as a pool that a collection has emptied
				again := c.measure(t)
				got.count, got.bytes = min(got.count, again.count), min(got.bytes, again.bytes)
			}
			t.Logf("%q: {%.1f, %.0f},", c.name, got.count, got.bytes)
			slackCount := max(0.5, c.slack*want.count)
			if raceDetector { // pools drop a quarter of what they get, large buffers too
				slackCount, got.bytes = max(10, want.count/5), want.bytes
			}
			compare(t, "allocations", got.count, want.count, slackCount)
			compare(t, "bytes", got.bytes, want.bytes, max(100, c.slack*want.bytes))
		})
	}
}

func compare(t *testing.T, unit string, got, want, slack float64) {
	switch over := got - want; {
	case over > slack:
		t.Errorf("%.1f %s a request: %.1f (%.1f%%) more than the committed %.1f", got, unit, over, 100*over/want, want)
	case over < -want/20:
		t.Logf("%.1f %s a request: %.1f%% fewer than the committed %.1f, which can be lowered", got, unit, -100*over/want, want)
	}
}

// measure returns the allocations of a request.
func (c counted) measure(t *testing.T) allocations {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // no other goroutine allocates meanwhile
	n := c.n
	if raceDetector {
		n = max(n/5, 2)
	}
	for range max(n/3, 2) { // so that connections exist and pools have buffers
		c.ask(t)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		c.ask(t)
	}
	runtime.ReadMemStats(&after)
	return allocations{float64(after.Mallocs-before.Mallocs) / float64(n), float64(after.TotalAlloc-before.TotalAlloc) / float64(n)}
}

// countedPaths returns every kind of request that a product serves.
func countedPaths(t *testing.T) []counted {
	p, without := newPaths(t, newTelemetry(t)), newPaths(t, telemetry{})
	var all []counted
	handler := func(name string, h http.Handler, status int, r *http.Request, lines ...string) {
		v := newVariant(t, name, h, r, lines...)
		v.status = status
		all = append(all, counted{name: name, slack: 0.02, n: 300, ask: v.ask})
	}
	get := func(path string) *http.Request { return newRequest(http.MethodGet, path, "") }
	post := func(path, body string) *http.Request {
		r := newRequest(http.MethodPost, path, body)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", baseURL)
		return r
	}
	const order = `{"product": "products/aaaaaaaaaaaaaaaaaaaaaaaaaa"}`
	handler("gateway: GET with a token", p.gateway, 200, get(load.Path), p.bearer)
	handler("gateway: the same without telemetry", without.gateway, 200, get(load.Path), without.bearer)
	handler("gateway: POST with a token", p.gateway, 200, post("/api/orders", order), p.bearer)
	handler("gateway: 401 without a token", p.gateway, 401, get(load.Path))
	handler("gateway: 403 by policy", p.gateway, 403, post("/api/products", "{}"), p.bearer)
	handler("gateway: upload of 100 KB", p.gateway, 200, upload(), p.seller)
	handler("all: GET signed in", p.bff, 200, get(load.Path), p.signedIn)
	handler("all: the same without telemetry", without.bff, 200, get(load.Path), without.signedIn)
	handler("all: POST signed in", p.bff, 200, post("/api/orders", order), p.signedIn)
	handler("all: public GET without a session", p.bff, 200, get("/api/products/aaaaaaaaaaaaaaaaaaaaaaaaaa"))
	handler("all: 401 without a session", p.bff, 401, get(load.Path))
	handler("all: 403 by policy", p.bff, 403, post("/api/products", "{}"), p.signedIn)
	handler("all: POST of another origin", p.bff, 403, post("/api/orders", order), p.signedIn, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site")
	handler("bff: /api/auth/me", p.bff, 200, get("/api/auth/me"), p.signedIn)
	handler("bff: embedded page", p.bff, 200, get("/public"), p.signedIn)
	handler("bff: file of a directory", p.newBFF(t, p.gateway, directory(t)), 200, get("/app.js"))

	for _, way := range served(t, p) {
		switch way.name {
		case "bff", "gateway+remote", "three":
			all = append(all, counted{name: "sockets: " + way.name, slack: 0.03, n: 200, ask: way.open(t)})
		}
	}
	stream := p.listen(t, p.bff.Server())
	all = append(all, counted{name: "sockets: an event stream", slack: 0.03, n: 100, ask: func(t testing.TB) {
		conn := openEvents(t, stream, p.signedIn)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil { // until the server has ended it
			t.Fatal(err)
		}
		_ = conn.Close()
	}})
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	users := newLogins(t, store)
	const logins = 10
	all = append(all, counted{name: "sockets: 10 logins", slack: 0.03, n: 6, ask: func(t testing.TB) {
		if err := users.SignIn(t.Context(), logins); err != nil {
			t.Fatal(err)
		}
	}})
	return all
}

// upload returns a request with a file of 100 KB.
func upload() *http.Request {
	r := newRequest(http.MethodPost, "/api/products:upload?name=products/aaaaaaaaaaaaaaaaaaaaaaaaaa&fileName=a.zip", strings.Repeat("x", 100<<10))
	r.Header.Set("Content-Type", "application/zip")
	return r
}

// directory serves a directory with a script.
func directory(t *testing.T) http.Handler {
	dir := t.TempDir()
	for name, content := range map[string]string{"index.html": "<!doctype html><title>App</title>", "app.js": "console.log(1)"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	app, err := spa.New(spa.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// openEvents opens an event stream and reads its first event.
func openEvents(t testing.TB, address, credential string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(load.Request("/api/auth/events", "localhost:3000", append(load.BrowserHeaders, credential)...)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for r := bufio.NewReaderSize(conn, 512); !bytes.Contains(got, []byte("event: session")); {
		line, err := r.ReadSlice('\n')
		if err != nil {
			t.Fatalf("event stream: %v after %q", err, got)
		}
		got = append(got, line...)
	}
	return conn
}

// streamHeap is what an open event stream may hold, in bytes: the heap of both ends, without the stacks
// of two goroutines.
const streamHeap = 8 << 10

// TestStreamHeap opens event streams. They hold neither their requests nor the buffers of net/http. It
// is not parallel, because it measures the heap of the process.
func TestStreamHeap(t *testing.T) {
	p := newPaths(t, newTelemetry(t))
	address := p.listen(t, p.bff.Server())
	const sessions, each = 20, 5
	var credentials []string
	for i := range sessions {
		credentials = append(credentials, p.signIn(t, fmt.Sprint("user", i)))
	}
	for _, c := range credentials { // their sessions are cached then
		_ = openEvents(t, address, c).Close()
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // so that pools are empty
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	conns := make([]net.Conn, 0, sessions*each)
	for _, c := range credentials {
		for range each {
			conns = append(conns, openEvents(t, address, c))
		}
	}
	if got := (heap() - before) / (sessions * each); got > streamHeap {
		t.Errorf("a stream holds %d bytes, want at most %d", got, streamHeap)
	} else {
		t.Logf("a stream holds %d bytes", got)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}
