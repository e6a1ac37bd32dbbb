package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStrictProvider signs in without a shared secret and without protocol parameters in browser
// addresses: the client authenticates with a key that the provider fetches from the bff, requests
// are pushed, as the provider requires, and the response is a form post.
func TestStrictProvider(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]any{
		"RSA": must1(rsa.GenerateKey(rand.Reader, 2048)), "P-256": must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "client-key.pem")
			block := &pem.Block{Type: "PRIVATE KEY", Bytes: must1(x509.MarshalPKCS8PrivateKey(key))}
			if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
			address := freeAddress(t)
			base := "http://localhost:" + portOf(address)
			op := startProvider(t, freeAddress(t), base, firstTTL, "REQUIRE_PAR=yes", "CLIENT_JWKS_URI="+base+"/api/auth/jwks.json")
			telemetry := startCollector(t)
			env := append(append(op.environment(base), telemetry.environment()...), "AUTH0_CLIENT_SECRET=", "GATEHOUSE_OIDC_CLIENT_KEY_FILE="+path, "GATEHOUSE_OIDC_RESPONSE_MODE=form_post")
			p := gatehouse(t, env, "serve", "--listen-bff="+address, "--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t), "--log-level=debug")
			p.ready(t, base+"/readyz")
			in := installation{base: base, op: op, processes: []*process{p}}

			// The provider has no session, and returns that error in a form too, on a page with an
			// error status.
			v := newVisitor(t)
			v.open(t, base+"/api/auth/login?prompt=none&returnTo=/public").wants(t, http.StatusBadRequest, "text/html")
			if landed := v.submit(t, nil).wants(t, http.StatusOK, "text/html"); landed.url != base+"/public" {
				t.Fatalf("the silent login led to %s\n%s", landed.url, landed.body)
			}

			v.open(t, base+"/private").wants(t, http.StatusOK, "text/html")
			form := v.submit(t, map[string]string{"login": "alice"}).wants(t, http.StatusOK, "text/html")
			if !strings.HasPrefix(form.url, op.issuer+"/") || !strings.Contains(form.body, base+"/api/auth/callback") {
				t.Fatalf("no form with the answer, but %s", form.url)
			}
			if landed := v.submit(t, nil).wants(t, http.StatusOK, "text/html"); landed.url != base+"/private" {
				t.Fatalf("the sign-in led to %s\n%s", landed.url, landed.body)
			}
			code := op.state(t).of("code")
			for _, a := range v.seen {
				for _, parameter := range []string{"code_challenge=", "nonce=", "scope=", code[len(code)-1]} {
					if strings.Contains(a.url, parameter) {
						t.Errorf("%s stands in the address %s", parameter, a.url[:min(len(a.url), 60)])
					}
				}
			}
			callsAPI(t, in, v)
			outlivesToken(t, in, v) // a refresh authenticates with the key too
			signsOut(t, in, v)
			if code := p.stop(t); code != 0 { // which sends what the collector has not got yet
				t.Errorf("gatehouse serve ended with exit code %d, want 0", code)
			}
			in.outlets = telemetry.outlets(t)
			nothingPrinted(t, in, v)

			check := gatehouse(t, env, "check")
			<-check.done
			if said := check.out.String(); check.cmd.ProcessState.ExitCode() != 0 || !strings.Contains(said, "its key is right (private_key_jwt)") || !strings.Contains(said, "requests are pushed") {
				t.Errorf("gatehouse check:\n%s", said)
			}
		})
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
