package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentsNames checks what the documents name: settings, flags and commands of the program,
// targets of make, tests, files, pages and their headings exist. Addresses of other sites are https, and
// are not requested.
func TestDocumentsNames(t *testing.T) {
	t.Parallel()
	n := knownNames(t)
	for _, name := range listDocuments(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(filepath.Join(n.root, name))
			if err != nil {
				t.Fatal(err)
			}
			n, text := n, string(content)
			n.files = slices.Clip(n.files)
			n.links(t, name, text)
			switch name {
			case "CHANGELOG.md", "docs/api-changes.md": // they also name what was removed
				return
			case "docs/add-a-service.md": // has files of its own
				for _, found := range regexp.MustCompile(`(?m)^\x60{3}\w+ file=(\S+)$`).FindAllStringSubmatch(text, -1) {
					n.files = append(n.files, found[1])
				}
			case "README.md", "docs/tutorial.md", starterDir + "/README.md": // name files and targets of the starter
				n.targets = append(slices.Clip(n.targets), n.starter...)
				for _, file := range n.files {
					n.files = append(n.files, strings.TrimPrefix(file, starterDir+"/"))
				}
				// The service that a reader adds to it.
				n.files = append(n.files, "proto/orders/v1/orders.proto", "gen/orders/v1/orders.pb.go", "internal/orders/orders.go")
			case "docs/from-oauth2-proxy.md":
				n.flags = append(slices.Clip(n.flags), all(text, `(?m)\x60--([a-z0-9-]+)(?:=\w+)?\x60`)...) // of oauth2-proxy
			}
			n.settings(t, text)
			for _, code := range codeOf(text) {
				n.code(t, code)
			}
		})
	}
}

// names is what documents may name.
type names struct {
	root     string
	files    []string
	targets  []string          // of make
	starter  []string          // targets of make in the starter
	commands []string          // of gatehouse
	flags    []string          // of gatehouse
	vars     []string          // GATEHOUSE_…
	pins     map[string]string // versions of npm packages
	tests    []string          // Test… and Fuzz… of all modules
}

func knownNames(t *testing.T) (n names) {
	t.Helper()
	n.root, n.files = checkout(t)
	for dir, targets := range map[string]*[]string{".": &n.targets, starterDir: &n.starter} {
		makefile, err := os.ReadFile(filepath.Join(n.root, dir, "Makefile"))
		if err != nil {
			t.Fatal(err)
		}
		*targets = all(string(makefile), `(?m)^([a-z-]+):`)
	}
	reference, err := exec.CommandContext(t.Context(), program, "reference").Output()
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.CommandContext(t.Context(), program, "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	n.vars = append(all(string(reference), `\b((?:GATEHOUSE|AUTH0)_[A-Z0-9_]+)`), "GATEHOUSE_PROOF_DIR")
	n.flags = append(all(string(help), `(?m)^ +--([a-z0-9-]+)`), "json", "help", "version", "out", "only", "install", "check")
	n.commands = append(all(string(help), `(?m)^  ([a-z]+)  +\S`), "reference", "metrics", "openapi")
	n.pins = requirements(t, "typescript/package.json")
	sources, err := exec.Command("git", "-C", n.root, "grep", "-hoE", "--untracked", "^func (Test|Fuzz)[A-Za-z0-9_]+", "--", "*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	n.tests = all(string(sources), `(?m)^func (\w+)$`)
	for what, found := range map[string]int{
		"targets": len(n.targets), "commands": len(n.commands), "flags": len(n.flags), "variables": len(n.vars), "tests": len(n.tests),
	} {
		if found < 8 {
			t.Fatalf("found %d %s, want at least 8", found, what)
		}
	}
	return n
}

// all returns what the first group of the pattern matches.
func all(text, pattern string) (found []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// codeOf returns the inline code of a document, and the lines of its blocks of commands.
func codeOf(text string) (code []string) {
	blocks := regexp.MustCompile("(?ms)^ *```(\\w*)[^\n]*\n(.*?)^ *```$")
	for _, b := range blocks.FindAllStringSubmatch(text, -1) {
		if (section{language: b[1], text: b[2]}).commands() {
			code = append(code, strings.Split(strings.ReplaceAll(b[2], "\\\n", " "), "\n")...)
		}
	}
	rest := blocks.ReplaceAllString(text, "")
	return append(code, all(rest, "(?s)`([^`]+)`")...)
}

// settings checks the variables that a text names. One that ends in _ or with a wildcard is the
// beginning of others; _FILE stands behind a secret.
func (n names) settings(t *testing.T, text string) {
	t.Helper()
	for _, name := range all(text, `\b((?:GATEHOUSE|AUTH0)_[A-Z0-9_]*)`) {
		if !slices.ContainsFunc(n.vars, func(v string) bool {
			return v == name || v == strings.TrimSuffix(name, "_FILE") || strings.HasSuffix(name, "_") && strings.HasPrefix(v, name)
		}) {
			t.Errorf("there is no setting %s", name)
		}
	}
}

// repositoryPath matches inline code that is a path in the repository.
var repositoryPath = regexp.MustCompile(`^(\.ci|\.github|bench|bff|client|cmd|deploy|docs|e2e|examples|gateway|gen|internal|lifecycle|oidc|proto|server|sessionadmin|third_party|tools)/[\w./-]*$`)

// testName matches inline code that is the name of a test of this repository, or begins one.
var testName = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w+$`)

// code checks a piece of code that names something of this repository.
func (n names) code(t *testing.T, code string) {
	t.Helper()
	code, _, _ = strings.Cut(strings.Join(strings.Fields(code), " "), " # ")
	for _, target := range all(code, `(?:^|&& )make ((?:[a-z-]+ ?)+)`) {
		for target := range strings.FieldsSeq(target) {
			if !slices.Contains(n.targets, target) {
				t.Errorf("%s: make has no target %s", code, target)
			}
		}
	}
	if strings.HasPrefix(code, "go test ") {
		checkGoTest(t, n.root, code)
	}
	if args := all(code, `(?:^| )(?:gatehouse|\./gatehouse|\./hello|\./cmd/gatehouse) ([a-z-].*)$`); len(args) == 1 {
		command := strings.Fields(args[0])[0]
		if !strings.HasPrefix(command, "-") && !slices.Contains(n.commands, command) {
			t.Errorf("%s: gatehouse has no command %s", code, command)
		}
		n.options(t, code, args[0])
	} else if strings.HasPrefix(code, "--") {
		n.options(t, code, code)
	}
	for _, found := range regexp.MustCompile(`(@?[a-z][\w./-]*)@(\d+\.\d+\.\d+)\b`).FindAllStringSubmatch(code, -1) {
		if want := n.pins[found[1]]; strings.HasPrefix(code, "npm ") && found[2] != want {
			t.Errorf("%s: %s is not at the version of e2e/typescript, %q", code, found[1], want)
		}
	}
	if testName.MatchString(code) && code != "TestProof" && !slices.Contains(n.tests, code) {
		t.Errorf("there is no test %s", code)
	}
	if repositoryPath.MatchString(code) && !n.exists(strings.TrimSuffix(code, "/")) {
		t.Errorf("%s does not exist", code)
	}
}

// otherFlags are flags in prose that belong to other programs.
var otherFlags = []string{"skip-consent", "motto"}

func (n names) options(t *testing.T, code, args string) {
	t.Helper()
	for _, flag := range all(args, `(?:^| )--([a-z0-9-]+)`) {
		if !slices.Contains(n.flags, flag) && !slices.Contains(otherFlags, flag) {
			t.Errorf("%s: gatehouse has no flag --%s", code, flag)
		}
	}
}

// exists reports whether the repository has the file or folder, as a name of Go code too: bff.New.
func (n names) exists(name string) bool {
	if base, _, ok := strings.Cut(path.Base(name), "."); ok && base != "" && n.exists(path.Join(path.Dir(name), base)) {
		return true
	}
	return slices.ContainsFunc(n.files, func(f string) bool { return f == name || strings.HasPrefix(f, name+"/") })
}

// links checks the links of a document: relative ones lead to a file, and to a heading if they name
// one; others are addresses on the web.
func (n names) links(t *testing.T, document, text string) {
	t.Helper()
	for _, link := range linksOf(text) {
		if u, err := url.Parse(link); err != nil {
			t.Errorf("the link %s is no address: %v", link, err)
			continue
		} else if u.Scheme != "" {
			if !(u.Scheme == "https" && strings.Contains(u.Host, ".") || u.Scheme == "http" && local.MatchString(u.Host)) {
				t.Errorf("the link %s is neither https nor an address of this machine", link)
			}
			continue
		}
		name, anchor, _ := strings.Cut(link, "#")
		target := document
		if name != "" {
			target = path.Join(path.Dir(document), name)
		}
		if !n.exists(target) {
			t.Errorf("the link %s leads nowhere", link)
			continue
		}
		if anchor == "" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(n.root, target))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(anchors(string(content)), anchor) {
			t.Errorf("the link %s names no heading", link)
		}
	}
}

// local matches the hosts of this machine in documents.
var local = regexp.MustCompile(`^(localhost|127\.0\.0\.1):\d+$`)

// linksOf returns the links of a document, those in blocks of code excepted: [text](link), <link>, and
// [text]: link.
func linksOf(text string) []string {
	prose := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	prose = regexp.MustCompile("`[^`\n]*`").ReplaceAllStringFunc(prose, func(code string) string {
		return strings.NewReplacer("(", "", "<", "").Replace(code)
	})
	return slices.Concat(all(prose, `\]\(([^)\s]+)\)`), all(prose, `<(https?://[^>\s]+)>`), all(prose, `(?m)^\[[^\]]+\]: (\S+)$`))
}

// TestDocumentsIndex checks that a reader finds every document: each page in docs has a row in
// docs/README.md, with a sentence, and links lead from README.md to every other document.
func TestDocumentsIndex(t *testing.T) {
	t.Parallel()
	root, _ := checkout(t)
	documents := listDocuments(t)
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	const index = "docs/README.md"
	rows := map[string]int{}
	for _, found := range regexp.MustCompile(`(?m)^\| \[[^\]]+\]\(([^)]+)\) \| (.*) \|$`).FindAllStringSubmatch(read(index), -1) {
		name := path.Join("docs", found[1])
		rows[name]++
		if len(strings.Fields(found[2])) < 3 {
			t.Errorf("%s says too little about %s: %q", index, name, found[2])
		}
	}
	reached := map[string]bool{}
	for next := []string{"README.md"}; len(next) > 0; {
		name := next[0]
		next = next[1:]
		if reached[name] || !slices.Contains(documents, name) {
			continue
		}
		reached[name] = true
		for _, link := range linksOf(read(name)) {
			link = strings.Replace(link, "https://github.com/gatehouse-dev/gatehouse/blob/main/", strings.Repeat("../", strings.Count(name, "/")), 1)
			target, _, _ := strings.Cut(link, "#")
			next = append(next, path.Join(path.Dir(name), target))
		}
	}
	for _, name := range documents {
		if strings.Contains(name, "/gatehouse-browser/") || strings.Contains(name, "/testdata/") || strings.HasPrefix(name, "internal/") {
			continue // a copy in a front end; not for readers
		}
		if !reached[name] {
			t.Errorf("no links lead from README.md to %s", name)
		}
		if path.Dir(name) == "docs" && name != index && rows[name] != 1 {
			t.Errorf("%s has %d rows for %s, want 1", index, rows[name], name)
		}
	}
}

// anchors returns the anchors of the headings, as GitHub forms them.
func anchors(text string) (anchors []string) {
	prose := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	for _, heading := range all(prose, `(?m)^#+ (.*)$`) {
		heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
		anchor := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
		anchor = strings.ReplaceAll(anchor, " ", "-")
		for base, i := anchor, 1; slices.Contains(anchors, anchor); i++ { // a heading that is used again
			anchor = fmt.Sprintf("%s-%d", base, i)
		}
		anchors = append(anchors, anchor)
	}
	return anchors
}
