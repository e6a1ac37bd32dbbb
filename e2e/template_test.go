package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplate follows a chapter of docs/add-a-service.md in an empty directory: a copy of the
// repository under another name, with a service of its own instead of the sample application. The
// repository is a copy of this checkout. TestProofTemplate also runs the checks and tests that the
// chapter names.
func TestTemplate(t *testing.T) {
	t.Parallel()
	followTemplate(t, nil)
}

// followTemplate follows the chapter, with the commands instead of its checks and tests, which take
// minutes.
func followTemplate(t *testing.T, checks []string) {
	t.Helper()
	f := own(t, "GATEHOUSE_", "GATEHOUSE_OIDC_")
	f.values["GATEHOUSE_OIDC_CLIENT_ID"], f.values["GATEHOUSE_OIDC_CLIENT_SECRET"] = "shop", "a secret of the test"
	f.env = append(f.env,
		"GIT_CONFIG_COUNT=4",
		"GIT_CONFIG_KEY_0=url.file://"+repository(t)+".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/gatehouse-dev/gatehouse",
		"GIT_CONFIG_KEY_1=user.name", "GIT_CONFIG_VALUE_1=Reader",
		"GIT_CONFIG_KEY_2=user.email", "GIT_CONFIG_VALUE_2=reader@shop.example",
		"GIT_CONFIG_KEY_3=gc.auto", "GIT_CONFIG_VALUE_3=0", // nothing in the background
	)
	f.instead = map[string][]string{"test": checks}
	f.promises = map[string]string{
		"under your subject":   `"entry":{"author":"user-1","text":"I was here"}`,
		"names the field":      `"field":"text"`,
		"the scope is missing": `"SCOPE_MISSING"`,
		"with your comments":   `"summary":"Lists the entries, oldest first"`,
		"the page to try it":   "swagger-ui-bundle.js",
		"to the login":         "ocation: /api/auth/login?returnTo=%2Fprivate",
		"through the bff":      `{"entries":[]}`,
	}
	f.follow(t, chapter(t, addService, "As a template"))

	// What the chapter promises without further work, and what must be gone.
	for _, method := range []string{"AddEntry", "ClearEntries"} {
		f.program.said(t, "/guestbook.v1.GuestbookService/"+method)
	}
	f.run(t, `test -z "$(git grep -l -e audioarchive -- '*.go' '*.proto' ':!internal/layout')"`)
	f.run(t, `test -z "$(git status --porcelain)"`)
	table := f.check(t, "gatehouse")
	for method, rule := range map[string]string{"ListEntries": "public", "AddEntry": "token", "ClearEntries": "token, scope guestbook:clear"} {
		if !strings.Contains(table, "/guestbook.v1.GuestbookService/"+method) || !strings.Contains(table, rule+"\n") {
			t.Errorf("check does not print %s for %s:\n%s", rule, method, table)
		}
	}
	if strings.Contains(table, "audioarchive") {
		t.Errorf("check prints what is gone:\n%s", table)
	}
	f.done(t, map[string]int{"file": 3, "run": 5, "test": 1, "environment": 1, "start": 1, "status": 1, "request": 11})
}

// check returns the output of "gatehouse check". The provider of the test accepts no logins, which
// the output says too.
func (f *follower) check(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(f.dir, program), "check")
	cmd.Dir, cmd.Env = f.dir, f.settings
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// repository makes a repository of this checkout, with a single commit.
func repository(t *testing.T) string {
	t.Helper()
	root, files := checkout(t)
	dir := t.TempDir()
	for _, name := range files {
		source, target := filepath.Join(root, name), filepath.Join(dir, name)
		info, err := os.Stat(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY, info.Mode().Perm())
		if err != nil {
			t.Fatal(err)
		}
		if err := copyTo(file, source); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{"init -q", "add .", "-c user.name=Test -c user.email=test@shop.example commit -qm All"} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatal(fmt.Errorf("git %s: %w\n%s", args, err, out))
		}
	}
	return dir
}
