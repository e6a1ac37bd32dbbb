package tlsfiles_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
)

// A folder is a mounted secret: its files are symbolic links into a directory that
// is itself a symbolic link, which Kubernetes replaces to change all files at once.
type folder struct {
	t    *testing.T
	path string
	n    int
}

func newFolder(t *testing.T, files map[string][]byte) *folder {
	f := &folder{t: t, path: t.TempDir()}
	f.swap(files)
	for name := range files {
		f.must(os.Symlink(filepath.Join("..data", name), f.file(name)))
	}
	return f
}

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

func (f *folder) swap(files map[string][]byte) {
	f.t.Helper()
	f.n++
	version := filepath.Join(f.path, "..version"+string(rune('a'+f.n%26)))
	f.must(os.RemoveAll(version))
	f.must(os.Mkdir(version, 0o700))
	for name, content := range files {
		f.must(os.WriteFile(filepath.Join(version, name), content, 0o600))
	}
	link := f.file("..data_tmp")
	f.must(os.Symlink(filepath.Base(version), link))
	f.must(os.Rename(link, f.file("..data")))
}

func (f *folder) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func files(p certtest.Pair) map[string][]byte {
	return map[string][]byte{"tls.crt": p.Cert, "tls.key": p.Key}
}

// listen serves handshakes with a configuration, and answers with one byte.
func listen(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Write([]byte{1})
			}()
		}
	}()
	return l.Addr().String()
}

// dial makes a handshake and returns the server's state. It reads a byte, because
// a TLS 1.3 server refuses a client's certificate after the client has finished.
func dial(address string, cfg *tls.Config) (tls.ConnectionState, error) {
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1))
	return c.ConnectionState(), err
}

func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	mount := newFolder(t, files(ca.Issue(t, "shop.example")))
	f := tlsfiles.New(tlsfiles.Config{})
	pair, err := f.Pair("tls-cert-file", "bff", mount.file("tls.crt"), mount.file("tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, tlsfiles.Server(tlsfiles.ServerConfig{Certificate: pair}))
	ctx, cancel := context.WithCancel(t.Context())
	serials := map[string]bool{}
	var clients sync.WaitGroup
	var mu sync.Mutex
	for range 2 {
		clients.Go(func() {
			for ctx.Err() == nil {
				state, err := dial(address, &tls.Config{RootCAs: ca.Pool(), ServerName: "shop.example"})
				if err != nil {
					t.Errorf("a handshake failed: %v", err)
					return
				}
				mu.Lock()
				serials[state.PeerCertificates[0].SerialNumber.String()] = true
				mu.Unlock()
			}
		})
	}
	const swaps = 100
	for range swaps {
		mount.swap(files(ca.Issue(t, "shop.example")))
		f.Check(ctx)
		state, err := dial(address, &tls.Config{RootCAs: ca.Pool(), ServerName: "shop.example"})
		if want := pair.Certificate().Leaf.SerialNumber; err != nil || state.PeerCertificates[0].SerialNumber.Cmp(want) != 0 {
			t.Fatalf("after a swap: got another certificate, or %v", err)
		}
	}
	cancel()
	clients.Wait()
	if len(serials) < 2 {
		t.Errorf("clients saw %d certificates, want several", len(serials))
	}
}

func TestUnusableFiles(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	first, second := ca.Issue(t, "a.example"), ca.Issue(t, "b.example")
	for name, c := range map[string]struct {
		cert, key []byte
		want      string
	}{
		"half a certificate":        {second.Cert[:len(second.Cert)/2], second.Key, "no certificate in PEM"},
		"half a chain":              {append(bytes.Clone(second.Cert), ca.PEM[:100]...), second.Key, "not complete"},
		"empty":                     {nil, nil, "no certificate in PEM"},
		"certificate without a key": {second.Cert, nil, "no usable private key"},
		"the key of another":        {second.Cert, first.Key, "not that of the certificate"},
		"key as certificate":        {second.Key, second.Key, "no certificate in PEM"},
		"damaged":                   {bytes.Replace(second.Cert, []byte("MII"), []byte("!!!"), 1), second.Key, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			var changed []string
			mount := newFolder(t, files(first))
			f := tlsfiles.New(tlsfiles.Config{
				Logger: slog.New(slog.NewTextHandler(&log, nil)), Changed: func(name string) { changed = append(changed, name) },
			})
			pair, err := f.Pair("tls-cert-file", "bff", mount.file("tls.crt"), mount.file("tls.key"))
			if err != nil {
				t.Fatal(err)
			}
			mount.swap(map[string][]byte{"tls.crt": c.cert, "tls.key": c.key})
			f.Check(t.Context())
			if log.Len() > 0 {
				t.Errorf("logged at the first sight of files that may be half written: %s", &log)
			}
			f.Check(t.Context())
			f.Check(t.Context())
			if got := pair.Certificate().Leaf.DNSNames[0]; got != "a.example" {
				t.Errorf("the certificate in use is of %s, want the last good one", got)
			}
			if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, c.want) || !strings.Contains(got, mount.path) {
				t.Errorf("logged %q, want one warning with %q and the file", got, c.want)
			}
			mount.swap(files(second))
			f.Check(t.Context())
			if got := pair.Certificate().Leaf.DNSNames[0]; got != "b.example" {
				t.Errorf("the certificate in use is of %s, want the new one", got)
			}
			if got := log.String(); strings.Count(got, "setting changed at run time") != 1 || len(changed) != 1 || changed[0] != "tls-cert-file" {
				t.Errorf("logged %q, changed %v, want one reload of tls-cert-file", got, changed)
			}
			if strings.Contains(log.String(), "PRIVATE") {
				t.Error("the log has a key in it")
			}
			other := tlsfiles.New(tlsfiles.Config{})
			mount.swap(map[string][]byte{"tls.crt": c.cert, "tls.key": c.key})
			if _, err := other.Pair("x", "bff", mount.file("tls.crt"), mount.file("tls.key")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("at the start: got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// Files that are missing for a moment change nothing, and those that come back
// unchanged are no reload.
func TestFilesMissing(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	path := certtest.New(t, "ca").Write(t, t.TempDir(), "ca")
	f := tlsfiles.New(tlsfiles.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	authorities, err := f.Authorities("oidc-ca-file", path)
	if err != nil {
		t.Fatal(err)
	}
	before := authorities.Pool()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	f.Check(t.Context())
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	f.Check(t.Context())
	f.Check(t.Context())
	if authorities.Pool() != before || log.Len() > 0 {
		t.Errorf("the pool was replaced, or the log has %q", &log)
	}
	if _, err := f.Authorities("oidc-ca-file", path+".away"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file at the start: got %v", err)
	}
}

func TestServerNames(t *testing.T) {
	t.Parallel()
	ca, foreign := certtest.New(t, "ca"), certtest.New(t, "foreign")
	dir := t.TempDir()
	f := tlsfiles.New(tlsfiles.Config{})
	authorities, err := f.Authorities("oidc-ca-file", ca.Write(t, dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cert certtest.Pair
		host string // that is dialled
		ok   bool
	}{
		"name":                     {ca.Issue(t, "shop.example"), "shop.example", true},
		"other name":               {ca.Issue(t, "other.example"), "shop.example", false},
		"foreign authority":        {foreign.Issue(t, "shop.example"), "shop.example", false},
		"expired":                  {ca.IssueUntil(t, time.Now().Add(-time.Hour), "shop.example"), "shop.example", false},
		"IP address":               {ca.Issue(t, "127.0.0.1"), "127.0.0.1", true},
		"other IP address":         {ca.Issue(t, "127.0.0.2"), "127.0.0.1", false},
		"address in the name":      {ca.Issue(t, "shop.example"), "127.0.0.1", false},
		"address in no setting":    {ca.Issue(t, "127.0.0.9"), "127.0.0.9", false},
		"expired, foreign, no IP":  {foreign.IssueUntil(t, time.Now().Add(-time.Hour), "x"), "127.0.0.1", false},
		"trailing dot in the name": {ca.Issue(t, "shop.example"), "shop.example.", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certFile, keyFile := c.cert.Write(t, t.TempDir(), "server")
			pair, err := f.Pair(name, "bff", certFile, keyFile)
			if err != nil {
				t.Fatal(err)
			}
			address := listen(t, tlsfiles.Server(tlsfiles.ServerConfig{Certificate: pair}))
			client := tlsfiles.Client(tlsfiles.ClientConfig{Authorities: authorities, Hosts: []string{"shop.example", "127.0.0.1"}})
			client.ServerName = c.host
			_, err = dial(address, client)
			if (err == nil) != c.ok {
				t.Errorf("got %v, want success %t", err, c.ok)
			}
		})
	}
}

// Authorities are replaced on both sides without a restart.
func TestAuthoritiesReload(t *testing.T) {
	t.Parallel()
	before, after := certtest.New(t, "before"), certtest.New(t, "after")
	dir := t.TempDir()
	f := tlsfiles.New(tlsfiles.Config{})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bundle := before.Write(t, dir, "ca")
	authorities, err := f.Authorities("gateway-ca-file", bundle)
	must(err)
	certFile, keyFile := before.Issue(t, "gateway").Write(t, dir, "server")
	server, err := f.Pair("tls-cert-file", "gateway", certFile, keyFile)
	must(err)
	certFile, keyFile = before.Issue(t, "bff").Write(t, dir, "client")
	client, err := f.Pair("tls-client-cert-file", "client", certFile, keyFile)
	must(err)
	address := listen(t, tlsfiles.Server(tlsfiles.ServerConfig{Certificate: server, Clients: authorities}))
	cfg := tlsfiles.Client(tlsfiles.ClientConfig{Authorities: authorities, Certificate: client})
	cfg.ServerName, cfg.ClientSessionCache = "gateway", tls.NewLRUClientSessionCache(1)
	_, err = dial(address, cfg)
	must(err)

	after.Write(t, dir, "ca")
	f.Check(t.Context())
	if _, err = dial(address, cfg); err == nil {
		t.Error("certificates of the old authority are still accepted")
	}
	after.Issue(t, "gateway").Write(t, dir, "server")
	f.Check(t.Context())
	if _, err = dial(address, cfg); err == nil {
		t.Error("a client certificate of the old authority is still accepted")
	}
	after.Issue(t, "bff").Write(t, dir, "client")
	f.Check(t.Context())
	_, err = dial(address, cfg)
	must(err)
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, foreign := certtest.New(t, "ca"), certtest.New(t, "foreign")
	dir := t.TempDir()
	f := tlsfiles.New(tlsfiles.Config{})
	clients, err := f.Authorities("gateway-client-ca-file", ca.Write(t, dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := ca.Issue(t, "gateway").Write(t, dir, "server")
	pair, err := f.Pair("tls-cert-file", "gateway", certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, tlsfiles.Server(tlsfiles.ServerConfig{Certificate: pair, Clients: clients, ClientNames: []string{"bff"}}))
	for name, c := range map[string]struct {
		cert *certtest.Pair
		ok   bool
	}{
		"none":          {nil, false},
		"allowed":       {new(ca.Issue(t, "x", "BFF")), true},
		"another name":  {new(ca.Issue(t, "server")), false},
		"no name":       {new(ca.Issue(t)), false},
		"foreign":       {new(foreign.Issue(t, "bff")), false},
		"expired":       {new(ca.IssueUntil(t, time.Now().Add(-time.Minute), "bff")), false},
		"name a suffix": {new(ca.Issue(t, "evil.bff")), false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				cfg := &tls.Config{RootCAs: ca.Pool(), ServerName: "gateway", MaxVersion: version}
				if c.cert != nil {
					parsed, err := tlsfiles.Parse(c.cert.Cert, c.cert.Key)
					if err != nil {
						t.Fatal(err)
					}
					// Sent whatever the server asks for.
					cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return parsed, nil }
				}
				if _, err := dial(address, cfg); (err == nil) != c.ok {
					t.Errorf("got %v, want success %t", err, c.ok)
				}
			})
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	f := tlsfiles.New(tlsfiles.Config{})
	certFile, keyFile := ca.Issue(t, "x").Write(t, t.TempDir(), "server")
	pair, err := f.Pair("tls-cert-file", "bff", certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		server, client uint16
		ok             bool
	}{
		{0, tls.VersionTLS11, false},
		{0, tls.VersionTLS12, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		address := listen(t, tlsfiles.Server(tlsfiles.ServerConfig{Certificate: pair, MinVersion: c.server}))
		_, err := dial(address, &tls.Config{RootCAs: ca.Pool(), ServerName: "x", MinVersion: tls.VersionTLS10, MaxVersion: c.client})
		if (err == nil) != c.ok {
			t.Errorf("server from %s, client with %s: got %v, want success %t", tls.VersionName(c.server), tls.VersionName(c.client), err, c.ok)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	end := time.Now().Add(90 * 24 * time.Hour)
	var log bytes.Buffer
	now := time.Now()
	f := tlsfiles.New(tlsfiles.Config{Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	dir := t.TempDir()
	certFile, keyFile := ca.IssueUntil(t, end, "x").Write(t, dir, "server")
	for _, role := range []string{"bff", "gateway", "bff"} {
		if _, err := f.Pair("tls-cert-file", role, certFile, keyFile); err != nil {
			t.Fatal(err)
		}
	}
	got := f.Expiries()
	if len(got) != 2 || got[0].Role != "bff" || got[1].Role != "gateway" || got[1].At.Sub(end).Abs() > time.Second {
		t.Errorf("Expiries() = %v, want %v for bff and gateway", got, end)
	}
	for _, step := range []struct {
		hours int
		want  string
	}{{0, ""}, {75*24 + 23, ""}, {76*24 + 1, "WARN"}, {76*24 + 20, ""}, {77*24 + 2, "WARN"}, {90*24 + 1, "ERROR"}, {90*24 + 2, ""}} {
		log.Reset()
		now = end.Add(-90*24*time.Hour + time.Duration(step.hours)*time.Hour)
		f.Check(t.Context())
		if got := log.String(); (step.want == "") != (got == "") || strings.Count(got, "\n") > 1 || !strings.Contains(got, step.want) {
			t.Errorf("after %d hours of 2160: logged %q, want %q", step.hours, got, step.want)
		}
	}
}

// Certificates that live for days are renewed late in any case.
func TestShortLivedCertificate(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]bool{20 * time.Hour: false, 10 * time.Hour: true} {
		var log bytes.Buffer
		f := tlsfiles.New(tlsfiles.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		certFile, keyFile := certtest.New(t, "ca").IssueUntil(t, time.Now().Add(left), "x").Write(t, t.TempDir(), "server")
		if _, err := f.Pair("tls-cert-file", "bff", certFile, keyFile); err != nil {
			t.Fatal(err)
		}
		if f.Check(t.Context()); (log.Len() > 0) != want {
			t.Errorf("%v before the end of a certificate of 3 days: logged %q, want a warning %t", left, &log, want)
		}
	}
}

// A secret is used when its file has changed, and stays as it is if the new one is
// refused.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "secret")
		write := func(content string) {
			t.Helper()
			err := errors.Join(os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path))
			if err != nil {
				t.Fatal(err)
			}
		}
		write("one")
		var log bytes.Buffer
		f := tlsfiles.New(tlsfiles.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var got []string
		current := "one"
		f.Watch("secret", path, func(content []byte) (bool, error) {
			switch string(content) {
			case "bad":
				return false, errors.New("is too short")
			case current:
				return false, nil
			}
			current = string(content)
			got = append(got, current)
			return true, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		for _, content := range []string{"one", "two", "bad", "three", "three"} {
			write(content)
			time.Sleep(3 * tlsfiles.Interval)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if want := "two three"; strings.Join(got, " ") != want {
			t.Errorf("used %q, want %s", got, want)
		}
		if text := log.String(); strings.Count(text, "is too short") != 1 || strings.Count(text, "at run time") != 2 || strings.Contains(text, "three") {
			t.Errorf("logged %q, want one line about the refused secret, and none with a secret", text)
		}
	})
}

// Without authorities package tls verifies, by those of the system.
func TestSystemAuthorities(t *testing.T) {
	t.Parallel()
	cfg := tlsfiles.Client(tlsfiles.ClientConfig{})
	if cfg.InsecureSkipVerify || cfg.VerifyConnection != nil || cfg.RootCAs != nil {
		t.Errorf("got %+v, want the verification of package tls", cfg)
	}
}
