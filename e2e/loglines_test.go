package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// logFields returns the fields that docs/logs.md documents, and their types.
var logFields = sync.OnceValue(func() map[string]string {
	content, err := os.ReadFile("../docs/logs.md")
	if err != nil {
		panic(err)
	}
	_, section, _ := strings.Cut(string(content), "\n## Fields\n")
	section, _, _ = strings.Cut(section, "\n## ")
	fields := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\| (\\w+) \\|").FindAllStringSubmatch(section, -1) {
		for key := range strings.SplitSeq(row[1], ", ") {
			fields[strings.Trim(key, "` ")] = row[2]
		}
	}
	return fields
})

// linesFit fails the test if a line of a process has a field that is not documented, or of another
// type, or if a request has two lines or a health check has one.
func linesFit(t *testing.T, p *process) {
	t.Helper()
	fields := logFields()
	if len(fields) < 40 {
		t.Fatalf("only %d fields found in docs/logs.md", len(fields))
	}
	var messages []string
	requests := map[string]int{}
	for text := range strings.Lines(p.out.String()) {
		if !strings.HasPrefix(text, "{") {
			continue // a note about a setting
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("%s: %v: %s", p.name, err, text)
			continue
		}
		messages = append(messages, line["msg"].(string))
		for key, value := range line {
			if !fits(fields[key], value) {
				t.Errorf("%s: the field %q has the value %#v, documented is %q: %s", p.name, key, value, fields[key], text)
			}
		}
		if line["msg"] != "request" || line["level"] == "DEBUG" {
			continue
		}
		id, _ := line["request_id"].(string)
		path, _ := line["path"].(string)
		if requests[id]++; id == "" || requests[id] > 1 && line["rpc"] == nil {
			t.Errorf("%s: a request has no id, or more than one line: %s", p.name, text)
		}
		if path == "/healthz" || path == "/readyz" {
			t.Errorf("%s: a line for a health check: %s", p.name, text)
		}
		for _, key := range []string{"duration", "client"} {
			if _, there := line[key]; !there {
				t.Errorf("%s: a request without %s: %s", p.name, key, text)
			}
		}
	}
	for _, want := range []string{"starting", "listening", "request"} {
		if !slices.Contains(messages, want) {
			t.Errorf("%s: the log has no line %q", p.name, want)
		}
	}
}

// fits reports whether a value of JSON has a documented type.
func fits(kind string, value any) bool {
	switch v := value.(type) {
	case string:
		_, err := time.Parse(time.RFC3339Nano, v)
		return kind == "text" || kind == "time" && err == nil
	case float64:
		return kind == "number"
	case bool:
		return kind == "bool"
	}
	return false
}
