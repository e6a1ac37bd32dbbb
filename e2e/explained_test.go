package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// An authority signs certificates. Only a test that is given its file trusts it.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "An authority for tests"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign returns a certificate and its key in PEM. The certificate is for 127.0.0.1 unless a host
// name is given.
func (a *authority) sign(t *testing.T, host string, until time.Time) (certificate, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if host != "" {
		template.DNSNames = []string{host}
	} else {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// behindTLS returns an address that terminates TLS in front of a server.
func behindTLS(t *testing.T, server string, certificate, key []byte, clients tls.ClientAuthType) string {
	t.Helper()
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				behind, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(behind, conn)
					_ = behind.Close()
				}()
				_, _ = io.Copy(conn, behind)
			})
		}
	})
	return listener.Addr().String()
}

// TestStoresThatCannotBeUsed: gatehouse check and the start name the same cause and remedy, and no
// password.
func TestStoresThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	const wrong = "not-the-password"
	ca := newAuthority(t)
	in := time.Now().Add(time.Hour)
	op := startProvider(t, freeAddress(t), "http://localhost:3000", time.Hour)

	// tried runs both commands with a session store or another setting; further variables follow,
	// one a line.
	tried := func(t *testing.T, store string, want ...string) {
		t.Helper()
		setting := store
		if !strings.HasPrefix(store, "GATEHOUSE_") {
			setting = "GATEHOUSE_SESSION_STORE=" + store
		}
		for _, command := range [][]string{{"check"}, {"serve", "--listen-bff=127.0.0.1:0", "--listen-gateway=127.0.0.1:0", "--listen-grpc=127.0.0.1:0"}} {
			env := append(op.environment("http://localhost:3000"), "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:")
			p := gatehouse(t, append(env, strings.Split(setting, "\n")...), command...)
			code, said := p.wait(t), p.out.String()
			if code == 0 {
				t.Errorf("%s: exit code 0, want another", command[0])
			}
			for _, text := range want {
				if !strings.Contains(said, text) {
					t.Errorf("%s does not say %q:\n%s", command[0], text, said)
				}
			}
			for _, secret := range []string{wrong, pgtest.Password} {
				if strings.Contains(said, secret) {
					t.Errorf("%s shows the password:\n%s", command[0], said)
				}
			}
		}
	}

	postgres := func(t *testing.T, host string, until time.Time, allow ...string) func(password string, options ...string) string {
		s := pgtest.StartTCP(t)
		for _, line := range allow {
			s.Allow(t, line)
		}
		if !until.IsZero() {
			certificate, key := ca.sign(t, host, until)
			s.UseCertificate(t, certificate, key)
		}
		return func(password string, options ...string) string {
			u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: s.Addr(), Path: "/postgres", RawQuery: strings.Join(options, "&")}
			return u.String()
		}
	}
	trusted := "sslrootcert=" + url.QueryEscape(ca.file)
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		good := postgres(t, "", in)
		tried(t, good(pgtest.Password, "sslmode=verify-full"), "is signed by an authority that this machine does not trust", "sslrootcert")
		tried(t, "GATEHOUSE_DATABASE_URL="+good(pgtest.Password, "sslmode=verify-full"), "is signed by an authority that this machine does not trust", "sslrootcert")
		tried(t, good(wrong, "sslmode=verify-full", trusted), "28P01", "correct user or password")
		tried(t, good(wrong), "28P01", "correct user or password")
		tried(t, good(pgtest.Password, "sslmode=verify-full", "sslrootcert=/nowhere.pem"), "/nowhere.pem", "correct sslmode, sslrootcert")
		tried(t, good(pgtest.Password, "sslmode=verify-full", trusted, "sslcert=/client.pem"), `both "sslcert" and "sslkey" are required`)
		tried(t, good(pgtest.Password, "sslmode=verify"), "sslmode is invalid", "correct sslmode")
	})
	t.Run("PostgreSQL, expired", func(t *testing.T) {
		t.Parallel()
		expired := postgres(t, "", time.Now().Add(-time.Hour))
		tried(t, expired(pgtest.Password, "sslmode=verify-full", trusted), "certificate has expired on ", "renew it at the server")
	})
	t.Run("PostgreSQL, client certificates", func(t *testing.T) {
		t.Parallel()
		demanding := postgres(t, "", in, "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca")
		tried(t, demanding(pgtest.Password, "sslmode=verify-full", trusted), "requires a valid client certificate", "sslcert=FILE, sslkey=FILE")
		tried(t, demanding(pgtest.Password, "sslmode=disable"), "no encryption", "a line with hostssl wants sslmode=require or better")
	})
	t.Run("PostgreSQL, another name", func(t *testing.T) {
		t.Parallel()
		other := postgres(t, "db.example", in)
		tried(t, other(pgtest.Password, "sslmode=verify-full", trusted), "certificate is for db.example, not for 127.0.0.1", "use a name that is in the certificate")
	})
	t.Run("PostgreSQL without TLS", func(t *testing.T) {
		t.Parallel()
		plain := postgres(t, "", time.Time{})
		tried(t, plain(pgtest.Password, "sslmode=verify-full", trusted), "with TLS, which the server does not offer", "turn TLS on there")
	})
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t, "--requirepass", pgtest.Password).Addr()
		through := func(host string, until time.Time) string {
			certificate, key := ca.sign(t, host, until)
			return behindTLS(t, server, certificate, key, tls.NoClientCert)
		}
		certificate, key := ca.sign(t, "", in)
		tried(t, "rediss://:"+wrong+"@"+behindTLS(t, server, certificate, key, tls.RequireAnyClientCert)+"\nSSL_CERT_FILE="+ca.file, "client certificate")
		tried(t, "redis://:"+wrong+"@"+server, "WRONGPASS", "correct user or password")
		tried(t, "redis://:"+wrong+"@"+through("", in), "the server speaks TLS at this port", "write rediss… instead of redis…")
		tried(t, "rediss://:"+wrong+"@"+through("", in), "is signed by an authority that this machine does not trust", "SSL_CERT_FILE")
		tried(t, "rediss://:"+wrong+"@"+server, "the server does not speak TLS at this port", "write redis… instead of rediss…")
	})
}
