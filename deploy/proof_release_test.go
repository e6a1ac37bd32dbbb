//go:build proof

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProofRelease makes a release in two directories, and compares what is made byte for byte.
func TestProofRelease(t *testing.T) {
	const version = "v0.98.7-rc.1"
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := run("..", "git", "rev-parse", "HEAD")
	var sums [2]string
	var dist string
	for i, name := range []string{"one", "another/directory"} {
		dir := filepath.Join(t.TempDir(), name)
		run("..", "git", "clone", "-q", ".", dir)
		run(dir, "git", "checkout", "-q", commit)
		run(dir, "tools/release", version)
		dist = filepath.Join(dir, "dist")
		sums[i] = read(t, filepath.Join(dist, "SHA256SUMS"))
	}
	if sums[0] != sums[1] {
		t.Errorf("two releases of one commit differ:\n%s\n%s", sums[0], sums[1])
	}
	if n := strings.Count(sums[0], "\n"); n != 6 {
		t.Errorf("got %d files, want an archive and an SBOM for each of 3 platforms:\n%s", n, sums[0])
	}
	run(dist, "sha256sum", "--check", "SHA256SUMS")
	for _, platform := range []string{"linux_amd64", "linux_arm64", "darwin_arm64"} {
		name := "gatehouse_" + version + "_" + platform
		run(dist, "tar", "xzf", name+".tar.gz")
		files := []string{"gatehouse", "LICENSE", "README.md", "CHANGELOG.md", "completions/gatehouse.bash", "completions/gatehouse.zsh",
			"completions/gatehouse.fish", "licenses/google.golang.org/grpc/LICENSE"}
		if strings.HasPrefix(platform, "linux") {
			files = append(files, "systemd/gatehouse.service", "systemd/gatehouse.env")
		}
		for _, file := range files {
			if info, err := os.Stat(filepath.Join(dist, name, file)); err != nil || info.Size() == 0 {
				t.Errorf("%s lacks %s (%v)", name, file, err)
			}
		}
		build := run(filepath.Join(dist, name), "go", "version", "-m", "gatehouse")
		for _, want := range []string{"CGO_ENABLED=0", "-trimpath=true", "vcs.revision=" + commit, "vcs.modified=false", version} {
			if !strings.Contains(build, want) {
				t.Errorf("%s: the build lacks %s", name, want)
			}
		}
		if sbom := read(t, filepath.Join(dist, name+".cdx.json")); !strings.Contains(sbom, "pkg:golang/google.golang.org/grpc@v") || !strings.Contains(sbom, version) {
			t.Errorf("%s: the SBOM lacks grpc or the version", name)
		}
	}
	if said := run(dist, filepath.Join(dist, "gatehouse_"+version+"_linux_amd64", "gatehouse"), "version"); !regexp.MustCompile(
		"^gatehouse " + regexp.QuoteMeta(version) + " commit " + commit + ` of \S+Z go1\.\S+ linux/amd64$`).MatchString(said) {
		t.Errorf("version: %q", said)
	}
}
