package bff_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// The matrix of the proxy: servers in three languages, kinds of answers, and
// protocols of the browser. Requests of each case have no body, or one that is
// short or long, of known or unknown length, and are for the API or the front
// end.
var (
	upstreams = []struct {
		name  string
		start func(testing.TB) *url.URL
	}{
		{"Go", goUpstream},
		{"Node", func(t testing.TB) *url.URL { return program(t, "node", "testdata/upstream.mjs") }},
		{"Python", func(t testing.TB) *url.URL { return program(t, "python3", "testdata/upstream.py") }},
	}
	upstreamCases = []string{
		"plain", "early", "early-close", "pause-header", "pause-chunk", "pause-end", "hundred", "hint",
		"abort-start", "abort-header", "abort-part", "abort-end",
	}
)

const upstreamSize = 9000

var upstreamBody = strings.Repeat("a", 3000) + strings.Repeat("b", 3000) + strings.Repeat("c", 3000)

// goUpstream is a server that gives the kind of answer that a request names.
func goUpstream(t testing.TB) *url.URL {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		ms, _ := strconv.Atoi(r.URL.Query().Get("pause"))
		pause := func() { <-time.After(time.Duration(ms) * time.Millisecond) }
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		early := strings.HasPrefix(kind, "early")
		if r.Header.Get("Expect") != "" {
			panic(http.ErrAbortHandler)
		}
		if !early {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		h := w.Header()
		switch kind {
		case "early-close":
			h.Set("Connection", "close")
		case "pause-header":
			pause()
		case "hundred":
			w.WriteHeader(http.StatusContinue)
		case "hint":
			h.Set("Link", "</style.css>; rel=preload")
			h.Set("Set-Cookie", "gatehouse=planted")
			w.WriteHeader(http.StatusEarlyHints)
			clear(h)
		case "abort-start":
			panic(http.ErrAbortHandler)
		case "abort-header":
			conn, rw, err := control.Hijack()
			if err != nil {
				return
			}
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Type: te")
			_ = rw.Flush()
			_ = conn.Close()
			return
		}
		if r.URL.Query().Has("length") {
			size := upstreamSize
			if kind == "abort-end" {
				size++
			}
			h.Set("Content-Length", strconv.Itoa(size))
		}
		w.WriteHeader(http.StatusOK)
		_ = control.Flush()
		for i := range 3 {
			_, _ = io.WriteString(w, upstreamBody[3000*i:3000*(i+1)])
			_ = control.Flush()
			if i == 0 && kind == "abort-part" {
				panic(http.ErrAbortHandler)
			}
			if i == 0 && kind == "pause-chunk" {
				pause()
			}
		}
		switch kind {
		case "abort-end":
			panic(http.ErrAbortHandler)
		case "pause-end":
			pause()
		case "early":
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// program starts a server that prints its port, and stops when its standard
// input is closed.
func program(t testing.TB, name string, args ...string) *url.URL {
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if errs.Len() > 0 {
			t.Logf("%s: %s", name, errs.String())
		}
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %v: %s", name, err, errs.String())
	}
	return &url.URL{Scheme: "http", Host: "127.0.0.1:" + strings.TrimSpace(port)}
}

// fronts start a bff, by the protocol of its browsers.
var fronts = []struct {
	name  string
	start func(testing.TB, http.Handler) (base string, client *http.Client)
}{
	{"HTTP/1", func(t testing.TB, h http.Handler) (string, *http.Client) {
		front := httptest.NewServer(h)
		t.Cleanup(front.Close)
		return front.URL, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	}},
	{"HTTP/2", func(t testing.TB, h http.Handler) (string, *http.Client) {
		front := httptest.NewUnstartedServer(h)
		front.EnableHTTP2 = true
		front.StartTLS()
		t.Cleanup(front.Close)
		pool := front.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		return front.URL, &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	}},
}

// A matrixResult counts the requests of one case.
type matrixResult struct {
	requests, lost int
	first          error // the error of the first lost one
}

// matrix makes n requests of each case for each server and protocol, 8 at a time.
// pause is the pause of the servers.
func matrix(t *testing.T, n int, pause time.Duration, report func(upstream, front, kind string, got matrixResult)) {
	for _, upstream := range upstreams {
		target := upstream.start(t)
		for _, front := range fronts {
			s := start(t, func(c *bff.Config) {
				c.API, c.Frontend = bff.NewProxy(target, c.Logger), bff.NewProxy(target, c.Logger)
			})
			base, client := front.start(t, s)
			t.Cleanup(client.CloseIdleConnections)
			for _, kind := range upstreamCases {
				var mu sync.Mutex
				got := matrixResult{}
				next := make(chan int)
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for i := range next {
							err := askUpstream(t.Context(), client, base, kind, i, pause)
							mu.Lock()
							if got.requests++; err != nil {
								if got.lost++; got.first == nil {
									got.first = err
								}
							}
							mu.Unlock()
						}
					})
				}
				for i := range n {
					next <- i
				}
				close(next)
				all.Wait()
				report(upstream.name, front.name, kind, got)
			}
		}
	}
}

// askUpstream makes one request of the matrix and checks its answer.
func askUpstream(ctx context.Context, client *http.Client, base, kind string, i int, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	hints := 0
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code != http.StatusEarlyHints || len(h) != 1 || h.Get("Link") == "" {
			return fmt.Errorf("a %d with the header %v", code, h)
		}
		hints++
		return nil
	}})
	address := base
	if i%2 == 1 {
		address += "/api"
	}
	address += "/up/" + kind + "?pause=" + strconv.Itoa(int(pause/time.Millisecond))
	if i/2%2 == 1 {
		address += "&length=1"
	}
	method, body := http.MethodPost, io.Reader(nil)
	switch i / 4 % 4 {
	case 0:
		method = http.MethodGet
	case 1:
		body = strings.NewReader(strings.Repeat("x", 100))
	case 2:
		body = strings.NewReader(strings.Repeat("x", 200_000))
	case 3: // chunked
		body = io.MultiReader(strings.NewReader("x"), strings.NewReader(strings.Repeat("x", 50_000)))
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	aborts := strings.HasPrefix(kind, "abort")
	res, err := client.Do(req)
	if err != nil {
		if aborts && ctx.Err() == nil {
			return nil
		}
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case aborts && err == nil && res.StatusCode != http.StatusBadGateway:
		return fmt.Errorf("%s, with %d bytes and no error", res.Status, len(got))
	case aborts:
		return nil
	case err != nil:
		return fmt.Errorf("%s, then %w after %d bytes", res.Status, err, len(got))
	case res.StatusCode != http.StatusOK || string(got) != upstreamBody:
		return fmt.Errorf("%s, with %d bytes", res.Status, len(got))
	case kind == "hint" && hints != 1:
		return fmt.Errorf("%d early hints", hints)
	case len(res.Header["X-Request-Id"]) != 1 || res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Referrer-Policy") == "":
		return fmt.Errorf("the header lacks the bff's fields: %v", res.Header)
	case i%2 == 0 && res.Header.Get("Content-Security-Policy") != "frame-ancestors 'none'":
		return errors.New("the page can be framed")
	}
	return nil
}

// TestProofProxyMatrix is the long form.
func TestProxyMatrix(t *testing.T) {
	t.Parallel()
	matrix(t, 16, time.Millisecond, func(upstream, front, kind string, got matrixResult) {
		if got.lost > 0 {
			t.Errorf("%s, %s, %s: %d of %d answers lost, the first: %v", upstream, front, kind, got.lost, got.requests, got.first)
		}
	})
}
