package settings

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/joho/godotenv"

	"github.com/gatehouse-dev/gatehouse/internal/seal"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

const (
	secretA = "aaaa1111bbbb2222cccc3333dddd4444"
	secretB = "eeee5555ffff6666gggg7777hhhh8888"
)

// A configuration has a setting of each kind.
type configuration struct {
	file, clientID, clientSecret, audience, scope, baseURL string
	secrets                                                []string
}

// noted returns what the sources say, the notes, and the error about their form.
func noted(t *testing.T, environ []string, file string) (*configuration, string, error) {
	t.Helper()
	got := &configuration{}
	table := Table{
		{Name: "config", Targets: []any{&got.file}},
		{Name: "oidc-client-id", Targets: []any{&got.clientID}},
		{Name: "oidc-client-secret", Aliases: []string{"AUTH0_CLIENT_SECRET"}, Secret: true, Opaque: true, Targets: []any{&got.clientSecret}},
		{Name: "secret", Aliases: []string{"AUTH0_SECRET"}, Secret: true, Targets: []any{&got.secrets}},
		{Name: "audience", Targets: []any{&got.audience}},
		{Name: "oidc-scope", Targets: []any{&got.scope}},
		{Name: "base-url", Targets: []any{&got.baseURL}},
	}
	for _, s := range table {
		s.Prefix = "GATEHOUSE"
	}
	flags := Flags{}
	if file != "" {
		flags["config"] = []string{file}
	}
	v := table.Read(Sources{Flags: flags, Environ: environ, Dotenv: ".env"})
	return got, strings.Join(v.Notes(), "\n"), v.Err()
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A secret's file may have any encoding that an editor writes.
func TestSecretFileEncodings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ content, want, problem string }{
		"byte order mark":   {"\xef\xbb\xbfs3cret", "s3cret", ""},
		"Windows":           {"\xef\xbb\xbfs3cret\r\n", "s3cret", ""},
		"newline":           {"s3cret\n", "s3cret", ""},
		"UTF-16":            {"\xff\xfes\x003\x00", "", "is UTF-16; save it as UTF-8"},
		"UTF-16, no mark":   {"s\x003\x00c\x00", "", "looks like UTF-16"},
		"NUL":               {"s3cret\x00", "", "NUL byte at position 6"},
		"a mark and a line": {"\xef\xbb\xbf\n", "", "the file is empty"},
		"too long":          {strings.Repeat("x", textfile.MaxBytes+1), "", "longer than"},
	} {
		path := write(t, "secret", c.content)
		got, _, err := noted(t, []string{"GATEHOUSE_OIDC_CLIENT_SECRET_FILE=" + path}, "")
		if got.clientSecret != c.want || (err == nil) != (c.problem == "") ||
			err != nil && (!strings.Contains(err.Error(), c.problem) || !strings.Contains(err.Error(), "GATEHOUSE_OIDC_CLIENT_SECRET_FILE="+path)) {
			t.Errorf("%s: got %q, %v, want %q, %q", name, got.clientSecret, err, c.want, c.problem)
		}
	}
	dir := t.TempDir()
	if _, _, err := noted(t, []string{"GATEHOUSE_SECRET_FILE=" + dir}, ""); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SECRET_FILE="+dir+" (environment): is a directory; give the path of a file in it") {
		t.Errorf("a directory: %v", err)
	}
}

// One secret a line, or separated by commas. What earlier versions made of the
// same file stands behind, and before the lines where one of them is no secret.
func TestSecretsOneALine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    []string
		note    string
	}{
		"one":                    {secretA + "\n", []string{secretA}, ""},
		"commas":                 {secretA + "," + secretB, []string{secretA, secretB}, ""},
		"a space at the comma":   {secretA + ", " + secretB, []string{secretA, secretB, " " + secretB}, ""},
		"two lines":              {secretA + "\n" + secretB + "\n", []string{secretA, secretB, secretA + "\n" + secretB}, ""},
		"blank lines":            {"\n" + secretA + "\n\n" + secretB, []string{secretA, secretB, secretA + "\n\n" + secretB}, ""},
		"Windows":                {"\ufeff" + secretA + "\r\n" + secretB + "\r\n", []string{secretA, secretB, "\ufeff" + secretA + "\r\n" + secretB}, ""},
		"byte order mark":        {"\ufeff" + secretA, []string{secretA, "\ufeff" + secretA}, ""},
		"lines and commas":       {secretA + "," + secretB + "\n" + secretB[1:] + "x", []string{secretA, secretB, secretB[1:] + "x", secretB + "\n" + secretB[1:] + "x"}, ""},
		"broken over two lines":  {secretA + "\nshort", []string{secretA + "\nshort", secretA}, "one secret, as before"},
		"a comment":              {"# new\n" + secretA, []string{"# new\n" + secretA, secretA}, "one secret, as before"},
		"bytes, not UTF-8":       {secretA + "\xff\n" + secretB, []string{secretA + "\ufffd", secretB, secretA + "\ufffd\n" + secretB}, "not UTF-8"},
		"a backslash at the end": {secretA + "\\\n" + secretB, []string{secretA + "\\", secretB, secretA + "\\\n" + secretB}, ""},
	} {
		for _, variable := range []string{"GATEHOUSE_SECRET_FILE", "AUTH0_SECRET_FILE"} {
			got, notes, err := noted(t, []string{variable + "=" + write(t, "secret", c.content)}, "")
			if err != nil || !slices.Equal(got.secrets, c.want) || !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("%s: got %q, note %q, %v, want %q, %q", name, got.secrets, notes, err, c.want, c.note)
			}
		}
	}
}

// Rotation by the environment opens what another process sealed without the
// space behind the comma.
func TestSecretsWithSpaces(t *testing.T) {
	t.Parallel()
	got, _, err := noted(t, []string{"GATEHOUSE_SECRET=" + secretA + ", " + secretB}, "")
	if want := []string{secretA, " " + secretB, secretB}; err != nil || !slices.Equal(WithTidied(got.secrets), want) {
		t.Errorf("got %q, %v, want %q", WithTidied(got.secrets), err, want)
	}
	got, notes, err := noted(t, []string{`GATEHOUSE_SECRET="` + secretA + `"`}, "")
	if want := []string{`"` + secretA + `"`, secretA}; err != nil || !slices.Equal(WithTidied(got.secrets), want) || !strings.Contains(notes, "GATEHOUSE_SECRET (environment): has quotes around it") {
		t.Errorf("got %q, %q, %v, want %q", WithTidied(got.secrets), notes, err, want)
	}
}

// Whitespace and quotes around a value, which come with pasting, are removed and
// noted. Control characters are refused.
func TestTidiedValues(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ value, want, note string }{
		"plain":              {"client", "client", ""},
		"spaces":             {" client\t", "client", "GATEHOUSE_OIDC_CLIENT_ID (environment): whitespace around"},
		"carriage return":    {"client\r", "client", "whitespace around"},
		"no-break space":     {"\u00a0client\u00a0", "client", "whitespace around"},
		"zero-width space":   {"client\u200b", "client", "whitespace around"},
		"byte order mark":    {"\ufeffclient", "client", "whitespace around"},
		"quotes":             {`"client"`, "client", "quotes around"},
		"single quotes":      {"'client'", "client", "quotes around"},
		"typographic quotes": {"“client”", "client", "quotes around"},
		"both":               {` "client "`, "client", "whitespace and quotes around"},
		"no-break inside":    {"my\u00a0client", "my\u00a0client", "has U+00A0"},
		"zero width inside":  {"my\u200bclient", "my\u200bclient", "has U+200B"},
		"one quote":          {`"client`, `"client`, ""},
	} {
		got, notes, err := noted(t, []string{"GATEHOUSE_OIDC_CLIENT_ID=" + c.value}, "")
		if err != nil || got.clientID != c.want || !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
			t.Errorf("%s: got %q, %q, %v, want %q, %q", name, got.clientID, notes, err, c.want, c.note)
		}
	}
	if _, _, err := noted(t, []string{"GATEHOUSE_BASE_URL=https://shop\x1b.example"}, ""); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_BASE_URL (environment): has the control character U+001B at position 12") {
		t.Errorf("a control character: %v", err)
	}
	got, notes, err := noted(t, []string{`GATEHOUSE_OIDC_CLIENT_SECRET=" s3cret "`}, "")
	if err != nil || got.clientSecret != `" s3cret "` || !strings.Contains(notes, "is in quotes, which are part of it") || strings.Contains(notes, "s3cret") {
		t.Errorf("a quoted client secret: %q, %q, %v", got.clientSecret, notes, err)
	}
}

func TestDotenv(t *testing.T) { // not parallel: .env is read from the working directory
	for name, c := range map[string]struct{ content, want, note, problem string }{
		"byte order mark":       {"\xef\xbb\xbfGATEHOUSE_AUDIENCE=a\n", "a", "", ""},
		"Windows":               {"\xef\xbb\xbf# x\r\nGATEHOUSE_AUDIENCE=a\r\n", "a", "", ""},
		"a line without a name": {"GATEHOUSE-AUDIENCE=secret\nGATEHOUSE_AUDIENCE=a\njust words\n", "a", ".env:1: skipped, as it is not NAME=value\n.env:3: skipped", ""},
		"a name alone":          {"GATEHOUSE_AUDIENCE=a\nhunter2", "a", ".env:2: skipped", ""},
		"several lines":         {"A='x\ny'\nhunter2\nGATEHOUSE_AUDIENCE=a", "a", ".env:3: skipped", ""},
		"another statement":     {"A='x' GATEHOUSE_AUDIENCE=a # here", "a", "", ""},
		"a reference":           {"export A=x\nGATEHOUSE_AUDIENCE=${A}y\n", "xy", "", ""},
		"an open quote":         {"A=x\n\nGATEHOUSE_AUDIENCE=\"hunter2\n", "", "", ".env:3: the value begins with a quote that is not closed"},
		"UTF-16":                {"\xff\xfeA\x00=\x00", "", "", ".env: is UTF-16"},
		"NUL":                   {"GATEHOUSE_AUDIENCE=a\x00b", "", "", ".env: has a NUL byte at position 20"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile(".env", []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, notes, err := noted(t, nil, "")
			switch {
			case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "hunter2")):
				t.Errorf("got %v, want %q", err, c.problem)
			case c.problem == "" && err != nil:
				t.Error(err)
			case got.audience != c.want || !strings.Contains(notes, c.note) || c.note == "" && notes != "" || strings.Contains(notes, "hunter2"):
				t.Errorf("got %q, %q, want %q, %q", got.audience, notes, c.want, c.note)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		t.Chdir(t.TempDir())
		if err := os.Mkdir(".env", 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := noted(t, nil, ""); err == nil || !strings.Contains(err.Error(), ".env: is a directory") {
			t.Error(err)
		}
	})
}

func TestFileEncodings(t *testing.T) {
	t.Parallel()
	got, _, err := noted(t, nil, write(t, "gatehouse.yaml", "\xef\xbb\xbfaudience: a\r\noidc-scope: |\r\n  openid\r\n"))
	if err != nil || got.audience != "a" || got.scope != "openid" {
		t.Errorf("got %q, %q, %v", got.audience, got.scope, err)
	}
	for content, want := range map[string]string{
		"\xff\xfea\x00":                   ": is UTF-16",
		"audience: a\nsecret: [hunter2\n": "gatehouse.yaml:2: not YAML",
	} {
		if _, _, err := noted(t, nil, write(t, "gatehouse.yaml", content)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
}

// A file of secrets yields its lines, and behind them what earlier
// versions read.
func FuzzSecretFile(f *testing.F) {
	for _, seed := range []string{secretA, secretA + "\n" + secretB, "\ufeff" + secretA + "\r\n\r\n" + secretB, secretA + "," + secretB, "\xff\xfe", "a\\,b", "\\", secretA + "\\\n" + secretB, secretA + "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, err := textfile.Decode(raw)
		if err != nil {
			return
		}
		if strings.HasPrefix(text, textfile.BOM) && !bytes.HasPrefix(raw, []byte(textfile.BOM+textfile.BOM)) {
			t.Errorf("%q: a byte order mark is left", raw)
		}
		list, note := secretList(raw, text)
		for _, secret := range splitList(strings.TrimSpace(string(raw))) {
			if seal.Weakness(secret) == "" && !slices.Contains(list, secret) {
				t.Errorf("%q: %q was a secret and is not in %q", raw, secret, list)
			}
		}
		if note == "" && len(list) > 0 && strings.ContainsAny(list[0], "\n\ufeff") && !strings.ContainsAny(strings.TrimFunc(list[0], blank), "\ufeff") {
			t.Errorf("%q: the first is %q", raw, list[0])
		}
	})
}

// What godotenv reads as a whole is read the same, and no error quotes the file.
func FuzzDotenv(f *testing.F) {
	for _, seed := range []string{"A=b\nC='d\ne' # f\n", "export A=\"${B}\"", "A: b", "hunter2", "A=#b", "A=\"b", "A='\\'b'", "=", "A\n=b", "A=b\r\nC=d", "A='x'B=y", "export", "A='''", "\u00a0A=b", "A B=c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDotenv(text)
		if err != nil {
			if _, ok := errors.AsType[*lineError](err); !ok {
				t.Errorf("%q: no line in %q", text, err)
			}
			return
		}
		want, err := godotenv.Unmarshal(text)
		if err != nil || len(got.skipped) > 0 {
			return
		}
		for name, value := range want {
			if got.values[name] != value && !strings.ContainsAny(name, " \t") && name != "" {
				t.Errorf("%q: %s is %q, godotenv says %q", text, name, got.values[name], value)
			}
		}
	})
}

// A list is split as earlier versions split it.
func TestSplitList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"": nil, "a": {"a"}, "a,b": {"a", "b"}, "a,": {"a"}, ",a": {"", "a"}, "a,,b": {"a", "", "b"}, `a\,b`: {"a,b"}, `a\\,b`: {`a\\`, "b"},
		`a\b,c`: {`a\b`, "c"}, `a\`: {`a\`}, "a, b": {"a", " b"}, "a\xff,b": {"a\ufffd", "b"}, `\\\,`: {`\\,`},
	} {
		if got := splitList(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
