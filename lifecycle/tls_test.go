package lifecycle_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// run runs a part until the test ends, and returns its address.
func run(t *testing.T, part *lifecycle.Part) net.Addr {
	t.Helper()
	cfg := lifecycle.Config{Front: []*lifecycle.Part{part}}
	if err := cfg.Listen(); err != nil {
		t.Fatal(err)
	}
	address := part.Listener.Addr()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- lifecycle.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
	return address
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	pair := ca.Issue(t, "shop.example")
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	for name, c := range map[string]struct {
		server *http.Server
		client bool // offers HTTP/2
		want   string
	}{
		"HTTP/2":                 {&http.Server{Handler: echo}, true, "HTTP/2.0"},
		"client of HTTP/1 alone": {&http.Server{Handler: echo}, false, "HTTP/1.1"},
		"server of HTTP/1 alone": {&http.Server{Handler: echo, Protocols: http1}, true, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := run(t, &lifecycle.Part{
				Name: "web", Address: anyPort, Server: c.server,
				TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
			})
			transport := &http.Transport{
				ForceAttemptHTTP2: c.client,
				TLSClientConfig:   &tls.Config{RootCAs: ca.Pool(), ServerName: "shop.example"},
			}
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("https://" + address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != c.want || err != nil {
				t.Errorf("got %q, %v, want %q", body, err, c.want)
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "web.sock")
	part := func(address string) *lifecycle.Part {
		return &lifecycle.Part{Name: "web", Address: address, Server: &http.Server{Handler: http.NotFoundHandler()}}
	}
	get := func() error {
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("http://web/")
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	// A process that was killed leaves its socket.
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("serves", func(t *testing.T) { // first: its end removes the socket
		run(t, part("unix:"+path))
		if err := get(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("got %v, %v, want a socket with mode 0660", info, err)
		}
		err := lifecycle.Config{Front: []*lifecycle.Part{part("unix://" + path)}}.Listen()
		if err == nil || !strings.Contains(err.Error(), "is in use") {
			t.Errorf("a second listener: got %v, want that the socket is in use", err)
		}
		if err := get(); err != nil {
			t.Errorf("after a second listener was refused: %v", err)
		}
	})
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop: got %v, want no socket", err)
	}
	other := part("unix:" + path)
	other.SocketMode = 0o600
	run(t, other)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a socket with mode 0600", info, err)
	}
}

func TestUnixSocketRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                              "is no socket",
		filepath.Join(dir, "none/x.sock"): "does not exist",
		"/" + strings.Repeat("x", 107):    "107 bytes",
	} {
		part := &lifecycle.Part{Name: "web", Address: "unix:" + path, Server: newServer("web", &log{})}
		err := lifecycle.Config{Front: []*lifecycle.Part{part}}.Listen()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "web.Address") {
			t.Errorf("%s: got %v, want %q and the field", path, err, want)
		}
	}
	if content, err := os.ReadFile(file); string(content) != "precious" {
		t.Errorf("the file has %q, %v, want it unchanged", content, err)
	}
}
