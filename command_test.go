package gatehouse

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/test/doctest"
)

// settled returns the configuration that a program with these sources has, and the
// error about their form.
func settled(t *testing.T, environ, args []string) (config, error) {
	t.Helper()
	p, err := newProgram(App{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := p.table.AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	p.read(settings.Sources{Flags: flags, Environ: environ, Dotenv: ".env"})
	return p.cfg, p.values.Err()
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) { // not parallel: .env is read from the working directory
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", []byte("AUTH0_AUDIENCE=dotenv\nGATEHOUSE_BASE_URL=https://dotenv.example\nAUTH0_SCOPE=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := write(t, "gatehouse.yaml", "audience: file\nbase-url: https://file.example\noidc_client_id: file\noidc-scope: openid file\nsecret:\n  - one\n  - two\n")
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		want    string
	}{
		{"flag first", []string{"GATEHOUSE_AUDIENCE=env"}, []string{"--audience=flag"}, "flag"},
		{"then the environment", []string{"GATEHOUSE_AUDIENCE=env", "AUTH0_AUDIENCE=alias"}, nil, "env"},
		{"also by the tutorial's name", []string{"AUTH0_AUDIENCE=alias"}, nil, "alias"},
		{"then .env", nil, nil, "dotenv"},
		{"an empty variable is unset", []string{"GATEHOUSE_AUDIENCE="}, nil, "dotenv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := settled(t, c.environ, append(c.args, "--config", file))
			if err != nil {
				t.Fatal(err)
			}
			if got.Server.Authn.Audience != c.want {
				t.Errorf("audience = %q, want %q", got.Server.Authn.Audience, c.want)
			}
			if got.BFF.Client.ID != "file" || got.BFF.Login.Scope != "openid file" || got.BFF.BaseURL != "https://dotenv.example" {
				t.Errorf("client id %q, scope %q, base URL %q", got.BFF.Client.ID, got.BFF.Login.Scope, got.BFF.BaseURL)
			}
			if strings.Join(got.BFF.Sessions.Secrets, "|") != "one|two" {
				t.Errorf("secret = %q, want the file's list", got.BFF.Sessions.Secrets)
			}
		})
	}
}

// A value that is a number in YAML keeps its text.
func TestFileKeepsText(t *testing.T) {
	t.Parallel()
	file := write(t, "gatehouse.yaml", "oidc-client-id: 0123456\noidc-client-secret: 12345678901234567890123\naudience: 1.10\nsecret: [0x1F, yes]\nbase-url: ~\nreplicas: 1\n")
	got, err := settled(t, nil, []string{"--config", file})
	if err != nil {
		t.Fatal(err)
	}
	if got.BFF.Client.ID != "0123456" || got.BFF.Client.Secret != "12345678901234567890123" || got.Server.Authn.Audience != "1.10" || strings.Join(got.BFF.Sessions.Secrets, " ") != "0x1F yes" || got.BFF.BaseURL != "" {
		t.Errorf("%+v", got)
	}
}

// Help and version work with a broken configuration.
func TestHelpDespiteConfiguration(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"serve", "--help"}, {"version"}} {
		var out, er bytes.Buffer
		if code := Run(t.Context(), App{}, args, []string{"GATEHOUSE_CONFIG=/nowhere"}, &out, &er); code != exitOK || er.Len() > 0 {
			t.Errorf("%v: %d, %s", args, code, er.String())
		}
	}
}

// TestCommandsDocument holds docs/commands.md to the commands, those that the help does not list
// included.
func TestCommandsDocument(t *testing.T) {
	t.Parallel()
	p, err := newProgram(App{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, c := range p.command(nil, io.Discard).Commands() {
		want = append(want, c.Name())
	}
	want = append(want, "help", "completion")
	for _, row := range doctest.Rows(t, ".", "commands.md", "# Commands") {
		got = append(got, doctest.Code(row[0])...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("docs/commands.md has %q, want %q", got, want)
	}
}

func TestMisspeltVariable(t *testing.T) {
	t.Parallel()
	var out, er bytes.Buffer
	Run(t.Context(), App{}, []string{"check"}, []string{"GATEHOUSE_OIDC_ISUER=x", "GATEHOUSE_PORT_3000_TCP=x", "GATEHOUSE_SERVICE_HOST=x"}, &out, &er)
	if !strings.Contains(er.String(), "GATEHOUSE_OIDC_ISUER (environment) is the name of no setting and has no effect; did you mean GATEHOUSE_OIDC_ISSUER?") || strings.Contains(er.String(), "TCP") || strings.Contains(er.String(), "HOST") {
		t.Errorf("%s", er.String())
	}
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	path := write(t, "secret", "from-a-file\n")
	for _, name := range []string{"GATEHOUSE_OIDC_CLIENT_SECRET_FILE", "AUTH0_CLIENT_SECRET_FILE"} {
		got, err := settled(t, []string{name + "=" + path}, nil)
		if err != nil || got.BFF.Client.Secret != "from-a-file" {
			t.Errorf("%s: %q, %v", name, got.BFF.Client.Secret, err)
		}
	}
	if _, err := settled(t, []string{"GATEHOUSE_SECRET=a", "GATEHOUSE_SECRET_FILE=" + path}, nil); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SECRET and GATEHOUSE_SECRET_FILE are both set") {
		t.Errorf("both: %v", err)
	}
	if _, err := settled(t, []string{"GATEHOUSE_SECRET_FILE=/nowhere"}, nil); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SECRET_FILE=/nowhere") {
		t.Errorf("missing file: %v", err)
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		environ    []string
		want       string
	}{
		{name: "unknown key", file: "oidc-isuer: https://x.example\n", want: `gatehouse.yaml:1: unknown setting "oidc-isuer"; did you mean oidc-issuer?`},
		{name: "nested", file: "oidc:\n  issuer: x\n", want: "oidc has settings below it"},
		{name: "a list in a list", file: "secret: [[a]]\n", want: "more than plain values"},
		{name: "not a map", file: "- a\n", want: "not a YAML map"},
		{name: "twice", file: "base-url: a\nbase_url: b\n", want: "gatehouse.yaml:2: base-url is set twice, first in line 1"},
		{name: "the file names itself", file: "config: other.yaml\n", want: `unknown setting "config"`},
		{name: "number", environ: []string{"GATEHOUSE_REPLICAS=many"}, want: "GATEHOUSE_REPLICAS=many (environment): "},
		{name: "duration", environ: []string{"GATEHOUSE_SESSION_IDLE_TIMEOUT=5"}, want: "GATEHOUSE_SESSION_IDLE_TIMEOUT=5 (environment): "},
		{name: "network", environ: []string{"GATEHOUSE_TRUSTED_PROXIES=ten"}, want: "GATEHOUSE_TRUSTED_PROXIES=ten (environment): is no network"},
		{name: "word", environ: []string{"GATEHOUSE_LOG_LEVEL=loud"}, want: "GATEHOUSE_LOG_LEVEL=loud (environment): "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var args []string
			if c.file != "" {
				args = []string{"--config=" + write(t, "gatehouse.yaml", c.file)}
			}
			_, err := settled(t, c.environ, args)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		args    []string
		code    int
		out, er string
	}{
		{"nothing shows the help", nil, exitOK, "Usage: gatehouse <command>", ""},
		{"help", []string{"help"}, exitOK, "--oidc-issuer URL", ""},
		{"version", []string{"version"}, exitOK, "gatehouse ", ""},
		{"choices are completed", []string{"__complete", "serve", "--log-format", ""}, exitOK, "auto\ntext\njson\n:4", ""},
		{"configuration files are completed", []string{"__complete", "serve", "--config", ""}, exitOK, "yaml\nyml\n:8", ""},
		{"flags of a command", []string{"typescript", "--help"}, exitOK, `(default "web/src/gen")`, ""},
		{"wrong part", []string{"typescript", "--only=rest,grpc"}, exitUsage, "", "--only=grpc: is not a choice; give some of connect, rest, browser"},
		{"check and install", []string{"typescript", "--check", "--install"}, exitUsage, "", "--check writes nothing, and --install does"},
		{"no front end", []string{"typescript", "--only=browser", "--out=/nowhere/gen"}, exitFail, "", "--out=/nowhere/gen: there is no package.json in it or above it"},
		{"unknown flag", []string{"serve", "--oidc-isuer=x"}, exitUsage, "", "unknown flag --oidc-isuer; did you mean --oidc-issuer?"},
		{"unknown command", []string{"sreve"}, exitUsage, "", `unknown command "sreve"; did you mean serve?`},
		{"nothing configured", []string{"serve"}, exitFail, "", "GATEHOUSE_OIDC_ISSUER: is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out, er bytes.Buffer
			code := Run(t.Context(), App{}, c.args, nil, &out, &er)
			if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(er.String(), c.er) {
				t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, c.code, out.String(), er.String())
			}
		})
	}
}

// A value of the wrong form is reported with its source and with what to write.
func TestWrongForm(t *testing.T) {
	t.Parallel()
	for pair, want := range map[string]string{
		"GATEHOUSE_LOGIN_RATE=ten":             `GATEHOUSE_LOGIN_RATE=ten (environment): is not a whole number; write digits alone, such as 120`,
		"GATEHOUSE_MAX_REQUEST_BYTES=1MiB":     `GATEHOUSE_MAX_REQUEST_BYTES=1MiB (environment): is not a whole number`,
		"GATEHOUSE_SESSION_IDLE_TIMEOUT=24":    `GATEHOUSE_SESSION_IDLE_TIMEOUT=24 (environment): has no unit; write 24s, 24m or 24h`,
		"GATEHOUSE_SESSION_IDLE_TIMEOUT=1d":    `GATEHOUSE_SESSION_IDLE_TIMEOUT=1d (environment): is not a duration; write it like 90s, 15m or 24h`,
		"GATEHOUSE_REFRESH_TIMEOUT=soon":       `GATEHOUSE_REFRESH_TIMEOUT=soon (environment): is not a duration`,
		"GATEHOUSE_LOG_LEVEL=INFO":             `GATEHOUSE_LOG_LEVEL=INFO (environment): is not a choice; give one of debug, info, warn, error`,
		"GATEHOUSE_API_DOCS=yes":               `GATEHOUSE_API_DOCS=yes (environment): is not a choice; give one of public, off`,
		"GATEHOUSE_SECRET_COMPROMISED=perhaps": `GATEHOUSE_SECRET_COMPROMISED=perhaps (environment): is neither true nor false; give one of true, 1, yes, false, 0, no`,
	} {
		var out, er bytes.Buffer
		if code := Run(t.Context(), App{}, []string{"check"}, []string{pair}, &out, &er); code != exitUsage || !strings.Contains(er.String(), want) {
			t.Errorf("%s: exit code %d, %s\nwant %d, %s", pair, code, er.String(), exitUsage, want)
		}
	}
	for pair, want := range map[string]string{"GATEHOUSE_LOGIN_RATE=7": "7", "GATEHOUSE_REFRESH_TIMEOUT=90s": "1m30s"} {
		got, err := settled(t, []string{pair}, nil)
		if set := fmt.Sprint(got.BFF.Login.Rate, got.BFF.Sessions.RefreshTimeout); err != nil || !strings.Contains(set, want) {
			t.Errorf("%s: %s, %v", pair, set, err)
		}
	}
}

// https is added to a host alone, with a note, and to nothing else.
func TestMissingScheme(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"tenant.eu.auth0.com": "https://tenant.eu.auth0.com", "shop.example:8443": "https://shop.example:8443", "bücher.example": "https://bücher.example",
		"intranet": "https://intranet", "10.0.0.5:8443": "https://10.0.0.5:8443", "shop.example/": "https://shop.example/",
		"https://shop.example": "", "localhost:3000": "", "127.0.0.1:3000": "", "3000": "", "//shop.example": "", "http:/shop.example": "", "http:shop.example": "",
		"htps://shop.example": "", "": "", "user:hunter2@shop.example": "",
	} {
		p := configured(t, "GATEHOUSE_BASE_URL="+raw)
		notes := strings.Join(p.values.Notes(), "\n")
		if want == "" {
			if got := origin.WithScheme(raw); got != raw || notes != "" {
				t.Errorf("%q: %q, note %q", raw, got, notes)
			}
			continue
		}
		if got := origin.WithScheme(raw); got != want || notes != "GATEHOUSE_BASE_URL="+raw+" (environment): the scheme is missing; read as "+want {
			t.Errorf("%q: %q, note %q; want %q", raw, got, notes, want)
		}
	}
}

// A base URL without a scheme gets https, unless it is on loopback.
func TestAddressWithoutScheme(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"shop.example": "https://shop.example", "localhost:3000": "localhost:3000", "127.0.0.1:3000": "127.0.0.1:3000", "[::1]:3000": "[::1]:3000", "LOCALHOST": "LOCALHOST",
	} {
		cfg := configured(t, "GATEHOUSE_BASE_URL="+value, "AUTH0_ISSUER_BASE_URL="+value).cfg
		if cfg.BFF.BaseURL != want || cfg.Provider.Issuer != want {
			t.Errorf("%s: got %q and %q, want %q", value, cfg.BFF.BaseURL, cfg.Provider.Issuer, want)
		}
	}
}
