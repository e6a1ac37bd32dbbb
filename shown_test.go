package gatehouse

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// planted is in every secret of these tests, and must never be shown.
const planted = "hunter2"

// debugConfig returns what /debug/config shows of a program, as text and as JSON.
func debugConfig(t *testing.T, p *program) (text string, list []settings.Shown) {
	t.Helper()
	a, err := admin.New(admin.Config{Readiness: admin.NewReadiness(readyTimeout), Debug: true, Level: p.level, Settings: p.values.Shown()})
	if err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{"", "application/json"} {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/debug/config", http.NoBody)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, r)
		text += w.Body.String()
		if accept != "" {
			var shown struct{ Settings []settings.Shown }
			if err := json.Unmarshal(w.Body.Bytes(), &shown); err != nil {
				t.Fatal(err)
			}
			list = shown.Settings
		}
	}
	return text, list
}

// secretValues returns values with a secret in them for a setting: of the form that
// it has, and of others by mistake.
func secretValues(s *settings.Setting) []string {
	values := []string{
		"https://user:" + planted + "@host.example/path", "postgres://user:" + planted + "@db/x",
		"host=db user=u password=" + planted, "redis://:" + planted + "@h1:1,h2:2/0", "redis-sentinel://u:" + planted + "@h1:1,h2:2/m",
		"postgres:user:" + planted + "@db/x", "//user:" + planted + "@db", "dns:///user:" + planted + "@server:9090",
	}
	if s.Secret {
		values = append(values, planted+strings.Repeat("x", 40), planted+strings.Repeat("x", 40)+","+planted+strings.Repeat("y", 40),
			"-----BEGIN PRIVATE KEY-----\n"+planted+"\n-----END PRIVATE KEY-----", `{"kty":"RSA","d":"`+planted+`"}`)
	}
	return values
}

// TestShownHidesSecrets plants a secret in every setting of text, from every source,
// and looks for it in /debug/config.
func TestShownHidesSecrets(t *testing.T) { // not parallel: .env is read from the working directory
	t.Chdir(t.TempDir())
	var plain, password string
	app := App{Name: "notes", Settings: []Setting{
		{Name: "mail-url", Target: &plain}, {Name: "mail-password", Target: &password, Secret: true},
	}}
	seen := 0
	for round := range 12 {
		for _, source := range []string{"flag", "variable", ".env", "file"} {
			p, err := newProgram(app, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			from := settings.Sources{Flags: settings.Flags{}, Dotenv: ".env"}
			var dotenv strings.Builder
			for i, s := range p.table {
				values := secretValues(s)
				if s.Name == settings.FileSetting || len(s.Choices) > 0 || round >= len(values) || !isText(s) {
					continue
				}
				value := values[round]
				switch {
				case source == "flag":
					from.Flags[s.Name] = []string{value}
				case source == "variable":
					from.Environ = append(from.Environ, s.Variable()+"="+value)
				case source == ".env" && !strings.ContainsAny(value, "\n\""):
					dotenv.WriteString(s.Variable() + "=\"" + value + "\"\n")
				case source == "file" && s.Secret:
					name := filepath.Join(t.TempDir(), "secret-"+string(rune('a'+i)))
					if err := os.WriteFile(name, []byte(value), 0o600); err != nil {
						t.Fatal(err)
					}
					from.Environ = append(from.Environ, s.Variable()+"_FILE="+name)
				}
				seen++
			}
			if err := os.WriteFile(".env", []byte(dotenv.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			p.read(from)
			p.setDefaults()
			text, _ := debugConfig(t, p)
			for line := range strings.Lines(text) {
				if strings.Contains(line, planted) {
					t.Errorf("round %d, from %s: %s", round, source, line)
				}
			}
			if !strings.Contains(text, "(not shown)") && round < 3 && source != "file" {
				t.Errorf("round %d, from %s: nothing was planted", round, source)
			}
		}
	}
	if seen < 300 {
		t.Errorf("%d values planted, want several hundred", seen)
	}
}

// TestShownSources names the source of each value.
func TestShownSources(t *testing.T) { // not parallel: .env is read from the working directory
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		".env":      "# settings\nGATEHOUSE_SESSION_IDLE_TIMEOUT=5h\n",
		"conf.yaml": "login-rate: 10\npublic: [none]\nallowed-hosts: [a.test, b.test]\n",
		"secret":    strings.Repeat("s", 40) + "\n" + strings.Repeat("t", 40) + "\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newProgram(App{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	p.read(settings.Sources{
		Flags: settings.Flags{"config": {"conf.yaml"}, "replicas": {"2"}}, Dotenv: ".env",
		Environ: []string{"GATEHOUSE_AUDIENCE=api", "AUTH0_BASE_URL=https://SHOP.example", "GATEHOUSE_SECRET_FILE=secret", "GATEHOUSE_SESSION_STORE=redis://:" + planted + "@redis:6379"},
	})
	p.setDefaults()
	text, list := debugConfig(t, p)
	want := []settings.Shown{
		{Name: "replicas", Variable: "GATEHOUSE_REPLICAS", Value: "2", Source: "--replicas"},
		{Name: "audience", Variable: "GATEHOUSE_AUDIENCE", Value: "api", Source: "GATEHOUSE_AUDIENCE (environment)"},
		{Name: "base-url", Variable: "GATEHOUSE_BASE_URL", Value: "https://shop.example", Source: "AUTH0_BASE_URL (environment)"},
		{Name: "secret", Variable: "GATEHOUSE_SECRET", Value: "(not shown), 2 entries", Source: "GATEHOUSE_SECRET_FILE=secret (environment)"},
		{Name: "session-store", Variable: "GATEHOUSE_SESSION_STORE", Value: "redis://redis:6379", Source: "GATEHOUSE_SESSION_STORE (environment)"},
		{Name: "session-idle-timeout", Variable: "GATEHOUSE_SESSION_IDLE_TIMEOUT", Value: "5h", Source: "GATEHOUSE_SESSION_IDLE_TIMEOUT (.env:2)"},
		{Name: "login-rate", Variable: "GATEHOUSE_LOGIN_RATE", Value: "10", Source: "conf.yaml:1: login-rate"},
		{Name: "public", Variable: "GATEHOUSE_PUBLIC", Value: "none", Source: "conf.yaml:2: public"},
		{Name: "allowed-hosts", Variable: "GATEHOUSE_ALLOWED_HOSTS", Value: "a.test,b.test", Source: "conf.yaml:3: allowed-hosts"},
		{Name: "listen-bff", Variable: "GATEHOUSE_LISTEN_BFF", Value: ":3000", Source: "default"},
		{Name: "cookie-name", Variable: "GATEHOUSE_COOKIE_NAME", Value: "gatehouse", Source: "default"},
		{Name: "protect", Variable: "GATEHOUSE_PROTECT", Value: "", Source: "default"},
		{Name: "oidc-omit-par", Variable: "GATEHOUSE_OIDC_OMIT_PAR", Value: "false", Source: "default"},
		{Name: "api-docs", Variable: "GATEHOUSE_API_DOCS", Value: "public", Source: "default"},
		{Name: "oidc-client-secret", Variable: "GATEHOUSE_OIDC_CLIENT_SECRET", Value: "", Source: "default"},
	}
	for _, w := range want {
		if !slices.Contains(list, w) {
			i := slices.IndexFunc(list, func(s settings.Shown) bool { return s.Name == w.Name })
			if i < 0 {
				t.Errorf("%s is not listed", w.Name)
				continue
			}
			t.Errorf("got  %+v\nwant %+v", list[i], w)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// isText reports whether a setting takes any text.
func isText(s *settings.Setting) bool {
	switch s.Targets[0].(type) {
	case *string, *[]string:
		return true
	}
	return false
}
