package bff_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// An answer is complete although the server pauses for longer than the write
// deadline.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	const pause = 31 * time.Second
	for name, answer := range map[string]func(w http.ResponseWriter, wait func()){
		"before the header": func(w http.ResponseWriter, wait func()) {
			wait()
			_, _ = io.WriteString(w, "firstlast")
		},
		"after the header": func(w http.ResponseWriter, wait func()) {
			_ = http.NewResponseController(w).Flush()
			wait()
			_, _ = io.WriteString(w, "firstlast")
		},
		"after early hints": func(w http.ResponseWriter, wait func()) {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(http.StatusEarlyHints)
			wait()
			_, _ = io.WriteString(w, "firstlast")
		},
		"between two parts": func(w http.ResponseWriter, wait func()) {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			wait()
			_, _ = io.WriteString(w, "last")
		},
		"before the end": func(w http.ResponseWriter, wait func()) {
			_, _ = io.WriteString(w, "firstlast")
			_ = http.NewResponseController(w).Flush()
			wait()
		},
		"before the end, with a length": func(w http.ResponseWriter, wait func()) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "first")
			wait()
			_, _ = io.WriteString(w, "last")
			wait()
		},
		"before the end of a stream": func(w http.ResponseWriter, wait func()) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "firstlast")
			_ = http.NewResponseController(w).Flush()
			wait()
		},
	} {
		for _, path := range []string{"/public", "/api/slow"} {
			for protocol := range 2 {
				t.Run(fmt.Sprintf("%s, %s, HTTP/%d", name, path, protocol+1), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
							answer(w, func() { time.Sleep(pause) })
						})
						server := bubble(t, func(cfg *bff.Config) { cfg.API, cfg.Frontend = slow, slow }).Server()
						client, stop := pipeClient(server, protocol == 1)
						defer stop()
						res, err := client.Get("http://localhost:3000" + path)
						if err != nil {
							t.Fatal(err)
						}
						body, err := io.ReadAll(res.Body)
						if err != nil || string(body) != "firstlast" || res.ProtoMajor != protocol+1 {
							t.Errorf("%s: got %q, %v", res.Proto, body, err)
						}
					})
				})
			}
		}
	}
}

// pipeClient serves over connections in memory and returns their client.
func pipeClient(server *http.Server, http2 bool) (client *http.Client, stop func()) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	server.Protocols = protocols
	listener := make(pipe, 1)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		listener <- there
		return here, nil
	}}
	return &http.Client{Transport: transport}, func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-done
	}
}

// The stream of an HTTP/2 client that does not read is reset, and the others of
// its connection are not.
func TestStalledStreamOfHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		long := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/public" {
				return
			}
			begun := time.Now()
			var err error
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat("x", 32<<10))
			}
			ended <- time.Since(begun)
		})
		client, stop := pipeClient(bubble(t, func(cfg *bff.Config) { cfg.API, cfg.Frontend = long, long }).Server(), true)
		defer stop()
		res, err := client.Get("http://localhost:3000/api/long")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got := <-ended; got != 30*time.Second {
			t.Errorf("the handler wrote for %v, want 30 s", got)
		}
		other, err := client.Get("http://localhost:3000/public")
		if err != nil {
			t.Fatalf("other stream: %v", err)
		}
		_ = other.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Error("the answer ended without an error")
		}
	})
}

// An answer that begins before its request has been read is the last one on its
// connection: the rest of the body is not taken for a request.
func TestEarlyAnswersEndTheConnection(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	early := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.URL.Path, true)
		_ = http.NewResponseController(w).EnableFullDuplex() // otherwise net/http waits for the body
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "early")
	})
	target := behind(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // otherwise net/http panics (golang/go#68560)
		early(w, r)
	})
	for name, change := range map[string]func(*bff.Config){
		"in process": func(c *bff.Config) { c.API, c.Frontend = early, early },
		"proxied": func(c *bff.Config) {
			c.API, c.Frontend = bff.NewProxy(target, c.Logger), bff.NewProxy(target, c.Logger)
		},
	} {
		for _, path := range []string{"/public", "/api/x"} {
			for body, rest := range map[string]string{
				"Content-Length: 100\r\n\r\nx":                 "GET /smuggled HTTP/1.1\r\nHost: localhost:3000\r\n\r\n",
				"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n": "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost:3000\r\n\r\n",
				"Transfer-Encoding: chunked\r\n\r\n5\r\nx":     "GET /smuggled HTTP/1.1\r\nHost: localhost:3000\r\n\r\n",
			} {
				t.Run(name+path, func(t *testing.T) {
					t.Parallel()
					server := httptest.NewServer(start(t, change))
					t.Cleanup(server.Close)
					conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					_ = conn.SetDeadline(time.Now().Add(patience))
					fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost:3000\r\n%s", path, body)
					r := bufio.NewReader(conn)
					res, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Fatal(err)
					}
					got := make([]byte, 5)
					if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != "early" || !res.Close {
						t.Errorf("got %q, %v, closes %t", got, err, res.Close)
					}
					_, _ = io.WriteString(conn, rest)
					_ = conn.(*net.TCPConn).CloseWrite()
					if more, err := io.ReadAll(r); len(more) > 0 || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("then %q, %v", more, err)
					}
					if _, ok := seen.Load("/smuggled"); ok {
						t.Error("a body was served as a request")
					}
				})
			}
		}
	}
}

// A client that sends everything before it reads gets its answer, although the
// handler does not read the body.
func TestEarlyRefusalsArrive(t *testing.T) {
	t.Parallel()
	refusing := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too long", http.StatusRequestEntityTooLarge)
	}
	for name, change := range map[string]func(*bff.Config){
		"in process":               func(c *bff.Config) { c.API = http.HandlerFunc(refusing) },
		"proxied":                  func(c *bff.Config) { c.API = bff.NewProxy(behind(t, refusing), c.Logger) },
		"to a server that is away": func(c *bff.Config) { c.API = bff.NewProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, c.Logger) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(start(t, change))
			server.Config.ErrorLog = slog.NewLogLogger(logger(everything).Handler(), slog.LevelError)
			server.Start()
			t.Cleanup(server.Close)
			conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			const length = 8 << 20
			fmt.Fprintf(conn, "POST /api/x HTTP/1.1\r\nHost: localhost:3000\r\nContent-Length: %d\r\n\r\n", length)
			if n, err := io.CopyN(conn, zeros{}, length); err != nil {
				t.Fatalf("the connection broke after %d bytes of the body: %v", n, err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge && res.StatusCode != http.StatusBadGateway {
				t.Errorf("%s, %v", res.Status, err)
			}
		})
	}
}

// A body that the handler does not read causes no panic of net/http in the search
// for the next request (golang/go#68560).
func TestUnreadBodies(t *testing.T) {
	t.Parallel()
	rec := &record{}
	ignoring := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewUnstartedServer(start(t, func(c *bff.Config) { c.API = ignoring }))
	server.Config.ErrorLog = slog.NewLogLogger(logger(rec).Handler(), slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	for _, path := range []string{"/api/x", "/api/auth/nothing", "/public"} {
		for _, length := range []int{1, 5000, 300_000, 3_000_000} {
			for range 3 {
				res, err := server.Client().Post(server.URL+path, "text/plain", strings.NewReader(strings.Repeat("x", length)))
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", path, length, err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.log.Len() > 0 {
		t.Errorf("net/http says %s", rec.log.String())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Bodies pass in both directions at once.
func TestBothDirections(t *testing.T) {
	t.Parallel()
	echo := func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "echo "+line)
			_ = http.NewResponseController(w).Flush()
		}
	}
	target := behind(t, echo)
	for name, api := range map[string]http.Handler{"in process": http.HandlerFunc(echo), "proxied": bff.NewProxy(target, nil)} {
		for _, front := range fronts {
			t.Run(name+", "+front.name, func(t *testing.T) {
				t.Parallel()
				base, client := front.start(t, start(t, func(c *bff.Config) { c.API, c.Frontend = api, api }))
				t.Cleanup(client.CloseIdleConnections)
				for _, path := range []string{"/public", "/api/echo"} {
					body, in := io.Pipe()
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, body)
					if err != nil {
						t.Fatal(err)
					}
					go func() { _, _ = io.WriteString(in, "1\n") }() // the server waits for it before its header
					res, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					answers := bufio.NewReader(res.Body)
					for i := range 20 {
						if i > 0 {
							fmt.Fprintf(in, "%d\n", i+1)
						}
						if got, err := answers.ReadString('\n'); got != fmt.Sprintf("echo %d\n", i+1) {
							t.Fatalf("%s: got %q, %v", path, got, err)
						}
					}
					_ = in.Close()
					if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
						t.Errorf("%s: then %q, %v", path, rest, err)
					}
					_ = res.Body.Close()
				}
			})
		}
	}
}

// The bff's own headers are part of the final answer, and not of interim ones.
func TestOwnHeadersAfterInterimAnswers(t *testing.T) {
	t.Parallel()
	var expected atomic.Bool
	target := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			expected.Store(true)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		for range 20 {
			w.Header().Set("Link", "</x>")
			w.Header().Set("Set-Cookie", "gatehouse=planted")
			w.Header().Set("Content-Security-Policy", "frame-ancestors *")
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.WriteHeader(http.StatusProcessing)
		clear(w.Header())
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		w.Header().Set("Strict-Transport-Security", "max-age=0")
		w.Header().Set("X-Content-Type-Options", "sniff")
		_, _ = io.WriteString(w, "answer")
	})
	server := httptest.NewServer(start(t, https, func(c *bff.Config) {
		c.API, c.Frontend = bff.NewProxy(target, c.Logger), bff.NewProxy(target, c.Logger)
	}))
	t.Cleanup(server.Close)
	for _, request := range []string{
		"POST /public HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		"GET /public HTTP/1.1\r\nHost: shop.example\r\n\r\n",
		"GET /public HTTP/1.0\r\nHost: shop.example\r\n\r\n",
		"POST /api/x HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, request)
		r := bufio.NewReader(conn)
		hints := 0
		res, err := http.ReadResponse(r, nil)
		for ; err == nil && res.StatusCode < 200; res, err = http.ReadResponse(r, nil) {
			if res.StatusCode == http.StatusEarlyHints {
				if hints++; len(res.Header) != 1 || res.Header.Get("Link") == "" {
					t.Errorf("%q: early hints with %v", request, res.Header)
				}
			} else if res.StatusCode != http.StatusContinue || len(res.Header) > 0 {
				t.Errorf("%q: %s with %v", request, res.Status, res.Header)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 6)
		if _, err := io.ReadFull(res.Body, body); string(body) != "answer" {
			t.Errorf("%q: %q, %v", request, body, err)
		}
		if want := strings.Contains(request, "HTTP/1.1"); hints > 8 || (hints > 0) != want {
			t.Errorf("%q: %d early hints", request, hints)
		}
		policy := "frame-ancestors 'none'|default-src 'self'"
		if strings.Contains(request, "/api") {
			policy = "default-src 'self'"
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Strict-Transport-Security": "max-age=31536000", "Set-Cookie": "", "Link": "",
		} {
			if got := strings.Join(res.Header[name], "|"); got != want {
				t.Errorf("%q: %s = %q, want %q", request, name, got, want)
			}
		}
		if len(res.Header["X-Request-Id"]) != 1 {
			t.Errorf("%q: %d request ids", request, len(res.Header["X-Request-Id"]))
		}
		_ = conn.Close()
	}
	if expected.Load() {
		t.Error("Expect was forwarded")
	}
}

// TRACE, TRACK and CONNECT are refused.
func TestNoTraceNorConnect(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	behind := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	server := httptest.NewServer(start(t, func(c *bff.Config) { c.API, c.Frontend = behind, behind }))
	t.Cleanup(server.Close)
	for _, method := range []string{"TRACE", "CONNECT", "TRACK", "trace", "Connect"} {
		for _, target := range []string{"/public", "/api/x", "/api/auth/me", "/healthz", "evil.example:443"} {
			if (target[0] != '/') != (method == "CONNECT") && target[0] != '/' {
				continue
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost:3000\r\n\r\n", method, target)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") == "" {
				t.Errorf("%s %s: %s, Allow %q", method, target, res.Status, res.Header.Get("Allow"))
			}
			_ = conn.Close()
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
}

// A path of a megabyte is cut in the log.
func TestLongPathsAreNotLogged(t *testing.T) {
	t.Parallel()
	rec := &record{}
	s := start(t, func(c *bff.Config) { c.Logger = logger(rec) })
	b := s.browser()
	path := "/" + strings.Repeat("long", 1<<18)
	for _, target := range []string{path, "/api" + path, "/api/auth" + path} {
		b.navigate(target)
		b.fetch(target, header("Authorization", "Bearer mine"))
		b.do(http.MethodPost, target, nil, site("cross-site"))
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	lines := 0
	for line := range strings.Lines(rec.log.String()) {
		if lines++; len(line) > 2<<10 {
			t.Errorf("a line of %d bytes: %.200s", len(line), line)
		}
	}
	if lines < 9 {
		t.Errorf("%d lines", lines)
	}
}

// A client that sends a bearer token to the bff gets the address for tokens, and
// the token is not logged.
func TestBearerTokenHint(t *testing.T) {
	t.Parallel()
	const plain = `{"code":16,"message":"no token","details":[{"reason":"TOKEN_MISSING"}]}`
	for _, c := range []struct {
		name, address, says, answer string
	}{
		{"google.rpc.Status", "", "no token; this address takes the session cookie of a signed-in browser and no bearer token: send it to the gateway", plain},
		{"with an address", "http://localhost:5000", "send it to the gateway at http://localhost:5000", plain},
		{"RFC 9457", "", `"detail":"no token; this address`, `{"title":"Unauthorized","detail":"no token","reason":"TOKEN_MISSING"}`},
		{"Connect", "", `"message":"no token; this address`, `{"code":"unauthenticated","message":"no token","reason":"TOKEN_MISSING"}`},
		{"something else", "", "TOKEN_MISSING no token", "TOKEN_MISSING no token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec := &record{}
			s := start(t, func(cfg *bff.Config) { cfg.TokenAddress, cfg.Logger = c.address, logger(rec) })
			s.api.set(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Www-Authenticate", "Bearer")
				w.Header().Set("Content-Length", fmt.Sprint(len(c.answer)))
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, c.answer)
				_ = http.NewResponseController(w).Flush()
			})
			res := s.browser().fetch("/api/private-route", header("Authorization", "Bearer a-token-of-this-client"))
			wantStatus(t, res, http.StatusUnauthorized)
			if !strings.Contains(res.body, c.says) || !strings.Contains(res.body, "TOKEN_MISSING") || res.Header.Get("Www-Authenticate") != "Bearer" {
				t.Errorf("%v: %s", res.Header, res.body)
			}
			rec.mu.Lock()
			defer rec.mu.Unlock()
			if log := rec.log.String(); !strings.Contains(log, "takes session cookies") || strings.Contains(log, "a-token-of") {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

// During an outage of the session store, public answers of the API are served,
// and others are 503, not 401.
func TestStoreOutageAtTheAPI(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.store.change(func(s *store) { s.get = outage })
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		switch {
		case bearer(r) != "":
			t.Error("a token was forwarded")
		case strings.HasSuffix(r.URL.Path, "private"):
			status = http.StatusUnauthorized
			w.Header().Set("WWW-Authenticate", "Bearer")
		case strings.HasSuffix(r.URL.Path, "forbidden"):
			status = http.StatusForbidden
		}
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("CDN-Cache-Control", "max-age=60")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "answer of the API")
	})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/public", 200}, {"HEAD", "/api/public", 200}, {"GET", "/api/private", 503}, {"HEAD", "/api/private", 503}, {"GET", "/api/forbidden", 503},
		{"POST", "/api/public", 503}, {"DELETE", "/api/public", 503}, {"PUT", "/api/private", 503},
	} {
		s.api.requests()
		res := b.do(c.method, c.path, nil, site("same-origin"), header("Sec-Fetch-Mode", "cors"))
		if res.StatusCode != c.status || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Cdn-Cache-Control") != "" ||
			(res.Header.Get("Retry-After") != "") != (c.status == 503) || res.Header.Get("Gatehouse-Login") != "" || len(res.Cookies()) > 0 ||
			strings.Contains(res.body, "answer of") != (c.status == 200) {
			t.Errorf("%s %s: %s %v %q", c.method, c.path, res.Status, res.Header, res.body)
		}
		if asked := len(s.api.requests()) > 0; asked != (c.method == "GET" || c.method == "HEAD") {
			t.Errorf("%s %s: forwarded: %t", c.method, c.path, asked)
		}
	}
}
