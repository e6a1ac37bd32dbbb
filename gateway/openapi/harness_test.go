package openapi_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
)

// A document is the result of openapi.Document, decoded.
type document map[string]any

func made(t *testing.T, cfg openapi.Config) document {
	t.Helper()
	content, err := openapi.Document(cfg)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openapi.Document(cfg)
	if err != nil || !bytes.Equal(content, again) {
		t.Errorf("made twice, the document differs (%v)", err)
	}
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// at returns the value at a path of members. The test fails if there is none.
func at[T any](t *testing.T, v any, path ...string) T {
	t.Helper()
	if d, ok := v.(document); ok {
		v = map[string]any(d)
	}
	for _, name := range path {
		switch of := v.(type) {
		case map[string]any:
			v = of[name]
		default:
			v = nil
		}
	}
	found, ok := v.(T)
	if !ok {
		t.Fatalf("%s is %v, want a %T", strings.Join(path, " "), v, found)
	}
	return found
}
