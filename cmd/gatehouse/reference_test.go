package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

const referencePath = "../../docs/configuration.md"

// TestReference holds docs/configuration.md to the code.
func TestReference(t *testing.T) {
	t.Parallel()
	want := reference(t)
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
	return string(written(t, "reference"))
}
