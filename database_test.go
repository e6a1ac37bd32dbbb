package gatehouse

import (
	"strings"
	"testing"
)

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
