package gatehouse

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/joho/godotenv"
)

// parseDotenv reads the text of a .env file. A line that does not begin with a
// name is skipped and its number returned. An error begins with a line number,
// and quotes nothing, since a line may hold a secret.
//
// godotenv reads the values, for compatibility with other programs. It stops at
// the first bad line and does not say which, so the statements are told apart
// here, and given to it together, since one may refer to another.
func parseDotenv(text string) (values map[string]string, skipped []int, err error) {
	statements, skipped, err := dotenvStatements(strings.ReplaceAll(text, "\r\n", "\n"))
	if err != nil {
		return nil, nil, err
	}
	var all strings.Builder
	for _, s := range statements {
		if _, err := godotenv.Unmarshal(s.text); err != nil {
			return nil, nil, fmt.Errorf("%d: cannot be read as NAME=value; correct or remove it", s.line)
		}
		all.WriteString(s.text + "\n")
	}
	values, err = godotenv.Unmarshal(all.String())
	if err != nil { // each can be read by itself, so this cannot be
		return nil, nil, fmt.Errorf("1: cannot be read as lines of NAME=value")
	}
	return values, skipped, nil
}

type statement struct {
	line int
	text string
}

// assignment is the beginning of a statement, up to its value.
var assignment = regexp.MustCompile(`^[^\S\n]*(?:export[^\S\n]+)?[\pL\pN_.]+[^\S\n]*[=:][^\S\n]*`)

func dotenvStatements(text string) (statements []statement, skipped []int, err error) {
	for line := 1; text != ""; {
		rest, _, _ := strings.Cut(text, "\n")
		begin := assignment.FindString(text)
		end := len(rest)
		switch trimmed := strings.TrimSpace(rest); {
		case trimmed == "" || trimmed[0] == '#':
		case begin == "":
			skipped = append(skipped, line)
		default:
			if value := text[len(begin):]; value != "" && (value[0] == '"' || value[0] == '\'') {
				n := closingQuote(value)
				if n < 0 {
					return nil, nil, fmt.Errorf("%d: the value begins with a quote that is not closed; close it, or remove the line", line)
				}
				end = len(begin) + n + 1 // what follows on its line is a comment or another statement
			}
			statements = append(statements, statement{line, text[:end]})
		}
		line += strings.Count(text[:end], "\n")
		text = text[end:]
		if strings.HasPrefix(text, "\n") {
			line++
			text = text[1:]
		}
	}
	return statements, skipped, nil
}

// closingQuote returns the index of the quote that closes the one at the
// beginning, -1 for none.
func closingQuote(value string) int {
	for i := 1; i < len(value); i++ {
		if value[i] == value[0] && value[i-1] != '\\' {
			return i
		}
	}
	return -1
}
