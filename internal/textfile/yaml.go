package textfile

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problems collects what is wrong with a file, by line.
type Problems struct {
	file string
	all  []problem
}

type problem struct {
	line int
	text string
}

// ParseYAML returns the top of a YAML document, nil if it is empty, and the Problems of
// the file, which has one if the text is not YAML.
func ParseYAML(file, text string) (*yaml.Node, *Problems) {
	p := &Problems{file: file}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		p.Add(YAMLLine(text, err), "not YAML; correct quotes, brackets and indentation there or in a line before")
		return nil, p
	}
	if document.Kind == 0 || document.Content[0].Tag == "!!null" {
		return nil, p
	}
	return document.Content[0], p
}

// Add adds a problem. format has the value and the remedy.
func (p *Problems) Add(line int, format string, args ...any) {
	p.all = append(p.all, problem{line, fmt.Sprintf(format, args...)})
}

// Err returns all problems in the order of their lines, each as FILE:LINE: TEXT; nil for
// none.
func (p *Problems) Err() error {
	slices.SortStableFunc(p.all, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, one := range p.all {
		errs = append(errs, fmt.Errorf("%s:%d: %s", p.file, one.line, one.text))
	}
	return errors.Join(errs...)
}

// YAMLLine returns the line that an error of the YAML parser about a text is about. Nothing
// else of the error may be shown, since it may quote a secret.
func YAMLLine(text string, err error) int {
	line := 1
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits, as matched
	}
	if grammarError.MatchString(err.Error()) {
		line++ // the parser counts these from 0, others from 1
	}
	return min(line, 1+strings.Count(strings.TrimRight(text, "\r\n"), "\n"))
}

var (
	yamlLine     = regexp.MustCompile(`\bline (\d+)`)
	grammarError = regexp.MustCompile(`did not find expected (<|node content|'-' indicator|key|',' or)`)
)
