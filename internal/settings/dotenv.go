package settings

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/joho/godotenv"
)

// A dotenv is a parsed .env file.
type dotenv struct {
	values  map[string]string
	lines   map[string]int // by name
	skipped []int          // lines that do not begin with a name
}

// A lineError is an error in a line of a file. It quotes nothing of the line,
// which may hold a secret.
type lineError struct {
	line int
	text string
}

func (e *lineError) Error() string { return fmt.Sprintf("%d: %s", e.line, e.text) }

// parseDotenv reads the text of a .env file. Its errors are *lineError.
//
// godotenv reads the values, for compatibility with other programs. It stops at
// the first bad line and does not say which, so the statements are separated
// here, and given to it together, since one may refer to another.
func parseDotenv(text string) (*dotenv, error) {
	statements, skipped, err := dotenvStatements(strings.ReplaceAll(text, "\r\n", "\n"))
	if err != nil {
		return nil, err
	}
	env := &dotenv{lines: map[string]int{}, skipped: skipped}
	var all strings.Builder
	for _, s := range statements {
		values, err := godotenv.Unmarshal(s.text)
		if err != nil {
			return nil, &lineError{s.line, "cannot be read as NAME=value; correct or remove it"}
		}
		for name := range values {
			env.lines[name] = s.line
		}
		all.WriteString(s.text + "\n")
	}
	if env.values, err = godotenv.Unmarshal(all.String()); err != nil { // each statement alone is valid
		return nil, &lineError{1, "cannot be read as lines of NAME=value"}
	}
	return env, nil
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
					return nil, nil, &lineError{line, "the value begins with a quote that is not closed; close it, or remove the line"}
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
