package bff_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// drained is an API that ends its streams itself.
type drained struct {
	http.Handler
	told chan struct{}
}

func (d *drained) Drain() { close(d.told) }

// A shutdown does not wait for streams. They end with a message that tells the
// browser to connect again, in the form of the stream, and never within a
// message.
func TestStreamsAtShutdown(t *testing.T) {
	t.Parallel()
	const event, line = "data: 1\n\n", "{\"result\":{}}\n"
	for _, c := range []struct {
		name, contentType string
		sent              string
		want              string
		whole             bool
	}{
		{"events", "text/event-stream", event, event + "event: end\nretry: 2000\ndata: {}\n\n", true},
		{"no event yet", "text/event-stream", "", "event: end\nretry: 2000\ndata: {}\n\n", true},
		{"half an event", "text/event-stream", event + "data: 2\n", event + "data: 2\n", false},
		{"what has ended already", "text/event-stream", "event: error\ndata: {}\n\n", "event: error\ndata: {}\n\n", true},
		{"lines", "application/x-ndjson", line, line + `{"error":{"code":14,"message":"this server stops; come back","details":[]}}` + "\n", true},
		{"half a line", "application/x-ndjson", line + "{", line + "{", false},
		{"a stream of another kind", "application/connect+json", "x", "x", false},
	} {
		for _, proxied := range []bool{false, true} {
			name := c.name + " in process"
			if proxied {
				name = c.name + " proxied"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", c.contentType)
					_, _ = io.WriteString(w, c.sent)
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				})
				s := start(t, func(cfg *bff.Config) {
					cfg.API = api
					if proxied {
						cfg.API = bff.NewProxy(behind(t, api), cfg.Logger)
					}
				})
				res, shutdown := listen(t, s)
				begun := make([]byte, len(c.sent))
				if _, err := io.ReadFull(res.Body, begun); err != nil {
					t.Fatal(err)
				}
				shutdown()
				rest, err := io.ReadAll(res.Body)
				// A handler in this process ends its streams itself.
				if got := string(begun) + string(rest); got != c.want || (err == nil) != (c.whole || !proxied) {
					t.Errorf("got %q, %v\nwant %q, whole %t", got, err, c.want, c.whole)
				}
				if got := res.Header.Get("X-Accel-Buffering"); got != "no" {
					t.Errorf("X-Accel-Buffering: %q", got)
				}
			})
		}
	}
	t.Run("by the API itself", func(t *testing.T) {
		t.Parallel()
		d := &drained{told: make(chan struct{})}
		d.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-d.told:
				_, _ = io.WriteString(w, "data: goodbye\n\n")
			case <-r.Context().Done():
			}
		})
		res, shutdown := listen(t, start(t, func(cfg *bff.Config) { cfg.API = d }))
		shutdown()
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != "data: goodbye\n\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// A shutdown ends the streams of a front-end server after a message. Other
// answers of it are in flight, and end by themselves.
func TestFrontEndStreamsAtShutdown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, contentType, sent string
		ends, whole             bool
	}{
		{"events", "text/event-stream", "data: 1\n\n", true, true},
		{"half an event", "text/event-stream", "data: 1\n", true, false},
		{"lines", "application/x-ndjson", "{}\n", true, true},
		{"a page", "text/html", "<p>", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			s := start(t, func(cfg *bff.Config) {
				cfg.Frontend = bff.NewProxy(behind(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", c.contentType)
					_, _ = io.WriteString(w, c.sent)
					_ = http.NewResponseController(w).Flush()
					select {
					case <-release:
						_, _ = io.WriteString(w, "end")
					case <-r.Context().Done():
					}
				}), cfg.Logger)
			})
			res, shutdown := listenAt(t, s, "/watch")
			if _, err := io.ReadFull(res.Body, make([]byte, len(c.sent))); err != nil {
				t.Fatal(err)
			}
			want := ""
			if !c.ends {
				want = "end"
				close(release)
			}
			shutdown()
			got, err := io.ReadAll(res.Body)
			if string(got) != want || (err == nil) != c.whole {
				t.Errorf("got %q, %v, want %q, whole %t", got, err, want, c.whole)
			}
			if got := res.Header.Get("X-Accel-Buffering"); got != "" {
				t.Errorf("X-Accel-Buffering: %q", got)
			}
		})
	}
}

// listen opens a stream of the API.
func listen(t *testing.T, s *system) (*http.Response, func()) {
	t.Helper()
	return listenAt(t, s, "/api/watch")
}

// listenAt opens a stream at a real server for s. The function that it returns
// shuts the server down, which must succeed.
func listenAt(t *testing.T, s *system, path string) (*http.Response, func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.Server()
	go func() { _ = server.Serve(listener) }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res, func() {
		t.Helper()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	}
}

// A browser that keeps its connection and reads nothing is disconnected: the
// gateway behind a proxy cannot detect it.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		s := bubble(t, func(cfg *bff.Config) {
			cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begun := time.Now()
				w.Header().Set("Content-Type", "text/event-stream")
				for err := error(nil); err == nil && r.Context().Err() == nil; {
					_, err = io.WriteString(w, "data: x\n\n")
				}
				ended <- time.Since(begun)
			})
		})
		browser, there := net.Pipe()
		listener := make(pipe, 1)
		listener <- there
		server := s.Server()
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(listener) }()
		if _, err := io.WriteString(browser, "GET /api/watch HTTP/1.1\r\nHost: localhost:3000\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReaderSize(browser, 16).ReadString('\n'); !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
		if got := <-ended; got != 30*time.Second {
			t.Errorf("the API was called for %v, want 30 s", got)
		}
		_ = server.Close()
		_ = browser.Close()
		<-done
	})
}

// pipe is a listener for one connection in memory.
type pipe chan net.Conn

func (p pipe) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipe) Close() error   { close(p); return nil }
func (p pipe) Addr() net.Addr { return &net.TCPAddr{} }

// An open page that reconnects its stream does not extend the session: its user
// may be away.
func TestReconnectingDoesNotExtend(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accept string
		ends   bool
	}{
		"an EventSource":  {"text/event-stream", true},
		"a call":          {"application/json", false},
		"a call for both": {"text/event-stream, application/json", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(cfg *bff.Config) { cfg.Sessions.IdleTimeout = time.Hour })
			b := s.browser().signIn()
			for range 5 {
				s.clock.Advance(25 * time.Minute)
				b.fetch("/api/watch", header("Accept", c.accept))
			}
			if b.signedIn() == c.ends {
				t.Errorf("after 125 minutes of an hour's idle timeout: signed in %t", !c.ends)
			}
		})
	}
}
