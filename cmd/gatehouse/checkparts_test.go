package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// checkedPart returns the exit code of check for one part, and the results by what
// they prove.
func checkedPart(t *testing.T, part string, environ ...string) (code int, byProof map[string]string) {
	t.Helper()
	var out, er bytes.Buffer
	code = gatehouse.Run(t.Context(), app(), []string{"check", part, "--json"}, environ, &out, &er)
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out.String(), er.String())
	}
	byProof = map[string]string{}
	for _, result := range r.Results {
		byProof[result.Proof] = strings.TrimSpace(byProof[result.Proof] + "\n" + result.Status + " " + result.What + "; " + result.Remedy)
	}
	return code, byProof
}

// expect compares an exit code and results with texts that they contain.
func expect(t *testing.T, name string, code, wantCode int, got, want map[string]string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("%s: exit code %d, want %d: %q", name, code, wantCode, got)
	}
	for proof, text := range want {
		if !strings.Contains(got[proof], text) || text == "" && got[proof] != "" {
			t.Errorf("%s: %s: got %q, want %q", name, proof, got[proof], text)
		}
	}
}

// certificate returns a certificate for 127.0.0.1 that signs itself, and its file.
func certificate(t *testing.T, until time.Time) (pair tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "pair.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// answering starts a server that answers every request in the same way.
func answering(t *testing.T, status int, body string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s
}

// TestCheckServer has faults of a provider that a server alone can see.
func TestCheckServer(t *testing.T) {
	t.Parallel()
	good := tokentest.NewIssuer(t)
	empty := tokentest.NewIssuer(t)
	empty.PublishKeys()
	foreign := tokentest.NewIssuer(t)
	foreign.PublishKeys(map[string]any{"kty": "oct", "k": "AAAA", "kid": "1"})
	// A provider behind others: one whose clock is wrong, and one whose certificate has expired.
	behind := tokentest.NewIssuer(t)
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	late := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set("Date", time.Now().Add(300*time.Second).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	t.Cleanup(late.Close)
	behind.SetMetadata("issuer", late.URL)
	behind.SetMetadata("jwks_uri", late.URL+"/keys")
	expired := httptest.NewUnstartedServer(http.NotFoundHandler())
	pair, file := certificate(t, time.Now().Add(-24*time.Hour))
	expired.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail
	expired.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	expired.StartTLS()
	t.Cleanup(expired.Close)
	_, soon := certificate(t, time.Now().Add(72*time.Hour))

	const api = "GATEHOUSE_AUDIENCE=https://api.example"
	for name, c := range map[string]struct {
		issuer string
		env    []string
		code   int
		want   map[string]string
	}{
		"all is well": {good.URL, nil, 0, map[string]string{
			"settings": "ok ", "provider": "ok the provider answers", "keys": "ok ", "clock": "ok the clocks",
			"access token": "unknown the audience and the kind of access tokens", "credential": "", "session store": "", "server": ""}},
		"no keys":             {empty.URL, nil, 1, map[string]string{"keys": "wrong the provider's key set at " + empty.URL + "/keys cannot be used: oidc: provider " + empty.URL + ": keys: GET " + empty.URL + "/keys: the key set is empty"}},
		"keys of other kinds": {foreign.URL, nil, 1, map[string]string{"keys": "no usable key in the set"}},
		"a failure":           {answering(t, 500, "").URL, nil, 1, map[string]string{"provider": "status 500", "keys": ""}},
		"too many requests":   {answering(t, 429, "").URL, nil, 1, map[string]string{"provider": "status 429"}},
		"a clock 300 s ahead": {late.URL, nil, 1, map[string]string{"clock": " s behind the provider's, so that new tokens are from the future here"}},
		"an expired certificate": {expired.URL, []string{"GATEHOUSE_OIDC_CA_FILE=" + file}, 1, map[string]string{
			"provider": "the server's certificate has expired on " + time.Now().Add(-24*time.Hour).UTC().Format("2006-01-02")}},
		"a certificate of its own that expires soon": {good.URL, []string{"GATEHOUSE_TLS_CERT_FILE=" + soon, "GATEHOUSE_TLS_KEY_FILE=" + soon}, 0, map[string]string{
			"certificate": "warn the certificate " + soon + " expires at "}},
		"a certificate of its own that has expired": {good.URL, []string{"GATEHOUSE_TLS_CERT_FILE=" + file, "GATEHOUSE_TLS_KEY_FILE=" + file}, 1, map[string]string{
			"certificate": "wrong the certificate " + file + " expired at "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, got := checkedPart(t, "server", append(c.env, api, "GATEHOUSE_OIDC_ISSUER="+c.issuer, "GATEHOUSE_DATABASE_URL=memory:")...)
			expect(t, name, code, c.code, got, c.want)
			// A program whose services keep nothing has no database.
			if proof := got["database"]; proof != "" && !strings.HasPrefix(proof, "warn ") {
				t.Errorf("database: got %q, want a warning", proof)
			}
		})
	}
	if _, got := checkedPart(t, "server", "GATEHOUSE_OIDC_CA_FILE="+file, api, "GATEHOUSE_OIDC_ISSUER="+expired.URL, "GATEHOUSE_DATABASE_URL=memory:"); !strings.HasSuffix(got["provider"], "; renew it at the server") {
		t.Errorf("the remedy for an expired certificate: %q", got["provider"])
	}
}

// TestCheckGateway checks a gateway in front of servers that are down, not ready, ready,
// or something else.
func TestCheckGateway(t *testing.T) {
	t.Parallel()
	ask := func(target string, env ...string) (int, map[string]string) {
		return checkedPart(t, "gateway", append(env, "GATEHOUSE_GRPC_TARGET="+target)...)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close() // nothing listens at its address
	code, got := ask("dns:///" + closed.Addr().String())
	expect(t, "nothing there", code, 1, got, map[string]string{
		"settings": "ok ", "server": "wrong GATEHOUSE_GRPC_TARGET=dns:///" + closed.Addr().String() + " (environment): the connection is refused", "provider": "", "database": ""})
	web := strings.TrimPrefix(answering(t, 200, "ok").URL, "http://")
	code, got = ask(web)
	expect(t, "a web server", code, 1, got, map[string]string{"server": "something listens there"})
	code, got = ask("no-such-host.invalid:9090")
	expect(t, "no such name", code, 1, got, map[string]string{"server": "no-such-host.invalid"})

	code, got = ask("dns:///" + closed.Addr().String() + "," + web)
	expect(t, "two servers", code, 1, got, map[string]string{"server": ": dns:///" + closed.Addr().String() + ": the connection is refused"})
	if n := strings.Count(got["server"], "wrong "); n != 2 {
		t.Errorf("two servers: %d are wrong: %s", n, got["server"])
	}

	issuer := tokentest.NewIssuer(t)
	issuer.SetDown(true)
	serve(t, "server", func(part, address string) {
		if part == "server" {
			code, got := ask(address)
			expect(t, "not ready", code, 0, got, map[string]string{"server": "the server answers and is not ready; see /readyz of its admin port"})
			issuer.SetDown(false)
			for deadline := time.Now().Add(time.Minute); !strings.HasSuffix(got["server"], "the server answers and is ready;") && time.Now().Before(deadline); {
				code, got = ask(address)
			}
			expect(t, "ready", code, 0, got, map[string]string{"server": "ok GATEHOUSE_GRPC_TARGET=" + address})
		}
	}, "GATEHOUSE_OIDC_ISSUER="+issuer.URL, "GATEHOUSE_DATABASE_URL=memory:")
}

// TestCheckBFF checks a bff in front of gateways that are down, not ready, ready, or
// something else.
func TestCheckBFF(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewIssuer(t)
	ask := func(gateway string, env ...string) (int, map[string]string) {
		return checkedPart(t, "bff", append([]string{
			"GATEHOUSE_OIDC_ISSUER=" + issuer.URL, "GATEHOUSE_AUDIENCE=https://api.example", "GATEHOUSE_OIDC_CLIENT_ID=bff", "GATEHOUSE_OIDC_CLIENT_SECRET=x",
			"GATEHOUSE_BASE_URL=http://localhost:3000", "GATEHOUSE_SECRET=" + rand.Text() + rand.Text(),
			"GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_GATEWAY_URL=" + gateway}, env...)...)
	}
	unready, other, strange := answering(t, 503, "not ready: the server does not answer\n"), answering(t, 404, "nothing here"), answering(t, 421, "")
	code, got := ask("http://127.0.0.1:1")
	expect(t, "nothing there", code, 1, got, map[string]string{
		"gateway": "wrong GATEHOUSE_GATEWAY_URL=http://127.0.0.1:1 (environment): the connection is refused", "database": "", "server": "",
		"credential": "unknown ", "base URL": "is on this machine"})
	code, got = ask(unready.URL)
	expect(t, "not ready", code, 3, got, map[string]string{"gateway": "warn GATEHOUSE_GATEWAY_URL=" + unready.URL + " (environment): the gateway answers and is not ready: the server does not answer"})
	code, got = ask(other.URL)
	expect(t, "another server", code, 1, got, map[string]string{"gateway": "another server answers there (status 404 to /readyz), not a gateway"})
	code, got = ask(strange.URL)
	expect(t, "an unknown name", code, 1, got, map[string]string{"gateway": "add the name to GATEHOUSE_ALLOWED_HOSTS of the gateway"})
	code, got = ask(answering(t, 200, "ok\n").URL, "GATEHOUSE_BASE_URL=https://no-such-host.invalid", "GATEHOUSE_FRONTEND=http://127.0.0.1:1")
	expect(t, "names that do not exist", code, 1, got, map[string]string{"gateway": "ok ", "base URL": "no-such-host.invalid", "front end": "wrong GATEHOUSE_FRONTEND=http://127.0.0.1:1 (environment): the connection is refused"})
	code, got = ask(answering(t, 200, "ok\n").URL, "GATEHOUSE_FRONTEND="+other.URL)
	expect(t, "a front end", code, 3, got, map[string]string{"front end": "ok GATEHOUSE_FRONTEND="})
}

// TestCheckRoutes checks servers of routes that are there, with and without their authority, and
// that are not.
func TestCheckRoutes(t *testing.T) {
	t.Parallel()
	issuer, asked := tokentest.NewIssuer(t), make(chan string, 1)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	failing, missing := answering(t, 503, ""), answering(t, 404, "")
	code, got := checkedPart(t, "bff", "GATEHOUSE_OIDC_ISSUER="+issuer.URL, "GATEHOUSE_AUDIENCE=https://api.example", "GATEHOUSE_OIDC_CLIENT_ID=bff", "GATEHOUSE_OIDC_CLIENT_SECRET=x",
		"GATEHOUSE_BASE_URL=http://localhost:3000", "GATEHOUSE_SECRET="+rand.Text()+rand.Text(), "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_GATEWAY_URL="+answering(t, 200, "ok\n").URL,
		"GATEHOUSE_ROUTES=["+strings.Join([]string{
			"{path: /known, to: '" + secure.URL + "/base', probe: /health, ca-file: " + ca + "}", "{path: /unknown, to: '" + secure.URL + "'}",
			"{path: /away, to: 'http://127.0.0.1:1'}", "{path: /failing, to: '" + failing.URL + "'}", "{path: /missing, to: '" + missing.URL + "'}", "{path: /api/products, to: gateway}"}, ", ")+"]")
	expect(t, "routes", code, 1, got, nil)
	for _, want := range []string{
		"ok GATEHOUSE_ROUTES (environment): routes[0] /known: " + secure.URL + "/base: the server answers;",
		"wrong GATEHOUSE_ROUTES (environment): routes[1] /unknown: " + secure.URL + ": the server's certificate is signed by an authority that",
		"wrong GATEHOUSE_ROUTES (environment): routes[2] /away: http://127.0.0.1:1: the connection is refused",
		"warn GATEHOUSE_ROUTES (environment): routes[3] /failing: " + failing.URL + ": the server answers with status 503;",
		"ok GATEHOUSE_ROUTES (environment): routes[4] /missing: " + missing.URL + ": the server answers;",
	} {
		if !strings.Contains(got["route"], want) {
			t.Errorf("no %q in\n%s", want, got["route"])
		}
	}
	if path := <-asked; path != "/base/health" || strings.Count(got["route"], "\n") != 4 {
		t.Errorf("the check asked for %s; results:\n%s", path, got["route"])
	}
}

// TestCheckPartNames completes and refuses the names of parts.
func TestCheckPartNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"check", "shop"}, 2, `"shop" is no part to check; give one of serve, bff, gateway, server`},
		{[]string{"check", "bff", "server"}, 2, "unexpected argument server"},
		{[]string{"__complete", "check", ""}, 0, "serve\nbff\ngateway\nserver\n"},
		{[]string{"help"}, 0, "check"},
	} {
		var out bytes.Buffer
		if code := gatehouse.Run(t.Context(), app(), c.args, nil, &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: exit code %d, want %d: %s", c.args, code, c.code, out.String())
		}
	}
}
