package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// TestOwnModule follows the second chapter of docs/add-a-service.md in an empty directory: it
// writes every file and runs every command as printed. The module comes from a proxy that has this
// checkout as its newest commit. The values of the settings are the test's.
func TestOwnModule(t *testing.T) {
	t.Parallel()
	f := own(t, "", "OIDC_")
	f.values["CLIENT_ID"], f.values["CLIENT_SECRET"] = "hello", "a secret of the test"
	f.env = append(f.env, "GOPROXY="+proxied(t))
	f.promises = map[string]string{
		"Hello":              `"text":"Hello, user-1"`,
		"with your comments": `"text":{"type":["string","null"],"description":"The new motto.","examples":["Onwards"]}`,
		"the page to try it": "swagger-ui-bundle.js",
	}
	f.follow(t, chapter(t, ownModule))
	servesGRPC(t, f.values["LISTEN_GRPC"])
	f.done(t, map[string]int{"file": 6, "run": 6, "environment": 1, "start": 1, "status": 1, "request": 9})
}

const ownModule = "In a module of your own"

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

// TestOwnModuleIsShort checks the promise of 40 lines, and that the tutorial names the versions
// that this repository uses.
func TestOwnModuleIsShort(t *testing.T) {
	t.Parallel()
	blocks := chapter(t, ownModule)
	pinned, err := os.ReadFile("../tools/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mains, versions := 0, 0
	for _, b := range blocks {
		if b.name == "main.go" {
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

// pins reports whether a go.mod requires the module of the package at the version.
func pins(gomod, pkg, version string) bool {
	for module := pkg; module != "."; module = filepath.Dir(module) {
		if strings.Contains(gomod, "\t"+module+" v") { // the innermost module
			return regexp.MustCompile(regexp.QuoteMeta("\t"+module+" "+version) + `\s`).MatchString(gomod)
		}
	}
	return false
}
