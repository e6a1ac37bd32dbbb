package gatehouse

import (
	"strings"
	"testing"
)

// What is often written by mistake is answered with what to write instead.
func TestTypicalMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		change func(*config)
		want   string
	}{
		"metadata's address as the issuer": {func(c *config) { c.Issuer = "https://id.example/realms/shop/.well-known/openid-configuration" },
			"GATEHOUSE_OIDC_ISSUER=https://id.example/realms/shop/.well-known/openid-configuration: is the address of the provider's metadata; leave out /.well-known/openid-configuration"},
		"path of the key as the key": {func(c *config) { c.ClientKey, c.ClientSecret = "/run/secrets/key.pem", "" },
			"in GATEHOUSE_OIDC_CLIENT_KEY_FILE"},
		"scopes with commas": {func(c *config) { c.Scope = "openid,profile" },
			"GATEHOUSE_OIDC_SCOPE=openid,profile: lacks openid, without which there is no login; separate scopes by spaces"},
		"port as the base URL": {func(c *config) { c.BaseURL = "3000" },
			"GATEHOUSE_BASE_URL=3000: not a URL; give the origin that browsers see"},
		"port alone": {func(c *config) { c.ListenBFF = "3000" },
			"GATEHOUSE_LISTEN_BFF=3000: not an address with a port; did you mean :3000?"},
		"host alone": {func(c *config) { c.ListenBFF = "localhost" },
			"GATEHOUSE_LISTEN_BFF=localhost: not an address with a port; give HOST:PORT of this machine, such as 127.0.0.1:3000"},
		"port that is none": {func(c *config) { c.ListenBFF = ":99999" },
			`GATEHOUSE_LISTEN_BFF=:99999: the port "99999" is neither a number up to 65535 nor the name of a service; correct the port`},
		"memory without a colon": {func(c *config) { c.Denylist = "memory" },
			"GATEHOUSE_DENYLIST=memory: no such denylist; give memory: or "},
		"directory without dir:": {func(c *config) { c.Frontend = dir },
			"GATEHOUSE_FRONTEND=" + dir + ": is a directory; did you mean dir:" + dir + "?"},
		"secret of one letter": {func(c *config) { c.Secrets = []string{strings.Repeat("a", 40)} },
			"GATEHOUSE_SECRET: secret 1 of 1 has too few different characters: 1 of at least"},
	} {
		cfg := bffConfig("memory:", 1)
		c.change(&cfg)
		if err := cfg.Validate(partSet{BFF: true}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// Limits on messages are held to their range by each part that uses them.
func TestMessageLimits(t *testing.T) {
	t.Parallel()
	for _, parts := range []partSet{{BFF: true}, {Gateway: true}, {Server: true}} {
		cfg := bffConfig("memory:", 1)
		cfg.MaxRequestBytes, cfg.MaxResponseBytes = -1, 1<<40
		err := cfg.Validate(parts)
		for _, want := range []string{"GATEHOUSE_MAX_REQUEST_BYTES=-1: ", "GATEHOUSE_MAX_RESPONSE_BYTES=1099511627776: "} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want %q", parts, err, want)
			}
		}
	}
}

// A gateway's target is one of gRPC.
func TestGRPCTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"http://server:9090/": "GATEHOUSE_GRPC_TARGET=http://server:9090/: is the address of an HTTP server; did you mean dns:///server:9090?",
		"https://server:9090": "did you mean dns:///server:9090?",
		"dns:///server:9090":  "", "server:9090": "", "unix:///run/server.sock": "", "ipv4:10.0.0.1:9090": "",
	} {
		cfg := bffConfig("memory:", 1)
		cfg.GRPCTarget = target
		if err := cfg.Validate(partSet{Gateway: true}); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", target, err, want)
		}
	}
}
