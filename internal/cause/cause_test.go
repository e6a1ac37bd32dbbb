package cause_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
)

// certificate returns a self-signed certificate.
func certificate(t *testing.T, name string, from, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestOf(t *testing.T) {
	t.Parallel()
	now := time.Now()
	get := func(address string, roots *x509.CertPool) error {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "id.example"}}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get(address)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	serve := func(certificate tls.Certificate, edits ...func(*tls.Config)) string {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
		s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		for _, edit := range edits {
			edit(s.TLS)
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	demanding := func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }
	expired, expiredRoots := certificate(t, "id.example", now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	early, earlyRoots := certificate(t, "id.example", now.Add(24*time.Hour), now.Add(48*time.Hour))
	other, otherRoots := certificate(t, "other.example", now.Add(-time.Hour), now.Add(time.Hour))
	good, goodRoots := certificate(t, "id.example", now.Add(-time.Hour), now.Add(time.Hour))
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, c := range map[string]struct {
		err             error
		problem, remedy string
	}{
		"expired":            {get(serve(expired), expiredRoots), "has expired on " + now.Add(-24*time.Hour).UTC().Format("2006-01-02"), "renew it at the server"},
		"not yet valid":      {get(serve(early), earlyRoots), "is valid from", "clock"},
		"unknown authority":  {get(serve(good), x509.NewCertPool()), "an authority that this machine does not trust", "SSL_CERT_FILE"},
		"another host":       {get(serve(other), otherRoots), "is for other.example, not for id.example", "use a name that is in the certificate"},
		"no TLS":             {get("https"+strings.TrimPrefix(plain.URL, "http"), nil), "plain HTTP where TLS is expected", "correct the port"},
		"client certificate": {get(serve(good, demanding), goodRoots), "refuses the TLS handshake (tls: certificate required)", "client certificate"},
		"TLS 1.2 alert":      {get(serve(good, demanding, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), goodRoots), "refuses the TLS handshake (tls: ", "client certificate"},
		"connection refused": {get("http://127.0.0.1:1", nil), "nothing listens", "start it, or correct the address"},
		"closed":             {io.EOF, "the server closes the connection", "see its log"},
		"no such host":       {&net.DNSError{Name: "id.invalid", IsNotFound: true}, "the host name id.invalid does not exist", "correct the name"},
		"DNS is away":        {&net.DNSError{Name: "id.invalid", Err: "server misbehaving"}, "cannot be looked up (server misbehaving)", "DNS"},
		"no answer":          {context.DeadlineExceeded, "no answer in time", "firewall"},
		"end":                {io.ErrUnexpectedEOF, "closes the connection", "see its log"},
		"something else":     {errors.New("status 500"), "", ""},
	} {
		problem, remedy := cause.Of(c.err)
		if !strings.Contains(problem, c.problem) || !strings.Contains(remedy, c.remedy) || c.problem == "" && problem != "" {
			t.Errorf("%s (%v): got %q, %q, want %q, %q", name, c.err, problem, remedy, c.problem, c.remedy)
		}
	}
}

// Connections that nothing answers may succeed later, those that are answered in a wrong
// way do not.
func TestPassing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{&net.DNSError{Name: "redis", IsNotFound: true}, true},
		{io.ErrUnexpectedEOF, true},
		{context.DeadlineExceeded, true},
		{x509.UnknownAuthorityError{}, false},
		{errors.Join(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "redis"}, io.EOF), false},
		{syscall.EACCES, false},
		{errors.New("wrong password"), false},
	} {
		if got := cause.Passing(c.err); got != c.want {
			t.Errorf("%v: %t, want %t", c.err, got, c.want)
		}
	}
	if err := cause.Unavailable(io.EOF); !errors.Is(err, cause.ErrUnavailable) || !errors.Is(err, io.EOF) || err.Error() != "EOF" {
		t.Errorf("Unavailable gives %v", err)
	}
}
