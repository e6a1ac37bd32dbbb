package bff_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"golang.org/x/net/http2"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// Over TLS, browsers use HTTP/2 for pages and streams, and HTTP/1.1 for WebSockets.
func TestServerOverTLS(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	target := behind(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: first\n\n")
			_ = control.Flush()
			<-more
			_, _ = io.WriteString(w, "data: second\n\n")
			return
		}
		conn, rw, err := control.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
	})
	s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, c.Logger) })
	ca := certtest.New(t, "ca")
	pair := ca.Issue(t, "localhost")
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	part := &lifecycle.Part{Name: "bff", Address: "127.0.0.1:0", Server: s.Server(), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	cfg := lifecycle.Config{Front: []*lifecycle.Part{part}}
	if err := cfg.Listen(); err != nil {
		t.Fatal(err)
	}
	address := part.Listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- lifecycle.Run(ctx, cfg) }()
	dial := func(protocol string) *tls.Conn {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", NextProtos: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}

	t.Run("event stream", func(t *testing.T) { //nolint:paralleltest // the server ends with the test
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "localhost:3000"
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		first := make([]byte, len("data: first\n\n"))
		if _, err := io.ReadFull(resp.Body, first); err != nil || resp.ProtoMajor != 2 || resp.Header.Get("Connection") != "" {
			t.Errorf("got %q by %s with header %v, %v, want the first event by HTTP/2", first, resp.Proto, resp.Header, err)
		}
		close(more)
		if rest, err := io.ReadAll(resp.Body); string(rest) != "data: second\n\n" || err != nil {
			t.Errorf("got %q, %v, want the second event", rest, err)
		}
	})
	t.Run("WebSocket", func(t *testing.T) { //nolint:paralleltest // as above
		conn := dial("http/1.1")
		fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: http://localhost:3000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %v, %v, want an upgrade", resp, err)
		}
		fmt.Fprint(conn, "hello\n")
		if line, err := r.ReadString('\n'); line != "echo hello\n" {
			t.Errorf("got %q, %v, want the echo", line, err)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after the close of the server: %v, want EOF", err)
		}
	})
	t.Run("limits", func(t *testing.T) { //nolint:paralleltest // as above
		conn := dial("h2")
		framer := http2.NewFramer(conn, conn)
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = framer.WriteSettings()
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		settings, ok := frame.(*http2.SettingsFrame)
		if !ok {
			t.Fatalf("got %v, want SETTINGS", frame)
		}
		if n, _ := settings.Value(http2.SettingMaxConcurrentStreams); n != 100 {
			t.Errorf("MAX_CONCURRENT_STREAMS is %d, want 100", n)
		}
		if n, _ := settings.Value(http2.SettingMaxFrameSize); n != 16<<10 {
			t.Errorf("MAX_FRAME_SIZE is %d, want %d", n, 16<<10)
		}
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

// A gateway can be at a Unix socket.
func TestUpstreamAtUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gateway := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, r.URL) }))
	_ = gateway.Listener.Close()
	gateway.Listener = listener
	gateway.Start()
	t.Cleanup(gateway.Close)
	u, err := bff.NewUpstream(bff.UpstreamConfig{Targets: []string{"unix:" + path}})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	answer := httptest.NewRecorder()
	u.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/x?a=b", http.NoBody))
	if got := answer.Body.String(); answer.Code != http.StatusOK || got != "localhost/api/x?a=b" {
		t.Errorf("got %d %q, want the answer of the gateway for localhost", answer.Code, got)
	}
}

// On a Unix socket, X-Forwarded-For counts only with TrustUnixSocket.
func TestClientAddressOnUnixSocket(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[bool]string{false: "", true: "192.0.2.7"} {
		s := start(t, func(c *bff.Config) { c.Access.TrustUnixSocket = trusted })
		path := filepath.Join(t.TempDir(), "bff.sock")
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		srv := s.Server()
		go func() { _ = srv.Serve(listener) }()
		t.Cleanup(func() { _ = srv.Close() })
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:3000/api/x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "192.0.2.7")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		seen := s.api.requests()
		if got := seen[len(seen)-1].Header.Get("X-Forwarded-For"); got != want {
			t.Errorf("trusted %t: the API gets the address %q, want %q", trusted, got, want)
		}
	}
}
