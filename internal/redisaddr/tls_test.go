package redisaddr_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
)

// Connections follow changes of the files in an address, and outlast files that are
// half written.
func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	before, after := certtest.New(t, "before"), certtest.New(t, "after")
	dir := t.TempDir()
	bundle := before.Write(t, dir, "ca")
	certFile, keyFile := before.Issue(t, "gatehouse").Write(t, dir, "client")
	server := func(ca *certtest.Authority) string {
		pair := ca.Issue(t, "127.0.0.1")
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MaxVersion: tls.VersionTLS12,
		})
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
				go func() { _ = c.(*tls.Conn).HandshakeContext(context.Background()); _ = c.Close() }()
			}
		}()
		return l.Addr().String()
	}
	first, second := server(before), server(after)
	a, err := redisaddr.Parse("rediss://" + first + "?ca_file=" + bundle + "&cert_file=" + certFile + "&key_file=" + keyFile)
	if err != nil {
		t.Fatal(err)
	}
	option, err := a.Option()
	if err != nil {
		t.Fatal(err)
	}
	truncate := func(path string) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name, addr string
		do         func()
		ok         bool
	}{
		{"as opened", first, func() {}, true},
		{"another authority", second, func() {}, false},
		{"half written", first, func() { truncate(bundle) }, true},
		{"authority replaced", second, func() { after.Write(t, dir, "ca") }, false}, // the client is still of the old one
		{"client replaced", second, func() { after.Issue(t, "gatehouse").Write(t, dir, "client") }, true},
		{"key half written", second, func() { truncate(keyFile) }, true},
		{"the old server", first, func() {}, false},
	} {
		step.do()
		conn, err := option.DialCtxFn(t.Context(), step.addr, &net.Dialer{}, option.TLSConfig)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != step.ok {
			t.Errorf("%s: got %v, want success %t", step.name, err, step.ok)
		}
	}
	for parameters, want := range map[string]string{
		"?cert_file=" + certFile: "has one of cert_file and key_file, which belong together",
	} {
		if _, err := redisaddr.Parse("rediss://r" + parameters); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", parameters, err, want)
		}
	}
}
