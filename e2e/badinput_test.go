package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Secret values in the settings of these tests, which no output may contain.
const (
	shortSecret   = "tooshort-4711"
	storePassword = "store-password-4711"
)

// clientKey returns a private key, a new one in each run.
var clientKey = string(pem.EncodeToMemory(&pem.Block{
	Type: "PRIVATE KEY", Bytes: must1(x509.MarshalPKCS8PrivateKey(must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))),
}))

// TestBadInput: each invalid setting leads to one line with the setting and the remedy, and to exit
// code 2 for an error in the command line and 1 for one in the configuration.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		args  []string // default: serve
		env   []string // added to the tutorial's
		unset []string // removed from the tutorial's
		files map[string]string
		code  int
		says  []string // texts that the line contains
	}{
		// The command line and the sources of settings.
		{name: "unknown flag", args: []string{"serve", "--no-such-flag"}, code: 2,
			says: []string{"unknown flag --no-such-flag", "gatehouse help"}},
		{name: "unknown command", args: []string{"sevre"}, code: 2,
			says: []string{"sevre", "gatehouse help"}},
		{name: "one argument too many", args: []string{"serve", "now"}, code: 2,
			says: []string{"now", "gatehouse help"}},
		{name: "unknown key in the file", args: []string{"serve", "--config=gatehouse.yaml"}, code: 2,
			files: map[string]string{"gatehouse.yaml": "oidc-isuer: https://id.example\n"},
			says:  []string{`gatehouse.yaml:1: unknown setting "oidc-isuer"; did you mean oidc-issuer?`}},
		{name: "a variable's name as a key", args: []string{"serve", "--config=gatehouse.yaml"}, code: 2,
			files: map[string]string{"gatehouse.yaml": "GATEHOUSE_OIDC_ISSUER: https://id.example\n"},
			says:  []string{`gatehouse.yaml:1: unknown setting "GATEHOUSE_OIDC_ISSUER"; did you mean oidc-issuer?`}},
		{name: "settings below a key", args: []string{"serve", "--config=gatehouse.yaml"}, code: 2,
			files: map[string]string{"gatehouse.yaml": "oidc:\n  client-secret: " + shortSecret + "\n"},
			says:  []string{"gatehouse.yaml", "oidc", "name of its flag"}},
		{name: "no YAML", args: []string{"serve", "--config=gatehouse.yaml"}, code: 2,
			files: map[string]string{"gatehouse.yaml": "secret: [" + shortSecret + "\n"},
			says:  []string{"gatehouse.yaml", "YAML"}},
		{name: "no such file", env: []string{"GATEHOUSE_CONFIG=nowhere.yaml"}, code: 2,
			says: []string{"GATEHOUSE_CONFIG=nowhere.yaml", "no such file"}},
		{name: "unreadable .env", code: 2,
			files: map[string]string{".env": "# settings\nAUTH0_SECRET='" + shortSecret + "\n"},
			says:  []string{".env:2:", "quote that is not closed"}},
		{name: ".env in another encoding", code: 2,
			files: map[string]string{".env": "\xff\xfeA\x00"},
			says:  []string{".env", "UTF-16", "save it as UTF-8"}},
		{name: "a base URL without a scheme", env: []string{"AUTH0_BASE_URL=localhost:3000"}, code: 1,
			says: []string{"AUTH0_BASE_URL=localhost:3000", "did you mean http://localhost:3000?"}},
		{name: "a number that is none", env: []string{"GATEHOUSE_REPLICAS=two"}, code: 2,
			says: []string{"GATEHOUSE_REPLICAS=two (environment)", "whole number"}},
		{name: "a duration that is none", env: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=soon"}, code: 2,
			says: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=soon (environment)", "like 90s"}},
		{name: "a network that is none", env: []string{"GATEHOUSE_TRUSTED_PROXIES=10.0.0"}, code: 2,
			says: []string{"GATEHOUSE_TRUSTED_PROXIES", "10.0.0", "such as 10.0.0.0/8"}},
		{name: "a level that is none", env: []string{"GATEHOUSE_LOG_LEVEL=loud"}, code: 2,
			says: []string{"GATEHOUSE_LOG_LEVEL=loud (environment)", "debug, info, warn, error"}},
		{name: "a secret's file that is not there", unset: []string{"AUTH0_SECRET"}, env: []string{"GATEHOUSE_SECRET_FILE=nowhere"}, code: 2,
			says: []string{"GATEHOUSE_SECRET_FILE=nowhere", "no such file", "correct the path"}},
		{name: "a secret's file that is empty", unset: []string{"AUTH0_SECRET"}, env: []string{"AUTH0_SECRET_FILE=empty"}, code: 2,
			files: map[string]string{"empty": "\n"},
			says:  []string{"AUTH0_SECRET_FILE=empty", "empty"}},
		{name: "a secret and its file", env: []string{"AUTH0_SECRET_FILE=secret"}, code: 2,
			files: map[string]string{"secret": tutorialSecret},
			says:  []string{"AUTH0_SECRET and AUTH0_SECRET_FILE are both set", "drop one"}},

		// Missing settings.
		{name: "no issuer", unset: []string{"AUTH0_ISSUER_BASE_URL"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_ISSUER", "missing", "https://"}},
		{name: "an empty variable is none", env: []string{"AUTH0_ISSUER_BASE_URL="}, code: 1,
			says: []string{"GATEHOUSE_OIDC_ISSUER", "missing"}},
		{name: "no client", unset: []string{"AUTH0_CLIENT_ID"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_CLIENT_ID", "missing", "registered"}},
		{name: "no base URL", unset: []string{"AUTH0_BASE_URL"}, code: 1,
			says: []string{"GATEHOUSE_BASE_URL", "missing", "https://"}},
		{name: "no secret", unset: []string{"AUTH0_SECRET"}, code: 1,
			says: []string{"GATEHOUSE_SECRET", "missing", "openssl rand -hex 32"}},
		{name: "no audience", unset: []string{"AUTH0_AUDIENCE"}, code: 1,
			says: []string{"GATEHOUSE_AUDIENCE", "opaque access tokens", "register the API"}},
		{name: "no gateway for the bff", args: []string{"bff"}, code: 1,
			says: []string{"GATEHOUSE_GATEWAY_URL", "missing", "http://gateway:5000"}},
		{name: "no server for the gateway", args: []string{"gateway"}, code: 1,
			says: []string{"GATEHOUSE_GRPC_TARGET", "missing", "dns:///"}},

		// Unsafe settings.
		{name: "http issuer off loopback", env: []string{"AUTH0_ISSUER_BASE_URL=http://id.example"}, code: 1,
			says: []string{"AUTH0_ISSUER_BASE_URL=http://id.example", "loopback", "https://"}},
		{name: "an internal address as the issuer", env: []string{"AUTH0_ISSUER_BASE_URL=http://keycloak.auth.svc:8080/realms/shop"}, code: 1,
			says: []string{"AUTH0_ISSUER_BASE_URL=http://keycloak.auth.svc:8080/realms/shop", "GATEHOUSE_OIDC_INTERNAL_URL"}},
		{name: "an internal URL over http", env: []string{"GATEHOUSE_OIDC_INTERNAL_URL=http://keycloak.auth.svc:8080"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_INTERNAL_URL=http://keycloak.auth.svc:8080", "in the clear", "GATEHOUSE_INSECURE_OIDC_INTERNAL_HTTP"}},
		{name: "an internal URL with a path", env: []string{"GATEHOUSE_OIDC_INTERNAL_URL=https://keycloak.auth.svc/realms/shop"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_INTERNAL_URL=https://keycloak.auth.svc/realms/shop", "more than an origin"}},
		{name: "http issuer that looks like loopback", env: []string{"AUTH0_ISSUER_BASE_URL=http://localhost.example"}, code: 1,
			says: []string{"AUTH0_ISSUER_BASE_URL=http://localhost.example", "loopback"}},
		{name: "http base URL off loopback", env: []string{"AUTH0_BASE_URL=http://shop.example"}, code: 1,
			says: []string{"AUTH0_BASE_URL=http://shop.example", "loopback", "https://"}},
		{name: "short secret", env: []string{"AUTH0_SECRET=" + shortSecret}, code: 1,
			says: []string{"AUTH0_SECRET", "13 characters", "32", "openssl rand -hex 32"}},
		{name: "short secret behind a good one", env: []string{"AUTH0_SECRET=" + tutorialSecret + "," + shortSecret}, code: 1,
			says: []string{"AUTH0_SECRET", "entry 2 of 2", "openssl rand -hex 32"}},
		{name: "the tutorial's placeholder", env: []string{"AUTH0_SECRET=use [openssl rand -hex 32] to generate a 32 bytes value"}, code: 1,
			says: []string{"AUTH0_SECRET", "placeholder", "openssl rand -hex 32"}},
		{name: "a secret of one letter", env: []string{"AUTH0_SECRET=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, code: 1,
			says: []string{"AUTH0_SECRET", "openssl rand -hex 32"}},
		{name: "memory sessions for two", env: []string{"GATEHOUSE_REPLICAS=2", "GATEHOUSE_SESSION_STORE=memory:"}, code: 1,
			says: []string{"GATEHOUSE_REPLICAS=2", "memory:"}},
		{name: "SQLite sessions for two", env: []string{"GATEHOUSE_REPLICAS=2"}, code: 1,
			says: []string{"GATEHOUSE_REPLICAS=2", "sqlite:"}},
		{name: "a wildcard origin", env: []string{"AUTH0_BASE_URL=https://*.shop.example"}, code: 1,
			says: []string{"AUTH0_BASE_URL=https://*.shop.example", "wildcard"}},
		{name: "audience is the client", env: []string{"AUTH0_AUDIENCE=" + opClientID}, code: 1,
			says: []string{"AUTH0_AUDIENCE=" + opClientID, "RFC 8725", "GATEHOUSE_REQUIRE_AT_JWT"}},

		// Contradictory and malformed settings.
		{name: "base URL with a path", env: []string{"AUTH0_BASE_URL=https://shop.example/app"}, code: 1,
			says: []string{"AUTH0_BASE_URL=https://shop.example/app", "path", "origin"}},
		{name: "base URL that is none", env: []string{"AUTH0_BASE_URL=https://"}, code: 1,
			says: []string{"AUTH0_BASE_URL=https://", "not a URL"}},
		{name: "base URL of another kind", env: []string{"AUTH0_BASE_URL=ftp://shop.example"}, code: 1,
			says: []string{"AUTH0_BASE_URL=ftp://shop.example", "http"}},
		{name: "a password in the issuer", env: []string{"AUTH0_ISSUER_BASE_URL=https://u:" + storePassword + "@id.example"}, code: 1,
			says: []string{"AUTH0_ISSUER_BASE_URL", "password"}},
		{name: "no replicas", env: []string{"GATEHOUSE_REPLICAS=-1"}, code: 1,
			says: []string{"GATEHOUSE_REPLICAS=-1", "negative"}},
		{name: "a store of another kind", env: []string{"GATEHOUSE_SESSION_STORE=mysql://u:" + storePassword + "@db.example/x"}, code: 1,
			says: []string{"GATEHOUSE_SESSION_STORE=mysql://", "memory:", "sqlite:PATH"}},
		{name: "a store in no directory", env: []string{"GATEHOUSE_SESSION_STORE=sqlite:no/such/place.db"}, code: 1,
			says: []string{"GATEHOUSE_SESSION_STORE", "no/such/place.db"}},
		{name: "a front end in no directory", env: []string{"GATEHOUSE_FRONTEND=dir:no/such/place"}, code: 1,
			says: []string{"GATEHOUSE_FRONTEND=dir:no/such/place", "is not a directory"}},
		{name: "a front end of another kind", env: []string{"GATEHOUSE_FRONTEND=next"}, code: 1,
			says: []string{"GATEHOUSE_FRONTEND=next", "embedded:"}},
		{name: "a pattern that protects nothing", env: []string{"GATEHOUSE_PROTECT=private"}, code: 1,
			says: []string{"GATEHOUSE_PROTECT=private", "slash"}},
		{name: "a public path that is none", env: []string{"GATEHOUSE_PUBLIC=/,/about?x=1"}, code: 1,
			says: []string{"GATEHOUSE_PUBLIC=/,/about?x=1 (environment): \"/about?x=1\" is not a pattern", "give patterns such as"}},
		{name: "public paths and protected pages", env: []string{"GATEHOUSE_PUBLIC=/,/about", "GATEHOUSE_PROTECT=/private"}, code: 1,
			says: []string{"GATEHOUSE_PUBLIC=/,/about", "GATEHOUSE_PROTECT: /private", "remove one of the two"}},
		{name: "public paths and no protected page", env: []string{"GATEHOUSE_PUBLIC=none", "GATEHOUSE_PROTECT=none"}, code: 1,
			says: []string{"GATEHOUSE_PUBLIC=none", "GATEHOUSE_PROTECT: none", "remove one of the two"}},
		{name: "an allowed host with a wildcard", env: []string{"GATEHOUSE_ALLOWED_HOSTS=fine.test,*"}, code: 1,
			says: []string{"GATEHOUSE_ALLOWED_HOSTS=fine.test,* (environment): \"*\" is not a host name", "without scheme, port and wildcard"}},
		{name: "a way to authenticate that is none", env: []string{"GATEHOUSE_OIDC_CLIENT_AUTH=psychic"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_CLIENT_AUTH", "psychic", "client_secret_basic"}},
		{name: "a key that is none", unset: []string{"AUTH0_CLIENT_SECRET"}, env: []string{"GATEHOUSE_OIDC_CLIENT_KEY=" + shortSecret}, code: 1,
			says: []string{"GATEHOUSE_OIDC_CLIENT_KEY (environment): is not usable: no private key", "openssl genpkey"}},
		{name: "a key and a secret", files: map[string]string{"key.pem": clientKey}, env: []string{"GATEHOUSE_OIDC_CLIENT_KEY_FILE=key.pem"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_CLIENT_AUTH", "a client secret and a client key", "remove what is not used"}},
		{name: "a public client with a secret", env: []string{"GATEHOUSE_OIDC_CLIENT_AUTH=none"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_CLIENT_AUTH=none", "unused"}},
		{name: "a response mode that is none", env: []string{"GATEHOUSE_OIDC_RESPONSE_MODE=fragment"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_RESPONSE_MODE=fragment", "form_post"}},
		{name: "a negative rate of logins", env: []string{"GATEHOUSE_LOGIN_RATE=-1"}, code: 1,
			says: []string{"GATEHOUSE_LOGIN_RATE=-1", "negative", "120"}},
		{name: "a scope without openid", env: []string{"AUTH0_SCOPE=profile"}, code: 1,
			says: []string{"AUTH0_SCOPE", "profile", "openid"}},
		{name: "an address without a port", args: []string{"serve", "--listen-bff=localhost"}, code: 1,
			says: []string{"--listen-bff=localhost", "HOST:PORT"}},
		{name: "consent of a kind that is none", env: []string{"GATEHOUSE_OIDC_OFFLINE_CONSENT=maybe"}, code: 1,
			says: []string{"GATEHOUSE_OIDC_OFFLINE_CONSENT=maybe", "always", "never"}},
		{name: "an idle timeout that is negative", env: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=-1h"}, code: 1,
			says: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=-1h (environment)", "such as 90s or 24h"}},
		{name: "an idle timeout that is never reached", env: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=200h"}, code: 1,
			says: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=200h", "GATEHOUSE_SESSION_ABSOLUTE_TIMEOUT", "168h"}},
		{name: "a password that breaks the URL", env: []string{"AUTH0_ISSUER_BASE_URL=https://u:" + storePassword + "%zz@id.example"}, code: 1,
			says: []string{"AUTH0_ISSUER_BASE_URL", "not a URL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := c.args
			if args == nil {
				args = []string{"serve"}
			}
			if args[0] == "serve" { // so that a process at a default port does not matter
				args = append([]string{"serve", "--listen-bff=" + freeAddress(t), "--listen-gateway=" + freeAddress(t), "--listen-grpc=" + freeAddress(t)}, args[1:]...)
			}
			env := without(tutorialEnvironment("http://127.0.0.1:1", "http://localhost:3000"), c.unset)
			code, said := outcome(t, dir, append(env, c.env...), args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			oneLine(t, said, c.says...)
		})
	}
}

// TestPortTaken takes each port in turn.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bff", "gateway", "grpc", "admin", "devidp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			args := []string{"dev", "--listen-" + name + "=" + l.Addr().String()}
			for _, other := range []string{"bff", "gateway", "grpc", "devidp"} {
				if other != name {
					args = append(args, "--listen-"+other+"="+freeAddress(t))
				}
			}
			code, said := outcome(t, t.TempDir(), nil, args...)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			oneLine(t, said, "--listen-"+name+"="+l.Addr().String(), "in use", "another address")
		})
	}
}

// TestSettingPrecedence sets one setting in several sources. The error about it shows which value
// is used, and its source.
func TestSettingPrecedence(t *testing.T) {
	t.Parallel()
	const config = "--config=gatehouse.yaml"
	for _, c := range []struct {
		name  string
		args  []string
		env   []string
		files map[string]string
		want  string
	}{
		{"the tutorial's variable", nil, []string{"AUTH0_BASE_URL=http://auth0.example"}, nil, "AUTH0_BASE_URL=http://auth0.example (environment):"},
		{"our variable comes before it", nil, []string{"AUTH0_BASE_URL=http://auth0.example", "GATEHOUSE_BASE_URL=http://ours.example"}, nil, "GATEHOUSE_BASE_URL=http://ours.example (environment):"},
		{"unless it is empty", nil, []string{"AUTH0_BASE_URL=http://auth0.example", "GATEHOUSE_BASE_URL="}, nil, "AUTH0_BASE_URL=http://auth0.example (environment):"},
		{".env", nil, nil, map[string]string{".env": "GATEHOUSE_BASE_URL=http://dotenv.example\n"}, "GATEHOUSE_BASE_URL=http://dotenv.example (.env:1):"},
		{"the tutorial's variable in .env, quoted and commented", nil, nil,
			map[string]string{".env": "# settings\nexport AUTH0_BASE_URL='http://dotenv.example' # here\n"}, "AUTH0_BASE_URL=http://dotenv.example (.env:2):"},
		{"the environment comes before .env", nil, []string{"AUTH0_BASE_URL=http://environment.example"},
			map[string]string{".env": "GATEHOUSE_BASE_URL=http://dotenv.example\n"}, "AUTH0_BASE_URL=http://environment.example (environment):"},
		{"unless it is empty", nil, []string{"AUTH0_BASE_URL="},
			map[string]string{".env": "GATEHOUSE_BASE_URL=http://dotenv.example\n"}, "GATEHOUSE_BASE_URL=http://dotenv.example (.env:1):"},
		{"the file", []string{config}, nil, map[string]string{"gatehouse.yaml": "base-url: http://file.example\n"}, "gatehouse.yaml:1: base-url=http://file.example:"},
		{"the file, in the manner of YAML", []string{config}, nil, map[string]string{"gatehouse.yaml": "base_url: http://file.example\n"}, "gatehouse.yaml:1: base-url=http://file.example:"},
		{"the file by its variable in .env", nil, nil,
			map[string]string{"gatehouse.yaml": "base-url: http://file.example\n", ".env": "GATEHOUSE_CONFIG=gatehouse.yaml\n"}, "gatehouse.yaml:1: base-url=http://file.example:"},
		{".env comes before the file", []string{config}, nil,
			map[string]string{"gatehouse.yaml": "base-url: http://file.example\n", ".env": "AUTH0_BASE_URL=http://dotenv.example\n"}, "AUTH0_BASE_URL=http://dotenv.example (.env:1):"},
		{"the flag comes before all", []string{config, "--base-url=http://flag.example"}, []string{"GATEHOUSE_BASE_URL=http://environment.example"},
			map[string]string{"gatehouse.yaml": "base-url: http://file.example\n", ".env": "AUTH0_BASE_URL=http://dotenv.example\n"}, "--base-url=http://flag.example:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			env := without(tutorialEnvironment("http://127.0.0.1:1", ""), []string{"AUTH0_BASE_URL"})
			code, said := outcome(t, dir, append(env, c.env...), append([]string{"serve"}, c.args...)...)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			oneLine(t, said, c.want)
		})
	}
}

// TestSecretsFromFiles gives each secret as a file, under each of its names.
func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		file string
	}{
		"our variables":            {[]string{"GATEHOUSE_SECRET_FILE=a", "GATEHOUSE_OIDC_CLIENT_SECRET_FILE=b"}, ""},
		"the tutorial's variables": {[]string{"AUTH0_SECRET_FILE=a", "AUTH0_CLIENT_SECRET_FILE=b"}, ""},
		"the configuration file":   {[]string{"GATEHOUSE_CONFIG=gatehouse.yaml"}, "secret-file: a\noidc-client-secret-file: b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, content := range map[string]string{"a": tutorialSecret + "\n", "b": opClientSecret + "\n", "gatehouse.yaml": c.file} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			op := startProvider(t, freeAddress(t), "http://localhost:3000", firstTTL)
			env := without(op.environment("http://localhost:3000"), []string{"AUTH0_SECRET", "AUTH0_CLIENT_SECRET"})
			code, said := outcome(t, dir, append(env, c.env...), "check")
			if code != 0 || !strings.Contains(said, "its secret is right") {
				t.Errorf("exit code %d, want 0 and the provider's approval:\n%s", code, said)
			}
		})
	}
}

// outcome runs the program until it ends.
func outcome(t *testing.T, dir string, env []string, args ...string) (code int, said string) {
	t.Helper()
	p := startIn(t, dir, "gatehouse "+args[0], env, program, args...)
	code = p.wait(t)
	return code, p.out.String()
}

// oneLine fails the test unless the output is one line that contains all texts and no secret.
func oneLine(t *testing.T, said string, texts ...string) {
	t.Helper()
	line, rest, _ := strings.Cut(said, "\n")
	if line == "" || rest != "" {
		t.Errorf("said\n%s\nwant one line", said)
	}
	for _, text := range texts {
		if !strings.Contains(line, text) {
			t.Errorf("said %q, want %q in it", line, text)
		}
	}
	for _, secret := range []string{tutorialSecret, opClientSecret, shortSecret, storePassword} {
		if strings.Contains(said, secret) {
			t.Errorf("said a secret: %s", said)
		}
	}
}

// without returns an environment without the named variables.
func without(env, names []string) []string {
	var left []string
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		drop := false
		for _, n := range names {
			drop = drop || n == name
		}
		if !drop {
			left = append(left, pair)
		}
	}
	return left
}
