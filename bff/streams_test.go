package bff_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// patience bounds a wait for an event in the background. It is long because the
// machine may be busy.
const patience = 20 * time.Second

// endings are the ways in which a session ends, seen from one node.
var endings = map[string]func(t *testing.T, s *system, b *browser){
	"by logout here": func(t *testing.T, s *system, b *browser) {
		wantStatus(t, b.navigate("/api/auth/logout"), http.StatusSeeOther)
	},
	"by logout at another node": func(t *testing.T, s *system, b *browser) {
		wantStatus(t, b.as(s.node()).navigate("/api/auth/logout"), http.StatusSeeOther)
	},
	"by the back channel of another node": func(t *testing.T, s *system, b *browser) {
		wantStatus(t, tell(s.node(), url.Values{"logout_token": {s.idp.logoutToken(nil)}}), http.StatusOK)
	},
	"by the front channel": func(t *testing.T, s *system, b *browser) {
		wantStatus(t, frame(s.browser(), issuerURL, "sid-1"), http.StatusOK)
	},
	"from another device": func(t *testing.T, s *system, b *browser) {
		s.idp.change(func(p *provider) { p.id["sid"] = "sid-2" })
		wantStatus(t, s.browser().signIn().do(http.MethodDelete, "/api/auth/sessions", nil, site("same-origin")), http.StatusOK)
	},
	"by a new login": func(t *testing.T, s *system, b *browser) { b.signIn() },
	"by time":        func(t *testing.T, s *system, b *browser) { s.clock.Advance(25 * time.Hour) },
}

// A stream ends with its session, whatever ends that, at any node: the browser
// gets nothing more, and the API's context ends.
func TestStreamsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	for name, end := range endings {
		for _, contentType := range []string{"text/event-stream", "application/x-ndjson", "application/connect+json"} {
			for _, proxied := range []bool{false, true} {
				if contentType != "text/event-stream" && name != "by logout here" {
					continue // the kind of end does not depend on the kind of stream
				}
				t.Run(fmt.Sprintf("%s, %s, proxied %t", name, contentType, proxied), func(t *testing.T) {
					t.Parallel()
					stopped := make(chan struct{})
					stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						defer close(stopped)
						w.Header().Set("Content-Type", contentType)
						_, _ = io.WriteString(w, "first\n")
						_ = http.NewResponseController(w).Flush()
						<-r.Context().Done()
					})
					s := start(t, func(c *bff.Config) {
						c.API = stream
						if proxied {
							c.API = bff.NewProxy(behind(t, stream), c.Logger)
						}
					})
					s.run()
					b := s.browser().signIn()
					body := open(t, s, b, "/api/watch")
					line, err := body.ReadString('\n')
					if line != "first\n" {
						t.Fatalf("%q, %v", line, err)
					}
					end(t, s, b)
					begun := time.Now()
					if rest, err := io.ReadAll(body); err == nil || len(rest) > 0 {
						t.Errorf("the stream ended without an error, with %q", rest)
					} else if errors.Is(err, context.DeadlineExceeded) {
						t.Fatal("the stream has not ended")
					}
					t.Logf("cut after %v", time.Since(begun))
					select {
					case <-stopped:
					case <-time.After(patience):
						t.Error("the API's context has not ended")
					}
				})
			}
		}
	}
}

// A file ends with its session, whatever type its owner gave it.
func TestFilesEndWithTheirSession(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]http.Header{
		"bytes":                 {"Content-Type": {"application/octet-stream"}},
		"bytes of known length": {"Content-Type": {"application/octet-stream"}, "Content-Length": {"2000000"}},
		"long JSON":             {"Content-Type": {"application/json"}, "Content-Length": {"2000000"}},
		"long page":             {"Content-Type": {"text/html; charset=utf-8"}, "Content-Length": {"2000000"}},
		"attached page":         {"Content-Type": {"text/html"}, "Content-Disposition": {"attachment"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopped := make(chan struct{})
			s := start(t, func(c *bff.Config) {
				c.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(stopped)
					maps.Copy(w.Header(), header)
					_, _ = io.WriteString(w, "first\n")
					_ = http.NewResponseController(w).Flush()
					select {
					case <-r.Context().Done():
					case <-t.Context().Done():
					}
				})
			})
			s.run()
			b := s.browser().signIn()
			body := open(t, s, b, "/api/file")
			if line, err := body.ReadString('\n'); line != "first\n" {
				t.Fatalf("%q, %v", line, err)
			}
			wantStatus(t, b.navigate("/api/auth/logout"), http.StatusSeeOther)
			if rest, err := io.ReadAll(body); err == nil || len(rest) > 0 || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the file went on after the logout: %d bytes, %v", len(rest), err)
			}
			select {
			case <-stopped:
			case <-time.After(patience):
				t.Error("the API's context has not ended")
			}
		})
	}
}

// open makes a request of a real server with the handler s.
func open(t *testing.T, s *system, b *browser, path string) *bufio.Reader {
	t.Helper()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, res.Status)
	}
	return bufio.NewReader(res.Body)
}

// Writes of the API after the end do not reach the browser.
func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	t.Parallel()
	begun, ended, refused := make(chan bool), make(chan bool), make(chan error, 1)
	s := start(t)
	s.run()
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-ended
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range tick.C { // it ignores its context, and a recorder has no deadlines
			if _, err := io.WriteString(w, "more\n"); err != nil {
				refused <- err
				return
			}
		}
	})
	b := s.browser().signIn()
	other := b.as(s)
	other.cookies = maps.Clone(b.cookies)
	go func() {
		<-begun
		other.navigate("/api/auth/logout")
		close(ended)
	}()
	res := b.fetch("/api/watch")
	if err := <-refused; !strings.Contains(err.Error(), "session") {
		t.Error(err)
	}
	if !strings.HasPrefix(res.body, "first\n") {
		t.Errorf("%.40q", res.body)
	}
}

// The stream of an ended session ends although its browser does not read: the
// write fails.
func TestStalledStreamsEnd(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	stopped := make(chan struct{})
	s := start(t)
	s.run()
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		defer close(stopped)
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = http.NewResponseController(w).Flush()
		chunk := make([]byte, 64<<10) // a few fill the buffers of the system
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			written.Add(1)
		}
	})
	b := s.browser().signIn()
	open(t, s, b, "/api/watch") // which is not read
	before, same := int64(0), 0
	eventually(t, "the stream is stuck", func() bool { // no write for a while
		if now := written.Load(); now == before && now > 0 {
			same++
		} else {
			before, same = now, 0
		}
		return same > 40
	})
	b.navigate("/api/auth/logout")
	select {
	case <-stopped:
	case <-time.After(patience / 2): // after patience the browser disconnects
		t.Error("the API still writes")
	}
}

// The connection of a stream that has ended serves further requests.
func TestConnectionAfterAStream(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, "{}\n")
	})
	b := s.browser().signIn()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for i, cookie := range []string{b.session(), ""} {
		fmt.Fprintf(conn, "GET /api/watch HTTP/1.1\r\nHost: localhost:3000\r\nCookie: gatehouse=%s\r\n\r\n", cookie)
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("request %d on the connection: %v", i, err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "{}\n" {
			t.Fatalf("request %d: %q, %v", i, body, err)
		}
		b.navigate("/api/auth/logout") // ends the session of a stream that has ended
	}
}

// Only streams are tied to their session, since that costs a watch.
func TestShortAnswersAreNotWatched(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"application/json": false, "application/json; charset=utf-8": false, "text/html": false, "": false, "application/proto": false, "text/plain": false,
		"text/event-stream": true, "Text/Event-Stream; charset=utf-8": true, "application/x-ndjson": true, "application/json-seq": true,
		"application/connect+proto": true, "application/grpc-web+proto": true, "application/grpc-web-text": true,
	} {
		if got := bff.Lasts(contentType); got != want {
			t.Errorf("%q lasts: %t", contentType, got)
		}
	}
}

// WebSockets of a front-end server are closed on both sides.
func TestWebSocketsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan struct{})
			target := behind(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Cookie") != "" {
					defer close(closed)
				}
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
				_ = rw.Flush()
				_, _ = io.Copy(io.Discard, rw)
			})
			s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
			s.run()
			front := httptest.NewServer(s)
			t.Cleanup(front.Close)
			b := s.browser().signIn()
			mine, other := dial(t, front.URL, b.session()), dial(t, front.URL, "")
			end(t, s, b)
			if rest, err := io.ReadAll(mine); len(rest) > 0 || errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("the socket is open: %q, %v", rest, err)
			}
			select {
			case <-closed:
			case <-time.After(patience):
				t.Error("the front-end server's side stays open")
			}
			if _, err := other.conn.Write([]byte("x")); err != nil {
				t.Errorf("a socket without a session was closed: %v", err)
			}
		})
	}
}

// A socket is one end of an upgraded connection.
type socket struct {
	conn net.Conn
	*bufio.Reader
}

func dial(t *testing.T, server, session string) socket {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	cookie := ""
	if session != "" {
		cookie = "Cookie: gatehouse=" + session + "\r\n"
	}
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: http://localhost:3000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n", cookie)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return socket{conn, r}
}

// A session without a refresh token ends with its access token, and its streams
// end then, not at the next request.
func TestStreamsEndWithTheLastToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.change(func(p *provider) {
		lay(p.metadata, map[string]any{"scopes_supported": tokentest.Absent})
		p.lifetime = time.Minute
	})
	s.reconfigure()
	s.run()
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	b := s.browser().signIn()
	s.clock.Advance(time.Minute - time.Second)
	rest, err := io.ReadAll(open(t, s, b, "/api/watch"))
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, %v", rest, err)
	}
	if b.signedIn() {
		t.Error("still signed in")
	}
}

// At a stop the browser of a WebSocket gets a close frame with status 1001 (RFC 6455
// §7.4.1), between two frames, and its answer reaches the server behind.
func TestWebSocketsAtAStop(t *testing.T) {
	t.Parallel()
	text := func(n int) []byte { // an unmasked frame
		payload := bytes.Repeat([]byte("x"), n)
		switch {
		case n < 126:
			return append([]byte{0x81, byte(n)}, payload...)
		case n < 1<<16:
			return append(binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(n)), payload...)
		default:
			return append(binary.BigEndian.AppendUint64([]byte{0x81, 127}, uint64(n)), payload...)
		}
	}
	for name, c := range map[string]struct {
		before, after []byte // of what the server sends at the stop
		want          []byte // what the browser gets before the close frame
	}{
		"silent":              {nil, nil, nil},
		"between frames":      {slices.Concat(text(5), text(0), text(200)), nil, slices.Concat(text(5), text(0), text(200))},
		"in a header":         {text(70_000)[:5], text(70_000)[5:], text(70_000)},
		"in a payload":        {text(200)[:100], slices.Concat(text(200)[100:], text(3)), text(200)},
		"signed in, the same": {text(200)[:100], text(200)[100:], text(200)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopping, answered := make(chan struct{}), make(chan []byte, 1)
			target := behind(t, func(w http.ResponseWriter, r *http.Request) {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = rw.Write(c.before)
				_ = rw.Flush()
				<-stopping
				_, _ = rw.Write(c.after)
				_ = rw.Flush()
				closed := make([]byte, len(closeReply))
				_, _ = io.ReadFull(rw, closed)
				answered <- closed
			})
			s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
			server := s.Server()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = server.Serve(arrival.Port(listener)) }()
			cookie := ""
			if strings.HasPrefix(name, "signed in") {
				cookie = s.browser().signIn().session()
			}
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: http://localhost:3000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: gatehouse=%s\r\n\r\n", cookie)
			r := bufio.NewReader(conn)
			if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%v, %v", res, err)
			}
			got := make([]byte, len(c.before))
			if _, err := io.ReadFull(r, got); err != nil {
				t.Fatal(err)
			}
			if err := server.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			close(stopping)
			want := append(c.want, 0x88, 2, 0x03, 0xe9)
			got = slices.Concat(got, make([]byte, len(want)-len(got)))
			if n, err := io.ReadFull(r, got[len(c.before):]); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v; they end with %x", n, err, got[max(0, len(got)-8):])
			}
			_, _ = conn.Write(closeReply)
			if got := <-answered; !bytes.Equal(got, closeReply) {
				t.Errorf("the server behind got %x, want the browser's close frame", got)
			}
			if n, err := r.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("after the close frame: %d bytes, %v; want the end", n, err)
			}
		})
	}
}

// closeReply is a browser's close frame, masked with zeros.
var closeReply = []byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9}
