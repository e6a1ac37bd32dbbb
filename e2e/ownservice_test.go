package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// TestOwnModule follows a chapter of docs/add-a-service.md in an empty directory: it writes every
// file and runs every command as printed. The module comes from a proxy that has this checkout as its
// newest commit. The values of the settings are the test's. The same program then runs the commands
// check, dev and reference.
func TestOwnModule(t *testing.T) {
	t.Parallel()
	f := own(t, "GATEHOUSE_", "GATEHOUSE_OIDC_")
	f.values["GATEHOUSE_OIDC_CLIENT_ID"], f.values["GATEHOUSE_OIDC_CLIENT_SECRET"] = "hello", "a secret of the test"
	f.values["HELLO_MOTTO"] = "Upwards"
	f.env = append(f.env, "GOPROXY="+proxied(t))
	f.instead = map[string][]string{"replace": nil}
	f.promises = ownPromises("Upwards")
	f.follow(t, chapter(t, addService, ownModule))
	servesGRPC(t, f.values["GATEHOUSE_LISTEN_GRPC"])
	if said := f.check(t, "hello"); !strings.Contains(said, "/greeter.v1.GreeterService/SetMotto") || !strings.Contains(said, "token, scope motto:write\n") {
		t.Errorf("check does not print the policy of SetMotto:\n%s", said)
	}
	f.done(t, map[string]int{"file": 5, "run": 5, "newest": 1, "environment": 1, "start": 1, "status": 1, "request": 9})

	hello := filepath.Join(f.dir, "hello")
	if said, err := exec.CommandContext(t.Context(), hello, "reference").Output(); err != nil || !strings.Contains(string(said), "\n## Hello\n\n### `HELLO_MOTTO`\n\nThe first motto.\n\n- flag: `--motto`\n- default: `Onwards`\n") {
		t.Errorf("reference: %v\n%s", err, said)
	}
	gateway := freeAddress(t)
	dev := startIn(t, f.dir, "hello dev", nil, hello, "dev", "--motto=Sideways", "--listen-gateway="+gateway,
		"--listen-bff="+freeAddress(t), "--listen-grpc="+freeAddress(t), "--listen-devidp="+freeAddress(t))
	dev.ready(t, "http://"+gateway+"/readyz")
	if got := body(t, "http://"+gateway+"/api/motto"); got != `{"text":"Sideways"}` {
		t.Errorf("dev: the motto is %s, want that of the flag", got)
	}
	if code := dev.stop(t); code != 0 || !strings.Contains(dev.out.String(), "Gatehouse runs.") || !strings.Contains(dev.out.String(), "hello serve") {
		t.Errorf("dev ended with exit code %d, want 0:\n%s", code, dev.out.String())
	}
}

// TestOwnMain follows the chapter that joins the parts without package gatehouse, after the beginning
// of the one before. This checkout replaces the module, so that its packages are built already.
func TestOwnMain(t *testing.T) {
	t.Parallel()
	f := own(t, "", "OIDC_")
	f.values["CLIENT_ID"], f.values["CLIENT_SECRET"] = "hello", "a secret of the test"
	f.instead = map[string][]string{"newest": nil}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	f.here = strings.NewReplacer("=../gatehouse", "="+root)
	f.promises = ownPromises("Onwards")
	blocks := chapter(t, addService, ownModule)
	program := slices.IndexFunc(blocks, func(b block) bool { return b.name == "main.go" })
	f.follow(t, slices.Concat(blocks[:program], chapter(t, addService, ownMain)))
	servesGRPC(t, f.values["LISTEN_GRPC"])
	f.done(t, map[string]int{"file": 6, "run": 5, "replace": 1, "environment": 1, "start": 1, "status": 1, "request": 9})
}

// ownPromises are texts of responses, by the words that announce them.
func ownPromises(motto string) map[string]string {
	return map[string]string{
		"the motto":          `{"text":"` + motto + `"}`,
		"Hello":              `"text":"Hello, user-1"`,
		"with your comments": `"text":{"type":["string","null"],"description":"The new motto.","examples":["Onwards"]}`,
		"the page to try it": "swagger-ui-bundle.js",
	}
}

// The chapters of docs/add-a-service.md without the repository.
const (
	ownModule = "In a module that exists"
	ownMain   = "With a main of your own"
)

// TestPageVersions checks that the command typescript adds the versions of npm packages that the tests
// of TypeScript run with.
func TestPageVersions(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../internal/typescript/page.go")
	if err != nil {
		t.Fatal(err)
	}
	tests := requirements(t, "typescript/package.json")
	added := regexp.MustCompile(`\{name: "([^"]+)", version: "([^"]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(added) < 4 {
		t.Errorf("found %d packages in page.go, want 4 or more", len(added))
	}
	for _, found := range added {
		if name, version := found[1], found[2]; version != "^"+tests[name] {
			t.Errorf("the command adds %s %s, want ^%s", name, version, tests[name])
		}
	}
}

// requirements returns the dependencies in a package.json.
func requirements(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Dependencies map[string]string }
	if err := json.Unmarshal(content, &manifest); err != nil {
		t.Fatal(err)
	}
	return manifest.Dependencies
}

// body returns the body of a GET.
func body(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// servesGRPC checks the server's health over the network.
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

// TestOwnModuleIsShort checks the promise of 40 lines, and that the document names the versions
// that this repository uses.
func TestOwnModuleIsShort(t *testing.T) {
	t.Parallel()
	blocks := append(chapter(t, addService, ownModule), chapter(t, addService, ownMain)...)
	pinned, err := os.ReadFile("../tools/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mains, versions := 0, 0
	for _, b := range blocks {
		if b.name == "main.go" {
			if lines, most := strings.Count(b.text, "\n"), []int{35, 45}[mains]; lines > most {
				t.Errorf("%s: main.go has %d lines, want %d at most", addService, lines, most)
			}
			mains++
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
				t.Errorf("%s: %s@%s is not what tools/go.mod pins", addService, pkg, version)
			}
		}
	}
	if mains != 2 || versions != 4 {
		t.Errorf("%s: found %d main.go and %d versions of tools, want 2 and 4", addService, mains, versions)
	}
}

// pins reports whether a go.mod requires the module of the package at the version.
func pins(gomod, pkg, version string) bool {
	for module := pkg; module != "."; module = filepath.Dir(module) {
		if strings.Contains(gomod, "\t"+module+" v") { // the innermost module
			return regexp.MustCompile(regexp.QuoteMeta("\t"+module+" "+version) + `\s`).MatchString(gomod)
		}
	}
	return false
}
