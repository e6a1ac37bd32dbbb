package textfile

import (
	"regexp"
	"strconv"
	"strings"
)

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
