package e2e

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-dev/gatehouse/internal/token/tokentest"
)

const tutorial = "../docs/add-a-service.md"

// TestOwnModule follows the second half of docs/add-a-service.md to the
// letter, in an empty directory: every file is written and every command is
// run as it stands there. Three things differ. The module is taken from this
// checkout, by a replace directive, since no release has what is being tested;
// the values of the settings are the test's; and the sum database is not
// asked, so that a machine that has all modules needs no network.
func TestOwnModule(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	blocks := ownModule(t)
	dir := filepath.Join(t.TempDir(), "hello")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PWD="+dir, "GOWORK=off", "GOSUMDB=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s\n%v\n%s", script, err, out)
		}
	}
	var settings []string
	issuer := tokentest.NewIssuer(t)
	values := map[string]string{
		"OIDC_ISSUER":    issuer.URL,
		"CLIENT_ID":      "hello",
		"CLIENT_SECRET":  "a secret of the test",
		"AUDIENCE":       "https://hello.example",
		"SECRET":         rand.Text() + rand.Text(),
		"LISTEN_BFF":     freeAddress(t),
		"LISTEN_GATEWAY": freeAddress(t),
		"LISTEN_GRPC":    freeAddress(t),
	}
	values["BASE_URL"] = "http://localhost:" + portOf(values["LISTEN_BFF"])
	values["TOKEN"] = issuer.Mint(map[string]any{"aud": values["AUDIENCE"]})

	did := map[string]int{}
	var hello *process
	for i, b := range blocks {
		did[b.use]++
		switch b.use {
		case "file":
			path := filepath.Join(dir, b.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		case "run":
			run(b.text)
			if i == 0 { // go.mod is there
				run("go mod edit -replace='github.com/gatehouse-dev/gatehouse=" + root + "'")
			}
		case "environment":
			for _, found := range regexp.MustCompile(`(?m)^export (\w+)=`).FindAllStringSubmatch(b.text, -1) {
				value, ok := values[found[1]]
				if !ok {
					t.Fatalf("%s: the test has no value for %s", tutorial, found[1])
				}
				settings = append(settings, found[1]+"="+value)
			}
		case "start":
			hello = startIn(t, dir, "hello", settings, filepath.Join(dir, strings.TrimSpace(b.text)))
			hello.ready(t, "http://"+values["LISTEN_GATEWAY"]+"/readyz")
			hello.ready(t, values["BASE_URL"]+"/readyz")
		case "status":
			env := append(settings, "PATH="+os.Getenv("PATH"), "TOKEN="+values["TOKEN"])
			did["request"] += requests(t, b.text, env)
			servesGRPC(t, values["LISTEN_GRPC"])
		default:
			t.Errorf("%s: a block is marked %q, which means nothing to this test", tutorial, b.use)
		}
	}
	for use, atLeast := range map[string]int{"file": 6, "run": 6, "environment": 1, "start": 1, "status": 1, "request": 7} {
		if did[use] < atLeast {
			t.Errorf("%s: %d blocks of the kind %q were done, want %d", tutorial, did[use], use, atLeast)
		}
	}
	if code := hello.stop(t); code != 0 {
		t.Errorf("hello ended with exit code %d, want 0", code)
	}
	if strings.Contains(hello.out.String(), values["TOKEN"]) {
		t.Error("hello has printed a token")
	}
}

// servesGRPC asks the server's health over the network.
func servesGRPC(t *testing.T, address string) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the gRPC server says that it serves", func() error {
		got, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "greeter.v1.GreeterService"})
		if err == nil && got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			err = errors.New(got.GetStatus().String())
		}
		return err
	})
}

// requests makes those that a block lists, one command a line with what is to
// come of it behind: a status, and after a comma an explanation. One that
// promises a greeting must get it.
func requests(t *testing.T, text string, env []string) (made int) {
	t.Helper()
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		command, want, ok := strings.Cut(strings.TrimSpace(line), "# ")
		if !ok {
			t.Errorf("%s: %q does not say what comes of it", tutorial, line)
			continue
		}
		status, _, _ := strings.Cut(want, ",")
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", command)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		if first, _, _ := strings.Cut(string(out), "\n"); !strings.Contains(first, " "+status+" ") {
			t.Errorf("%s\ngot %s, want status %s\n%s", command, first, status, out)
		}
		if strings.Contains(want, "Hello") && !strings.Contains(string(out), `"text":"Hello, user-1"`) {
			t.Errorf("%s\ngot no greeting:\n%s", command, out)
		}
		made++
	}
	return made
}

// TestOwnModuleIsShort holds the promise of 40 lines, and the versions that
// the tutorial names to those that this repository is built with.
func TestOwnModuleIsShort(t *testing.T) {
	t.Parallel()
	blocks := ownModule(t)
	pinned, err := os.ReadFile("../tools/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mains, versions := 0, 0
	for _, b := range blocks {
		if b.file == "main.go" {
			mains++
			if lines := strings.Count(b.text, "\n"); lines > 40 {
				t.Errorf("%s: main.go has %d lines, want 40 at most", tutorial, lines)
			}
		}
		if b.use != "run" {
			continue
		}
		for _, found := range regexp.MustCompile(`(\S+)@(v\S+)`).FindAllStringSubmatch(b.text, -1) {
			pkg, version := found[1], found[2]
			if pkg == "github.com/gatehouse-dev/gatehouse" {
				continue
			}
			versions++
			if !pins(string(pinned), pkg, version) {
				t.Errorf("%s: %s@%s is not what tools/go.mod pins", tutorial, pkg, version)
			}
		}
	}
	if mains != 1 || versions != 4 {
		t.Errorf("%s: found %d main.go and %d versions of tools, want 1 and 4", tutorial, mains, versions)
	}
}

// pins reports whether a go.mod requires the module of the package at the
// version.
func pins(gomod, pkg, version string) bool {
	for module := pkg; module != "."; module = filepath.Dir(module) {
		if strings.Contains(gomod, "\t"+module+" v") { // the innermost module counts
			return regexp.MustCompile(regexp.QuoteMeta("\t"+module+" "+version) + `\s`).MatchString(gomod)
		}
	}
	return false
}

// A block is a fenced one of the tutorial that says what it is for, behind the
// language: "file=NAME" or one word.
type block struct{ use, file, text string }

// ownModule returns the marked blocks of the tutorial's second half.
func ownModule(t *testing.T) []block {
	t.Helper()
	content, err := os.ReadFile(tutorial)
	if err != nil {
		t.Fatal(err)
	}
	_, half, ok := strings.Cut(string(content), "\n## In a module of your own\n")
	if !ok {
		t.Fatalf("%s: the chapter on a module of one's own is gone", tutorial)
	}
	var blocks []block
	for _, found := range regexp.MustCompile("(?ms)^```(\\w+)(?: +(\\S+))?\n(.*?)^```$").FindAllStringSubmatch(half, -1) {
		b := block{use: found[2], text: found[3]}
		if name, ok := strings.CutPrefix(b.use, "file="); ok {
			b.use, b.file = "file", name
		}
		blocks = append(blocks, b)
	}
	return blocks
}
