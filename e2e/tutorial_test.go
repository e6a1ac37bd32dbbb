package e2e

import (
	"archive/zip"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// The documents that tests follow.
const (
	addService = "../docs/add-a-service.md"
	tutorial   = "../docs/tutorial.md"
)

// A block is a fenced block of a document whose info string has a second word, which says what it is
// for: a word, or KIND=NAME.
type block struct{ use, name, text string }

// chapter returns the marked blocks of one chapter of a document.
func chapter(t *testing.T, document, title string) []block {
	t.Helper()
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(content), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("%s: the chapter %q is gone", document, title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks []block
	for _, found := range regexp.MustCompile("(?ms)^```(\\w+)(?: +(\\S+))?\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		use, name, _ := strings.Cut(found[2], "=")
		blocks = append(blocks, block{use, name, found[3]})
	}
	return blocks
}

// A follower does exactly what a chapter says: it writes the files, runs the commands and makes the
// requests. Each shell begins where the one before has ended.
type follower struct {
	dir      string
	env      []string            // of the commands, added to the test's
	values   map[string]string   // of the settings that the chapter exports, and of TOKEN
	promises map[string]string   // texts in a response, by the words after its status
	ready    []string            // URLs that answer once the program has started
	instead  map[string][]string // commands that replace blocks of a kind
	start    func(text string)   // for blocks of the kind "start"; nil for the program in the directory
	here     *strings.Replacer   // of the addresses in commands and requests; nil for none

	mint     func() string
	settings []string
	program  *process
	did      map[string]int
}

// own returns a follower in an empty directory, with a provider, free ports and a token. The
// settings have names with the prefix, except those in prefixed.
func own(t *testing.T, prefix, oidc string) *follower {
	t.Helper()
	issuer := tokentest.NewIssuer(t)
	bff := freeAddress(t)
	f := &follower{dir: t.TempDir(), did: map[string]int{}, values: map[string]string{
		oidc + "ISSUER":           issuer.URL,
		prefix + "AUDIENCE":       "https://hello.example",
		prefix + "SECRET":         rand.Text() + rand.Text(),
		prefix + "LISTEN_BFF":     bff,
		prefix + "LISTEN_GATEWAY": freeAddress(t),
		prefix + "LISTEN_GRPC":    freeAddress(t),
		prefix + "BASE_URL":       "http://localhost:" + portOf(bff),
	}}
	f.mint = func() string { return issuer.Mint(map[string]any{"aud": "https://hello.example"}) }
	f.ready = []string{"http://" + f.values[prefix+"LISTEN_GATEWAY"] + "/readyz", f.values[prefix+"BASE_URL"] + "/readyz"}
	// Without the checksum database, so that a machine with all modules needs no network.
	f.env = []string{"GOWORK=off", "GOSUMDB=off", "GOFLAGS="}
	return f
}

// follow executes the blocks.
func (f *follower) follow(t *testing.T, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		f.did[b.use]++
		if commands, ok := f.instead[b.use]; ok {
			for _, command := range commands {
				f.run(t, command)
			}
			continue
		}
		switch b.use {
		case "file":
			f.write(t, b.name, b.text)
		case "apply":
			f.write(t, ".diff", b.text)
			f.run(t, "git apply .diff && rm .diff")
		case "run", "newest", "replace":
			f.run(t, b.text)
		case "environment":
			for _, found := range regexp.MustCompile(`(?m)^export (\w+)=`).FindAllStringSubmatch(b.text, -1) {
				value, ok := f.values[found[1]]
				if !ok {
					t.Fatalf("the test has no value for %s", found[1])
				}
				f.settings = append(f.settings, found[1]+"="+value)
			}
		case "start":
			if f.start != nil {
				f.start(b.text)
				continue
			}
			args := strings.Fields(b.text)
			f.program = startIn(t, f.dir, args[0], f.settings, filepath.Join(f.dir, args[0]), args[1:]...)
			for _, url := range f.ready {
				f.program.ready(t, url)
			}
		case "status":
			f.values["TOKEN"] = f.mint() // as late as possible, because it is valid for minutes
			f.did["request"] += f.requests(t, b.text)
		default:
			t.Errorf("a block is marked %q, which means nothing to this test:\n%s", b.use, b.text)
		}
	}
}

// done compares what was done with the least that is expected, and ends the program.
func (f *follower) done(t *testing.T, atLeast map[string]int) {
	t.Helper()
	for use, n := range atLeast {
		if f.did[use] < n {
			t.Errorf("%d blocks of the kind %q were done, want %d", f.did[use], use, n)
		}
	}
	if code := f.program.stop(t); code != 0 {
		t.Errorf("the program ended with exit code %d, want 0", code)
	}
	if strings.Contains(f.program.out.String(), f.values["TOKEN"]) {
		t.Error("the program has printed a token")
	}
}

func (f *follower) run(t *testing.T, script string) {
	t.Helper()
	where := filepath.Join(t.TempDir(), "where")
	if f.here != nil {
		script = f.here.Replace(script)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script+"\npwd >'"+where+"'")
	cmd.Dir = f.dir
	cmd.Env = append(append(os.Environ(), "PWD="+f.dir), f.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	ended, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	f.dir = strings.TrimSpace(string(ended))
}

func (f *follower) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// requests makes the requests of a block: one command a line, followed by the expected status and,
// after a comma, an explanation. If the explanation promises something, the response must contain
// it.
func (f *follower) requests(t *testing.T, text string) (made int) {
	t.Helper()
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		command, want, ok := strings.Cut(strings.TrimSpace(line), "# ")
		if !ok {
			t.Errorf("%q does not say what comes of it", line)
			continue
		}
		status, _, _ := strings.Cut(want, ",")
		if f.here != nil {
			command = f.here.Replace(command)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", command)
		cmd.Dir = f.dir
		cmd.Env = append(slices.Clone(f.settings), "PATH="+os.Getenv("PATH"), "TOKEN="+f.values["TOKEN"])
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		if first, _, _ := strings.Cut(string(out), "\n"); !strings.Contains(" "+strings.TrimSpace(first)+" ", " "+status+" ") {
			t.Errorf("%s\ngot %s, want status %s\n%s", command, first, status, out)
		}
		for words, holds := range f.promises {
			if strings.Contains(want, words) && !strings.Contains(string(out), holds) {
				t.Errorf("%s\npromises %q and does not hold %q:\n%s", command, words, holds, out)
			}
		}
		made++
	}
	return made
}

// checkout lists the files of this checkout, including uncommitted ones.
func checkout(t *testing.T) (root string, files []string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if info, err := os.Stat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			files = append(files, name)
		}
	}
	return root, files
}

// proxied returns a value of GOPROXY that has this checkout as the newest commit of main, without
// the modules below, and the starter as a module of its own. All tests share it, so that they build
// the packages once.
func proxied(t *testing.T) string {
	t.Helper()
	publishing.Lock()
	defer publishing.Unlock()
	if publishing.version == "" {
		commit := make([]byte, 6)
		_, _ = rand.Read(commit) // never fails
		version := "v0.0.0-20260101000000-" + hex.EncodeToString(commit)
		root, files := checkout(t)
		publish(t, root, files, "", version)
		publish(t, root, files, starterDir, version)
		publishing.version = version
	}
	out, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + proxyDir() + "," + strings.TrimSpace(string(out))
}

const (
	rootModule = "github.com/gatehouse-dev/gatehouse"
	starterDir = "examples/starter"
)

var publishing struct {
	sync.Mutex
	version string
}

// proxyDir is the directory of the module proxy, which ends with the tests.
func proxyDir() string { return filepath.Join(filepath.Dir(program), "modules") }

// publish offers the module in a directory of this checkout at the proxy.
func publish(t *testing.T, root string, files []string, sub, version string) {
	t.Helper()
	module, prefix := rootModule, ""
	if sub != "" {
		module, prefix = rootModule+"/"+sub, sub+"/"
	}
	dir := filepath.Join(proxyDir(), module, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	info := fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version)
	gomod, err := os.ReadFile(filepath.Join(root, sub, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// A release of the starter requires that of the root module, which is not this checkout.
	gomod = regexp.MustCompile(`(?m)^.*\b`+rootModule+` v.*\n`).ReplaceAll(gomod, nil)
	for name, content := range map[string]string{
		"main.info": info, "../@latest": info, version + ".info": info, version + ".mod": string(gomod), "list": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var below []string // directories of other modules
	for _, name := range files {
		if d, ok := strings.CutSuffix(name, "/go.mod"); ok && d != sub {
			below = append(below, d+"/")
		}
	}
	archive, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	z := zip.NewWriter(archive)
	for _, name := range files {
		if !strings.HasPrefix(name, prefix) || slices.ContainsFunc(below, func(d string) bool { return strings.HasPrefix(name, d) }) {
			continue
		}
		w, err := z.Create(module + "@" + version + "/" + strings.TrimPrefix(name, prefix))
		if err != nil {
			t.Fatal(err)
		}
		if name == prefix+"go.mod" {
			_, err = w.Write(gomod)
		} else {
			err = copyTo(w, filepath.Join(root, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// unpublish removes what the go command has kept of the proxy in its module cache.
func unpublish() {
	if publishing.version == "" {
		return
	}
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return // a leftover does no harm
	}
	cache := strings.TrimSpace(string(out))
	for _, module := range []string{rootModule, rootModule + "/" + starterDir} {
		tree := filepath.Join(cache, module+"@"+publishing.version)
		_ = filepath.WalkDir(tree, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				err = os.Chmod(path, 0o755) // the cache is read-only
			}
			return err
		})
		_ = os.RemoveAll(tree)
		downloads, _ := filepath.Glob(filepath.Join(cache, "cache/download", module, "@v", publishing.version+".*"))
		for _, file := range downloads {
			_ = os.Remove(file)
		}
	}
}

func copyTo(w io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}
