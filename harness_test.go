package gatehouse

import (
	"crypto/rand"
	"io"
	"slices"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// configured returns a program with the settings of environ.
func configured(t *testing.T, environ ...string) *program {
	t.Helper()
	return configuredFrom(t, settings.Sources{Environ: environ})
}

func configuredFrom(t *testing.T, from settings.Sources) *program {
	t.Helper()
	p, err := newProgram(App{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	p.read(from)
	p.setDefaults()
	return p
}

// validated returns the error of a configuration.
func validated(t *testing.T, which partSet, environ ...string) error {
	t.Helper()
	p := configured(t, environ...)
	if err := p.values.Err(); err != nil {
		return err
	}
	return p.validate(which)
}

// bffEnvironment returns valid settings for a bff alone, changed by others.
func bffEnvironment(change ...string) []string {
	return slices.Concat([]string{
		"GATEHOUSE_OIDC_ISSUER=https://issuer.example", "GATEHOUSE_AUDIENCE=https://api.example", "GATEHOUSE_OIDC_CLIENT_ID=bff",
		"GATEHOUSE_BASE_URL=https://shop.example", "GATEHOUSE_SECRET=" + rand.Text() + rand.Text(),
		"GATEHOUSE_GATEWAY_URL=http://gateway:5000", "GATEHOUSE_SESSION_STORE=memory:",
	}, change)
}

// serverEnvironment returns valid settings for a server alone, changed by others.
func serverEnvironment(change ...string) []string {
	return append([]string{"GATEHOUSE_OIDC_ISSUER=https://issuer.example", "GATEHOUSE_AUDIENCE=https://api.example"}, change...)
}
