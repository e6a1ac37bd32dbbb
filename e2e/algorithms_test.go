package e2e

import (
	"strings"
	"testing"
)

// TestAlgorithms signs in and calls the API with a provider that signs all tokens with another
// algorithm than RS256.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for signs, allowed := range map[string]string{"ES256": "ES256", "PS256": "PS256", "EdDSA": "EdDSA", "Ed25519": "EdDSA"} {
		t.Run(signs, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			base := "http://localhost:" + portOf(address)
			op := startProvider(t, freeAddress(t), base, firstTTL, "SIGNING_ALG="+signs)
			env := append(op.environment(base), "GATEHOUSE_ID_TOKEN_ALGORITHMS="+allowed, "GATEHOUSE_ACCESS_TOKEN_ALGORITHMS="+allowed)
			p := gatehouse(t, env, "serve", "--listen-bff="+address, "--listen-gateway="+freeAddress(t), "--listen-grpc="+freeAddress(t))
			p.ready(t, base+"/readyz")
			in := installation{base: base, op: op, processes: []*process{p}}
			if signs == "EdDSA" { // with refreshes and logout tokens
				journey(t, in)
				return
			}
			v := newVisitor(t)
			signsIn(t, in, v, "alice")
			callsAPI(t, in, v)
			if signs == "Ed25519" {
				checkNamesAlgorithms(t, op, base, signs, allowed)
			}
		})
	}
}

// checkNamesAlgorithms checks that `gatehouse check` says which settings to change.
func checkNamesAlgorithms(t *testing.T, op *openIDProvider, base, signs, allowed string) {
	t.Helper()
	code, said := outcome(t, t.TempDir(), op.environment(base), "check")
	for _, text := range []string{
		"WRONG GATEHOUSE_ID_TOKEN_ALGORITHMS=RS256: the provider does not sign ID tokens with that (it lists [" + signs + "])", "set GATEHOUSE_ID_TOKEN_ALGORITHMS=" + allowed,
		"WRONG no access token can be verified: the provider has keys for " + allowed + " only", "set GATEHOUSE_ACCESS_TOKEN_ALGORITHMS=" + allowed,
		"keys for " + allowed + " only, and none for RS256",
	} {
		if code != 1 || !strings.Contains(said, text) {
			t.Errorf("exit code %d, want 1 and %q:\n%s", code, text, said)
		}
	}
}
