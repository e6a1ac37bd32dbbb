package gatehouse

import (
	"crypto/rand"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// TestSettingsOfCommit1fe628b: configurations with every setting of that commit, in the environment
// and as a YAML file, are valid and leave none unused.
func TestSettingsOfCommit1fe628b(t *testing.T) {
	t.Parallel()
	login := []string{
		"oidc-issuer=https://issuer.example/", "oidc-client-id=bff", "audience=https://api.example", "base-url=https://shop.example",
		"secret=" + rand.Text() + rand.Text() + "," + rand.Text() + rand.Text(), "permissions-claim=realm_access.roles",
		"oidc-scope=openid profile email offline_access", "oidc-offline-consent=never", "oidc-omit-audience=true", "oidc-omit-resource=true",
		"oidc-omit-par=true", "oidc-response-mode=form_post", "login-rate=60", "session-idle-timeout=12h", "session-absolute-timeout=72h",
		"protect=/private,/orders/:id,/my/:path*", "trusted-proxies=10.0.0.0/8,192.0.2.1", "log-level=warn", "log-format=json",
		"shutdown-timeout=30s", "listen-admin=127.0.0.1:9100",
	}
	tutorial := []string{
		"AUTH0_SECRET=" + rand.Text() + rand.Text(), "AUTH0_BASE_URL=http://localhost:3000", "AUTH0_ISSUER_BASE_URL=https://issuer.example",
		"AUTH0_CLIENT_ID=web", "AUTH0_CLIENT_SECRET=" + rand.Text(), "AUTH0_AUDIENCE=https://api.example", "AUTH0_SCOPE=openid profile",
	}
	pages := filepath.Dir(write(t, "index.html", "<!doctype html>"))
	for _, c := range []struct {
		name     string
		run      partSet
		settings []string // by the names of flags
		environ  []string
	}{
		{"serve as in the tutorial", allParts, nil, tutorial},
		{"serve on one machine", allParts, append(login, "oidc-client-secret="+rand.Text(), "oidc-client-auth=client_secret_post",
			"session-store=sqlite:sessions.db", "database-url=sqlite:shop.db", "denylist=memory:", "frontend=dir:"+pages, "frontend-csp=default-src 'self'",
			"replicas=1", "api-docs=off", "require-at-jwt=true", "stream-heartbeat=10s", "listen-bff=:80", "listen-gateway=127.0.0.1:5000",
			"listen-grpc=:9090"), nil},
		{"one of several bffs", partSet{BFF: true}, append(login, "session-store=redis-sentinel://sentinel:26379/main", "replicas=3",
			"denylist=redis://redis:6379", "gateway-url=http://gateway:5000", "frontend=http://next:3000", "listen-bff=127.0.0.1:3000",
			"oidc-client-secret="+rand.Text()), nil},
		{"a bff on PostgreSQL with a public client", partSet{BFF: true}, append(login, "session-store=postgres://u:p@db/sessions?pool_max_conns=20",
			"replicas=2", "denylist=rediss://redis:6379", "gateway-url=https://gateway", "frontend=embedded:", "oidc-client-auth=none"), nil},
		{"gateway", partSet{Gateway: true}, []string{"grpc-target=dns:///server:9090", "base-url=https://shop.example", "listen-gateway=:5000", "stream-heartbeat=20s"}, nil},
		{"server", partSet{Server: true}, []string{"oidc-issuer=https://issuer.example", "audience=https://api.example", "database-url=postgres://u:p@db/shop",
			"session-store=postgres://u:p@db/sessions", "denylist=redis://redis:6379", "listen-grpc=:9090", "replicas=3"}, nil},
	} {
		var file strings.Builder
		environ := slices.Clone(c.environ)
		for _, setting := range c.settings {
			name, value, _ := strings.Cut(setting, "=")
			file.WriteString(name + ": " + `"` + value + `"` + "\n")
			environ = append(environ, "GATEHOUSE_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
		}
		for source, from := range map[string]settings.Sources{
			"environment": {Environ: environ},
			"file":        {Environ: append(c.environ, "GATEHOUSE_CONFIG="+write(t, "gatehouse.yaml", file.String()))},
		} {
			p := configuredFrom(t, from)
			if err := p.values.Err(); err != nil {
				t.Errorf("%s, %s: %v", c.name, source, err)
			} else if err := p.validate(c.run); err != nil {
				t.Errorf("%s, %s: %v", c.name, source, err)
			}
		}
	}
}
