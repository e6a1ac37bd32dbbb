package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// TestOpenAPI checks the document with programs of others: it is valid, and the API behaves as it
// says.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewIssuer(t)
	rest := freeAddress(t)
	p := gatehouse(t, tutorialEnvironment(issuer.URL, "http://localhost:"+portOf(freeAddress(t))),
		"serve", "--listen-bff="+freeAddress(t), "--listen-gateway="+rest, "--listen-grpc="+freeAddress(t), "--log-level=error")
	p.ready(t, "http://"+rest+"/readyz")
	token := issuer.Mint(map[string]any{"aud": opAudience, "exp": time.Now().Add(time.Hour).Unix(), "permissions": []string{"products:write", "sessions:admin"}})

	t.Run("Valid", func(t *testing.T) {
		t.Parallel()
		resp, err := http.Get("http://" + rest + "/api/openapi.json")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		document, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := lint(t, document); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		// Each kind of mistake is found.
		broken := document
		for _, change := range [][2]string{
			{`"#/components/responses/BadRequest"`, `"#/components/responses/Nothing"`},
			{`"operationId"`, `"operationName"`},
			{`"examples":[124]`, `"examples":["fast"]`},
		} {
			if !bytes.Contains(broken, []byte(change[0])) {
				t.Fatalf("the document has no %s to break", change[0])
			}
			broken = bytes.Replace(broken, []byte(change[0]), []byte(change[1]), 1)
		}
		out, err := lint(t, broken)
		for _, found := range []string{"invalid: ", "no-unresolved-refs: ", "no-invalid-schema-examples: "} {
			if err == nil || !strings.Contains(out, "\n"+found) {
				t.Errorf("what %q stands for was not found (%v):\n%s", found, err, out)
			}
		}
	})
	t.Run("Fuzz", func(t *testing.T) {
		t.Parallel()
		// One operation after the other, because they share a caller's limits. The stream is left
		// out, because it does not end.
		fuzz(t, rest, 6, 400, "--header=Authorization: Bearer "+token, "--phases=examples,coverage,fuzzing,stateful")
		fuzz(t, rest, 1, 150, "--phases=coverage")
	})
}

// lint returns the output of the validators, and an error if there is any.
func lint(t *testing.T, document []byte) (string, error) {
	t.Helper()
	if _, err := os.Stat("openapi/node_modules"); err != nil {
		t.Fatalf("the OpenAPI validators are needed and not installed: run `make test`, which installs them (%v)", err)
	}
	file := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(file, document, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "openapi/lint.mjs", file)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// fuzz has schemathesis generate valid and invalid requests, the same in every run. No response is
// a 5xx, or has a status, media type, header or body that the document does not declare. No request
// that the document forbids succeeds, with a required value missing or without a token.
func fuzz(t *testing.T, gateway string, examples, atLeast int, args ...string) {
	t.Helper()
	schemathesis, err := filepath.Abs("fuzz/.venv/bin/schemathesis")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(schemathesis); err != nil {
		t.Fatalf("schemathesis is needed and not installed: run `make test`, which installs it (%v)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // takes less than a minute on an idle machine
	defer cancel()
	cmd := exec.CommandContext(ctx, schemathesis, append([]string{
		"run", "http://" + gateway + "/api/openapi.json",
		"--seed=1", "--max-examples=" + strconv.Itoa(examples), "--no-shrink", "--generation-database=none",
		"--exclude-path-regex=:watch$", "--request-timeout=30",
		// Rules in CEL and the filter language refuse more than a schema can express.
		"--exclude-checks=positive_data_acceptance",
		"--warnings=off", "--no-color",
	}, args...)...)
	cmd.Dir = t.TempDir() // it writes files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("schemathesis: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`(\d+) generated, (\d+) passed`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("schemathesis does not say what it did:\n%s", out)
	}
	if made, _ := strconv.Atoi(string(m[1])); made < atLeast {
		t.Errorf("schemathesis made %d requests, want %d:\n%s", made, atLeast, out)
	}
}
