package typescript

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// files are contents by the slash-separated path below the output directory.
type files map[string][]byte

// The manifest is the list of the generated files in the output directory. Files that are not in
// it are never overwritten or deleted.
const (
	manifestName   = ".generated"
	manifestHeader = "# The files here that are generated. They are replaced and deleted; others are not touched.\n"
)

// A difference is a file that is not as generated.
type difference struct {
	path  string
	state string // "new", "changed", or "obsolete"
}

// An output is the output directory.
type output struct {
	name string   // as the user gave it
	root *os.Root // nil if it does not exist
	old  []string // the manifest
}

// openOutput opens the output directory, which need not exist. Symbolic links in it cannot lead
// out of it.
func openOutput(name string) (*output, error) {
	root, err := os.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &output{name: name}, nil
	}
	if err != nil {
		return nil, err
	}
	o := &output{name: name, root: root}
	manifest, err := root.ReadFile(manifestName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, root.Close())
	}
	// Markers of a merge conflict are names of files that do not exist.
	for line := range strings.Lines(string(manifest)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !filepath.IsLocal(filepath.FromSlash(line)) {
			_ = root.Close()
			return nil, fmt.Errorf("%s: %q is no file below %s; delete the directory's generated files, and run this again", filepath.Join(name, manifestName), line, name)
		}
		o.old = append(o.old, line)
	}
	return o, nil
}

func (o *output) close() error {
	if o.root == nil {
		return nil
	}
	return o.root.Close()
}

// compare returns what is not as generated, sorted by path. Its error names the files that exist and
// were written by others.
func (o *output) compare(generated files) (differences []difference, err error) {
	var foreign []string
	for name, content := range generated {
		present, err := o.read(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			differences = append(differences, difference{name, "new"})
		case err != nil:
			return nil, err
		case bytes.Equal(present, content):
		case !slices.Contains(o.old, name):
			foreign = append(foreign, filepath.Join(o.name, filepath.FromSlash(name)))
		default:
			differences = append(differences, difference{name, "changed"})
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return nil, fmt.Errorf("not overwritten, because this command has not written them: %s; move or delete them, or give another directory with --out",
			strings.Join(foreign, ", "))
	}
	for _, name := range o.old {
		if _, ok := generated[name]; ok {
			continue
		}
		if _, err := o.read(name); err == nil {
			differences = append(differences, difference{name, "obsolete"})
		}
	}
	if list, err := o.read(manifestName); err != nil || !bytes.Equal(list, manifest(slices.Collect(maps.Keys(generated)))) {
		state := "changed"
		if err != nil {
			state = "new"
		}
		differences = append(differences, difference{manifestName, state})
	}
	slices.SortFunc(differences, func(a, b difference) int { return strings.Compare(a.path, b.path) })
	return differences, nil
}

func (o *output) read(name string) ([]byte, error) {
	if o.root == nil {
		return nil, fs.ErrNotExist
	}
	return o.root.ReadFile(filepath.FromSlash(name))
}

// write makes the directory as generated. It writes only what differs, so that others keep their
// times, by which development servers see changes.
func (o *output) write(generated files, differences []difference) error {
	if len(differences) == 0 {
		return nil
	}
	if o.root == nil {
		err := os.MkdirAll(o.name, 0o755)
		if err != nil {
			return err
		}
		if o.root, err = os.OpenRoot(o.name); err != nil {
			return err
		}
	}
	// First a manifest of both, so that after an interruption all files are known.
	names := slices.Collect(maps.Keys(generated))
	if err := o.root.WriteFile(manifestName, manifest(slices.Concat(names, o.old)), 0o644); err != nil {
		return err
	}
	for _, d := range differences {
		if d.path == manifestName {
			continue
		}
		name := filepath.FromSlash(d.path)
		if d.state == "obsolete" {
			if err := o.root.Remove(name); err != nil {
				return err
			}
			for dir := filepath.Dir(name); dir != "." && o.root.Remove(dir) == nil; dir = filepath.Dir(dir) {
				// Directories that are empty now. Remove fails on others.
			}
			continue
		}
		if err := o.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := o.root.WriteFile(name, generated[d.path], 0o644); err != nil {
			return err
		}
	}
	return o.root.WriteFile(manifestName, manifest(names), 0o644)
}

// manifest returns the content of the manifest.
func manifest(names []string) []byte {
	sorted := slices.Compact(slices.Sorted(slices.Values(names)))
	return []byte(manifestHeader + strings.Join(sorted, "\n") + "\n")
}
