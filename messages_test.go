package gatehouse

import (
	"strings"
	"testing"
)

// Typical mistakes get a remedy that says what to write.
func TestTypicalMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		change, want string
	}{
		"metadata's address as the issuer": {"GATEHOUSE_OIDC_ISSUER=https://id.example/realms/shop/.well-known/openid-configuration",
			"GATEHOUSE_OIDC_ISSUER=https://id.example/realms/shop/.well-known/openid-configuration (environment): is the address of the provider's metadata; leave out /.well-known/openid-configuration"},
		"path of the key as the key": {"GATEHOUSE_OIDC_CLIENT_KEY=/run/secrets/key.pem",
			"in GATEHOUSE_OIDC_CLIENT_KEY_FILE"},
		"scopes with commas": {"GATEHOUSE_OIDC_SCOPE=openid,profile",
			"GATEHOUSE_OIDC_SCOPE=openid,profile (environment): lacks openid, which a login needs; separate scopes by spaces"},
		"port as the base URL": {"GATEHOUSE_BASE_URL=3000",
			"GATEHOUSE_BASE_URL=3000 (environment): is not a URL; give the origin that browsers see"},
		"port alone": {"GATEHOUSE_LISTEN_BFF=3000",
			"GATEHOUSE_LISTEN_BFF=3000 (environment): is not an address with a port; did you mean :3000?"},
		"host alone": {"GATEHOUSE_LISTEN_BFF=localhost",
			"GATEHOUSE_LISTEN_BFF=localhost (environment): is not an address with a port; give HOST:PORT of this machine, such as 127.0.0.1:3000"},
		"port that is none": {"GATEHOUSE_LISTEN_BFF=:99999",
			`GATEHOUSE_LISTEN_BFF=:99999 (environment): has the port "99999", which is neither a number up to 65535 nor the name of a service; correct the port`},
		"memory without a colon": {"GATEHOUSE_DENYLIST=memory",
			"GATEHOUSE_DENYLIST=memory (environment): is no denylist; give memory: or "},
		"directory without dir:": {"GATEHOUSE_FRONTEND=" + dir,
			"GATEHOUSE_FRONTEND=" + dir + " (environment): is a directory; did you mean dir:" + dir + "?"},
		"secret of one letter": {"GATEHOUSE_SECRET=" + strings.Repeat("a", 40),
			"GATEHOUSE_SECRET (environment): has too few different characters: 1 of at least"},
	} {
		if err := validated(t, partSet{BFF: true}, bffEnvironment(c.change)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// The limits on messages have a range, for each part.
func TestMessageLimits(t *testing.T) {
	t.Parallel()
	for _, parts := range []partSet{{BFF: true}, {Gateway: true}, {Server: true}} {
		err := validated(t, parts, bffEnvironment("GATEHOUSE_MAX_REQUEST_BYTES=-1", "GATEHOUSE_MAX_RESPONSE_BYTES=1099511627776")...)
		for _, want := range []string{"GATEHOUSE_MAX_REQUEST_BYTES=-1 (environment): ", "GATEHOUSE_MAX_RESPONSE_BYTES=1099511627776 (environment): "} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want %q", parts, err, want)
			}
		}
	}
}

// A gateway refuses a target that is not one of gRPC.
func TestGRPCTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"http://server:9090/": "GATEHOUSE_GRPC_TARGET=http://server:9090/ (environment): is the address of an HTTP server; did you mean dns:///server:9090?",
		"https://server:9090": "did you mean dns:///server:9090?",
		"dns:///server:9090":  "", "server:9090": "", "unix:///run/server.sock": "", "ipv4:10.0.0.1:9090": "",
	} {
		if err := validated(t, partSet{Gateway: true}, bffEnvironment("GATEHOUSE_GRPC_TARGET="+target)...); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", target, err, want)
		}
	}
}
