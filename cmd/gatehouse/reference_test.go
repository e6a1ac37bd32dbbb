package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const referencePath = "../../docs/configuration.md"

// TestReference holds docs/configuration.md to the code.
func TestReference(t *testing.T) {
	t.Parallel()
	want := reference(t)
	if *update {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the settings say; run: make generate", referencePath)
	}
}

// TestDocumentedSettings holds the documents to the reference: a setting that
// one of them names exists.
func TestDocumentedSettings(t *testing.T) {
	t.Parallel()
	known := settingName.FindAllString(reference(t), -1)
	documents := []string{"../../README.md"}
	err := filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			documents = append(documents, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range settingName.FindAllString(string(text), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s names %s, which %s does not have", path, name, referencePath)
			}
		}
	}
}

var settingName = regexp.MustCompile(`GATEHOUSE_[A-Z][A-Z_]*[A-Z]`)

func reference(t *testing.T) string {
	t.Helper()
	parser, err := newParser(new(commandLine), &sources{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.WriteString(`# Configuration

<!-- Generated from cmd/gatehouse/settings.go by "make generate"; edit there. -->

A setting comes from the first of these that has it: a flag, the environment,
` + "`.env`" + ` in the working directory, the YAML file that ` + "`--config`" + ` or
` + "`GATEHOUSE_CONFIG`" + ` names. An empty variable counts as unset. In the YAML file a
setting is called as its flag (` + "`oidc-issuer: https://…`" + `), lists may be YAML
lists, and a key that no setting has stops the start.

Files are UTF-8; a byte order mark and Windows line ends do no harm, other
encodings are refused. Whitespace and quotes around a value, which come with
pasting or with a file that no shell reads, are left out with a note. A line of
` + "`.env`" + ` that is not NAME=value is skipped with a note that has its number.

Lists are separated by commas, durations are written like ` + "`90s`, `15m` or `24h`" + `,
and 0 stands for the default of a number or a duration. Addresses have a scheme;
https is added, with a note, where base URL or issuer is a host alone and not on
loopback.

What is unsafe or contradictory is refused at the start with the name of the
setting and the remedy; [` + "`gatehouse check`" + `](check.md) tells the same of
` + "`gatehouse serve`" + ` without starting it, and proves what it can at the provider, the
stores and the database.
`)
	group := ""
	for _, f := range parser.Model.Flags {
		names := variables(f)
		if len(names) == 0 {
			continue
		}
		if f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(&out, "\n## %s\n", group)
		}
		describe(&out, f, names)
	}
	return out.String()
}

func describe(out *strings.Builder, f *kong.Flag, names []string) {
	fmt.Fprintf(out, "\n### `%s`\n\n%s\n\n", names[0], f.Help)
	fmt.Fprintf(out, "- flag: `--%s`\n", f.Name)
	if len(names) > 1 {
		fmt.Fprintf(out, "- also read from the tutorial's `%s`\n", names[1])
	}
	if isSecret(f) {
		fmt.Fprintf(out, "- as a file: `%s_FILE`, or `%s-file` in the YAML file\n", names[0], f.Name)
	}
	if f.HasDefault {
		fmt.Fprintf(out, "- default: `%s`\n", f.Default)
	}
}
