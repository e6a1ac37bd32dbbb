package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A treatment is what TestDocuments does with a block of commands.
type treatment func(t *testing.T, r *reader, text string)

// A command is the first line of a block of commands, and its treatment.
type command struct {
	first string
	treat treatment
}

// commands lists the blocks of commands of each document, in order. TestDocuments fails on a block
// that is missing here, and on an entry without a block.
var commands = map[string][]command{
	"README.md": {
		{"go run ./cmd/gatehouse dev", starts("/readyz", "/public", "/api/products", "/private")},
		{"go run golang.org/x/tools/cmd/gonew", tested("TestStarter")},
		{"make test", workflow},
		{"export GATEHOUSE_OIDC_ISSUER=", starts("/readyz", "/public")},
	},
	"docs/opaque-tokens.md": {{"GATEHOUSE_INTROSPECTION=on", settings()}},
	"docs/admin.md": {
		{"curl -s http://127.0.0.1:9100/readyz", tested("TestAdminExamples")},
		{"curl -s -H 'Accept: application/json'", tested("TestAdminExamples")},
		{"curl -s http://127.0.0.1:9100/debug/config", tested("TestAdminExamples")},
		{"curl -s -X POST", tested("TestAdminExamples")},
		{"go tool pprof", tested("TestPaths")},
	},
	"docs/audit.md": {{"GATEHOUSE_AUDIT_LOG=", settings()}},
	"docs/backup.md": {
		{"sqlite3 gatehouse-sessions.db", tested("TestRestoredStore")},
		{"rm -f gatehouse-sessions.db-wal", tested("TestRestoredStore")},
		{"pg_dump", tested("TestRestoredStore")},
		{"pg_restore", tested("TestRestoredStore")},
		{"redis-cli -u", tested("TestRestoredStore")},
		{"redis-cli -u", tested("TestRestoredStore")},
	},
	"docs/branding.md": {
		{"go run ./cmd/gatehouse catalog", tested("TestCommandCatalog")},
		{"go run ./cmd/gatehouse dev --catalog", starts("/readyz", "/public")},
	},
	"docs/check.md": {{"gatehouse check", runs("every setting is there", `"status": "ok"`)}},
	"docs/clients.md": {
		{"npm create", runs("web/src/gen: ", " written or deleted")},
		{"go run ./cmd/gatehouse typescript --check", runs(", 0 written or deleted")},
		{"npm --prefix web run build", runs("built in")},
		{"npm --prefix web install", runs("This is a private route")},
		{"go tool -modfile=tools/go.mod grpcurl", runs("audioarchive.v1.ProductService\n", "This is a private route")},
		{"go tool -modfile=tools/go.mod buf curl", runs(`"nextPageToken"`)},
		{"curl -sS", runs(`{"products":[{"name":`)},
	},
	"docs/dev-provider.md": {
		{"curl -s -X PATCH", alone(runs(`"access_token_lifetime":"20s"`, `"times":2`, `"sessions":0`, `"faults":[]`))},
		{"curl -s --json", alone(requests(200, 401))},
	},
	"docs/products.md":          {{"token() {", alone(runs(`"fileName":"First take.txt"`, `"productTitle"`, `"productDeleted":false`, "one\n"))}},
	"docs/from-the-tutorial.md": {{"npx next dev", tested("TestExamples", "NextJSHotReload")}},
	"docs/deployment.md": {
		{"GATEHOUSE_BASE_URL=", tested("TestProofProxies")},
		{"GATEHOUSE_TRUSTED_PROXIES=", tested("TestProofProxies")},
		{"GATEHOUSE_GRPC_TARGET=", tested("TestProofProxies")},
		{"GATEHOUSE_GATEWAY_URL=", tested("TestProofProxies")},
	},
	"docs/endpoints.md": {
		{"curl -i http://localhost:5000/api/products", requests(200, 401, 200)},
		{"TOKEN=$(curl", requests(200)},
	},
	"docs/install.md": {
		{"sha256sum --check", tested("TestProofRelease")},
		{"make release", tested("TestProofRelease")},
		{"gatehouse completion bash", tested("TestBashCompletion")},
		{"sudo mkdir", elsewhere},   // needs systemd
		{"docker build", elsewhere}, // needs Docker
		{"deploy/compose/secrets", tested("TestProofCompose")},
	},
	"deploy/helm/gatehouse/README.md": {{"kubectl create secret", elsewhere}}, // needs Kubernetes
	"docs/monitoring.md": {
		{"GATEHOUSE_LISTEN_ADMIN=", settings()},
		{"promtool check rules", tested("TestProofMonitoring")},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=", settings()},
	},
	"docs/runbook.md": {
		{"curl -s http://127.0.0.1:9100/readyz", tested("TestAdminExamples")},
		{"jq -c", queries},
		{"jq -r", queries},
		{"gatehouse check", runs("every setting is there")},
	},
	"docs/login.md": {{"openssl genpkey", settings("GATEHOUSE_OIDC_CLIENT_SECRET")}},
	"docs/benchmarks.md": { // takes minutes; the test parses the settings
		{"go run -C bench . -write", tested("TestDocument")},
		{"go run -C bench . -list", tested("TestDocument")},
		{"go run -C bench . -rows", tested("TestDocument")},
	},
	"docs/performance.md": {
		{"make bench-cpu", tested("TestRun")}, // takes minutes; the test measures few requests
		{"go run -C bench", tested("TestRun")},
		{"go test -C bench", benchmarks},
		{"go run -C bench", tested("TestRun")},
		{"go test ./bff/session", benchmarks},
	},
	"docs/providers/README.md":  {{"GATEHOUSE_OIDC_ISSUER=", settings("GATEHOUSE_OIDC_INTERNAL_URL")}},
	"docs/providers/auth0.md":   {{"GATEHOUSE_OIDC_ISSUER=", settings()}},
	"docs/providers/cognito.md": {{"GATEHOUSE_OIDC_ISSUER=", settings()}},
	"docs/providers/dex.md":     {{"GATEHOUSE_OIDC_ISSUER=", settings()}},
	"docs/providers/entra.md":   {{"GATEHOUSE_OIDC_ISSUER=", settings()}},
	"docs/providers/hydra.md": {
		{"hydra create oauth2-client", elsewhere}, // needs Ory Hydra
		{"GATEHOUSE_OIDC_ISSUER=", settings()},
	},
	"docs/providers/keycloak.md": {
		{"GATEHOUSE_OIDC_ISSUER=", settings()},
		{"GATEHOUSE_ACCESS_TOKEN_ALGORITHMS=", settings()},
	},
	"docs/providers/okta.md":     {{"GATEHOUSE_OIDC_ISSUER=", settings()}},
	"docs/providers/zitadel.md":  {{"GATEHOUSE_OIDC_ISSUER=", settings()}},
	"docs/sessions.md":           {{"go test", benchmarks}},
	"docs/sizing.md":             {{"go run -C bench", tested("TestRun")}},
	"docs/tls.md":                {{"openssl req", runs("server.crt: OK")}},
	"examples/starter/README.md": {{"export GATEHOUSE_OIDC_ISSUER=", tested("TestStarter")}},
	"examples/README.md": {
		{"(cd examples/nextjs", starts("/public")},
		{"(cd examples/spa", starts("/public")},
		{"GATEHOUSE_FRONTEND=", settings()},
	},
}

// chapters are the chapters of documents that a test follows, and the test.
var chapters = map[string]map[string]string{
	"docs/add-a-service.md":    {"As a template": "TestTemplate", ownModule: "TestOwnModule", ownMain: "TestOwnMain"},
	"docs/tutorial.md":         followedByStarter(),
	expressReadme[len("../"):]: followedByExpress(),
}

// TestDocuments handles every block of commands in every document: it runs it in a fresh clone,
// beside `gatehouse dev` or with a certified provider, or knows the test that does. Only the ports
// are the test's.
func TestDocuments(t *testing.T) {
	t.Parallel()
	clone := filepath.Join(t.TempDir(), "gatehouse")
	if out, err := exec.Command("git", "clone", "-q", repository(t), clone).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, out)
	}
	dev := startDev(t)
	op := startProvider(t, freeAddress(t), documentedBase, firstTTL)
	documents := listDocuments(t)
	for name := range commands {
		if !slices.Contains(documents, name) {
			t.Errorf("%s does not exist", name)
		}
	}
	for _, name := range documents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &reader{clone: clone, dir: clone, dev: dev, provider: op}
			left, chapter := commands[name], ""
			for _, b := range blocksOf(t, clone, name) {
				if b.chapter != chapter {
					r.dir, chapter = clone, b.chapter
				}
				if path, ok := strings.CutPrefix(b.mark, "file="); ok && chapters[name] == nil {
					r.write(t, path, r.here(t, b.text))
				}
				if !b.commands() {
					continue
				}
				if followed := chapters[name]; followed != nil {
					if b.mark == "" || followed[b.chapter] == "" {
						t.Errorf("%s:%d: no test follows this block", name, b.line)
					}
					continue
				}
				if len(left) == 0 || !strings.HasPrefix(b.text, left[0].first) {
					t.Errorf("%s:%d: the list of commands lacks this block:\n%s", name, b.line, b.text)
					continue
				}
				left[0].treat(t, r, b.text)
				left = left[1:]
			}
			for _, c := range left {
				t.Errorf("%s has no block that begins with %q", name, c.first)
			}
		})
	}
	for _, followed := range chapters {
		for _, test := range followed {
			tested(test)(t, nil, "")
		}
	}
}

// A section is a fenced block of a document.
type section struct {
	chapter  string
	line     int    // of the fence
	language string // the first word of the info string
	mark     string // the second one
	text     string
}

// commandLine matches a line of commands in a block without a language.
var commandLine = regexp.MustCompile(`(?m)^(make|gatehouse|go|npm|npx|curl|git|\./\w+) `)

// commands reports whether the block has commands or variables for a shell.
func (s section) commands() bool {
	switch s.language {
	case "sh", "bash", "shell", "console", "env", "dotenv":
		return true
	case "", "text":
		return commandLine.MatchString(s.text)
	}
	return false
}

// blocksOf returns the fenced blocks of a document.
func blocksOf(t *testing.T, root, name string) (blocks []section) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("^( *)```(.*)$")
	var current *section
	var indent, chapter string
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		found := fence.FindStringSubmatch(strings.TrimRight(line, "\n"))
		switch {
		case current == nil && found == nil:
			if title, ok := strings.CutPrefix(line, "## "); ok {
				chapter = strings.TrimSpace(title)
			}
		case current == nil:
			indent = found[1]
			language, mark, _ := strings.Cut(found[2], " ")
			current = &section{chapter: chapter, line: number, language: language, mark: mark}
		case found != nil && found[2] == "":
			blocks, current = append(blocks, *current), nil
		default:
			current.text += strings.TrimPrefix(line, indent)
		}
	}
	if current != nil {
		t.Errorf("%s:%d: the block does not end", name, current.line)
	}
	return blocks
}

// A reader follows one document. Each chapter begins in the root of the repository.
type reader struct {
	clone    string
	dir      string // where the last block has ended
	dev      *system
	provider *openIDProvider // has a client at documentedBase
}

// documentedBase is the base URL of the bff in the documents.
const documentedBase = "http://localhost:3000"

func (r *reader) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.clone, path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// environment returns that of the test, with the program under test as gatehouse.
func (r *reader) environment(more ...string) []string {
	path := filepath.Dir(program) + string(os.PathListSeparator) + os.Getenv("PATH")
	env := append(os.Environ(), "PATH="+path, "PWD="+r.dir, "GOWORK=off", "NEXT_TELEMETRY_DISABLED=1",
		"npm_config_prefer_offline=true", "npm_config_audit=false", "npm_config_fund=false")
	return append(env, more...)
}

// script runs a script where the one before has ended, and returns its output.
func (r *reader) script(t *testing.T, text string, env ...string) string {
	t.Helper()
	where := filepath.Join(t.TempDir(), "where")
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", text+"\npwd >'"+where+"'")
	cmd.Dir, cmd.Env = r.dir, r.environment(env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", text, err, out)
	}
	ended, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	r.dir = strings.TrimSpace(string(ended))
	return string(out)
}

// here replaces the addresses of `gatehouse dev` in a block by those of the one that runs.
func (r *reader) here(t *testing.T, text string) string {
	t.Helper()
	return strings.NewReplacer("http://localhost:3000", r.dev.base, "http://localhost:5000", r.dev.gateway(t),
		"localhost:9090", r.dev.grpc(t), "http://127.0.0.1:3001", r.dev.provider).Replace(text)
}

// runs returns a treatment that runs a block beside `gatehouse dev`, with a token, and with the
// settings of a provider. The output must contain the texts.
func runs(want ...string) treatment {
	return func(t *testing.T, r *reader, text string) {
		t.Helper()
		env := []string{"TOKEN=" + r.dev.machineToken(t)}
		if strings.HasPrefix(text, "gatehouse ") {
			env = append(env, r.provider.environment(documentedBase)...)
		}
		out := r.script(t, r.here(t, text), env...)
		for _, w := range want {
			if !strings.Contains(out, w) && !strings.Contains(strings.ReplaceAll(out, " ", ""), w) { // protojson's spaces vary
				t.Errorf("%s\nlacks %q in its output:\n%s", text, w, out)
			}
		}
	}
}

// alone returns a treatment that handles a block beside a `gatehouse dev` of its own, which the block
// changes.
func alone(treat treatment) treatment {
	return func(t *testing.T, r *reader, text string) {
		t.Helper()
		own := *r
		own.dev = startDev(t)
		treat(t, &own, text)
	}
}

// requests returns a treatment that makes the requests of a block at `gatehouse dev`, with a token.
// They must have the statuses.
func requests(statuses ...int) treatment {
	return func(t *testing.T, r *reader, text string) {
		t.Helper()
		out := r.script(t, r.here(t, text), "TOKEN="+r.dev.machineToken(t))
		var got []string
		for _, found := range regexp.MustCompile(`(?m)(?:^|\d)HTTP/1\.1 (\d+) `).FindAllStringSubmatch(out, -1) {
			got = append(got, found[1])
		}
		if want := strings.Trim(fmt.Sprint(statuses), "[]"); strings.Join(got, " ") != want {
			t.Errorf("%s\nhas the statuses %q, want %q:\n%s", text, got, want, out)
		}
	}
}

// exported matches an assignment to a variable, and its value.
var exported = regexp.MustCompile(`(?m)^((?:export )?(GATEHOUSE_\w+)=)(.*)$`)

// starts returns a treatment that runs a block whose last command is a program, until the pages
// answer at the bff. /private must redirect to the login. If the block exports settings, they get
// values of a provider.
func starts(pages ...string) treatment {
	return func(t *testing.T, r *reader, text string) {
		t.Helper()
		bff, front := freeAddress(t), freeAddress(t)
		base := "http://localhost:" + portOf(bff)
		env := r.environment("GATEHOUSE_LISTEN_BFF="+bff, "GATEHOUSE_LISTEN_GATEWAY="+freeAddress(t),
			"GATEHOUSE_LISTEN_GRPC="+freeAddress(t), "GATEHOUSE_LISTEN_DEVIDP="+freeAddress(t))
		if exported.MatchString(text) {
			op := startProvider(t, freeAddress(t), base, firstTTL)
			text = fill(t, text, map[string]string{
				"GATEHOUSE_OIDC_ISSUER": op.issuer, "GATEHOUSE_OIDC_CLIENT_ID": opClientID,
				"GATEHOUSE_OIDC_CLIENT_SECRET": "'" + opClientSecret + "'", "GATEHOUSE_AUDIENCE": opAudience,
				"GATEHOUSE_BASE_URL": base,
			})
		}
		const port = ":3100"
		if strings.Contains(text, port) {
			text = strings.ReplaceAll(text, port, ":"+portOf(front))
			manifest := filepath.Join(r.dir, "examples/nextjs/package.json")
			content, err := os.ReadFile(manifest)
			if err != nil {
				t.Fatal(err)
			}
			content = []byte(strings.ReplaceAll(string(content), "--port 3100", "--port "+portOf(front)))
			if err := os.WriteFile(manifest, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p := &process{name: text, cmd: exec.Command("sh", "-euc", text), out: &transcript{}, done: make(chan struct{})}
		p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = r.dir, env, p.out, p.out
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // signals go to every process of the block
		p.cmd.WaitDelay = patience
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = p.cmd.Wait() // it is stopped below
			close(p.done)
		}()
		defer func() {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) // it may have ended
			p.wait(t)
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		}()
		for _, page := range pages {
			want := 200
			if page == "/private" {
				want = 303
			}
			within(t, compiling, base+page+" answers", func() error {
				select {
				case <-p.done:
					t.Fatalf("%s\nhas ended:\n%s", text, p.out)
				default:
				}
				got, err := statusOf(t, base+page)
				if err == nil && got != want {
					err = fmt.Errorf("status %d, want %d", got, want)
				}
				return err
			})
		}
	}
}

// statusOf returns the status of a navigation.
func statusOf(t *testing.T, url string) (status int, err error) {
	cmd := exec.CommandContext(t.Context(), "curl", "-s", "-o", os.DevNull, "-m", "10", "-w", "%{http_code}", "-H", "Accept: text/html,*/*", url)
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(out), &status)
	return status, err
}

// fill replaces the values of variables in a block. A value that the block computes stays.
func fill(t *testing.T, text string, values map[string]string) string {
	t.Helper()
	return exported.ReplaceAllStringFunc(text, func(line string) string {
		found := exported.FindStringSubmatch(line)
		if value, ok := values[found[2]]; ok {
			return found[1] + value
		}
		if strings.Contains(line, "…") {
			t.Errorf("the test has no value for %s", found[2])
		}
		return line
	})
}

// settings returns a treatment that validates variables as `gatehouse check` does. The issuer
// becomes that of a provider on loopback, a placeholder a value. Variables that the block does not
// have get values, except those in without.
func settings(without ...string) treatment {
	return func(t *testing.T, r *reader, text string) {
		t.Helper()
		values := map[string]string{
			"GATEHOUSE_OIDC_ISSUER": r.provider.issuer, "GATEHOUSE_OIDC_CLIENT_ID": opClientID, "GATEHOUSE_OIDC_CLIENT_SECRET": opClientSecret,
			"GATEHOUSE_AUDIENCE": opAudience, "GATEHOUSE_BASE_URL": "https://shop.example", "GATEHOUSE_SECRET": tutorialSecret,
		}
		dir := t.TempDir()
		var dotenv strings.Builder
		for name, value := range values {
			if !strings.Contains(text, name+"=") && !slices.Contains(without, name) {
				fmt.Fprintf(&dotenv, "%s=%q\n", name, value)
			}
		}
		script := program + " check --json"
		if strings.Contains(text, "export ") {
			script = text + script
		} else {
			dotenv.WriteString(exported.ReplaceAllStringFunc(text, func(line string) string {
				found := exported.FindStringSubmatch(line)
				if value, ok := values[found[2]]; ok && (strings.HasPrefix(found[3], "…") || found[2] == "GATEHOUSE_OIDC_ISSUER") {
					return fmt.Sprintf("%s%q", found[1], value)
				}
				return line
			}))
		}
		if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(dotenv.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
		out, _ := cmd.Output() // other proofs may fail
		var report struct {
			Results []struct{ Status, Proof, What string }
		}
		_, object, _ := strings.Cut(string(out), "{")
		if err := json.Unmarshal([]byte("{"+object), &report); err != nil || len(report.Results) == 0 {
			t.Fatalf("check of\n%s\n%v\n%s", dotenv.String(), err, out)
		}
		if first := report.Results[0]; first.Proof != "settings" || first.Status != "ok" {
			t.Errorf("check of\n%s\nsays %+v", dotenv.String(), first)
		}
	}
}

// tested returns a treatment for a block that another test runs.
func tested(test string, parts ...string) treatment {
	return func(t *testing.T, _ *reader, _ string) {
		t.Helper()
		out, err := exec.Command("git", "-C", "..", "grep", "-hF", "-e", "func "+test+"(", "--", "*_test.go").Output()
		if err != nil {
			t.Errorf("there is no test %s: %v\n%s", test, err, out)
		}
		for _, part := range parts {
			if out, err := exec.Command("git", "-C", "..", "grep", "-hF", "-e", `"`+part+`"`, "--", "*_test.go").Output(); err != nil {
				t.Errorf("there is no test %s/%s: %v\n%s", test, part, err, out)
			}
		}
	}
}

// queries is the treatment of a command that reads gatehouse.log: it must run, and find a line.
func queries(t *testing.T, r *reader, text string) {
	t.Helper()
	r.write(t, "gatehouse.log", `{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"session store unavailable","part":"sessions","err":"refused"}
{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"request","part":"bff","status":503,"route":"/api/products","code":"Unavailable","err":"refused"}
{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"request","part":"bff","status":200}
`)
	if out := r.script(t, text); strings.Count(out, "\n") != 1 || !strings.Contains(out, "refused") {
		t.Errorf("%s\nprints %q", text, out)
	}
}

// workflow is the treatment of a block that continuous integration runs.
func workflow(t *testing.T, _ *reader, text string) {
	t.Helper()
	script, err := os.ReadFile("../.ci/run")
	if err != nil || !strings.Contains(string(script), "exec "+text) {
		t.Errorf(".ci/run does not run %s (%v)", text, err)
	}
}

// elsewhere is the treatment of a block that needs a service that is not here. The list of commands
// says which.
func elsewhere(*testing.T, *reader, string) {}

// benchmarks is the treatment of measurements that take minutes: the benchmarks and their flags
// must exist.
func benchmarks(t *testing.T, r *reader, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		checkGoTest(t, r.clone, strings.TrimSpace(line))
	}
}

// goTestFlags are the flags of go test that documents use, and whether a value follows.
var goTestFlags = map[string]bool{
	"-C": true, "-run": true, "-bench": true, "-benchtime": true, "-tags": true, "-count": true, "-cpuprofile": true, "-benchmem": false, "-race": false, "-v": false,
}

// checkGoTest checks that a go test command has tests or benchmarks to run, and knows its flags.
func checkGoTest(t *testing.T, root, line string) {
	t.Helper()
	args := strings.Fields(strings.ReplaceAll(line, "'", ""))
	values := map[string]string{"-C": "."}
	pkg, own := ".", []string{}
	for i := 2; i < len(args); i++ {
		name, value, assigned := strings.Cut(args[i], "=")
		takes, known := goTestFlags[name]
		switch {
		case !strings.HasPrefix(name, "-"):
			pkg = name
		case !known:
			own = append(own, strings.TrimLeft(name, "-"))
		case takes && !assigned:
			i++
			if i < len(args) {
				value = args[i]
			}
			fallthrough
		default:
			values[name] = value
		}
	}
	dir := filepath.Join(root, values["-C"], strings.TrimSuffix(pkg, "..."))
	var code strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") && (filepath.Dir(path) == dir || strings.HasSuffix(pkg, "...")) {
			content, err := os.ReadFile(path)
			code.Write(content)
			return err
		}
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	for flag, prefix := range map[string]string{"-run": "Test", "-bench": "Benchmark"} {
		pattern := values[flag]
		if pattern == "" || pattern == "^$" {
			continue
		}
		matches := false
		for _, found := range regexp.MustCompile(`(?m)^func (`+prefix+`\w+)\(`).FindAllStringSubmatch(code.String(), -1) {
			name, _, _ := strings.Cut(pattern, "/")
			matches = matches || regexp.MustCompile(name).MatchString(found[1])
		}
		if !matches {
			t.Errorf("%s: nothing in %s matches %s", line, pkg, pattern)
		}
	}
	for _, name := range own {
		if !strings.Contains(code.String(), `("`+name+`", `) {
			t.Errorf("%s: %s has no flag -%s", line, pkg, name)
		}
	}
}

// listDocuments lists the Markdown files of this checkout.
func listDocuments(t *testing.T) (documents []string) {
	t.Helper()
	_, files := checkout(t)
	for _, name := range files {
		// reference.md is the beginning of docs/configuration.md, with links from there.
		if filepath.Ext(name) == ".md" && name != "reference.md" {
			documents = append(documents, name)
		}
	}
	return documents
}
