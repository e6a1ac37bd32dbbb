package typescript

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

// generators has the pinned versions of the generators.
//
//go:embed generators/package.json generators/package-lock.json
var generators embed.FS

// The oldest major version of Node.js that the generators run on.
const oldestNode = 20

// tools are the generators, installed.
type tools struct {
	node string // the path of the program
	dir  string // with node_modules
}

// install returns the generators, and installs them in a directory below cache before if they are
// not there. Its name has a hash of the pinned versions, so that it never changes. settings are the
// .npmrc of the front end, which can name a registry; nil for none.
func install(ctx context.Context, cache string, settings []byte, log io.Writer) (*tools, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("the generators need Node.js, which is not installed: install version %d or newer from https://nodejs.org", oldestNode)
	}
	if err := checkNode(ctx, node); err != nil {
		return nil, err
	}
	hash := sha256.New()
	content := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json"} {
		content[name], err = generators.ReadFile("generators/" + name)
		if err != nil {
			return nil, err
		}
		hash.Write(content[name])
	}
	t := &tools{node: node, dir: filepath.Join(cache, "typescript-"+hex.EncodeToString(hash.Sum(nil)[:6]))}
	if complete(t.dir) == nil {
		return t, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, errors.New("the generators need npm, which is not installed: it comes with Node.js from https://nodejs.org; Debian has it as the package npm")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left of it does no harm
	if settings != nil {
		content[".npmrc"] = settings
	}
	for name, content := range content {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(log, "Installing the generators in %s, once.\n", t.dir)
	// The flags override what the front end's .npmrc may set.
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--dry-run=false", "--package-lock=true", "--include=dev", "--legacy-peer-deps=false",
		"--engine-strict=false", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm could not install the generators (%w):\n%s", err, out)
	}
	if settings != nil { // it may have a token
		if err := os.Remove(filepath.Join(dir, ".npmrc")); err != nil {
			return nil, err
		}
	}
	if err := complete(dir); err != nil {
		return nil, fmt.Errorf("npm has not installed the generators, perhaps because of a setting in .npmrc: %w", err)
	}
	if complete(t.dir) != nil { // otherwise another process was faster
		if err := errors.Join(os.RemoveAll(t.dir), os.Rename(dir, t.dir)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// The programs of the generators, below node_modules.
const (
	connectProgram = "@bufbuild/protoc-gen-es/bin/protoc-gen-es"
	restProgram    = "openapi-typescript/bin/cli.js"
)

// complete returns an error if a program is not in a directory. All front ends of a user share the
// directory.
func complete(dir string) error {
	for _, program := range []string{connectProgram, restProgram} {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", filepath.FromSlash(program))); err != nil {
			return err
		}
	}
	return nil
}

// checkNode refuses versions of Node.js that the generators do not run on.
func checkNode(ctx context.Context, node string) error {
	out, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return fmt.Errorf("node --version: %w", err)
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err == nil && n < oldestNode {
		return fmt.Errorf("the generators need Node.js %d or newer, and %s is installed: get a newer version from https://nodejs.org", oldestNode, version)
	}
	return nil
}

// run runs a program of a package with an input, and returns its output.
func (t *tools) run(ctx context.Context, input []byte, program string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, t.node, filepath.Join(t.dir, "node_modules", filepath.FromSlash(program)))
	cmd.Dir = t.dir // they look for configuration files
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", program, err, errs.String())
	}
	return out.Bytes(), nil
}

// connect returns the generated messages and services.
func (t *tools) connect(ctx context.Context, request *pluginpb.CodeGeneratorRequest) (files, error) {
	input, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	output, err := t.run(ctx, input, connectProgram)
	if err != nil {
		return nil, err
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(output, response); err != nil {
		return nil, fmt.Errorf("protoc-gen-es: %w", err)
	}
	if response.Error != nil {
		return nil, fmt.Errorf("protoc-gen-es: %s", response.GetError())
	}
	generated := files{}
	for _, file := range response.GetFile() {
		generated[file.GetName()] = []byte(file.GetContent())
	}
	return generated, nil
}

// rest returns the types of the REST paths.
func (t *tools) rest(ctx context.Context, openapi []byte) (files, error) {
	types, err := t.run(ctx, openapi, restProgram)
	if err != nil {
		return nil, err
	}
	return files{"rest.d.ts": types}, nil
}

// browser returns the files of the browser package. Its package.json is without what builds the
// package: npm would install that in the directory too.
func browser(fsys fs.FS) (files, error) {
	found := files{}
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		if err == nil && name == "package.json" {
			content, err = withoutKeys(content, "devDependencies", "scripts")
		}
		found[path.Join(browserName, name)] = content
		return err
	})
	return found, err
}

// withoutKeys returns a JSON object without some of its members, and sorted.
func withoutKeys(object []byte, keys ...string) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, err
	}
	for _, key := range keys {
		delete(members, key)
	}
	var indented bytes.Buffer
	encoder := json.NewEncoder(&indented)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(members)
	return indented.Bytes(), err
}
