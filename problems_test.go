package gatehouse

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAllProblems has mistakes in every source: each is reported in one run, with
// its source and the name that was most likely meant, and no secret is shown.
func TestAllProblems(t *testing.T) { // not parallel: .env is read from the working directory
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		".env": "# settings\nGATEHOUSE_SESSION_IDLE_TIMEOUT=5\nGATEHOUSE_COOKIE_NAM=x\nGATEHOUSE_DATABASE_URL=mysql:u:hunter2@db/x\n",
		"conf.yaml": "oidc-isuer: https://id.example\nGATEHOUSE_REPLICAS: 3\nlogin-rate: ten\nAUTH0_SCOPE: openid\n\n" +
			"base-url: https://shop.example/path\nsecret: hunter2hunter2\nbase_url: https://other.example\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, er bytes.Buffer
	code := Run(t.Context(), App{}, []string{"serve", "--config=conf.yaml", "--stream-heartbeat=2ms"},
		[]string{"GATEHOUSE_AUDIENC=x", "GATEHOUSE_OIDC_CLIENT_ID=\x01", "GATEHOUSE_AUDIENCE=a"}, &out, &er)
	if code != exitUsage || out.Len() > 0 {
		t.Errorf("exit code %d, want %d; stdout %q, want none", code, exitUsage, out.String())
	}
	for _, want := range []string{
		"note: GATEHOUSE_AUDIENC (environment) is the name of no setting and has no effect; did you mean GATEHOUSE_AUDIENCE?\n",
		"note: GATEHOUSE_COOKIE_NAM (.env:3) is the name of no setting and has no effect; did you mean GATEHOUSE_COOKIE_NAME?\n",
		`: conf.yaml:1: unknown setting "oidc-isuer"; did you mean oidc-issuer?` + "\n",
		`: conf.yaml:2: unknown setting "GATEHOUSE_REPLICAS"; did you mean replicas?` + "\n",
		": conf.yaml:3: login-rate=ten: is not a whole number; write digits alone, such as 120\n",
		`: conf.yaml:4: unknown setting "AUTH0_SCOPE"; did you mean oidc-scope?` + "\n",
		": conf.yaml:6: base-url=https://shop.example/path: has a path, so it is more than an origin; ",
		": conf.yaml:7: secret: has 14 characters and needs at least 32; ",
		": conf.yaml:8: base-url is set twice, first in line 6\n",
		": GATEHOUSE_SESSION_IDLE_TIMEOUT=5 (.env:2): has no unit; write 5s, 5m or 5h\n",
		": GATEHOUSE_DATABASE_URL=(not shown) (.env:4): ",
		": GATEHOUSE_OIDC_CLIENT_ID (environment): has the control character U+0001 at position 0; ",
		": GATEHOUSE_OIDC_ISSUER: is missing; ",
		": --stream-heartbeat=2ms: is shorter than a second; ",
	} {
		if n := strings.Count(er.String(), want); n != 1 {
			t.Errorf("%q is written %d times, want once", want, n)
		}
	}
	if lines := strings.Count(er.String(), "\n"); lines != 14 {
		t.Errorf("%d lines, want 14", lines)
	}
	if strings.Contains(er.String(), "hunter2") {
		t.Error("a secret is shown")
	}
	if t.Failed() {
		t.Log(er.String())
	}
}

// TestSyntaxErrors names file and line and quotes nothing.
func TestSyntaxErrors(t *testing.T) { // not parallel: .env is read from the working directory
	for name, c := range map[string]struct{ file, content, want string }{
		"a quote in .env":      {".env", "A=b\n\nGATEHOUSE_SECRET=\"hunter2\n", ".env:3: the value begins with a quote that is not closed; "},
		"a bracket in YAML":    {"conf.yaml", "audience: a\nsecret: [hunter2\nbase-url: b\n", "conf.yaml:2: not YAML; "},
		"a tab in YAML":        {"conf.yaml", "audience: a\n\tsecret: hunter2\n", "conf.yaml:2: not YAML; "},
		"a second colon":       {"conf.yaml", "audience: a\nbase-url: b\nsecret: hunter2: x\n", "conf.yaml:3: not YAML; "},
		"a quote in YAML":      {"conf.yaml", "audience: a\nsecret: \"hunter2\n", "conf.yaml:2: not YAML; "},
		"a list instead":       {"conf.yaml", "\n- hunter2\n", "conf.yaml:2: not a YAML map from setting to value; "},
		"settings below a key": {"conf.yaml", "audience: a\noidc:\n  client-secret: hunter2\n", "conf.yaml:2: oidc has settings below it; "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile(c.file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"serve"}
			if c.file == "conf.yaml" {
				args = append(args, "--config=conf.yaml")
			}
			var out, er bytes.Buffer
			code := Run(t.Context(), App{}, args, nil, &out, &er)
			if code != exitUsage || !strings.Contains(er.String(), ": "+c.want) || strings.Contains(er.String(), "hunter2") {
				t.Errorf("exit code %d: %s\nwant %d: %s", code, er.String(), exitUsage, c.want)
			}
		})
	}
}

// TestSuggestions has commands and flags that exist under a similar name.
func TestSuggestions(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"sreve":                  "did you mean serve?",
		"chek":                   "did you mean check?",
		"serve --oidc-isuer=x":   "did you mean --oidc-issuer?",
		"serve --listen-bf :1":   "did you mean --listen-bff?",
		"frobnicate":             `unknown command "frobnicate"; gatehouse help`,
		"serve --frobnicate-now": "unknown flag --frobnicate-now; gatehouse help",
		"serve now":              "unexpected argument now; gatehouse help",
		"serve --listen-bff":     "flag needs an argument: --listen-bff; gatehouse help",
	} {
		var out, er bytes.Buffer
		code := Run(t.Context(), App{}, strings.Fields(args), nil, &out, &er)
		if code != exitUsage || !strings.Contains(er.String(), want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %d and %q", args, code, out.String(), er.String(), exitUsage, want)
		}
	}
}

// TestSecretsInWrongPlaces has a secret where a name, a path or an address
// belongs. The error does not show it.
func TestSecretsInWrongPlaces(t *testing.T) { // not parallel: conf.yaml is read from the working directory
	t.Chdir(t.TempDir())
	var token upper
	app := App{Settings: []Setting{
		{Name: "api-token", Secret: true, Help: "A token.", Target: &token},
		{Name: "api-pause", Secret: true, Help: "A pause.", Target: new(time.Duration)},
	}}
	for _, c := range []struct {
		args, environ []string
		config, want  string
	}{
		{args: []string{"serve", "--=hunter2"}, want: "is no flag"},
		{args: []string{"serve", "---secret=hunter2"}, want: "is no flag"},
		{args: []string{"serve", "secret=hunter2"}, want: "unexpected argument secret;"},
		{args: []string{"secret:hunter2"}, want: `unknown command "secret"`},
		{args: []string{"serve", "--secret:hunter2"}, want: "unknown flag --secret; did you mean --secret?"},
		{args: []string{"serve"}, config: "{secret:hunter2}", want: `unknown setting "secret"`},
		{args: []string{"serve"}, config: "secret=hunter2: ", want: `unknown setting "secret"`},
		{args: []string{"serve"}, config: "https://u:hunter2@host: x", want: `unknown setting "https"`},
		{args: []string{"serve"}, environ: []string{"GATEHOUSE_SECRET_FILE=hunter2hunter2hunter2"}, want: "GATEHOUSE_SECRET_FILE (environment): no such file"},
		{args: []string{"serve"}, environ: []string{"GATEHOUSE_OIDC_CLIENT_KEY_FILE=-----BEGIN\nhunter2\n"}, want: "no such file"},
		{args: []string{"serve"}, environ: []string{"GATEHOUSE_API_TOKEN=hunter2"}, want: "GATEHOUSE_API_TOKEN (environment): has the wrong form"},
		{args: []string{"serve", "--api-pause=22 hunter2"}, want: "--api-pause: is not a duration"},
		{args: []string{"serve", "--base-url=user:hunter2@host"}, want: "--base-url=(not shown)"},
		{args: []string{"serve", "--base-url=https:/user:hunter2@host"}, want: "--base-url=(not shown)"},
		{args: []string{"gateway", "--grpc-target=http://u:hunter2@host"}, want: "is the address of an HTTP server"},
		{args: []string{"gateway", "--grpc-target=postgres://u:hunter2@host/%zz"}, want: "has the scheme postgres, which is not supported"},
	} {
		if c.config != "" {
			if err := os.WriteFile("conf.yaml", []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			c.args = append(c.args, "--config=conf.yaml")
		} else if c.args[0] == "gateway" {
			c.args = append(c.args, "--base-url=http://localhost:3000", "--oidc-issuer=http://127.0.0.1:1", "--audience=a",
				"--listen-gateway=127.0.0.1:0")
		}
		var out, er bytes.Buffer
		code := Run(t.Context(), app, c.args, c.environ, &out, &er)
		if code == exitOK || !strings.Contains(er.String(), c.want) || strings.Contains(out.String()+er.String(), "hunter2") {
			t.Errorf("%q %q %q: exit code %d: %s\nwant %s, without the secret", c.args, c.environ, c.config, code, er.String(), c.want)
		}
	}
}

// An upper is text in capitals.
type upper string

func (u *upper) UnmarshalText(text []byte) error {
	if string(text) != strings.ToUpper(string(text)) {
		return fmt.Errorf("%q has small letters", text)
	}
	*u = upper(text)
	return nil
}
