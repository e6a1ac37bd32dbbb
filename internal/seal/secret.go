package seal

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	minCharacters = 32
	// minDistinct tells "aaaa…" and "0101…" from random text. A random secret of 32 hexadecimal digits has fewer than 8
	// different ones about once in 10¹⁰.
	minDistinct = 8
	remedy      = "make one with: openssl rand -hex 32"
)

// placeholders are what people leave in from examples; the first is what the tutorial's .env and the nextjs-auth0 README
// say. Compared in lower case, with spaces, '-', '_' and '.' removed.
var placeholders = []string{
	"opensslrand",
	"changeme",
	"changethis",
	"replaceme",
	"replacethis",
	"placeholder",
	"yoursecret",
	"mysecret",
	"supersecret",
	"longrandomvalue",
	"longsecretvalue",
	"thisisasecret",
	"0123456789abcdef",
	"12345678901234567890",
	"abcdefghijklmnop",
}

// Weakness says what is wrong with a secret, in words that follow "the secret", or "" when nothing is.
func Weakness(secret string) string {
	if n := utf8.RuneCountInString(secret); n < minCharacters {
		return fmt.Sprintf("has %d characters and needs at least %d", n, minCharacters)
	}
	distinct := make(map[rune]struct{})
	for _, r := range secret {
		distinct[r] = struct{}{}
	}
	if len(distinct) < minDistinct {
		return fmt.Sprintf("has too few different characters: %d of at least %d", len(distinct), minDistinct)
	}
	plain := strings.NewReplacer(" ", "", "-", "", "_", "", ".", "").Replace(strings.ToLower(secret))
	for _, p := range placeholders {
		if strings.Contains(plain, p) {
			return "is a placeholder from an example"
		}
	}
	return ""
}
