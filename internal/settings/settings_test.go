package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// level is a string with a type of its own.
type level string

// TestAssign decodes a text into each kind of target.
func TestAssign(t *testing.T) {
	t.Parallel()
	var called string
	call := func(text string) error { called = text; return nil }
	for text, target := range map[string]any{
		"high": new(level), "true": new(bool), "0x10": new(int), "8589934592": new(int64), "1m30s": new(time.Duration),
		"10.0.0.0/8": new(netip.Prefix), "1s,2s": new([]time.Duration), "a,b": new([]level), "192.0.2.1": new(netip.Addr), "x": call,
	} {
		s := &Setting{Name: "x", Targets: []any{target}}
		items := []string{text}
		if s.isList() {
			items = splitList(text)
		}
		if err := s.assign(items); err != nil {
			t.Errorf("%T: %v", target, err)
		}
		var got string
		switch target := target.(type) {
		case *level:
			got = string(*target)
		case *bool:
			got = fmt.Sprint(*target)
		case *int:
			got = fmt.Sprintf("%#x", *target)
		case *int64:
			got = fmt.Sprint(*target)
		case *time.Duration:
			got = target.String()
		case *[]time.Duration:
			got = strings.Trim(strings.ReplaceAll(fmt.Sprint(*target), " ", ","), "[]")
		case *[]level:
			got = strings.Trim(strings.ReplaceAll(fmt.Sprint(*target), " ", ","), "[]")
		case fmt.Stringer:
			got = target.String()
		default:
			got = called
		}
		if got != text {
			t.Errorf("%T: got %q, want %q", target, got, text)
		}
	}
	for text, target := range map[string]any{"ten": new(int), "maybe": new(bool), "5": new(time.Duration), "ten.0.0.0": new(netip.Prefix), "y": new(url.URL)} {
		if err := (&Setting{Targets: []any{target}}).assign([]string{text}); err == nil {
			t.Errorf("%T: %q is accepted", target, text)
		}
	}
}

// TestExplain: an error about a field names the setting, its source, and settings
// instead of fields; one error a setting, unless they are about items of a list.
func TestExplain(t *testing.T) {
	t.Parallel()
	var cfg struct {
		Part struct {
			Times struct{ Idle, Absolute time.Duration }
			Hosts []string
			Store any
		}
		Other struct{ Idle time.Duration }
	}
	table := Table{
		{Name: "idle", Prefix: "P", Targets: []any{&cfg.Part.Times.Idle, &cfg.Other.Idle}},
		{Name: "absolute", Prefix: "P", Targets: []any{&cfg.Part.Times.Absolute}},
		{Name: "hosts", Prefix: "P", Targets: []any{&cfg.Part.Hosts}},
		{Name: "bad", Prefix: "P", Targets: []any{new(int)}},
	}
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	v := table.Read(Sources{Flags: Flags{"hosts": {"a b", "c", "d e"}}, Environ: []string{"P_IDLE=9h", "P_BAD=x"}})
	v.Bind(&cfg)
	got := v.Explain(invalidErrors(
		"Part.Times.Idle", "is longer than Absolute", "make Times.Absolute longer",
		"Other.Idle", "is too long", "",
		"Part.Hosts[0]", "is no host", "", "Part.Hosts[2]", "is no host", "",
		"Part.Store", "is missing", "",
	))
	want := `P_IDLE=9h (environment): is longer than P_ABSOLUTE; make P_ABSOLUTE longer
--hosts=a b,c,d e: "a b" is no host
--hosts=a b,c,d e: "d e" is no host`
	if got == nil || got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
	if err := v.Err(); err == nil || err.Error() != "P_BAD=x (environment): is not a whole number; write digits alone, such as 120" {
		t.Errorf("form: %v", err)
	}
}

// TestOldNames: a setting is read by its old names in every source, with a note, and
// two settings cannot share one.
func TestOldNames(t *testing.T) {
	t.Parallel()
	var timeout time.Duration
	var secret string
	table := Table{
		{Name: "config", Prefix: "P", Targets: []any{new(string)}},
		{Name: "timeout", OldNames: []string{"time-limit"}, Prefix: "P", Targets: []any{&timeout}},
		{Name: "secret", OldNames: []string{"pass-phrase"}, Prefix: "P", Secret: true, Targets: []any{&secret}},
	}
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "settings")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	phrase, config := file("hunter2"), file("time_limit: 3s\n")
	for _, c := range []struct {
		args, environ []string
		timeout       time.Duration
		secret, note  string // note without what is behind the colon
	}{
		{[]string{"--time-limit=1s"}, nil, time.Second, "", "--time-limit"},
		{nil, []string{"P_TIME_LIMIT=2s"}, 2 * time.Second, "", "P_TIME_LIMIT (environment)"},
		{nil, []string{"P_CONFIG=" + config}, 3 * time.Second, "", config + ":1: time-limit"},
		{nil, []string{"P_PASS_PHRASE_FILE=" + phrase}, 0, "hunter2", "P_PASS_PHRASE_FILE (environment)"},
		{[]string{"--timeout=4s"}, []string{"P_TIME_LIMIT=2s"}, 4 * time.Second, "", ""},
		{nil, []string{"P_TIME_LIMIT=2s", "P_TIMEOUT=5s"}, 5 * time.Second, "", ""},
	} {
		timeout, secret = 0, ""
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags := table.AddFlags(set)
		if err := set.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		v := table.Read(Sources{Flags: flags, Environ: c.environ, Dotenv: ".env.none"})
		if v.Err() != nil || timeout != c.timeout || secret != c.secret {
			t.Errorf("%q %q: got %v and %q, %v", c.args, c.environ, timeout, secret, v.Err())
		}
		notes := strings.Join(v.Notes(), "\n")
		name, text, _ := strings.Cut(notes, ": this is an old name; the setting is now named ")
		if name != c.note || (text != "") != (c.note != "") {
			t.Errorf("%q %q: noted %q, want one about %q", c.args, c.environ, notes, c.note)
		}
	}
	if usage := table.Usage(100); strings.Contains(usage, "time-limit") {
		t.Errorf("the help has the old name:\n%s", usage)
	}
	taken := append(table, &Setting{Name: "time-limit", Prefix: "P", Targets: []any{new(int)}})
	if err := taken.Check(); err == nil {
		t.Error("a new setting may take an old name")
	}
}

// invalidErrors returns errors from triples of field, problem and remedy.
func invalidErrors(triples ...string) error {
	values := map[string]string{"Part.Hosts[0]": "a b", "Part.Hosts[2]": "d e"}
	var errs []error
	for i := 0; i < len(triples); i += 3 {
		errs = append(errs, &invalid.Error{Field: triples[i], Value: values[triples[i]], Problem: triples[i+1], Remedy: triples[i+2]})
	}
	return errors.Join(errs...)
}

// A file of a secret is decoded later as it was at the start.
func TestSecretFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("new-secret\nold-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var list []string
	var one, plain string
	table := Table{
		{Name: "secrets", Prefix: "X", Secret: true, Targets: []any{&list}},
		{Name: "one", Prefix: "X", Secret: true, Targets: []any{&one}},
		{Name: "plain", Prefix: "X", Secret: true, Targets: []any{&plain}},
	}
	v := table.Read(Sources{Environ: []string{"X_SECRETS_FILE=" + path, "X_ONE_FILE=" + path, "X_PLAIN=value"}})
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	files := v.SecretFiles()
	if len(files) != 2 || files[0].Variable != "X_SECRETS" || files[1].Name != "one" || files[0].Path != path {
		t.Fatalf("SecretFiles() has %d files, want secrets and one", len(files))
	}
	if !slices.Equal(files[0].Items, list) || !slices.Equal(files[1].Items, []string{one}) {
		t.Error("the items are not those that were assigned")
	}
	for content, want := range map[string][]string{"a,b\n": {"a", "b"}, " x ": {"x"}, " \n": nil, "a\x00b": nil} {
		if got, err := files[0].Decode([]byte(content)); (err == nil) != (want != nil) || want != nil && !slices.Equal(got[:len(want)], want) {
			t.Errorf("Decode(%q) = %q, %v, want %q", content, got, err, want)
		}
	}
	if got, err := files[1].Decode([]byte("x\n")); err != nil || !slices.Equal(got, []string{"x"}) {
		t.Errorf("Decode of one = %q, %v, want x", got, err)
	}
}
