package directory_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

var ignorePlaces = cmpopts.IgnoreUnexported(directory.File{})

// TestParseFile: keys without values, texts of any form, and lists of one value.
func TestParseFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want directory.File
	}{
		"empty":    {"", directory.File{}},
		"comments": {"# none yet\n", directory.File{}},
		"no users": {"users:\nmachines: {}\n", directory.File{Users: []directory.User{}, Machines: []directory.Machine{}}},
		"all": {`
users:
  seller:
    name: Sofia Marchetti
    given_name: Sofia
    family_name: Marchetti
    email: sofia@example.com
    subject: 00123
    role: Seller
    about: Sells projects.
    permissions: [products:write, "yes"]
    scopes: products:read
    acr: [basic, mfa]
    claims:
      org: {id: acme, seats: 3}
      roles: [owner]
      email_verified: false
  buyer:
machines:
  importer:
    permissions: &all [products:write]
  exporter:
    secret: s3cret
    permissions: *all
    scopes:
`, directory.File{
			Users: []directory.User{
				{Key: "seller", Name: "Sofia Marchetti", GivenName: "Sofia", FamilyName: "Marchetti", Email: "sofia@example.com", Subject: "00123",
					Role: "Seller", About: "Sells projects.", Permissions: []string{"products:write", "yes"}, Scopes: []string{"products:read"}, ACR: []string{"basic", "mfa"},
					Claims: map[string]any{"org": map[string]any{"id": "acme", "seats": 3}, "roles": []any{"owner"}, "email_verified": false}},
				{Key: "buyer"},
			},
			Machines: []directory.Machine{
				{ID: "importer", Secret: "importer", Permissions: []string{"products:write"}},
				{ID: "exporter", Secret: "s3cret", Permissions: []string{"products:write"}},
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := directory.ParseFile("dev-users.yaml", c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got, ignorePlaces); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestParseFileProblems: each error has file, line and remedy, and all of one kind are
// reported at once.
func TestParseFileProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"a bracket":        {"users:\n  a:\n    permissions: [x\n", "f:3: not YAML; correct"},
		"a list":           {"- a\n", "f:1: the file is not a map; write users:"},
		"a section":        {"user:\n  a:\n", `f:1: unknown key "user"; did you mean users?`},
		"users as a list":  {"users:\n  - a\n", "f:2: users is not a map; write the key of each user"},
		"a text as user":   {"users:\n  a: Anna\n", `f:2: user "a" is not a map; write name: and given_name`},
		"a field":          {"users:\n  a:\n    given-name: A\n", `f:3: user "a": unknown key "given-name"; did you mean given_name?`},
		"a strange field":  {"users:\n  a:\n    password: A\n", `f:3: user "a": unknown key "password"; the keys are name, given_name,`},
		"a field of users": {"machines:\n  a:\n    acr: x\n", `f:3: machine "a": unknown key "acr"; the keys are secret, class, permissions, scopes`},
		"a list as text":   {"users:\n  a:\n    name: [A]\n", `f:3: user "a": name is not a text; write it behind the colon`},
		"a map as list":    {"users:\n  a:\n    scopes: {b: c}\n", `f:3: user "a": scopes is not a list of texts; write one such as`},
		"null in a list":   {"users:\n  a:\n    scopes: [b, ~]\n", `f:3: user "a": scopes is not a list of texts`},
		"claims as list":   {"users:\n  a:\n    claims: [b]\n", `f:3: user "a": claims is not a map; write each claim`},
		"numeric claims":   {"users:\n  a:\n    claims:\n      b: {1: c}\n", `f:3: user "a": claims cannot be written as JSON; use`},
		"a tagged claim":   {"users:\n  a:\n    claims: {b: !!int x}\n", `f:3: user "a": claims cannot be read: a value has the wrong form; write`},
		"a key twice":      {"users:\n  a:\n  b:\n  a:\n", `f:4: users has "a" twice, first in line 2; remove one`},
		"a list as key":    {"users:\n  [a]: \n", "f:2: users has a key that is not a text; write one"},
		"a claim":          {"users:\n  a:\n    claims:\n      iss: x\n", `f:3: user "a": claims cannot have iss, which the provider sets; leave it out`},
		"an address":       {"users:\n  a:\n  b:\n    about: B\n    email: a@example.com\n", `f:5: user "b": email is that of user "a" too; give`},
		"the key":          {"users:\n  a:\n  b c:\n", `f:3: user "b c": is not a key; write`},
		"a class":          {"machines:\n  a:\n    class: machine\n", `f:3: machine "a": class "machine" is none; write users or machines`},
		"an id for many":   {"machines:\n  'a*':\n    class: machines\n", `f:2: machine "a*": has a *, which would stand for other ids`},
		"a machine":        {"machines:\n  a:\n    scopes: [x y]\n", `f:3: machine "a": scopes "x y" has characters`},
		"several":          {"users:\n  a:\n    nam: A\n  b:\n    scope: x\nx: y\n", "f:3: user \"a\": unknown key \"nam\"; did you mean name?\nf:5: user \"b\": unknown key \"scope\"; did you mean scopes?\nf:6: unknown key \"x\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := directory.ParseFile("f", c.text)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestDocumentedFiles: the files in the document are valid.
func TestDocumentedFiles(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../../docs/dev-provider.md")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	if len(files) < 2 {
		t.Fatalf("%d files", len(files))
	}
	for _, f := range files {
		if _, err := directory.ParseFile("docs/dev-provider.md", f[1]); err != nil {
			t.Error(err)
		}
	}
}

// TestUnnamed: values that no policy names are most likely misspelt.
func TestUnnamed(t *testing.T) {
	t.Parallel()
	f, err := directory.ParseFile("f", `
users:
  a:
    permissions: [notes:wirte, notes:read]
    scopes: [email, notes:raed]
    acr: [basic, mfa, fma]
machines:
  m:
    permissions: [x]
`)
	if err != nil {
		t.Fatal(err)
	}
	policies := directory.PolicyValues{Permissions: []string{"notes:write"}, Scopes: []string{"notes:read"}, ACRValues: []string{"mfa"}}
	want := []string{
		`f:4: user "a": permissions has "notes:wirte", which no policy names; did you mean notes:write?`,
		`f:5: user "a": scopes has "notes:raed", which no policy names; did you mean notes:read?`,
		`f:6: user "a": acr has "fma", which no policy names; did you mean mfa?`,
		`f:9: machine "m": permissions has "x", which no policy names`,
	}
	if diff := cmp.Diff(want, f.Unnamed(policies)); diff != "" {
		t.Error(diff)
	}
}

// TestDefaultUsers: one user can do everything, one nothing, and the others have one
// permission each.
func TestDefaultUsers(t *testing.T) {
	t.Parallel()
	none := []string{}
	many := []string{"p1", "p2", "P2", "p3", "p4", "p5", "p6"}
	for name, c := range map[string]struct {
		policies directory.PolicyValues
		want     map[string][]string
	}{
		"no policy":       {directory.PolicyValues{}, map[string][]string{"everything": {"op"}, "nothing": none}},
		"one permission":  {directory.PolicyValues{Permissions: []string{"p"}}, map[string][]string{"everything": {"p", "op"}, "nothing": none}},
		"two permissions": {directory.PolicyValues{Permissions: []string{"a:b", "everything"}}, map[string][]string{"everything": {"a:b", "everything", "op"}, "nothing": none, "a-b": {"a:b"}}},
		"many permissions": {directory.PolicyValues{Permissions: many},
			map[string][]string{"everything": append(append(none, many...), "op"), "nothing": none, "p1": {"p1"}, "p2": {"p2"}, "p3": {"p3"}, "p4": {"p4"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d directory.Directory
			if problems := d.Set(directory.DefaultUsers(c.policies, "op")); problems != nil {
				t.Fatal(directory.Join(problems))
			}
			got := map[string][]string{}
			for _, u := range d.Configured() {
				got[u.Key] = u.Permissions
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzParseFile: what is read is valid, and errors have a line and quote little.
func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{
		"users:\n  a:\n    name: A\n    claims: {b: [1, {c: d}]}\nmachines:\n  m:\n", "users: &u\n  a: *u\n", "a: &a [*a]\n", "users: {a: {claims: &c {x: *c}}}",
		"users:\n  ? [a]\n  : b\n", "users: !!binary x\n", "users: {a: {name: !!binary aGk=, acr: !!set {a}}}\n", "--- \n...\n--- a", "users: {<<: {a: }}\n", "\xff", "users: {\"\": }",
	} {
		f.Add(seed)
	}
	var users directory.Directory
	f.Fuzz(func(t *testing.T, text string) {
		file, err := directory.ParseFile("f", text)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if len(line) > 2000 || !strings.HasPrefix(line, "f:") {
					t.Errorf("error %q", line)
				}
			}
			return
		}
		if problems := users.Set(file.Users); problems != nil {
			t.Errorf("read and not valid: %v", directory.Join(problems))
		}
		file.Unnamed(directory.PolicyValues{Permissions: []string{"p"}, ACRValues: []string{"a"}})
	})
}
