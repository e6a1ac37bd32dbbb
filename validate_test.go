package gatehouse

import (
	"fmt"
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

// An address without a scheme gets a suggestion, one that browsers would write
// in another way is accepted, and one that they would refuse is refused.
func TestOrigins(t *testing.T) {
	t.Parallel()
	base := func(v string) string { return "GATEHOUSE_BASE_URL=" + v }
	for name, c := range map[string]struct {
		change string
		want   string // in the error; "" for none
	}{
		"IDNA":                     {base("https://bücher.example"), ""},
		"IPv6":                     {base("https://[2001:DB8::1]:8443"), ""},
		"upper case":               {base("HTTPS://SHOP.EXAMPLE"), ""},
		"short IPv4":               {base("http://127.1:3000"), ""},
		"no scheme":                {base("localhost:3000"), "GATEHOUSE_BASE_URL=localhost:3000 (environment): the scheme is missing; did you mean http://localhost:3000?"},
		"no scheme, IPv6":          {base("[::1]:3000"), "did you mean http://[::1]:3000?"},
		"IPv6 zone":                {base("https://[fe80::1%25eth0]"), "GATEHOUSE_BASE_URL=https://[fe80::1%25eth0] (environment): the IPv6 address has a zone"},
		"broken punycode":          {base("https://xn--a.example"), "not a name that browsers accept"},
		"port":                     {base("https://shop.example:65536"), `the port "65536"`},
		"issuer without a scheme":  {"GATEHOUSE_OIDC_ISSUER=localhost:3001", "GATEHOUSE_OIDC_ISSUER=localhost:3001 (environment): the scheme is missing; did you mean http://localhost:3001?"},
		"gateway without a scheme": {"GATEHOUSE_GATEWAY_URL=gateway:5000", "GATEHOUSE_GATEWAY_URL=gateway:5000 (environment): the scheme is missing; did you mean http://gateway:5000?"},
		"front end without one":    {"GATEHOUSE_FRONTEND=localhost:5173", "GATEHOUSE_FRONTEND=localhost:5173 (environment): the scheme is missing; did you mean http://localhost:5173?"},
		"gateway with a path":      {"GATEHOUSE_GATEWAY_URL=http://gateway:5000/prefix", ""},
	} {
		err := validated(t, partSet{BFF: true}, bffEnvironment(c.change)...)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// An invalid database URL stops the start. The error has the setting and no
// password.
func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"": true, "memory:": true, "sqlite:products.db": true, "postgres://user:hunter2@db/products": true, "postgresql://db/products": true,
		"sqlite:": false, "memory:x": false, "products.db": false, "mysql://user:hunter2@db/products": false, "postgres": false,
	} {
		err := validated(t, partSet{Server: true}, serverEnvironment("GATEHOUSE_DATABASE_URL="+url)...)
		if ok != (err == nil) {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL=") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: %v", url, err)
		}
		if err := validated(t, partSet{Gateway: true}, "GATEHOUSE_GRPC_TARGET=dns:///server", "GATEHOUSE_DATABASE_URL="+url); err != nil {
			t.Errorf("%q: a gateway has no database: %v", url, err)
		}
	}
}

// No error about a URL with a password shows the password.
func TestConfidentialSettings(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"postgres://h:54x/db?password=hunter2", "host=db user=u password=hunter2 dbname=x", "postgres:user:hunter2@127.0.0.1/db",
		"user:hunter2@host/db", "mysql://u:hunter2@db/x", "redis:hunter2@h:1", "user:hunter2@h:6379", "http://hunter2@h",
	} {
		err := validated(t, partSet{Server: true}, serverEnvironment("GATEHOUSE_DATABASE_URL="+value, "GATEHOUSE_DENYLIST="+value)...)
		if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_DENYLIST=") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// dev asks for no password, so it listens on loopback only.
func TestDevStaysOnLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		err := configured(t, "GATEHOUSE_LISTEN_BFF="+address).runDev(t.Context())
		if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_LISTEN_BFF="+address) || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Two parts at one address, and an invalid address, are reported before anything
// listens.
func TestAddresses(t *testing.T) {
	t.Parallel()
	err := validated(t, partSet{Gateway: true, Server: true}, serverEnvironment(
		"GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_LISTEN_GATEWAY=:9090", "GATEHOUSE_LISTEN_ADMIN=nowhere")...)
	for _, want := range []string{"GATEHOUSE_LISTEN_GRPC=:9090 (default): is also GATEHOUSE_LISTEN_GATEWAY", "GATEHOUSE_LISTEN_ADMIN=nowhere (environment): is not an address with a port"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// A session store has one of the known forms, and is shared if several bffs use it.
// No error shows a password.
func TestSessionStores(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		store    string
		replicas int
		problem  string // in the error; "" for none
	}{
		{"memory:", 1, ""},
		{"sqlite:sessions.db", 1, ""},
		{"postgres://user:hunter2@db.example/gatehouse", 3, ""},
		{"postgresql://db.example/gatehouse?sslmode=verify-full", 3, ""},
		{"redis://cache.example", 3, ""},
		{"rediss://user:hunter2@cache.example:6380/2", 3, ""},
		{"redis-cluster://a.example:6379,b.example:6379", 3, ""},
		{"redis-sentinel://:hunter2@a.example,b.example,c.example/main", 3, ""},
		{"memory:", 2, "GATEHOUSE_REPLICAS=2 (environment): needs a session store that is shared, which memory: is not"},
		{"sqlite:sessions.db", 2, "GATEHOUSE_REPLICAS=2 (environment): needs a session store that is shared, which sqlite: is not"},
		{"sqlite:/no/such/folder/sessions.db", 1, "is in the folder /no/such/folder, which does not exist"},
		{"sqlite:", 1, "is no session store"},
		{"memory:x", 1, "is no session store"},
		{"mysql://user:hunter2@db/x", 1, "is no session store"},
		{"redis:hunter2@cache:6379", 1, "is no session store"},
		{"postgres://user:hunter2@db:54x/x", 1, "not an address of PostgreSQL"},
		{"redis://user:hunter2@cache:63x", 1, "an invalid port"},
		{"redis://user:hunt%er2@cache", 1, "percent-encode"},
		{"redis://a,b", 1, "redis-cluster://"},
		{"redis-sentinel://user:hunter2@a:26379", 1, "lacks the sentinels' name of the master"},
		{"redis-cluster://user:hunter2@a/1", 1, "a cluster has no databases"},
		{"redis://a/x?hunter2=1", 1, "a database that is not a number"},
	} {
		err := validated(t, partSet{BFF: true}, bffEnvironment("GATEHOUSE_SESSION_STORE="+c.store, fmt.Sprintf("GATEHOUSE_REPLICAS=%d", c.replicas))...)
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s with %d replicas: %v", c.store, c.replicas, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s with %d replicas: %v, want %q and no password", c.store, c.replicas, err, c.problem)
		}
	}
}
