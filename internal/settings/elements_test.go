package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

type hop struct {
	Path   string
	To     []string
	Token  string
	Public bool
	Limits struct{ Wait time.Duration }
	Claims map[string][]string
	Grants []grant
}

type grant struct {
	Where map[string]string
	Names []string
}

type hops struct{ Part struct{ Hops []hop } }

// hopTable has one structured setting.
func hopTable(cfg *hops) Table {
	return Table{
		{Name: FileSetting, Prefix: "P", Targets: []any{new(string)}},
		{Name: "hops", Prefix: "P", Group: "Hops", Help: "Where it goes.", Targets: []any{&cfg.Part.Hops}, Keys: []Key{
			{Name: "path", Field: "Path", Required: true, Help: "The path."},
			{Name: "to", Field: "To", Help: "The targets."},
			{Name: "token", Field: "Token", Choices: []string{"user", "none"}, Help: "The token."},
			{Name: "public", Field: "Public", Help: "No login."},
			{Name: "wait-time", Field: "Limits.Wait", Help: "The time."},
			{Name: "claims", Field: "Claims", Help: "Claims."},
			{Name: "grants", Field: "Grants", Help: "Grants.", Keys: []Key{
				{Name: "where", Field: "Where", Required: true, Help: "Patterns."},
				{Name: "names", Field: "Names", Help: "Names."},
			}},
		}},
	}
}

const hopList = `
- path: /a
  to: http://one:1,http://two:2
  token: none
  wait_time: 5s
  claims: {use: access, repo: ["x/y", "a,b"]}
- path: /b
  to:
  - http://three:3
  public: true
  grants:
  - where: {repo: "x/*"}
    names: [read, write]
`

func wantHops() []hop {
	all := []hop{
		{Path: "/a", To: []string{"http://one:1", "http://two:2"}, Token: "none", Claims: map[string][]string{"use": {"access"}, "repo": {"x/y", "a,b"}}},
		{Path: "/b", To: []string{"http://three:3"}, Public: true, Grants: []grant{{map[string]string{"repo": "x/*"}, []string{"read", "write"}}}},
	}
	all[0].Limits.Wait = 5 * time.Second
	return all
}

// writeList returns the path of a file with the text.
func writeList(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStructuredSources reads one list from each source, as YAML and as JSON.
func TestStructuredSources(t *testing.T) {
	t.Parallel()
	const asJSON = `[{"path":"/a","to":["http://one:1","http://two:2"],"token":"none","wait-time":"5s","claims":{"use":"access","repo":["x/y","a,b"]}},` +
		`{"path":"/b","to":["http://three:3"],"public":true,"grants":[{"where":{"repo":"x/*"},"names":["read","write"]}]}]`
	nested := "hops:\n" + strings.ReplaceAll(hopList, "\n", "\n  ")
	for name, from := range map[string]Sources{
		"file":          {Flags: Flags{"config": {writeList(t, nested)}}},
		"file of file":  {Flags: Flags{"config": {writeList(t, "hops-file: "+writeList(t, hopList))}}},
		"flag":          {Flags: Flags{"hops": {hopList}}},
		"JSON flag":     {Flags: Flags{"hops": {asJSON}}},
		"variable":      {Environ: []string{"P_HOPS=" + hopList}},
		"JSON variable": {Environ: []string{"P_HOPS='" + asJSON + "'"}}, // as docker --env-file keeps it
		"variable FILE": {Environ: []string{"P_HOPS_FILE=" + writeList(t, hopList)}},
		"dotenv":        {Dotenv: writeList(t, "P_HOPS='"+asJSON+"'")},
	} {
		var cfg hops
		table := hopTable(&cfg)
		if err := table.Check(); err != nil {
			t.Fatal(err)
		}
		v := table.Read(from)
		if err := v.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(cfg.Part.Hops, wantHops()) {
			t.Errorf("%s: got %+v, want %+v", name, cfg.Part.Hops, wantHops())
		}
		if got := v.Shown()[1].Value; !strings.HasPrefix(got, "[{path: /a, to: ") {
			t.Errorf("%s: shown as %s", name, got)
		}
	}
	for _, empty := range []string{"hops:\n", "hops: []\n", "# nothing\n"} {
		var cfg hops
		if err := hopTable(&cfg).Read(Sources{Flags: Flags{"config": {writeList(t, empty)}}}).Err(); err != nil || len(cfg.Part.Hops) != 0 {
			t.Errorf("%q: %v, %v", empty, cfg, err)
		}
	}
}

// TestStructuredProblems: each problem has its place, the element, the key and the remedy,
// and a list with a problem is not assigned.
func TestStructuredProblems(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	for text, want := range map[string][]string{
		"- path: /a\n  tokn: user\n":                           {`:2: hops[0]: unknown key "tokn"; did you mean "token"?`},
		"- path: /a\n- token: usr\n":                           {`:2: hops[1].token=usr: is not a choice; give one of user, none`, `:2: hops[1]: path is missing; add it`},
		"- path: /a\n  to: ['a', '']\n":                        {`:2: hops[0].to[1]: is empty`},
		"- path: /a\n  to: a,,b\n":                             {`:2: hops[0].to: is empty`},
		"- path: [/a]\n":                                       {`:1: hops[0].path: is not a single value; give one`},
		"- path:\n":                                            {`:1: hops[0].path: is empty; give a value, or remove the key`},
		"- path: ''\n":                                         {`:1: hops[0].path: is empty`},
		"- path: /a\n  claims:\n":                              {`:2: hops[0].claims: is empty`},
		"- path: /a\n  claims: {use: }\n":                      {`:2: hops[0].claims.use: is empty`},
		"- path: /a\n  claims: access\n":                       {`:2: hops[0].claims: is not a map`},
		"- path: /a\n  claims: {a: b, a: c}\n":                 {`hops[0].claims.a: is set twice`},
		"- path: /a\n  public: perhaps\n":                      {`:2: hops[0].public=perhaps: is neither true nor false`},
		"- path: /a\n  wait-time: 5\n":                         {`:2: hops[0].wait-time=5: has no unit; write 5s`},
		"- path: /a\n  path: /b\n":                             {`:2: hops[0].path: is set twice; drop one`},
		"- path: /a\n  to: [{a: b}]\n":                         {`:2: hops[0].to[0]: is not a single value`},
		"- path: /a\n  grants:\n  - names: [a]\n":              {`:3: hops[0].grants[0]: where is missing; add it`},
		"- path: /a\n  grants:\n  - where: {a: [b]}\n":         {`:3: hops[0].grants[0].where.a: is not a single value`},
		"- path: /a\n  to: []\n":                               {`:2: hops[0].to: is empty; give a value, or remove the key`},
		"hops:\n- path: /a\n":                                  {`:1: hops: has the name of the setting above its list; remove that line`},
		"hops.yaml":                                            {`:1: hops: is not a list; if it is the path of a file with one, set P_HOPS_FILE to it`},
		"path: /a\n":                                           {`:1: hops: is not a list; write each element behind a hyphen, as in - path: …`},
		"- /a\n":                                               {`:1: hops[0]: is not a map; write its keys, as in path: …`},
		"- path: /a\n   token: x\n":                            {`: not a list in YAML or JSON; correct quotes`},
		"- path: /a\n---\n- path: /b\n":                        {`: not a list in YAML or JSON`},
		"- path: /a\n  public: https://u:" + password + "@h\n": {`:2: hops[0].public=https://u:xxxxx@h: is neither`},
		"- path: /a\n  \"secret: " + password + "\": x\n":      {`:2: hops[0]: unknown key "secret"`},
		"- &a\n  path: /a\n  grants: [*a]\n":                   {`hops[0].grants[0]`},
		"- path: /a\n  <<: {token: none}\n":                    {`unknown key "<<"`},
	} {
		var cfg hops
		path := writeList(t, text)
		v := hopTable(&cfg).Read(Sources{Environ: []string{"P_HOPS_FILE=" + path}})
		got := ""
		if err := v.Err(); err != nil {
			got = err.Error()
		}
		for _, w := range want {
			if !strings.Contains(got, w) || !strings.Contains(got, path+":") || strings.Contains(got, password) {
				t.Errorf("%q: got %q, want %q", text, got, want)
			}
		}
		if cfg.Part.Hops != nil {
			t.Errorf("%q: assigned %v", text, cfg.Part.Hops)
		}
		for _, s := range v.Shown() {
			if strings.Contains(s.Value, password) {
				t.Errorf("%q: shown as %s", text, s.Value)
			}
		}
	}
	var cfg hops
	got := hopTable(&cfg).Read(Sources{Environ: []string{"P_HOPS=[]", "P_HOPS_FILE=x"}}).Err()
	if got == nil || got.Error() != "P_HOPS and P_HOPS_FILE are both set; drop one" {
		t.Errorf("two sources: got %v", got)
	}
}

// TestStructuredExplain: an error of a part about a field of an element names the line and
// the key, in each source.
func TestStructuredExplain(t *testing.T) {
	t.Parallel()
	problem := errors.Join(
		invalid.Field("Part.Hops[1].To[0]", "http://three:3", "has the port of Token", "give another To"),
		invalid.Missing("Part.Hops[1].Token", "add it"),
		invalid.Field("Part.Hops[0].Limits.Wait", 5*time.Second, "is short", "give a longer Limits.Wait"),
		invalid.Field("Part.Hops", 2, "are too many", "give fewer"))
	path, nested := writeList(t, hopList), writeList(t, "hops:"+hopList)
	for place, from := range map[string]Sources{
		path + ":%":            {Environ: []string{"P_HOPS_FILE=" + path}},
		nested + ":%":          {Flags: Flags{"config": {nested}}},
		"P_HOPS (environment)": {Environ: []string{"P_HOPS=" + hopList}},
		"--hops":               {Flags: Flags{"hops": {hopList}}},
	} {
		var cfg hops
		v := hopTable(&cfg).Read(from)
		v.Bind(&cfg)
		at := func(line string) string { return strings.Replace(place, "%", line, 1) }
		for _, want := range []string{
			at("9") + `: hops[1].to[0]=http://three:3: has the port of token; give another to`,
			at("7") + `: hops[1].token: is missing; add it`,
			at("5") + `: hops[0].wait-time=5s: is short; give a longer wait-time`,
			`: are too many; give fewer`,
		} {
			if got := v.Explain(problem).Error(); !strings.Contains(got, want) {
				t.Errorf("%s: got %s, want %s", place, got, want)
			}
		}
	}
}

// TestStructuredReference: reference and help.
func TestStructuredReference(t *testing.T) {
	t.Parallel()
	table := hopTable(new(hops))
	for _, want := range []string{"`P_HOPS_FILE`, or `hops-file`", "- `path` (required): The path.", "  - `where` (required): Patterns."} {
		if got := table.Reference(); !strings.Contains(got, want) {
			t.Errorf("the reference is %s, want %s", got, want)
		}
	}
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := table.AddFlags(set)
	if err := set.Parse([]string{"--hops", "[]", "--hops", "[{path: /x}]"}); err != nil {
		t.Fatal(err)
	}
	if len(flags["hops"]) != 1 { // the last one counts
		t.Errorf("flags %v", flags)
	}
	if got := table.Usage(100); !strings.Contains(got, "docs/configuration.md") || strings.Contains(got, "wait-time") {
		t.Errorf("the help is %s", got)
	}
	for name, keys := range map[string][]Key{
		"no field":     {{Name: "path", Field: "Pfad"}},
		"bad name":     {{Name: "Path", Field: "Path"}},
		"twice":        {{Name: "path", Field: "Path"}, {Name: "path", Field: "Token"}},
		"no form":      {{Name: "limits", Field: "Limits"}},
		"nested no":    {{Name: "grants", Field: "Grants", Keys: []Key{{Name: "x", Field: "X"}}}},
		"keys of text": {{Name: "path", Field: "Path", Keys: []Key{{Name: "x", Field: "X"}}}},
	} {
		table[1].Keys = keys
		if table.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
