package textfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

func utf16le(text string) []byte {
	var raw []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		raw = append(raw, byte(unit), byte(unit>>8))
	}
	return raw
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw     []byte
		want    string
		problem string
	}{
		"plain":                    {[]byte("s3cret\n"), "s3cret\n", ""},
		"byte order mark":          {[]byte("\xef\xbb\xbfs3cret"), "s3cret", ""},
		"a mark alone":             {[]byte("\xef\xbb\xbf"), "", ""},
		"empty":                    {nil, "", ""},
		"bytes that are not UTF-8": {[]byte("s3cr\xe9t"), "s3cr\xe9t", ""},
		"UTF-16, little":           {append([]byte{0xff, 0xfe}, utf16le("s3cret")...), "", "is UTF-16; save it as UTF-8"},
		"UTF-16, big":              {[]byte{0xfe, 0xff, 0, 's'}, "", "is UTF-16"},
		"UTF-16 without a mark":    {utf16le("s3cret\r\n"), "", "looks like UTF-16"},
		"UTF-32, big":              {[]byte{0, 0, 0xfe, 0xff, 0, 0, 0, 's'}, "", "is UTF-32"},
		"UTF-32, little":           {[]byte{0xff, 0xfe, 0, 0, 's', 0, 0, 0}, "", "save it as UTF-8"},
		"NUL":                      {[]byte("s3\x00cret"), "", "NUL byte at position 2"},
		"NUL at the end":           {[]byte("s3cret\x00"), "", "NUL byte at position 6"},
	} {
		got, err := textfile.Decode(c.raw)
		if got != c.want || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: got %q, %v, want %q, %q", name, got, err, c.want, c.problem)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, make([]byte, textfile.MaxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "is a directory; give the path of a file in it",
		filepath.Join(dir, "nowhere"): "no such file; correct the path",
		filepath.Join(long, "file"):   "not a directory; correct the path",
		loop:                          "correct the path",
		long:                          "longer than",
		"/dev/zero":                   "longer than",
	} {
		if _, err := textfile.Read(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want %q and no path", path, err, want)
		}
	}
}
