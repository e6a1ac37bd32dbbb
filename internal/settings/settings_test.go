package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

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

// invalidErrors returns errors from triples of field, problem and remedy.
func invalidErrors(triples ...string) error {
	values := map[string]string{"Part.Hosts[0]": "a b", "Part.Hosts[2]": "d e"}
	var errs []error
	for i := 0; i < len(triples); i += 3 {
		errs = append(errs, &invalid.Error{Field: triples[i], Value: values[triples[i]], Problem: triples[i+1], Remedy: triples[i+2]})
	}
	return errors.Join(errs...)
}

// TestSuggest finds similar names and no others.
func TestSuggest(t *testing.T) {
	t.Parallel()
	names := []string{"oidc-issuer", "listen-bff", "listen-grpc", "secret"}
	for misspelt, want := range map[string]string{"oidc-isuer": "oidc-issuer", "listen-grcp": "listen-grpc", "secrets": "secret", "frobnicate": "", "x": ""} {
		if got := Suggest(misspelt, names); got != want {
			t.Errorf("%s: got %q, want %q", misspelt, got, want)
		}
	}
}
