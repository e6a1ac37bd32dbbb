package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
)

// TestMutualTLS runs bff, gateway and server as processes that know each other by client
// certificates, with a provider of a private authority. Certificates and the session secret are
// replaced while they run.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	var (
		ca, foreign   = certtest.New(t, "private"), certtest.New(t, "foreign")
		dir           = t.TempDir()
		address       = freeAddress(t)
		base          = "https://localhost:" + portOf(address)
		gatewayListen = freeAddress(t)
		grpcListen    = freeAddress(t)
		grpcAdmin     = freeAddress(t)
		gatewayAdmin  = freeAddress(t)
		op            = startProvider(t, freeAddress(t), base, firstTTL)
		bundle        = ca.Write(t, dir, "ca")
		secrets       = dir + "/secret"
		pair          = func(name string, names ...string) (certFile, keyFile string) {
			return ca.Issue(t, names...).Write(t, dir, name)
		}
	)
	private := tlsProxy(t, ca, op.issuer)
	bffCert, bffKey := pair("bff", "localhost")
	bffClientCert, bffClientKey := pair("bff-client", "bff.internal")
	gatewayCert, gatewayKey := pair("gateway", "gateway.internal", "127.0.0.1")
	serverCert, serverKey := pair("server", "127.0.0.1")
	writeSecret := func(list ...string) {
		t.Helper()
		err := errors.Join(os.WriteFile(secrets+".new", []byte(strings.Join(list, "\n")), 0o600), os.Rename(secrets+".new", secrets))
		if err != nil {
			t.Fatal(err)
		}
	}
	writeSecret(tutorialSecret)

	server := gatehouse(t, []string{"AUTH0_ISSUER_BASE_URL=" + op.issuer, "AUTH0_AUDIENCE=" + opAudience},
		"server", "--listen-grpc="+grpcListen, "--oidc-internal-url="+private, "--oidc-ca-file="+bundle,
		"--tls-cert-file="+serverCert, "--tls-key-file="+serverKey, "--grpc-client-ca-file="+bundle, "--grpc-client-names=gateway.internal",
		"--listen-admin="+grpcAdmin, "--admin-tls-cert-file=none")
	gateway := gatehouse(t, []string{"AUTH0_BASE_URL=" + base},
		"gateway", "--listen-gateway="+gatewayListen, "--grpc-target=dns:///"+grpcListen, "--grpc-ca-file="+bundle,
		"--tls-cert-file="+gatewayCert, "--tls-key-file="+gatewayKey, "--tls-client-cert-file="+gatewayCert, "--tls-client-key-file="+gatewayKey,
		"--gateway-client-ca-file="+bundle, "--gateway-client-names=bff.internal", "--listen-admin="+gatewayAdmin, "--admin-tls-cert-file=none")
	env := append(op.environment(base)[1:], "AUTH0_SECRET_FILE="+secrets)
	bff := gatehouse(t, env,
		"bff", "--listen-bff="+address, "--oidc-internal-url="+private, "--oidc-ca-file="+bundle,
		"--tls-cert-file="+bffCert, "--tls-key-file="+bffKey, "--tls-client-cert-file="+bffClientCert, "--tls-client-key-file="+bffClientKey,
		"--gateway-url=https://"+gatewayListen, "--gateway-ca-file="+bundle)
	server.ready(t, "http://"+grpcAdmin+"/readyz")
	gateway.ready(t, "http://"+gatewayAdmin+"/readyz")
	visit := func() *visitor {
		v := newVisitor(t)
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
		t.Cleanup(transport.CloseIdleConnections)
		v.client.Transport = transport
		return v
	}
	in := installation{base: base, op: op, processes: []*process{bff, gateway, server}}
	alice := visit()
	eventually(t, "the bff", func() error {
		resp, err := alice.client.Get(base + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
			return errors.New(resp.Proto + " " + resp.Status)
		}
		return nil
	})
	signsIn(t, in, alice, "alice")
	callsAPI(t, in, alice)

	// Others are refused by the listeners themselves.
	for name, c := range map[string]struct {
		address string
		cert    *certtest.Pair
	}{
		"gateway, no certificate":       {gatewayListen, nil},
		"gateway, foreign authority":    {gatewayListen, new(foreign.Issue(t, "bff.internal"))},
		"gateway, the server's":         {gatewayListen, new(ca.Issue(t, "127.0.0.1"))},
		"server, no certificate":        {grpcListen, nil},
		"server, the bff's certificate": {grpcListen, new(ca.Issue(t, "bff.internal"))},
	} {
		if err := handshake(t, c.address, ca, c.cert); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := handshake(t, gatewayListen, ca, new(ca.Issue(t, "bff.internal"))); err != nil {
		t.Errorf("the gateway refuses a certificate of the bff: %v", err)
	}

	// New certificates and secrets are used after a signal, or a few seconds.
	fresh := strings.Repeat("0a1b2c3d", 8)
	writeSecret(fresh, tutorialSecret)
	pair("bff", "localhost")
	pair("gateway", "gateway.internal", "127.0.0.1")
	for _, p := range []*process{bff, gateway} {
		_ = p.cmd.Process.Signal(syscall.SIGHUP)
		p.said(t, `"msg":"setting changed at run time","part":"tls","setting":"GATEHOUSE_TLS_CERT_FILE"`)
	}
	bff.said(t, `"setting":"GATEHOUSE_SECRET"`)
	callsAPI(t, in, alice)
	bob := visit()
	signsIn(t, in, bob, "bob")
	generatedClient(t, bob, base) // a stream by HTTP/2
	for _, p := range in.processes {
		if text := p.out.String(); strings.Contains(text, "in the clear") || strings.Contains(text, fresh) {
			t.Errorf("%s warns of tokens in the clear, or shows a secret", p.name)
		}
	}
}

// tlsProxy returns the address of a proxy with TLS to a server.
func tlsProxy(t *testing.T, ca *certtest.Authority, target string) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	pair := ca.Issue(t, "127.0.0.1")
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// handshake connects with a client certificate, and returns the server's refusal.
func handshake(t *testing.T, address string, ca *certtest.Authority, pair *certtest.Pair) error {
	t.Helper()
	cfg := &tls.Config{RootCAs: ca.Pool(), NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12} // which refuses in the handshake
	if pair != nil {
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: cfg}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}
