package main

import (
	"os"
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

func reference(t *testing.T) string {
	t.Helper()
	return string(written(t, "reference"))
}
