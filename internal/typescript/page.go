package typescript

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// browserName is the npm name of the browser package.
const browserName = "gatehouse-browser"

// A library is an npm package that pages use generated code with.
type library struct {
	name, version string
	part          string
	needed        bool // it is reported if it is missing
}

// libraries are the npm packages for pages, with the versions that the tests of Gatehouse use.
var libraries = []library{
	{name: "@bufbuild/protobuf", version: "^2.17.0", part: Connect, needed: true}, // that of protoc-gen-es
	{name: "@connectrpc/connect", version: "^2.3.0", part: Connect},
	{name: "@connectrpc/connect-web", version: "^2.3.0", part: Connect},
	{name: "openapi-fetch", version: "^0.17.0", part: REST},
	{name: browserName, part: Browser, needed: true},
}

// A page is the front end that an output directory belongs to.
type page struct {
	dir      string // with package.json
	npmrc    []byte // nil for none
	requires map[string]string
	manager  manager
}

// findPage returns the front end with the package.json that is nearest to a directory, upwards to
// the root of the repository.
func findPage(out string) (*page, error) {
	dir, err := filepath.Abs(out)
	if err != nil {
		return nil, err
	}
	for {
		manifest, err := os.ReadFile(filepath.Join(dir, "package.json"))
		if err == nil {
			return readPage(dir, manifest)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		_, repository := os.Stat(filepath.Join(dir, ".git"))
		parent := filepath.Dir(dir)
		if repository == nil || parent == dir {
			return nil, fmt.Errorf("--out=%s: there is no package.json in it or above it; create the front end first, for example with "+
				"`npm create vite@latest web -- --template react-ts`, and give a directory in it", out)
		}
		dir = parent
	}
}

func readPage(dir string, manifest []byte) (*page, error) {
	var content struct {
		Dependencies, DevDependencies, PeerDependencies map[string]string
	}
	if err := json.Unmarshal(manifest, &content); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "package.json"), err)
	}
	p := &page{dir: dir, requires: map[string]string{}, manager: npm}
	maps.Copy(p.requires, content.PeerDependencies)
	maps.Copy(p.requires, content.DevDependencies)
	maps.Copy(p.requires, content.Dependencies)
	for lock, m := range managers {
		if _, err := os.Stat(filepath.Join(dir, lock)); err == nil {
			p.manager = m
		}
	}
	var err error
	if p.npmrc, err = os.ReadFile(filepath.Join(dir, ".npmrc")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return p, nil
}

// A manager is a package manager.
type manager struct {
	add   string // the command that adds packages
	local string // the protocol of a directory that is linked to, so that changes in it are seen
}

// npm is for front ends without one of the lock files of managers.
var npm = manager{"npm install", "file:"}

var managers = map[string]manager{"pnpm-lock.yaml": {"pnpm add", "link:"}, "yarn.lock": {"yarn add", "link:"}}

// lacks returns what the front end lacks for the generated code, as arguments for the package
// manager. needed reports whether one of them is worth a note.
func (p *page) lacks(out string, parts []string) (packages []string, needed bool, err error) {
	absolute, err := filepath.Abs(out)
	if err != nil {
		return nil, false, err
	}
	below, err := filepath.Rel(p.dir, absolute)
	if err != nil {
		return nil, false, err
	}
	for _, l := range libraries {
		if !slices.Contains(parts, l.part) || p.has(l) {
			continue
		}
		needed = needed || l.needed
		source := l.name + "@" + l.version
		if l.name == browserName {
			source = p.manager.local + path.Join(filepath.ToSlash(below), browserName)
		}
		packages = append(packages, source)
	}
	return packages, needed, nil
}

// has reports whether the front end requires a package, and has not installed one that is older
// than what the generated code is for.
func (p *page) has(l library) bool {
	if _, ok := p.requires[l.name]; !ok {
		return false
	}
	content, err := os.ReadFile(filepath.Join(p.dir, "node_modules", filepath.FromSlash(l.name), "package.json"))
	var installed struct{ Version string }
	if err != nil || l.version == "" || json.Unmarshal(content, &installed) != nil {
		return true
	}
	return slices.Compare(numbers(installed.Version), numbers(l.version)) >= 0
}

// numbers returns the numbers of a version.
func numbers(version string) (parsed []int) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "^"), "-")
	for number := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(number)
		parsed = append(parsed, n)
	}
	return parsed
}

// command returns the command that adds packages, for the user's shell.
func (p *page) command(packages []string) string {
	command := p.manager.add + " " + strings.Join(packages, " ")
	here, err := filepath.Abs(".")
	if err != nil {
		return command
	}
	if dir, err := filepath.Rel(here, p.dir); err == nil && dir != "." {
		command = fmt.Sprintf("(cd %s && %s)", dir, command)
	}
	return command
}

// add runs that command.
func (p *page) add(ctx context.Context, packages []string, log io.Writer) error {
	words := append(strings.Fields(p.manager.add), packages...)
	program, err := exec.LookPath(words[0])
	if err != nil {
		return fmt.Errorf("%s is not installed, which %s uses", words[0], p.dir)
	}
	fmt.Fprintln(log, p.command(packages))
	cmd := exec.CommandContext(ctx, program, words[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", p.command(packages), err)
	}
	return nil
}
