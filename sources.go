package gatehouse

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// sources are where settings come from after the flags, first found first:
// the environment, .env, the configuration file. An empty value counts as
// none.
type sources struct {
	environment, dotenv map[string]string
	file                map[string]string // by flag name
	filePath            string
	notes               []string // what was read in another way than it was written
}

// readSources reads the environment as given, .env in the working directory,
// and the configuration file if there is one.
func readSources(environ []string, configFile string) (*sources, error) {
	s := &sources{environment: map[string]string{}}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		s.environment[name] = value
	}
	switch text, err := textfile.Read(".env"); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf(".env: %w", err)
	default:
		var skipped []int
		if s.dotenv, skipped, err = parseDotenv(text); err != nil {
			return nil, fmt.Errorf(".env:%w", err)
		}
		for _, line := range skipped {
			s.note(".env:%d: skipped, as it is not NAME=value", line)
		}
	}
	s.filePath = configFile
	if s.filePath == "" {
		s.filePath = s.variable("GATEHOUSE_CONFIG")
	}
	if s.filePath == "" {
		return s, nil
	}
	var err error
	s.file, err = readFile(s.filePath)
	return s, err
}

func (s *sources) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(s.notes, note) {
		s.notes = append(s.notes, note)
	}
}

func (s *sources) variable(name string) string {
	if value := s.environment[name]; value != "" {
		return value
	}
	return s.dotenv[name]
}

// readFile reads a flat YAML map. Lists become comma-separated.
func readFile(path string) (map[string]string, error) {
	raw, err := textfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("GATEHOUSE_CONFIG=%s: %w", path, err)
	}
	// Nodes, not values: an id like 0123 or a version like 1.10 is a number to
	// YAML, and would come out as another one.
	var tree map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(raw), &tree); err != nil {
		return nil, fmt.Errorf("%s: not a YAML map from setting to value", path) // the parser's text may quote a secret
	}
	values := make(map[string]string, len(tree))
	for key, node := range tree {
		name := strings.ReplaceAll(key, "_", "-")
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("%s: %s is set twice", path, name)
		}
		if node.Kind == yaml.AliasNode {
			node = *node.Alias
		}
		switch node.Kind {
		case yaml.MappingNode:
			return nil, fmt.Errorf("%s: %s has settings below it; write each by the name of its flag, such as oidc-issuer", path, key)
		case yaml.SequenceNode:
			items := make([]string, len(node.Content))
			for i, item := range node.Content {
				if item.Kind != yaml.ScalarNode {
					return nil, fmt.Errorf("%s: %s has more than plain values in its list", path, key)
				}
				items[i] = item.Value
			}
			values[name] = strings.Join(items, ",")
		default:
			if node.Tag != "!!null" {
				values[name] = node.Value
			}
		}
	}
	return values, nil
}

// Validate implements kong.Resolver: a key that no setting has is an error,
// so that a misspelt one is not silently without effect.
func (s *sources) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		known[flag.Name] = true
		if isSecret(flag) {
			known[flag.Name+"-file"] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.file)) {
		if !known[key] || key == "config" || key == "help" {
			return fmt.Errorf("%s: unknown setting %q", s.filePath, key)
		}
	}
	return nil
}

// Resolve implements kong.Resolver. It is asked for flags that were not
// given.
func (s *sources) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	names := variables(flag)
	if len(names) == 0 {
		return nil, nil
	}
	for _, layer := range []map[string]string{s.environment, s.dotenv} {
		for _, name := range names {
			value, err := s.valueOrFile(layer, name, name+"_FILE", flag)
			if err != nil || value != nil {
				return value, err
			}
		}
	}
	return s.valueOrFile(s.file, flag.Name, flag.Name+"-file", flag)
}

// valueOrFile returns a setting of one source, from the file that it names
// for a secret; nil for none.
func (s *sources) valueOrFile(layer map[string]string, name, fileName string, flag *kong.Flag) (any, error) {
	value, path := layer[name], layer[fileName]
	switch {
	case value == "" && (path == "" || !isSecret(flag)):
		return nil, nil
	case !isSecret(flag) || path == "":
		value, err := s.tidied(name, value, flag)
		if err != nil || value == "" {
			return nil, err
		}
		return value, nil
	case value != "":
		return nil, fmt.Errorf("%s and %s are both set; drop one", name, fileName)
	}
	if _, err := os.Stat(path); err != nil {
		if tidy, what := tidy(path); what != "" {
			s.note("%s: %s around the path left out", fileName, what)
			path = tidy
		}
	}
	raw, err := textfile.Bytes(path)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", fileName, path, err)
	}
	content, err := textfile.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", fileName, path, err)
	}
	if strings.TrimSpace(content) == "" {
		return nil, fmt.Errorf("%s=%s: the file is empty", fileName, path)
	}
	if !utf8.ValidString(content) {
		s.note("%s=%s: not UTF-8; if a secret in it has letters beyond ASCII, it is another one than on the screen", fileName, path)
	}
	if flag.IsSlice() {
		list, note := secretList(raw, content)
		if note != "" {
			s.note("%s=%s: %s", fileName, path, note)
		}
		return kongList(list), nil
	}
	value = strings.TrimSpace(content)
	if strings.Contains(value, "\n") && flag.Name != "oidc-client-key" { // a key in PEM has lines
		s.note("%s=%s: has more than one line, all of which are the value; is it the right file?", fileName, path)
	}
	return value, nil
}

// variables are those that set a flag: ours, then the tutorial's.
func variables(flag *kong.Flag) []string {
	if flag.Group == nil { // kong's own
		return nil
	}
	names := []string{"GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))}
	if alias := flag.Tag.Get("tutorial"); alias != "" {
		names = append(names, alias)
	}
	return names
}

func isSecret(flag *kong.Flag) bool { return flag.Tag.Has("secret") }

// unknown lists the variables that look like ours and set nothing. Kubernetes
// makes some of a service's name; those are passed over.
func (s *sources) unknown(app *kong.Application) []string {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		for _, name := range variables(flag) {
			known[name] = true
			known[name+"_FILE"] = isSecret(flag)
		}
	}
	var names []string
	for _, layer := range []map[string]string{s.environment, s.dotenv} {
		for name := range layer {
			if strings.HasPrefix(name, "GATEHOUSE_") && !known[name] && !kubernetes.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var kubernetes = regexp.MustCompile(`_SERVICE_(HOST|PORT)|_PORT(_|$)`)
